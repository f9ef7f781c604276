/**
 * Runs in firerunner. Knows for every launch which snapshot it can be restored from, and has missing ones built:
 *
 * ```
 *   prepare ──▶ base layer ──▶ function layer ──▶ Restorable      each: in the store, or built; damaged: built again
 *   forLaunch ──▶ the function's, else its base's, else none       never waits
 * ```
 */
import { truncate, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { basename, dirname, join } from 'node:path';
import type { LogHeader } from '../../protocol/guest.ts';
import type { LaunchSpec, MachineSpec, SnapshotSource } from '../../protocol/runner.ts';
import { LaunchError, type Driver, type Machine } from '../drivers/driver.ts';
import { FunctionLoadError } from '../guest-life.ts';
import { Limit } from '../limit.ts';
import type { RunDirectory } from '../run-directory.ts';
import { buildBase, buildFunction, type BuildContext } from './builder.ts';
import { DamagedLayerError, type Layer } from './layer.ts';
import { Restorable } from './restorable.ts';
import { buildLayer } from './publication.ts';
import { baseStamp, FileDigests, fileIdentity, functionStamp, isBlank, machineFiles, sizeOf } from './stamps.ts';
import { SnapshotStore } from './store.ts';

export { Restorable } from './restorable.ts';

/** Layers being built at once: each VM that is built from keeps a core busy, and requests want one as well. */
const BUILDS_AT_ONCE = Math.max(1, availableParallelism() - 1);
/** A layer that turns out to be damaged when it is read is built again this often. */
const REBUILDS = 2;

/** Size of most images of functions: the smallest class of `snapctr images app`. */
const SMALLEST_APPFS_BYTES = 16 * 1024 * 1024;

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
  readonly #signal: AbortSignal;
  readonly #digests = new FileDigests();
  readonly #entries = new Map<string, Entry>();
  readonly #bases = new Map<string, Base>();
  readonly #builds = new Limit(BUILDS_AT_ONCE);
  #built = 0;

  /** @param signal ends every build. */
  constructor(driver: Driver, runDirectory: RunDirectory, signal: AbortSignal) {
    this.#driver = driver;
    this.#runDirectory = runDirectory;
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
    known?.restorable?.retire();
    return this.#begin({ key, spec, identity, isSecondTry: false }, hooks);
  }

  /**
   * Makes a layer in the new directory `target`: of a guest without a function if the app file system is blank or absent,
   * else of the function, on top of the layers that `spec` names if it names any.
   *
   * @throws as `prepare` does.
   */
  async dump(wanted: LaunchSpec, target: string, hooks: PrepareHooks): Promise<Layer> {
    const spec = await this.#withDisk(wanted);
    const below = spec.snapshots === null ? null : await this.#openLayers(spec);
    const stampBelow = await baseStamp(this.#driver, spec.machine, this.#digests);
    const { appfsPath } = spec.machine;
    const isBase = appfsPath === null || (await isBlank(appfsPath));
    const stamp = isBase ? stampBelow : await functionStamp(this.#driver, spec, stampBelow, this.#digests);
    if (isBase && below !== null) throw new LaunchError('a layer on top of a base holds a function: give --appfs');
    const kind = below === null ? 'base' : 'function';
    await buildLayer(dirname(target), { name: basename(target), kind, stamp }, (draft) => {
      const context = this.#context(spec, hooks);
      if (isBase) return buildBase(context, draft);
      const from = below === null ? null : { layer: below.layer, memory: below.memory, saved: below.guest.machine };
      return buildFunction(context, from, draft);
    });
    below?.retire();
    return SnapshotStore.openDirectory(target);
  }

  /** What to restore a VM from. `reason`: why it is not the function's own snapshot; null if it is, or none is wanted. */
  forLaunch(spec: LaunchSpec): { readonly restorable: Restorable | null; readonly reason: string | null } {
    if (spec.snapshots === null || this.#driver.snapshots === null) return { restorable: null, reason: null };
    const key = entryKey(spec);
    let reason: string;
    try {
      const entry = this.#entries.get(key);
      if (entry?.identity === identityOf(spec.machine)) {
        if (entry.restorable !== null) return { restorable: entry.restorable, reason: null };
        reason = entry.problem ?? 'its snapshot is still being made';
      } else {
        reason = entry === undefined ? 'its snapshot is being made' : 'its files have changed: a new snapshot is being made';
        this.prepare(spec).catch(() => undefined);
      }
    } catch (error) {
      // A file is missing; the boot says so in the VMM's words.
      return { restorable: null, reason: error instanceof Error ? error.message : String(error) };
    }
    const base = spec.snapshots.kind === 'store' ? this.#bases.get(baseKey(spec.machine, spec.snapshots)) : undefined;
    return { restorable: base?.restorable ?? null, reason };
  }

  /** A restore failed. The snapshot is not used again; a new one is built, once. */
  distrust(restorable: Restorable, reason: string): void {
    for (const [key, base] of this.#bases) if (base.restorable === restorable) this.#bases.delete(key);
    for (const entry of this.#entries.values()) {
      if (entry.restorable !== restorable) continue;
      entry.restorable = null;
      entry.problem = reason;
      const { source } = storeOf(entry.spec);
      if (entry.isSecondTry || source === null) continue;
      const { key, spec, identity } = entry;
      void new SnapshotStore(source)
        .remove(restorable.layer.name)
        .catch(() => undefined)
        .then(() => this.#begin({ key, spec, identity, isSecondTry: true }, {}))
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
    hooks: PrepareHooks,
  ): Promise<Prepared> {
    const work = this.#open(start.spec, hooks);
    const entry: Entry = {
      ...start,
      restorable: null,
      problem: null,
      prepared: work.then(({ restorable, builtMs }) => ({ layer: restorable.layer.name, builtMs })),
    };
    this.#entries.set(start.key, entry);
    entry.prepared.catch(() => undefined);
    work.then(
      ({ restorable }) => {
        // Its files may have changed meanwhile: then another entry has its place.
        if (this.#entries.get(start.key) === entry) entry.restorable = restorable;
        else restorable.retire();
      },
      (error: unknown) => {
        const why = error instanceof FunctionLoadError ? 'the function does not load' : 'its snapshot cannot be made';
        entry.problem = `${why}: ${error instanceof Error ? error.message : String(error)}`;
      },
    );
    return entry.prepared;
  }

  async #open(
    spec: LaunchSpec,
    hooks: PrepareHooks,
  ): Promise<{ readonly restorable: Restorable; readonly builtMs: number | null }> {
    if (this.#driver.snapshots === null) throw new LaunchError(`the ${this.#driver.name} driver has no snapshots`);
    const { source } = storeOf(spec);
    if (source === null) return { restorable: await this.#openLayers(spec), builtMs: null };
    const store = new SnapshotStore(source);
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
            const { memory, layer: baseLayer, guest } = base;
            const release = base.hold();
            const from = { layer: baseLayer, memory, saved: guest.machine };
            await buildFunction(this.#context(spec, hooks), from, draft).finally(release);
            builtMs = performance.now() - started;
          }),
        {
          ...this.#ensureOptions(hooks),
          // Made on a base that was replaced since: its pages do not fit any more.
          rebuild: existing !== null && existing.base !== base.layer.digest,
        },
      );
      try {
        return { restorable: await Restorable.open(source, [base.layer, layer], true), builtMs };
      } catch (error) {
        if (!(error instanceof DamagedLayerError) || attempt >= REBUILDS) throw error;
        hooks.onProgress?.(`${error.message}; it is made again`);
        if (error.directory === base.layer.directory) this.#bases.delete(baseKey(spec.machine, spec.snapshots));
        await store.remove(error.directory === base.layer.directory ? base.layer.name : layer.name);
      }
    }
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
        return await Restorable.open(store.directory, [layer], false);
      } catch (error) {
        if (!(error instanceof DamagedLayerError) || attempt >= REBUILDS) throw error;
        hooks.onProgress?.(`${error.message}; it is made again`);
        await store.remove(layer.name);
      }
    }
  }

  /** Layers made by hand: each must fit what is below it and the files of the launch. */
  async #openLayers(spec: LaunchSpec): Promise<Restorable> {
    const { directories } = storeOf(spec);
    const base = await baseStamp(this.#driver, spec.machine, this.#digests);
    const wanted = await functionStamp(this.#driver, spec, base, this.#digests);
    const layers: Layer[] = [];
    for (const directory of directories) {
      const layer = await SnapshotStore.openDirectory(directory);
      const below = layers.at(-1);
      if (layer.base !== (below?.digest ?? null)) {
        throw new LaunchError(`${directory} was not made on top of ${below?.directory ?? 'nothing'}: give its base first`);
      }
      for (const [name, value] of Object.entries(layer.stamp)) {
        // What the function is called may differ by hand; what it consists of may not.
        if (name !== 'function' && wanted[name] !== value) {
          throw new LaunchError(`${directory} was made with another ${name}: ${String(value)}, now ${String(wanted[name])}`);
        }
      }
      layers.push(layer);
    }
    const top = layers.at(-1);
    if (top === undefined) throw new LaunchError('no layer was given');
    return Restorable.open(this.#runDirectory.path, layers, 'function' in top.stamp);
  }

  /** A machine without an app file system gets a blank one of the smallest size, so that a function can follow. */
  async #withDisk(spec: LaunchSpec): Promise<LaunchSpec> {
    if (spec.machine.appfsPath !== null) return spec;
    const appfsPath = join(this.#runDirectory.path, 'blank.ext4');
    await writeFile(appfsPath, '');
    await truncate(appfsPath, SMALLEST_APPFS_BYTES);
    return { ...spec, machine: { ...spec.machine, appfsPath } };
  }

  #context(spec: LaunchSpec, hooks: PrepareHooks): BuildContext {
    return {
      driver: this.#driver,
      spec,
      runDirectory: join(this.#runDirectory.path, `build-${++this.#built}`),
      onLog: (header, text) => hooks.onLog?.(header, text),
      signal: this.#signal,
    };
  }

  #ensureOptions(hooks: PrepareHooks): { readonly signal: AbortSignal; readonly onWait: (pid: number) => void } {
    return {
      signal: this.#signal,
      onWait: (pid) => hooks.onProgress?.(`waiting for process ${pid}, which makes the same snapshot`),
    };
  }
}

function storeOf({ snapshots }: LaunchSpec): { readonly source: string | null; readonly directories: readonly string[] } {
  if (snapshots?.kind === 'store') return { source: snapshots.directory, directories: [] };
  return { source: null, directories: snapshots?.directories ?? [] };
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
