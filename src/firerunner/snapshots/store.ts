/**
 * Runs in firerunner. A directory of layers, which any number of processes may share. What is in it is drawn in layer.ts;
 * how layers get there and go, in publication.ts.
 */
import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { sha256Json } from '../../storage/digest.ts';
import { withFreeLock, withLock, type LockOptions } from '../../storage/lock.ts';
import { makeDirectory } from '../../storage/make-directory.ts';
import { GRACE_MS, removable, REMOVED_AT_ONCE, type Retained, type RetentionLimits } from '../../storage/retention.ts';
import { neededNames, touch } from '../../storage/uses.ts';
import {
  bytesIn,
  layerNames,
  listLayers,
  readNamed,
  verifyLayers,
  type LayerSummary,
  type Verification,
} from './inventory.ts';
import {
  DamagedLayerError,
  layerName,
  MANIFEST,
  readLayer,
  type Layer,
  type LayerKind,
  type LayerStamp,
  ignoreDamage,
} from './layer.ts';
import {
  buildLayer,
  lockPath,
  removeLayer,
  removeLeftovers,
  removeSmallLeftovers,
  type LayerDraft,
} from './publication.ts';
import { storing } from './store-error.ts';

export type { LayerSummary, Verification } from './inventory.ts';
export type { LayerDraft } from './publication.ts';
export { SnapshotStoreError } from './store-error.ts';

/** `onWait` is called once if another process builds the layer, or removes it. */
export interface EnsureOptions extends LockOptions {
  /** Digest of a layer that is of no use: if it is the one that is there, another is built, and takes its place. */
  readonly unlike?: string | null;
  /** Called once if the layer is there, but cannot be used. */
  readonly onDamaged?: (error: DamagedLayerError) => void;
}

export class SnapshotStore {
  readonly directory: string;

  /** @param directory made when the first layer is built. */
  constructor(directory: string) {
    this.directory = resolve(directory);
  }

  /**
   * Opens a layer by its directory, in any store.
   *
   * @throws DamagedLayerError; SnapshotStoreError if it is not there or may not be read.
   */
  static async openDirectory(directory: string): Promise<Layer> {
    const path = resolve(directory);
    const layer = await readLayer(path);
    if (layer !== null) return layer;
    return storing('open the snapshot layer', path, async () => {
      await stat(path);
      throw new DamagedLayerError(path, 'it changed while it was opened');
    });
  }

  /**
   * @returns the layer, null if it is not there. Its manifest and the sizes of its parts are checked; their contents when
   * they are used.
   * @throws DamagedLayerError; SnapshotStoreError if it may not be read.
   */
  async open(kind: LayerKind, stamp: LayerStamp): Promise<Layer | null> {
    const name = layerName(kind, stamp);
    try {
      return await this.#read(name, stamp);
    } catch (error) {
      if (!(error instanceof DamagedLayerError)) throw error;
      // Another process may have put a new one in its place between two looks; twice in a row it does not.
      return this.#read(name, stamp);
    }
  }

