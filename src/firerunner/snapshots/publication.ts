/**
 * Runs in firerunner. Puts layers in place so that, whenever power or process fails, there is a whole layer or none:
 *
 * ```
 *   .snapfaas-build-OWNER-RANDOM/
 *     scratch/        the VM's memory and whatever else its builder needs
 *     layer/          the parts, then the manifest ── fsync ── rename ──▶ base-KEY/ ── fsync of the store
 *
 *   base-KEY/ ── rename ──▶ .snapfaas-old-OWNER-RANDOM/ ── remove        a layer that is replaced or removed
 * ```
 *
 * OWNER is the process: when it is gone, the next builder removes what it left.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256File } from '../../storage/digest.ts';
import { removeLockLeftovers, withFreeLock } from '../../storage/lock.ts';
import { isOurs, OwnedNames } from '../../storage/owned-names.ts';
import { sync } from '../../storage/sync.ts';
import { formatManifest, kindOfName, MANIFEST, PARTS, type LayerKind, type LayerStamp } from './layer.ts';
import type { MemorySource } from './memory.ts';
import { packMemory, type PackedMemory } from './pack.ts';
import { hasCode } from '../../storage/error-code.ts';
import { PRIVATE_FILES } from '../../storage/private-file.ts';
import { storing } from './store-error.ts';
import { WORKING_SET_DRAFTS } from './working-set-file.ts';

const BUILDS = new OwnedNames('.snapfaas-build-');
const OLD_LAYERS = new OwnedNames('.snapfaas-old-');

/** A layer that is being built. */
export interface LayerDraft {
  /** Empty, on the file system of the store; gone after the build, with whatever is in it. */
  readonly directory: string;
  /** Where the VMM writes its state. */
  readonly statePath: string;
  /**
   * Packs the pages of a memory that differ from the base's. Once for each layer.
   *
   * @param memoryPath a file of whole pages which nobody writes to meanwhile.
   * @param base the memory of the base layer; null for a base layer.
   */
  writeMemory(memoryPath: string, base: MemorySource | null): Promise<void>;
}

interface Packed {
  readonly packed: PackedMemory;
  readonly base: MemorySource | null;
}

/**
 * Builds a layer and puts it in place, also of an old one. The caller has the layer's lock.
 *
 * @throws SnapshotStoreError if it cannot be written, and whatever `build` throws; nothing is left of it then.
 */
export async function buildLayer(
  store: string,
  { name, kind, stamp }: { readonly name: string; readonly kind: LayerKind; readonly stamp: LayerStamp },
  build: (draft: LayerDraft) => Promise<void>,
): Promise<void> {
  const own = join(store, await BUILDS.make(random()));
  const directory = join(own, 'scratch');
  const layer = join(own, 'layer');
  const statePath = join(layer, 'state');
  let memory = null as Packed | null;
  try {
    await storing('write to', store, async () => {
      for (const path of [own, directory, layer]) await mkdir(path, { mode: 0o700 });
    });
    await build({
      directory,
      statePath,
      async writeMemory(memoryPath, base) {
        if ((base === null) !== (kind === 'base')) throw new Error(`a ${kind} layer with a wrong base`);
        memory = { packed: await storing('write to', store, () => packMemory(layer, memoryPath, base)), base };
      },
    });
    if (memory === null) throw new Error('the builder of a layer has written no memory');
    const { packed, base } = memory;
    await storing('write to', store, async () => {
      const state = { sha256: await sha256File(statePath), bytes: (await stat(statePath)).size };
      const { memoryBytes, index, pages } = packed;
      const baseDigest = base?.layers.at(-1)?.digest ?? null;
      const manifest = formatManifest({ kind, stamp, base: baseDigest, memoryBytes, parts: { state, index, pages } });
      await writeFile(join(layer, MANIFEST), manifest, { mode: 0o600 });
      for (const file of [...PARTS, MANIFEST]) await sync(join(layer, file));
      await sync(layer);
      await putInPlace(store, layer, name);
    });
  } finally {
    // If this fails as well, the next builder does it: the first error matters.
    await rm(own, { recursive: true, force: true }).catch(() => undefined);
  }
}

/** Takes a layer out of the store, if it is there. The caller has its lock. */
export async function removeLayer(store: string, name: string): Promise<void> {
  await storing('remove', join(store, name), async () => {
    const old = await moveAway(store, name);
    if (old !== null) await rm(old, { recursive: true, force: true });
  });
}

/** Removes what builders have left that are gone. */
export async function removeLeftovers(store: string): Promise<void> {
  await storing('remove leftovers in', store, async () => {
    for (const names of [BUILDS, OLD_LAYERS, PRIVATE_FILES]) await names.removeAbandoned(store);
  });
}

/** Removes locks, and what else is small, of processes that are gone. */
export async function removeSmallLeftovers(store: string): Promise<void> {
  await storing('remove leftovers in', store, async () => {
    const locks = new Set<string>();
    for (const name of await readdir(store)) {
      const [, lock] = /^(\.snapfaas-(?:base|function)-[0-9a-f]{16}\.lock)(?:$|\.)/.exec(name) ?? [];
      if (lock !== undefined) locks.add(join(store, lock));
      // A link would lead out of the store.
      if (kindOfName(name) === null || !(await isOurs(join(store, name)))) continue;
      await WORKING_SET_DRAFTS.removeAbandoned(join(store, name)).catch(() => []);
    }
    for (const lock of locks) {
      await removeLockLeftovers(lock);
      await withFreeLock(lock, () => Promise.resolve());
    }
  });
}

export function lockPath(store: string, name: string): string {
  return join(store, `.snapfaas-${name}.lock`);
}

async function putInPlace(store: string, layer: string, name: string): Promise<void> {
  const old = await moveAway(store, name);
  try {
    await rename(layer, join(store, name));
  } catch (error) {
    if (old !== null) await rename(old, join(store, name));
    throw error;
  }
  await sync(store);
  if (old !== null) await rm(old, { recursive: true, force: true });
}

async function moveAway(store: string, name: string): Promise<string | null> {
  const old = join(store, await OLD_LAYERS.make(random()));
  try {
    await rename(join(store, name), old);
    return old;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return null;
    throw error;
  }
}

function random(): string {
  return randomUUID().slice(0, 8);
}
