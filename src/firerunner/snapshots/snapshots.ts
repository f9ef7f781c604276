/**
 * Runs in firerunner. Knows for every launch which snapshot it can be restored from, and has missing ones built:
 *
 * ```
 *   prepare ──▶ base layer ──▶ function layer ──▶ Restorable      each: in the store, or built; damaged: built again
 *   forLaunch ──▶ the function's, else its base's, else none       waits for nothing to be built
 * ```
 */
import { basename } from 'node:path';
import { messageOf } from '../../protocol/errors.ts';
import type { LaunchSpec, MachineSpec } from '../../protocol/runner.ts';
import { LaunchError, type Driver, type Machine } from '../drivers/driver.ts';
import { Limit } from '../limit.ts';
import type { TapPool } from '../network/tap-pool.ts';
import type { RunDirectory } from '../run-directory.ts';
import { BaseLayers } from './base-layers.ts';
import { buildFunction } from './builder.ts';
import { dumpLayer, openLayers } from './by-hand.ts';
import { Entries, type Entry, type Prepared } from './entries.ts';
import { DamagedLayerError, type Layer } from './layer.ts';
import type { LayerDraft } from './publication.ts';
import { Restorable } from './restorable.ts';
import { fileIdentity, functionStamp, machineFiles } from './stamps.ts';
import { SnapshotStore } from './store.ts';
import { mendingDamage, Workshop, type PrepareHooks } from './workshop.ts';

export { Restorable } from './restorable.ts';

/** Functions that are prepared at once; most of what they wait for is the building of layers, which has its own limit. */
const PREPARATIONS_AT_ONCE = 4;

export interface LaunchSource {
  readonly restorable: Restorable | null;
  /** Why it is not the function's own snapshot; null if it is, or none is wanted. */
  readonly reason: string | null;
}

export class Snapshots {
  readonly #driver: Driver;
  readonly #workshop: Workshop;
  readonly #entries: Entries;
  readonly #bases: BaseLayers;
  readonly #preparations = new Limit(PREPARATIONS_AT_ONCE);

  /**
   * @param taps for machines with a network; null: there are none.
   * @param signal ends every build.
   * @param openAtMost functions whose memory is kept composed.
   */
  constructor(
    driver: Driver,
    runDirectory: RunDirectory,
    taps: TapPool | null,
    signal: AbortSignal,
    openAtMost?: number,
  ) {
    this.#entries = new Entries(openAtMost);
    this.#driver = driver;
    this.#workshop = new Workshop(driver, runDirectory, taps, signal);
    this.#bases = new BaseLayers(this.#workshop);
  }

