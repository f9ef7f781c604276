/**
 * Runs in firerunner. The file `working-set` in a layer: pages to read ahead when a VM starts from it.
 *
 * ```
 *   "SFWS" │ u32 LE 1 │ digest of the layer's manifest, 32 bytes │ for each run: u32 LE first page, u32 LE pages │ SHA-256
 * ```
 *
 * It makes starts faster and nothing else: one that is damaged, or of another layer, counts as absent.
 */
import { createHash, randomUUID } from 'node:crypto';
import { readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { OwnedNames } from '../../storage/owned-names.ts';
import { PAGE_BYTES, type Layer } from './layer.ts';
import type { PageRun } from './working-set.ts';

const NAME = 'working-set';
/** Files that are being written. */
export const WORKING_SET_DRAFTS = new OwnedNames('.snapfaas-working-set-');
const MAGIC = Buffer.from('SFWS\x01\0\0\0', 'latin1');
const DIGEST_BYTES = 32;
const HEADER_BYTES = MAGIC.length + DIGEST_BYTES;
const RECORD_BYTES = 8;
/** Every other page of 2 GiB. */
const MAX_BYTES = 2 * 1024 * 1024;

/** Writes or replaces a layer's working set. @throws errors of the file system as they come: nothing depends on it. */
export async function writeWorkingSet(layer: Layer, runs: readonly PageRun[]): Promise<void> {
  const records = Buffer.alloc(runs.length * RECORD_BYTES);
  runs.forEach(({ firstPage, pages }, i) => {
    records.writeUInt32LE(firstPage, i * RECORD_BYTES);
    records.writeUInt32LE(pages, i * RECORD_BYTES + 4);
  });
  const body = Buffer.concat([header(layer), records]);
  if (body.length + DIGEST_BYTES > MAX_BYTES) return;
  const temporary = join(layer.directory, await WORKING_SET_DRAFTS.make(randomUUID().slice(0, 8)));
  try {
    await writeFile(temporary, Buffer.concat([body, digest(body)]), { mode: 0o600 });
    await rename(temporary, join(layer.directory, NAME));
  } finally {
    await rm(temporary, { force: true });
  }
}

/** @returns a layer's working set, in order; null if it has none that can be used. */
export async function readWorkingSet(layer: Layer): Promise<readonly PageRun[] | null> {
  const path = join(layer.directory, NAME);
  let bytes: Buffer;
  try {
    if ((await stat(path)).size > MAX_BYTES) return null;
    bytes = await readFile(path);
  } catch {
    return null;
  }
  return parseWorkingSet(bytes, layer);
}

/** @returns null if the bytes are damaged, or of another layer. */
export function parseWorkingSet(bytes: Buffer, layer: Layer): readonly PageRun[] | null {
  const body = bytes.subarray(0, -DIGEST_BYTES);
  const records = body.subarray(HEADER_BYTES);
  if (!body.subarray(0, HEADER_BYTES).equals(header(layer)) || records.length % RECORD_BYTES !== 0) return null;
  if (!bytes.subarray(-DIGEST_BYTES).equals(digest(body))) return null;
  const runs: PageRun[] = [];
  let end = 0;
  for (let at = 0; at < records.length; at += RECORD_BYTES) {
    const run = { firstPage: records.readUInt32LE(at), pages: records.readUInt32LE(at + 4) };
    if (run.firstPage < end || run.pages === 0) return null;
    end = run.firstPage + run.pages;
    runs.push(run);
  }
  return end * PAGE_BYTES <= layer.memoryBytes ? runs : null;
}

function header(layer: Layer): Buffer {
  return Buffer.concat([MAGIC, Buffer.from(layer.digest, 'hex')]);
}

function digest(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest();
}
