/**
 * Runs in firerunner. Knows for every launch which snapshot it can be restored from, and has missing ones built:
 *
 * ```
 *   prepare   ──▶ the function's snapshot: base layer, function layer, opened     each from the store, or built
 *   forLaunch ──▶ the function's, else its base's, else none
 * ```
 *
 * A launch waits for a build that is under way where that is sooner than to do the same work beside it: for a base layer
 * instead of a boot; and for its function's, once the build is further ahead than saving takes.
 */
import { availableParallelism } from 'node:os';
import { messageOf } from '../../protocol/errors.ts';
import type { LaunchSpec, MachineSpec } from '../../protocol/runner.ts';
import type { Driver, Machine } from '../machine.ts';
import { Semaphore } from '../semaphore.ts';
import type { TapPool } from '../network/tap-pool.ts';
import type { RunDirectory } from '../run-directory.ts';
import { BaseLayers } from './base-layers.ts';
import { dumpLayer } from './by-hand.ts';
import { makeFunctionSnapshot } from './function-layers.ts';
import { LayerBuilds, type PrepareHooks } from './layer-builds.ts';
import type { Layer } from './layer.ts';
import type { Restorable } from './restorable.ts';
import { Snapshot, type HeldSnapshot, type Prepared, type SnapshotObserver } from './snapshot.ts';
import { Uses } from '../../storage/uses.ts';
import type { RetentionLimits } from '../../storage/retention.ts';
import { SnapshotStore } from './store.ts';
import { fileIdentity } from '../../storage/file-identity.ts';
import { machineFiles } from './stamps.ts';

export type { Restorable } from './restorable.ts';
export type { HeldSnapshot } from './snapshot.ts';

/** Functions that are prepared at once; most of what they wait for is the building of layers, which has its own limit. */
const PREPARATIONS_AT_ONCE = 4;
/** Snapshots of functions whose memory is kept composed; each takes disk space like the memory a guest uses, 50 to 100 MB. */
const OPEN_AT_MOST = 64;

export interface LaunchSource {
  /** Held for the launch, which has to release it; null: the VM is booted. */
  readonly snapshot: HeldSnapshot | null;
  /** Why it is not the function's own snapshot; null if it is, or none is wanted. */
  readonly reason: string | null;
}

interface Known {
  readonly snapshot: Snapshot;
  /** Of the files it was made from: other files need another snapshot. */
  readonly identity: string;
  readonly replacesAnother: boolean;
  /** Other processes leave these layers of the store alone, and no longer those before. */
  readonly holdLayers: (names: readonly string[]) => void;
  /** Preparations that have not been forgotten. */
  preparations: number;
}

export class Snapshots {
  readonly #driver: Driver;
  readonly #builds: LayerBuilds;
  readonly #bases: BaseLayers;
  readonly #known = new Map<string, Known>();
  /** Snapshots of functions that are open, the one used last at the end. */
  readonly #open = new Set<Snapshot>();
  readonly #openAtMost: number;
  readonly #preparations = new Semaphore(PREPARATIONS_AT_ONCE);
  readonly #signal: AbortSignal;
  /** By the directory of the store. */
  readonly #uses = new Map<string, Uses>();

  /**
   * @param taps for machines with a network; null: there are none.
   * @param signal ends every build.
   * @param options.openAtMost functions whose memory is kept composed.
   * @param options.turns of all that keeps a processor busy for long, launches included.
   */
  constructor(
    driver: Driver,
    runDirectory: RunDirectory,
    taps: TapPool | null,
    signal: AbortSignal,
    options: { readonly openAtMost?: number | undefined; readonly turns?: Semaphore } = {},
  ) {
    const { openAtMost = OPEN_AT_MOST, turns = new Semaphore(availableParallelism()) } = options;
    this.#driver = driver;
    this.#builds = new LayerBuilds(driver, runDirectory, taps, signal, turns);
    this.#bases = new BaseLayers(this.#builds);
    this.#openAtMost = openAtMost;
    this.#signal = signal;
  }

  /**
   * Makes the function's snapshot ready: opens it, or builds it first. Calls for the same function share the work. What fails
   * is tried again by itself, later and later.
   *
   * @param observer told of this attempt and of all that follow.
   * @throws FunctionLoadError if the import or a hook before the snapshot fails; LaunchError; SnapshotStoreError.
   */
  prepare(spec: LaunchSpec, observer: SnapshotObserver = {}): Promise<Prepared> {
    const known = this.#find(spec);
    known.preparations += 1;
    return known.snapshot.prepare(observer);
  }

  /** Undoes one `prepare`: after the last one nothing is launched from it any more. Its layer stays in the store. */
  forget(spec: LaunchSpec): void {
    const key = keyOf(spec);
    const known = this.#known.get(key);
    if (known === undefined) return;
    known.preparations -= 1;
    if (known.preparations > 0) return;
    known.snapshot.retire();
    known.holdLayers([]);
    this.#known.delete(key);
    if (spec.machine.appfsPath !== null) this.#builds.digests.forget(spec.machine.appfsPath);
  }

