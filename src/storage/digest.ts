/** Runs in each program. SHA-256 of texts, values and files. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';

/** SHA-256 of bytes or text, in hex. */
export function sha256(data: Uint8Array | string): string {
  return createHash('sha256').update(data).digest('hex');
}

/** Up to this size a file is read at once: for many small files, streams take five times as long. */
const READ_AT_ONCE_BYTES = 1024 * 1024;

/** SHA-256 of a file's contents, in hex. */
export async function sha256File(path: string): Promise<string> {
  const { size } = await stat(path);
  if (size <= READ_AT_ONCE_BYTES) return sha256(await readFile(path));
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash);
  return hash.digest('hex');
}

/** SHA-256 of a value of JSON, independent of the order of keys, in hex. */
export function sha256Json(value: unknown): string {
  return sha256(JSON.stringify(sorted(value)));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1));
  return Object.fromEntries(entries.map(([key, inner]) => [key, sorted(inner)]));
}