  /**
   * Makes the function's snapshot ready: opens it, or builds it first. Calls for the same function share the work.
   *
   * @throws FunctionLoadError if the import or a hook before the snapshot fails; LaunchError; SnapshotStoreError.
   */
  prepare(spec: LaunchSpec, hooks: PrepareHooks = {}): Promise<Prepared> {
    const key = entryKey(spec);
    const identity = identityOf(spec.machine);
    const known = this.#entries.get(key);
    if (known?.identity === identity) return known.prepared;
    if (known !== undefined) this.#entries.close(known);
    return this.#entries.begin(
      { key, spec, identity, isSecondTry: false },
      (entry, found) => this.#prepare(entry, hooks, this.#entries.hasRoom, found),
      (work) => void this.#preparations.run(work),
    ).prepared;
  }

  /** See `dumpLayer`. */
  dump(spec: LaunchSpec, target: string, hooks: PrepareHooks): Promise<Layer> {
    const { digests, directory } = this.#workshop;
    return dumpLayer(this.#workshop.context(spec, hooks), digests, directory, target);
  }

  /** What to restore a VM from. A snapshot that is in the store, but not open yet, is opened first. */
  async forLaunch(spec: LaunchSpec): Promise<LaunchSource> {
    if (spec.snapshots === null || this.#driver.snapshots === null) return { restorable: null, reason: null };
    try {
      const own = await this.#own(spec);
      if (typeof own !== 'string') return { restorable: own, reason: null };
      return { restorable: spec.snapshots.kind === 'store' ? this.#bases.find(spec) : null, reason: own };
    } catch (error) {
      // A file is missing; the boot says so in the VMM's words.
      return { restorable: null, reason: messageOf(error) };
    }
  }

  /** The function's own snapshot, or why there is none now. */
  async #own(spec: LaunchSpec): Promise<Restorable | string> {
    const key = entryKey(spec);
    const before = this.#entries.get(key);
    const isOutdated = before !== undefined && before.identity !== identityOf(spec.machine);
    this.prepare(spec).catch(() => undefined);
    const begun = this.#entries.get(key);
    await this.#untilOpen(key);
    // One that failed by the host's fault is forgotten, but tells why.
    const entry = this.#entries.get(key) ?? begun;
    if (entry === undefined || entry.restorable === null) {
      const files = isOutdated ? 'its files have changed: a new snapshot' : 'its snapshot';
      return entry?.problem ?? `${files} is being made`;
    }
    this.#entries.touch(entry);
    return entry.restorable;
  }

  /** Waits for a snapshot that only has to be opened, however many others are before it; not for one that has to be built. */
  async #untilOpen(key: string): Promise<void> {
    const entry = this.#entries.get(key);
    if (entry === undefined || entry.restorable !== null || entry.problem !== null) return;
    entry.hurry();
    if (await entry.isInStore) await entry.prepared.catch(() => undefined);
    const now = this.#entries.get(key);
    if (now?.isClosed === true) await this.#reopen(now);
  }

  /** A restore failed. The snapshot is not used again; a new one is built, once. */
  distrust(restorable: Restorable, reason: string): void {
    this.#bases.distrust(restorable);
    const entry = this.#entries.of(restorable);
    if (entry !== null) {
      this.#entries.close(entry);
      entry.problem = reason;
      const source = storeOf(entry.spec);
      if (!entry.isSecondTry && source !== null) {
        void new SnapshotStore(source)
          .remove(restorable.layer.name)
          .catch(() => undefined)
          .then(() =>
            this.#entries.begin({ ...entry, isSecondTry: true }, (again, found) =>
              this.#prepare(again, {}, true, found),
            ),
          );
      }
    }
    restorable.retire();
  }

  /** See `Restorable.recordWorkingSet`. */
  recordWorkingSet(restorable: Restorable, machine: Machine): void {
    void restorable.recordWorkingSet(machine);
  }

  /** Resolves when nothing is being built any more; the signal must have been aborted. */
  async close(): Promise<void> {
    await this.#entries.closeAll();
    await this.#bases.close();
  }

  async #reopen(closed: Entry): Promise<void> {
    const entry = this.#entries.begin(closed, (again, found) => this.#prepare(again, {}, true, found));
    await entry.prepared.catch(() => undefined);
  }

  /**
   * @param open whether its memory is composed now; if not, when it is launched first.
   * @param found told whether the layer is in the store.
   */
  #prepare(entry: Entry, hooks: PrepareHooks, open: boolean, found: (isThere: boolean) => void): Promise<Prepared> {
    const prepare = async (): Promise<Prepared> => {
      const { spec } = entry;
      if (this.#driver.snapshots === null) throw new LaunchError(`the ${this.#driver.name} driver has no snapshots`);
      const source = storeOf(spec);
      if (source !== null) return this.#prepareInStore(entry, new SnapshotStore(source), hooks, open, found);
      found(true);
      const { digests, directory } = this.#workshop;
      const restorable = await openLayers(this.#driver, spec, digests, directory);
      this.#entries.opened(entry, restorable);
      return { layer: restorable.layer.name, builtMs: null };
    };
    return open ? this.#entries.opening(prepare) : prepare();
  }

  async #prepareInStore(
    entry: Entry,
    store: SnapshotStore,
    hooks: PrepareHooks,
    open: boolean,
    found: (isThere: boolean) => void,
  ): Promise<Prepared> {
    const { spec } = entry;
    let builtMs: number | null = null;
    let base: Restorable | null = null;
    const prepare = async (): Promise<Prepared> => {
      if (!(await this.#bases.isThere(spec, store))) found(false);
      base = await this.#bases.prepare(spec, store, hooks);
      const layer = await this.#ensureFunctionLayer(spec, base, store, hooks, found, (ms) => (builtMs = ms));
      if (open) {
        this.#entries.opened(entry, await Restorable.open(this.#driver, store.directory, [base.layer, layer], true));
      } else entry.isClosed = true;
      return { layer: layer.name, builtMs };
    };
    return mendingDamage(prepare, async (error) => {
      hooks.onProgress?.(error.message);
      if (base?.layer.directory === error.directory) this.#bases.drop(base);
      await store.remove(basename(error.directory));
    });
  }

  async #ensureFunctionLayer(
    spec: LaunchSpec,
    base: Restorable,
    store: SnapshotStore,
    hooks: PrepareHooks,
    found: (isThere: boolean) => void,
    onBuilt: (ms: number) => void,
  ): Promise<Layer> {
    const stamp = await functionStamp(this.#driver, spec, base.layer.stamp, this.#workshop.digests);
    const existing = await store.open('function', stamp).catch(ignoreDamage);
    found(existing?.base === base.layer.digest);
    const build = async (draft: LayerDraft): Promise<void> => {
      const started = performance.now();
      hooks.onProgress?.('loading the function into a VM');
      await this.#buildOn(base, spec, hooks, draft);
      onBuilt(performance.now() - started);
    };
    return store.ensure('function', stamp, (draft) => this.#workshop.build(() => build(draft)), {
      ...this.#workshop.ensureOptions(hooks),
      // Made on a base that was replaced since: its pages do not fit any more.
      rebuild: existing !== null && existing.base !== base.layer.digest,
    });
  }

  async #buildOn(base: Restorable, spec: LaunchSpec, hooks: PrepareHooks, draft: LayerDraft): Promise<void> {
    const release = base.hold();
    const from = { layer: base.layer, memory: base.memory, saved: base.guest.machine };
    await buildFunction(this.#workshop.context(spec, hooks), from, draft).finally(release);
  }
}

/** The store that the spec names; null if it names layers made by hand. */
function storeOf({ snapshots }: LaunchSpec): string | null {
  return snapshots?.kind === 'store' ? snapshots.directory : null;
}

function entryKey({ machine, function: fn, snapshots }: LaunchSpec): string {
  return JSON.stringify([machine, fn, snapshots]);
}

function identityOf(machine: MachineSpec): string {
  return machineFiles(machine).map(fileIdentity).join('\n');
}

function ignoreDamage(error: unknown): null {
  if (error instanceof DamagedLayerError) return null;
  throw error;
}