  /** See `SnapshotStore.removeUnused`. */
  async removeUnused(
    directory: string,
    limits: RetentionLimits,
  ): Promise<{ readonly removed: readonly string[]; readonly more: boolean }> {
    const uses = this.#uses.get(directory);
    await uses?.settled();
    await uses?.renew();
    return new SnapshotStore(directory).removeUnused(limits);
  }

  /** See `dumpLayer`. */
  dump(spec: LaunchSpec, target: string, hooks: PrepareHooks): Promise<Layer> {
    const { digests, directory } = this.#builds;
    return dumpLayer(this.#builds.context(spec, hooks), digests, directory, target);
  }

  /**
   * What to restore a VM from. A snapshot that is in the store, but not open yet, is opened first.
   *
   * @throws the signal's reason if it aborts before.
   */
  async forLaunch(spec: LaunchSpec, signal = this.#signal): Promise<LaunchSource> {
    if (spec.snapshots === null || this.#driver.snapshots === null) return { snapshot: null, reason: null };
    try {
      const known = this.#find(spec);
      const { snapshot } = known;
      await unlessAborted(snapshot.untilOpen(), signal);
      const own = snapshot.hold();
      if (own !== null) {
        this.#touch(snapshot);
        return { snapshot: own, reason: null };
      }
      const base = spec.snapshots.kind === 'store' ? this.#bases.find(spec) : null;
      if (base !== null) await unlessAborted(base.settled(), signal);
      return { snapshot: base?.hold() ?? null, reason: whyNotOpen(known) };
    } catch (error) {
      signal.throwIfAborted();
      // A file is missing; the boot says so in the VMM's words.
      return { snapshot: null, reason: messageOf(error) };
    }
  }

  /** See `Restorable.recordWorkingSet`. */
  recordWorkingSet(restorable: Restorable, machine: Machine): void {
    void restorable.recordWorkingSet(machine);
  }

  /** Resolves when nothing is being built any more; the signal must have been aborted. */
  async close(): Promise<void> {
    for (const { snapshot } of this.#known.values()) {
      await snapshot.settled();
      snapshot.retire();
    }
    await this.#bases.close();
    for (const uses of this.#uses.values()) await uses.close();
  }

  #find(spec: LaunchSpec): Known {
    const key = keyOf(spec);
    const identity = identityOf(spec.machine);
    const before = this.#known.get(key);
    if (before?.identity === identity) return before;
    before?.snapshot.retire();
    before?.holdLayers([]);
    const holdLayers = this.#holder(spec);
    const snapshot: Snapshot = new Snapshot({
      make: (request) => makeFunctionSnapshot(this.#builds, this.#bases, spec, request),
      mayOpen: () => this.#open.size < this.#openAtMost,
      whenTurn: (work) => void this.#preparations.run(work),
      savingMs: () => this.#builds.savingMs,
      onOpened: () => this.#touch(snapshot),
      onClosed: () => this.#open.delete(snapshot),
      onLayers: holdLayers,
      signal: this.#signal,
      observer: before?.snapshot.observer,
    });
    const { preparations = 0 } = before ?? {};
    const known = { snapshot, identity, replacesAnother: before !== undefined, preparations, holdLayers };
    this.#known.set(key, known);
    return known;
  }

  #holder({ snapshots }: LaunchSpec): Known['holdLayers'] {
    if (snapshots?.kind !== 'store') return () => undefined;
    const { directory } = snapshots;
    const uses = this.#uses.get(directory) ?? new Uses(directory);
    this.#uses.set(directory, uses);
    let held: readonly string[] = [];
    return (names) => {
      for (const name of names) uses.hold(name);
      for (const name of held) uses.release(name);
      held = names;
    };
  }

  /** It was used last. Those used before are closed if there are too many. */
  #touch(snapshot: Snapshot): void {
    this.#open.delete(snapshot);
    this.#open.add(snapshot);
    for (const oldest of this.#open) {
      if (this.#open.size <= this.#openAtMost) break;
      oldest.close();
    }
  }
}

/** @throws the signal's reason as soon as it aborts; the work goes on. */
async function unlessAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  let onAbort: () => void = () => undefined;
  const aborted = new Promise<void>((resolve) => (onAbort = resolve));
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
  signal.throwIfAborted();
}

function whyNotOpen({ snapshot: { state }, replacesAnother }: Known): string {
  if (state.is === 'failed') return state.reason;
  return `${replacesAnother ? 'its files have changed: a new snapshot' : 'its snapshot'} is being made`;
}

function keyOf({ machine, function: fn, snapshots }: LaunchSpec): string {
  return JSON.stringify([machine, fn, snapshots]);
}

function identityOf(machine: MachineSpec): string {
  return machineFiles(machine).map(fileIdentity).join('\n');
}
