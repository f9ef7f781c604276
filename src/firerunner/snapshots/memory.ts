/**
 * Runs in firerunner. Puts the memory of a VM together from layers:
 *
 * ```
 *   base      pages ──▶ ┐
 *                       ├─▶ chunk of 1 MiB ──▶ file, its zero pages left out
 *   function  pages ──▶ ┘   later layers win
 * ```
 *
 * Every byte read is hashed as it comes; the file is good for use only when everything has been compared.
 */
import { write } from 'node:fs';
import { open, rm, type FileHandle } from 'node:fs/promises';
import { DamagedLayerError, PAGE_BYTES, type Layer } from './layer.ts';
import { DATA, PageStream, ZERO } from './page-stream.ts';
import type { PrivateFile, PrivatePlace } from '../../storage/private-file.ts';
import { openPrivate } from './private-memory.ts';
import { storing } from './store-error.ts';

const CHUNK_PAGES = 256;
/** So that one chunk is written while the next is put together. */
const CHUNKS = 2;

/** The memory of a VM in an open file. */
export interface MemorySource {
  readonly handle: FileHandle;
  /** What it was put together from, base first. */
  readonly layers: readonly Layer[];
}

export interface PrivateMemory extends MemorySource, PrivateFile {
  readonly bytes: number;
}

/**
 * Writes the memory that `layers` (base first) describe into an empty open file, with holes where it is zeros.
 *
 * @throws DamagedLayerError if a layer is not what was written, or the layers do not belong to each other; the file's
 * contents are of no use then. Errors of writing as they come.
 */
export async function composeMemory(layers: readonly Layer[], target: FileHandle): Promise<void> {
  const bytes = checkStack(layers);
  await target.truncate(bytes);
  const streams: PageStream[] = [];
  const writes: Promise<void>[] = [];
  try {
    for (const layer of layers) streams.push(await PageStream.open(layer));
    const chunks = Array.from({ length: CHUNKS }, () => ({
      bytes: Buffer.allocUnsafe(CHUNK_PAGES * PAGE_BYTES),
      kinds: Buffer.alloc(CHUNK_PAGES),
    }));
    const pages = bytes / PAGE_BYTES;
    for (let first = 0, turn = 0; first < pages; first += CHUNK_PAGES) {
      if (!streams.some((stream) => stream.hasPagesBefore(first + CHUNK_PAGES))) continue;
      const index = turn++ % CHUNKS;
      const chunk = chunks[index];
      if (chunk === undefined) break;
      await writes[index];
      const kinds = chunk.kinds.subarray(0, Math.min(CHUNK_PAGES, pages - first)).fill(ZERO);
      for (const stream of streams) await stream.fill(first, chunk.bytes, kinds);
      writes[index] = writeDataPages(target, first, chunk.bytes, kinds);
      // It is awaited when its turn comes again, and below.
      writes[index].catch(() => undefined);
    }
    for (const stream of streams) await stream.finish();
    await Promise.all(writes);
  } finally {
    // Nothing may write to the target, or read, after this has returned.
    await Promise.allSettled(writes);
    await Promise.all(streams.map((stream) => stream.close()));
  }
}

/**
 * The memory that `layers` describe, in a private file.
 *
 * @throws DamagedLayerError as `composeMemory`; SnapshotStoreError if it cannot be written.
 */
export async function openPrivateMemory(place: PrivatePlace, layers: readonly Layer[]): Promise<PrivateMemory> {
  const file = await openPrivate(place, (handle) => composeMemory(layers, handle));
  return { ...file, bytes: layers[0]?.memoryBytes ?? 0, layers };
}

/** The same for bytes that are there already, such as those of `verifyState`. */
export async function openPrivateFile(place: PrivatePlace, bytes: Uint8Array): Promise<PrivateFile> {
  return openPrivate(place, (handle) => writeFully(handle.fd, bytes, 0));
}

/**
 * Writes the memory that `layers` describe to a new file, for a VM that changes it.
 *
 * @throws as `openPrivateMemory`; no file is left then.
 */
export async function createWritableCopy(path: string, layers: readonly Layer[]): Promise<void> {
  await storing('write', path, async () => {
    const handle = await open(path, 'wx+', 0o600);
    try {
      await composeMemory(layers, handle);
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    } finally {
      await handle.close();
    }
  });
}

/** @returns the size of the memory in bytes. */
function checkStack(layers: readonly Layer[]): number {
  const [base] = layers;
  if (base === undefined) throw new Error('there is no memory without a layer');
  layers.forEach((layer, i) => {
    const below = layers[i - 1]?.digest ?? null;
    if (layer.base !== below) throw new DamagedLayerError(layer.directory, `it was made on another base than ${below}`);
    if (layer.memoryBytes !== base.memoryBytes) {
      throw new DamagedLayerError(
        layer.directory,
        `its memory has ${layer.memoryBytes} bytes, not ${base.memoryBytes}`,
      );
    }
  });
  return base.memoryBytes;
}

/** Writes runs of pages that are not zeros, several at a time. */
async function writeDataPages(target: FileHandle, firstPage: number, chunk: Buffer, kinds: Buffer): Promise<void> {
  const writes: Promise<void>[] = [];
  for (let from = kinds.indexOf(DATA); from !== -1;) {
    const next = kinds.indexOf(ZERO, from);
    const to = next === -1 ? kinds.length : next;
    const run = chunk.subarray(from * PAGE_BYTES, to * PAGE_BYTES);
    writes.push(writeFully(target.fd, run, (firstPage + from) * PAGE_BYTES));
    from = kinds.indexOf(DATA, to);
  }
  const results = await Promise.allSettled(writes);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

/** Writes all of `bytes`. By callback: there may be thousands of runs, and a promise of Node's for each takes twice the time. */
export async function writeFully(fd: number, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    done += await new Promise<number>((resolve, reject) => {
      write(fd, bytes, done, bytes.length - done, position + done, (error, written) => {
        if (error === null) resolve(written);
        else reject(error);
      });
    });
  }
}
