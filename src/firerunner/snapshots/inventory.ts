/** Runs in firerunner. What is in a store, and whether it is as it was written. Changes nothing. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  DamagedLayerError,
  kindOfName,
  layerName,
  MANIFEST,
  PAGE_BYTES,
  readLayer,
  verifyState,
  type Layer,
  type LayerKind,
  type LayerStamp,
} from './layer.ts';
import { PageStream } from './page-stream.ts';
import { hasCode } from '../../storage/error-code.ts';
import { SnapshotStoreError } from './store-error.ts';

export interface LayerSummary {
  readonly name: string;
  readonly kind: LayerKind;
  /** This and what follows are null if the manifest cannot be read. */
  readonly stamp: LayerStamp | null;
  readonly digest: string | null;
  /** Digest of the layer below; null for a base layer as well. */
  readonly base: string | null;
  readonly memoryBytes: number | null;
  /** Pages in its files. */
  readonly pages: number | null;
  /** Of all its files. */
  readonly bytes: number;
  readonly created: Date;
  /** What is wrong with it, as far as its manifest and the sizes of its parts tell. */
  readonly problem: string | null;
}

export interface Verification {
  readonly name: string;
  /** Null if every byte is as it was written. */
  readonly problem: string | null;
}

/** Names of the layers in a store, sorted; none if there is no such directory. @throws SnapshotStoreError */
export async function layerNames(store: string): Promise<string[]> {
  try {
    const names = await readdir(store);
    return names.filter((name) => kindOfName(name) !== null).sort();
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw SnapshotStoreError.from(error, 'read', store);
  }
}

/** @returns the layer, null if it is not there. @throws DamagedLayerError; SnapshotStoreError if it may not be read. */
export async function readNamed(store: string, name: string): Promise<Layer | null> {
  const layer = await readLayer(join(store, name));
  if (layer !== null && layerName(layer.kind, layer.stamp) !== name) {
    throw new DamagedLayerError(layer.directory, `${MANIFEST} belongs to another layer`);
  }
  return layer;
}

export async function listLayers(store: string): Promise<LayerSummary[]> {
  const names = await layerNames(store);
  const summaries = await Promise.all(names.map((name) => summarize(store, name)));
  return summaries.filter((summary) => summary !== null);
}

export async function verifyLayers(store: string): Promise<Verification[]> {
  const verifications: Verification[] = [];
  for (const name of await layerNames(store)) {
    const checked = await check(store, name, verifyContents);
    if (checked !== null) verifications.push({ name, problem: checked.problem });
  }
  return verifications;
}

interface Checked {
  readonly layer: Layer | null;
  readonly problem: string | null;
}

/** @returns null if the layer is not there, or not any more. */
async function check(store: string, name: string, verify?: (layer: Layer) => Promise<void>): Promise<Checked | null> {
  let layer: Layer | null = null;
  try {
    layer = await readNamed(store, name);
    if (layer === null) return null;
    await verify?.(layer);
    return { layer, problem: null };
  } catch (error) {
    if (error instanceof DamagedLayerError) return { layer, problem: error.problem };
    if (error instanceof SnapshotStoreError) return { layer, problem: error.message };
    throw error;
  }
}

async function summarize(store: string, name: string): Promise<LayerSummary | null> {
  const kind = kindOfName(name);
  const directory = join(store, name);
  const status = await stat(directory).catch(() => null);
  const checked = await check(store, name);
  if (kind === null || status === null || checked === null) return null;
  const { layer, problem } = checked;
  return {
    name,
    kind,
    stamp: layer?.stamp ?? null,
    digest: layer?.digest ?? null,
    base: layer?.base ?? null,
    memoryBytes: layer?.memoryBytes ?? null,
    pages: layer === null ? null : layer.parts.pages.bytes / PAGE_BYTES,
    bytes: await bytesIn(directory),
    created: (await stat(join(directory, MANIFEST)).catch(() => status)).mtime,
    problem,
  };
}

/** Of all files of a layer. */
export async function bytesIn(directory: string): Promise<number> {
  const names = await readdir(directory).catch(() => []);
  const statuses = await Promise.all(names.map((name) => stat(join(directory, name)).catch(() => null)));
  return statuses.reduce((sum, status) => sum + (status?.size ?? 0), 0);
}

/** @throws DamagedLayerError */
async function verifyContents(layer: Layer): Promise<void> {
  await verifyState(layer);
  const pages = await PageStream.open(layer);
  try {
    await pages.finish();
  } finally {
    await pages.close();
  }
}
