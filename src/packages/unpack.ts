/**
 * Runs in the builder. Unpacks a function package, a zip archive of somebody who is not trusted:
 *
 * ```
 *   directory of the archive ── Plan ──▶ directories ──▶ files, in the order they lie in ──▶ links ──▶ renamed
 *                                        └────────── in a private directory ──────────┘
 * ```
 */
import { createWriteStream, read as readFd } from 'node:fs';
import { chmod, mkdir, open, rename, symlink, type FileHandle } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import { dirname, join } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { crc32 } from 'node:zlib';
import yauzl, { type Entry, type ZipFile } from 'yauzl';
import { systemCodeOf } from '../storage/error-code.ts';
import { OwnedNames } from '../storage/owned-names.ts';
import { removeTree } from '../storage/remove-tree.ts';
import { checkTarget, MAX_UNPACKED_BYTES, Plan, type PlannedEntry } from './entries.ts';
import { PackageError } from './package-error.ts';

/** Read at once. */
const PART_BYTES = 64 * 1024;

/** What a process that was killed has left is removed by the next one that unpacks beside it. */
export const UNPACKING = new OwnedNames('.snapfaas-unpack-');

/**
 * Unpacks the zip archive `file` to the new directory `target`, which is there only once it is whole. Times are not kept.
 *
 * @param maxBytes most bytes unpacked, if there is less room than for one that is alone.
 * @returns bytes unpacked.
 * @throws PackageError; the signal's reason; NodeJS.ErrnoException, such as of a full disk. Then nothing is left.
 */
export async function unpackPackage(
  file: string,
  target: string,
  signal?: AbortSignal,
  maxBytes = MAX_UNPACKED_BYTES,
): Promise<number> {
  await UNPACKING.removeAbandoned(dirname(target));
  const own = join(dirname(target), await UNPACKING.make(randomUUID().slice(0, 8)));
  const handle = await open(file, 'r');
  try {
    await mkdir(own, { mode: 0o700 });
    const bytes = await asPackage(() => unpack(handle, own, maxBytes, signal));
    await chmod(own, 0o755);
    await rename(own, target);
    return bytes;
  } catch (error) {
    await removeTree(own);
    throw error;
  } finally {
    await handle.close();
  }
}

/** What the library finds wrong is said by plain errors; those of the host are not the package's. */
async function asPackage<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (!(cause instanceof Error) || cause instanceof PackageError || systemCodeOf(cause) !== undefined) throw cause;
    if (cause.name === 'AbortError' || cause.name === 'TimeoutError') throw cause;
    if (/strong encryption/.test(cause.message)) {
      throw new PackageError('encrypted', 'the package is encrypted; make it without a password', { cause });
    }
    const isZip = !/End of central directory record signature not found/.test(cause.message);
    const what = isZip ? 'the package is damaged' : 'the package is not a zip archive, or its end is missing';
    throw new PackageError(isZip ? 'damaged' : 'not_a_zip', `${what} (${cause.message}); make it anew`, { cause });
  }
}

async function unpack(
  handle: FileHandle,
  own: string,
  maxBytes: number,
  signal: AbortSignal | undefined,
): Promise<number> {
  const { size } = await handle.stat();
  const zip = await openZip(handle, size);
  const plan = new Plan(maxBytes);
  for await (const entry of zip.eachEntry()) {
    if (signal?.aborted === true) throw new Aborted(signal);
    plan.add(entry);
  }
  const { directories, others } = plan.finish();
  for (const path of directories.keys()) await mkdir(join(own, path), { mode: 0o700 });
  const byPlace = [...others].sort((a, b) => a.entry.relativeOffsetOfLocalHeader - b.entry.relativeOffsetOfLocalHeader);
  const links = new Map<string, string>();
  let end = 0;
  for (const planned of byPlace) {
    if (signal?.aborted === true) throw new Aborted(signal);
    end = await checkPlace(zip, planned, end);
    if (planned.type === 'file') await writeEntry(zip, planned, join(own, planned.path), signal);
    else links.set(planned.path, checkTarget(planned.path, await readEntry(zip, planned)));
  }
  for (const [path, target] of links) await symlink(target, join(own, path));
  for (const [path, mode] of [...directories].reverse()) await chmod(join(own, path), mode);
  return plan.bytes;
}

