/**
 * Runs in firerunner. Knows for every launch which snapshot it can be restored from, and has missing ones built:
 *
 * ```
 *   prepare ──▶ base layer ──▶ function layer ──▶ Restorable      each: in the store, or built; damaged: built again
 *   forLaunch ──▶ the function's, else its base's, else none       never waits
 * ```
 */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { LogHeader } from '../../protocol/guest.ts';
import type { LaunchSpec, MachineSpec, SnapshotSource } from '../../protocol/runner.ts';
import { HostError, LaunchError, type Driver, type Machine } from '../drivers/driver.ts';
import { FunctionLoadError } from '../guest-life.ts';
import { Limit } from '../limit.ts';
import type { TapPool } from '../network/tap-pool.ts';
import type { RunDirectory } from '../run-directory.ts';
import { buildBase, buildFunction, type BuildContext } from './builder.ts';
import { dumpLayer, openLayers } from './by-hand.ts';
import { DamagedLayerError, type Layer } from './layer.ts';
import { Restorable } from './restorable.ts';
import type { LayerDraft } from './publication.ts';
import { baseStamp, FileDigests, fileIdentity, functionStamp, machineFiles, sizeOf } from './stamps.ts';
import { SnapshotStore, type EnsureOptions } from './store.ts';
import { messageOf } from '../../protocol/errors.ts';

export { Restorable } from './restorable.ts';

/** Layers being built at once: each VM that is built from keeps a core busy, and requests want one as well. */
const BUILDS_AT_ONCE = Math.max(1, availableParallelism() - 1);
/** A layer that turns out to be damaged when it is read is built again this often. */
const REBUILDS = 2;

/** Functions that are prepared at once; most of what they wait for is the building of layers, which has its own limit. */
const PREPARATIONS_AT_ONCE = 4;
/** Snapshots whose memory is kept composed; each takes disk space like the memory a guest uses, 50 to 100 MB. */
const OPEN_AT_MOST = 64;

export interface PrepareHooks {
  /** What is being done, such as "booting the base layer". */
  readonly onProgress?: (text: string) => void;
  /** Output of the function's import and hooks. */
  readonly onLog?: (header: LogHeader, text: string) => void;
}

export interface Prepared {
  /** Name of the function's layer in the store. */
  readonly layer: string;
  /** How long building took, in ms; null if the layer was there. */
  readonly builtMs: number | null;
}

interface Entry {
  readonly key: string;
  readonly spec: LaunchSpec;
  /** Of the files it was made from: other files need another snapshot. */
  readonly identity: string;
  readonly prepared: Promise<Prepared>;
  restorable: Restorable | null;
  /** Its layer is in the store, but its memory is not composed: so many others are, or were used later. */
  isClosed: boolean;
  /** Why there is none, and will be none until the files change. */
  problem: string | null;
  /** Set after a restore failed, so that a snapshot that never works is not built again and again. */
  readonly isSecondTry: boolean;
}

interface Base {
  readonly promise: Promise<Restorable>;
  restorable: Restorable | null;
}

export class Snapshots {
  readonly #driver: Driver;
  readonly #runDirectory: RunDirectory;
  readonly #taps: TapPool | null;
  readonly #signal: AbortSignal;
  readonly #digests = new FileDigests();
  readonly #entries = new Map<string, Entry>();
  readonly #bases = new Map<string, Base>();
  readonly #preparations = new Limit(PREPARATIONS_AT_ONCE);
  readonly #builds = new Limit(BUILDS_AT_ONCE);
  /** Entries with a `Restorable`, the one used last at the end; and how many are about to be. */
  readonly #open = new Set<Entry>();
  #opening = 0;
  #built = 0;