  /**
   * Opens the layer, and has it built if it is not there or is damaged. Of several processes that want it at once, one
   * builds it and the others wait.
   *
   * @param build fills the draft; the layer is in place only after it.
   * @throws SnapshotStoreError if the store cannot be used; AbortError while waiting; whatever `build` throws.
   */
  async ensure(
    kind: LayerKind,
    stamp: LayerStamp,
    build: (draft: LayerDraft) => Promise<void>,
    { unlike = null, onDamaged, ...options }: EnsureOptions = {},
  ): Promise<Layer> {
    const name = layerName(kind, stamp);
    const before = await this.open(kind, stamp).catch((error: unknown) => {
      if (error instanceof DamagedLayerError) onDamaged?.(error);
      return ignoreDamage(error);
    });
    if (before !== null && before.digest !== unlike) {
      // Without the lock it may be removed all the same: then whoever reads it has it built once more.
      await touch(before.directory);
      return before;
    }
    options.signal?.throwIfAborted();
    await storing('create', this.directory, () => makeDirectory(this.directory, 0o700));
    return this.#locked(name, options, async () => {
      const found = await this.#read(name, stamp).catch(ignoreDamage);
      if (found !== null && found.digest !== unlike) {
        await touch(found.directory);
        return found;
      }
      await removeLeftovers(this.directory);
      // A damaged one is of no use to anybody and takes space; another is there until its successor is.
      if (found === null) await removeLayer(this.directory, name);
      await buildLayer(this.directory, { name, kind, stamp }, build);
      return (await this.#read(name, stamp)) ?? this.#vanished(name);
    });
  }

  /** What is in the store, by name. */
  list(): Promise<LayerSummary[]> {
    return listLayers(this.directory);
  }

  /** Reads every byte of every layer and compares it with its digest. */
  verify(): Promise<Verification[]> {
    return verifyLayers(this.directory);
  }

  /**
   * Removes layers and what dead builders have left; a layer that is being built or removed is left alone.
   *
   * @param keep names of layers.
   * @returns the names of the removed layers.
   */
  async prune(keep: ReadonlySet<string>): Promise<string[]> {
    const names = await layerNames(this.directory);
    const removed: string[] = [];
    for (const name of names) {
      if (keep.has(name)) continue;
      const remove = (): Promise<void> => removeLayer(this.directory, name);
      const path = join(this.directory, name);
      if (await storing('remove', path, () => withFreeLock(lockPath(this.directory, name), remove))) removed.push(name);
    }
    if (!(await this.#exists())) return removed;
    await removeLeftovers(this.directory);
    await removeSmallLeftovers(this.directory);
    return removed;
  }

  /**
   * Removes layers that no process needs and the limits do not cover, some of them: what is left is for the next call. One that
   * is being built, or was used within `GRACE_MS`, is left alone; and what a VM has mapped is its own.
   *
   * @returns names of what was removed; whether there is more.
   */
  async removeUnused(
    limits: RetentionLimits,
  ): Promise<{ readonly removed: readonly string[]; readonly more: boolean }> {
    if (!(await this.#exists())) return { removed: [], more: false };
    await removeLeftovers(this.directory);
    const found: Retained[] = [];
    for (const name of await layerNames(this.directory)) {
      const usedAt = await this.#usedAt(name);
      if (usedAt !== null) found.push({ name, usedAt, bytes: await bytesIn(join(this.directory, name)) });
    }
    const needed = (): Promise<ReadonlySet<string>> =>
      storing('read', this.directory, () => neededNames(this.directory));
    const wanted = removable(found, await needed(), limits, Date.now());
    const removed: string[] = [];
    for (const { name } of wanted.slice(0, REMOVED_AT_ONCE)) {
      const remove = async (): Promise<void> => {
        const usedAt = await this.#usedAt(name);
        if (usedAt === null || Date.now() - usedAt <= GRACE_MS || (await needed()).has(name)) return;
        await removeLayer(this.directory, name);
        removed.push(name);
      };
      const path = join(this.directory, name);
      await storing('remove', path, () => withFreeLock(lockPath(this.directory, name), remove));
    }
    return { removed, more: wanted.length > REMOVED_AT_ONCE };
  }

  /** Null if it is not there. */
  async #usedAt(name: string): Promise<number | null> {
    const status = await stat(join(this.directory, name)).catch(() => null);
    return status === null ? null : status.mtimeMs;
  }

  async #read(name: string, stamp: LayerStamp): Promise<Layer | null> {
    const layer = await readNamed(this.directory, name);
    if (layer !== null && sha256Json(layer.stamp) !== sha256Json(stamp)) {
      throw new DamagedLayerError(layer.directory, `${MANIFEST} has another stamp`);
    }
    return layer;
  }

  /** Errors of the lock itself are the store's; those of `work` are passed on. */
  async #locked<T>(name: string, options: LockOptions, work: () => Promise<T>): Promise<T> {
    const settle = (): Promise<() => T> =>
      work().then(
        (value) => () => value,
        (error: unknown) => () => {
          throw error;
        },
      );
    const path = lockPath(this.directory, name);
    const outcome = await storing('write to', this.directory, () => withLock(path, settle, options));
    return outcome();
  }

  #vanished(name: string): never {
    throw new DamagedLayerError(join(this.directory, name), 'it was removed as soon as it was built');
  }

  async #exists(): Promise<boolean> {
    return stat(this.directory).then(
      () => true,
      () => false,
    );
  }
}