function openZip(handle: FileHandle, size: number): Promise<ZipFile> {
  // Names are bytes for us; `autoClose` is for what the library has opened itself.
  const options = { lazyEntries: true, decodeStrings: false, autoClose: false };
  return new Promise((resolve, reject) => {
    yauzl.fromRandomAccessReader(new Reader(handle, size), size, options, (error, zip) => {
      if (error === null) resolve(zip);
      else reject(error);
    });
  });
}

/** Where an archive says that something is need not be in it: Node throws for numbers that no file can have. */
class Reader extends yauzl.RandomAccessReader {
  readonly #handle: FileHandle;
  readonly #size: number;

  constructor(handle: FileHandle, size: number) {
    super();
    this.#handle = handle;
    this.#size = size;
  }

  override _readStreamForRange(start: number, end: number): Readable {
    // A stream of Node's own would close the file, which is not its.
    return Readable.from(this.#parts(start, end), { objectMode: false });
  }

  async *#parts(start: number, end: number): AsyncGenerator<Buffer> {
    for (let at = start; at < end;) {
      const { buffer, bytesRead } = await this.#handle.read({
        buffer: Buffer.allocUnsafe(Math.min(PART_BYTES, end - at)),
        position: at,
      });
      if (bytesRead === 0) throw new Error('unexpected EOF');
      yield buffer.subarray(0, bytesRead);
      at += bytesRead;
    }
  }

  override read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (error: Error | null) => void,
  ): void {
    if (!(position >= 0 && position + length <= this.#size)) {
      return void setImmediate(() => callback(new Error(`something at ${position} is not there`)));
    }
    readFd(this.#handle.fd, buffer, offset, length, position, (error, bytes) => {
      callback(error ?? (bytes < length ? new Error('unexpected EOF') : null));
    });
  }

  override close(callback: (error: Error | null) => void): void {
    callback(null);
  }
}

/**
 * Entries that share bytes make much of little; and what lies before the contents says the same as the directory does.
 * @returns where its bytes end.
 */
async function checkPlace(zip: ZipFile, { entry, path }: PlannedEntry, previousEnd: number): Promise<number> {
  const header = await zip.readLocalFileHeaderPromise(entry);
  if (entry.relativeOffsetOfLocalHeader < previousEnd) {
    throw new PackageError('damaged', `${JSON.stringify(path)} overlaps another entry; make the package anew`);
  }
  if (!header.fileName.equals(entry.fileNameRaw)) {
    throw new PackageError('damaged', `${JSON.stringify(path)} has another name elsewhere; make the package anew`);
  }
  return header.fileDataStart + entry.compressedSize;
}

async function writeEntry(
  zip: ZipFile,
  { entry, path, mode }: PlannedEntry,
  place: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const content = await zip.openReadStreamPromise(entry);
  const file = createWriteStream(place, { flags: 'wx', mode: 0o600 });
  await pipeline(content, checking(entry, path), file, signal === undefined ? {} : { signal });
  await chmod(place, mode);
}

/** Of a link, whose size is bounded. */
async function readEntry(zip: ZipFile, { entry, path }: PlannedEntry): Promise<Buffer> {
  const parts: Buffer[] = [];
  const content = await zip.openReadStreamPromise(entry);
  await pipeline(content, checking(entry, path), async (source: AsyncIterable<Buffer>) => {
    for await (const part of source) parts.push(part);
  });
  return Buffer.concat(parts);
}

/** Passes bytes on; fails at their end if they are not what was put in. */
function checking({ crc32: expected }: Entry, path: string): Transform {
  let sum = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, callback) {
      sum = crc32(chunk, sum);
      callback(null, chunk);
    },
    flush(callback) {
      const wrong = `the contents of ${JSON.stringify(path)} do not have the checksum that they should have (CRC); make the package anew`;
      callback(sum === expected ? null : new PackageError('damaged', wrong));
    },
  });
}

/** Carries the signal's reason through. */
class Aborted extends Error {
  override readonly name = 'AbortError';

  constructor({ reason }: AbortSignal) {
    super('unpacking was called off', { cause: reason });
  }
}