  /**
   * @param taps for machines with a network; null: there are none.
   * @param signal ends every build.
   */
  constructor(driver: Driver, runDirectory: RunDirectory, taps: TapPool | null, signal: AbortSignal) {
    this.#driver = driver;
    this.#runDirectory = runDirectory;
    this.#taps = taps;
    this.#signal = signal;
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
    if (known !== undefined) this.#close(known);
    return this.#begin({ key, spec, identity, isSecondTry: false }, (start) =>
      this.#preparations.run(() => this.#prepareEntry(start, hooks, this.#open.size + this.#opening < OPEN_AT_MOST)),
    );
  }

  /** See `dumpLayer`. */
  dump(spec: LaunchSpec, target: string, hooks: PrepareHooks): Promise<Layer> {
    return dumpLayer(this.#context(spec, hooks), this.#digests, this.#runDirectory.path, target);
  }

  /** What to restore a VM from. `reason`: why it is not the function's own snapshot; null if it is, or none is wanted. */
  async forLaunch(
    spec: LaunchSpec,
  ): Promise<{ readonly restorable: Restorable | null; readonly reason: string | null }> {
    if (spec.snapshots === null || this.#driver.snapshots === null) return { restorable: null, reason: null };
    const key = entryKey(spec);
    let reason: string;
    try {
      let entry = this.#entries.get(key);
      if (entry?.identity !== identityOf(spec.machine)) {
        reason =
          entry === undefined ? 'its snapshot is being made' : 'its files have changed: a new snapshot is being made';
        this.prepare(spec).catch(() => undefined);
      } else {
        if (entry.isClosed) entry = await this.#reopen(entry);
        if (entry.restorable !== null) {
          this.#touch(entry);
          return { restorable: entry.restorable, reason: null };
        }
        reason = entry.problem ?? 'its snapshot is still being made';
      }
    } catch (error) {
      // A file is missing; the boot says so in the VMM's words.
      return { restorable: null, reason: messageOf(error) };
    }
    const base = spec.snapshots.kind === 'store' ? this.#bases.get(baseKey(spec.machine, spec.snapshots)) : undefined;
    return { restorable: base?.restorable ?? null, reason };
  }

  /** A restore failed. The snapshot is not used again; a new one is built, once. */
  distrust(restorable: Restorable, reason: string): void {
    for (const [key, base] of this.#bases) if (base.restorable === restorable) this.#bases.delete(key);
    for (const entry of this.#entries.values()) {
      if (entry.restorable !== restorable) continue;
      this.#close(entry);
      entry.problem = reason;
      const source = storeOf(entry.spec);
      if (entry.isSecondTry || source === null) continue;
      const { key, spec, identity } = entry;
      void new SnapshotStore(source)
        .remove(restorable.layer.name)
        .catch(() => undefined)
        .then(() =>
          this.#begin({ key, spec, identity, isSecondTry: true }, (start) => this.#prepareEntry(start, {}, true)),
        )
        .catch(() => undefined);
    }
    restorable.retire();
  }

  /** See `Restorable.recordWorkingSet`. */
  recordWorkingSet(restorable: Restorable, machine: Machine): void {
    void restorable.recordWorkingSet(machine);
  }

  /** Resolves when nothing is being built any more; the signal must have been aborted. */
  async close(): Promise<void> {
    await Promise.allSettled([...this.#entries.values()].map((entry) => entry.prepared));
    await Promise.allSettled([...this.#bases.values()].map((base) => base.promise));
    for (const { restorable } of [...this.#entries.values(), ...this.#bases.values()]) restorable?.retire();
  }

  #begin(
    start: Pick<Entry, 'key' | 'spec' | 'identity' | 'isSecondTry'>,
    work: (entry: Entry) => Promise<Prepared>,
  ): Promise<Prepared> {
    let begin: (prepared: Promise<Prepared>) => void = () => undefined;
    const prepared = new Promise<Prepared>((resolve) => (begin = resolve));
    const entry: Entry = { ...start, restorable: null, isClosed: false, problem: null, prepared };
    this.#entries.set(start.key, entry);
    begin(work(entry));
    prepared.catch((error: unknown) => {
      const why = error instanceof FunctionLoadError ? 'the function does not load' : 'its snapshot cannot be made';
      entry.problem = `${why}: ${messageOf(error)}`;
      // The host may have by the next launch what it lacked.
      if (error instanceof HostError && this.#entries.get(start.key) === entry) this.#entries.delete(start.key);
    });
    return prepared;
  }

  async #reopen(closed: Entry): Promise<Entry> {
    const { key, spec, identity, isSecondTry } = closed;
    await this.#begin({ key, spec, identity, isSecondTry }, (entry) => this.#prepareEntry(entry, {}, true)).catch(
      () => undefined,
    );
    return this.#entries.get(key) ?? closed;
  }

  /** @param open whether its memory is composed now; if not, when it is launched first. */
  async #prepareEntry(entry: Entry, hooks: PrepareHooks, open: boolean): Promise<Prepared> {
    const { spec } = entry;
    if (this.#driver.snapshots === null) throw new LaunchError(`the ${this.#driver.name} driver has no snapshots`);
    if (open) this.#opening += 1;
    try {
      const source = storeOf(spec);
      if (source === null) {
        const restorable = await openLayers(this.#driver, spec, this.#digests, this.#runDirectory.path);
        this.#opened(entry, restorable);
        return { layer: restorable.layer.name, builtMs: null };
      }
      return await this.#prepareInStore(entry, new SnapshotStore(source), hooks, open);
    } finally {
      if (open) this.#opening -= 1;
    }
  }

  async #prepareInStore(entry: Entry, store: SnapshotStore, hooks: PrepareHooks, open: boolean): Promise<Prepared> {
    const { spec } = entry;
    let builtMs: number | null = null;
    for (let attempt = 0; ; attempt += 1) {
      const base = await this.#base(spec, store, hooks);
      const stamp = await functionStamp(this.#driver, spec, base.layer.stamp, this.#digests);
      const existing = await store.open('function', stamp).catch(ignoreDamage);
      const layer = await store.ensure(
        'function',
        stamp,
        (draft) =>
          this.#builds.run(async () => {
            const started = performance.now();
            hooks.onProgress?.('loading the function into a VM');
            await this.#buildOn(base, spec, hooks, draft);
            builtMs = performance.now() - started;
          }),
        {
          ...this.#ensureOptions(hooks),
          // Made on a base that was replaced since: its pages do not fit any more.
          rebuild: existing !== null && existing.base !== base.layer.digest,
        },
      );
      if (!open) {
        entry.isClosed = true;
        return { layer: layer.name, builtMs };
      }
      try {
        this.#opened(entry, await Restorable.open(this.#driver, store.directory, [base.layer, layer], true));
        return { layer: layer.name, builtMs };
      } catch (error) {
        if (!(error instanceof DamagedLayerError) || attempt >= REBUILDS) throw error;
        hooks.onProgress?.(error.message);
        const isBase = error.directory === base.layer.directory;
        if (isBase) this.#bases.delete(baseKey(spec.machine, spec.snapshots));
        await store.remove(isBase ? base.layer.name : layer.name);
      }
    }
  }

  async #buildOn(base: Restorable, spec: LaunchSpec, hooks: PrepareHooks, draft: LayerDraft): Promise<void> {
    const release = base.hold();
    const from = { layer: base.layer, memory: base.memory, saved: base.guest.machine };
    await buildFunction(this.#context(spec, hooks), from, draft).finally(release);
  }

  /** Other files may have taken its place meanwhile. */
  #opened(entry: Entry, restorable: Restorable): void {
    if (this.#entries.get(entry.key) !== entry) return restorable.retire();
    entry.restorable = restorable;
    this.#touch(entry);
    for (const oldest of this.#open) {
      if (this.#open.size <= OPEN_AT_MOST) break;
      this.#close(oldest);
      oldest.isClosed = true;
    }
  }

  #touch(entry: Entry): void {
    this.#open.delete(entry);
    this.#open.add(entry);
  }

  #close(entry: Entry): void {
    this.#open.delete(entry);
    entry.restorable?.retire();
    entry.restorable = null;
  }

  /** The base layer of a machine, shared by all its functions. */
  #base(spec: LaunchSpec, store: SnapshotStore, hooks: PrepareHooks): Promise<Restorable> {
    const key = baseKey(spec.machine, spec.snapshots);
    const known = this.#bases.get(key);
    if (known !== undefined) return known.promise;
    const base: Base = { restorable: null, promise: this.#openBase(spec, store, hooks) };
    this.#bases.set(key, base);
    base.promise.then(
      (restorable) => (base.restorable = restorable),
      () => this.#bases.delete(key),
    );
    return base.promise;
  }

  async #openBase(spec: LaunchSpec, store: SnapshotStore, hooks: PrepareHooks): Promise<Restorable> {
    const stamp = await baseStamp(this.#driver, spec.machine, this.#digests);
    for (let attempt = 0; ; attempt += 1) {
      const layer = await store.ensure(
        'base',
        stamp,
        (draft) =>
          this.#builds.run(() => {
            hooks.onProgress?.('booting the base layer');
            return buildBase(this.#context(spec, hooks), draft);
          }),
        this.#ensureOptions(hooks),
      );
      try {
        return await Restorable.open(this.#driver, store.directory, [layer], false);
      } catch (error) {
        if (!(error instanceof DamagedLayerError) || attempt >= REBUILDS) throw error;
        hooks.onProgress?.(error.message);
        await store.remove(layer.name);
      }
    }
  }

  #context(spec: LaunchSpec, hooks: PrepareHooks): BuildContext {
    return {
      driver: this.#driver,
      spec,
      runDirectory: join(this.#runDirectory.path, `build-${++this.#built}`),
      taps: this.#taps,
      onLog: (header, text) => hooks.onLog?.(header, text),
      signal: this.#signal,
    };
  }

  #ensureOptions(hooks: PrepareHooks): EnsureOptions {
    return {
      signal: this.#signal,
      onWait: (pid) => hooks.onProgress?.(`waiting for process ${pid}, which makes the same snapshot`),
      onDamaged: (error) => hooks.onProgress?.(error.message),
    };
  }
}

/** The store that the spec names; null if it names layers made by hand. */
function storeOf({ snapshots }: LaunchSpec): string | null {
  return snapshots?.kind === 'store' ? snapshots.directory : null;
}

function entryKey({ machine, function: fn, snapshots }: LaunchSpec): string {
  return JSON.stringify([machine, fn, snapshots]);
}

/** Functions with equal keys are loaded on the same base layer. */
function baseKey(machine: MachineSpec, source: SnapshotSource | null): string {
  const { appfsPath, ...shared } = machine;
  const appfsBytes = appfsPath === null ? null : sizeOf(appfsPath);
  const files = [machine.kernelPath, machine.initrdPath, machine.rootfsPath].map(fileIdentity);
  return JSON.stringify([shared, appfsBytes, files, source]);
}

function identityOf(machine: MachineSpec): string {
  return machineFiles(machine).map(fileIdentity).join('\n');
}

function ignoreDamage(error: unknown): null {
  if (error instanceof DamagedLayerError) return null;
  throw error;
}
