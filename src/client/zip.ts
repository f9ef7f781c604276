/**
 * Runs in the commands of people. A package as a zip archive: the same files give the same bytes, whatever their times, their
 * owners and the order in the directory, so that what has not changed is seen not to have.
 */
import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createHash } from 'node:crypto';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import yazl from 'yazl';
import { badInput } from './client-error.ts';
import type { PackageFile } from './lambda-client.ts';

/** AWS Lambda's limit for archives that come with the request, in bytes. */
export const MAX_ZIP_BYTES = 50 * 1024 * 1024;

/** The first that a zip archive can have. It is in local time there: this is the same everywhere. */
const TIME = new Date(1980, 0, 1);

const FILE = 0o100644;
const PROGRAM = 0o100755;
const LINK = 0o120777;

/** What is to be in an archive, by its path there. */
export type ZipEntry =
  | { readonly type: 'file'; readonly source: string; readonly executable: boolean }
  | { readonly type: 'content'; readonly content: Buffer }
  | { readonly type: 'symlink'; readonly target: string }
  | { readonly type: 'directory' };

export interface Zip extends PackageFile {
  /** Of the archive, in base64, as the API tells it. */
  readonly sha256: string;
}

/**
 * Writes an archive to a temporary file, which is gone after `work`.
 *
 * @param advice what to do if it becomes too large.
 * @throws ClientError if it is larger than may be sent.
 */
export async function withZip<T>(
  entries: ReadonlyMap<string, ZipEntry>,
  advice: string,
  work: (zip: Zip) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'snapfaas-package-'));
  try {
    return await work(await writeZip(entries, join(directory, 'package.zip'), advice, signal));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function writeZip(
  entries: ReadonlyMap<string, ZipEntry>,
  file: string,
  advice: string,
  signal: AbortSignal | undefined,
): Promise<Zip> {
  const archive = new yazl.ZipFile();
  for (const path of withoutFilled(entries)) {
    const entry = entries.get(path);
    if (entry === undefined) continue;
    const common = { mtime: TIME, forceDosTimestamp: true };
    if (entry.type === 'file')
      archive.addFile(entry.source, path, { ...common, mode: entry.executable ? PROGRAM : FILE });
    else if (entry.type === 'content') archive.addBuffer(entry.content, path, { ...common, mode: FILE });
    else if (entry.type === 'symlink') archive.addBuffer(Buffer.from(entry.target), path, { ...common, mode: LINK });
    else archive.addEmptyDirectory(path, { ...common, mode: 0o40755 });
  }
  archive.end();
  const hash = createHash('sha256');
  let bytes = 0;
  const counting = new Transform({
    transform(chunk: Buffer, _encoding, callback) {
      bytes += chunk.length;
      hash.update(chunk);
      callback(bytes > MAX_ZIP_BYTES ? new TooLarge() : null, chunk);
    },
  });
  // What the library cannot read it tells by an event of its own, not of the stream.
  const failed = new AbortController();
  archive.once('error', (error: Error) => failed.abort(error));
  const signals = signal === undefined ? failed.signal : AbortSignal.any([failed.signal, signal]);
  try {
    await pipeline(archive.outputStream, counting, createWriteStream(file, { flags: 'wx', mode: 0o600 }), {
      signal: signals,
    });
  } catch (error) {
    if (error instanceof TooLarge) {
      badInput(`the package is larger than ${MAX_ZIP_BYTES / 1024 / 1024} MB, compressed; ${advice}`);
    }
    throw signals.aborted ? signals.reason : error;
  }
  return { file, bytes, sha256: hash.digest('base64') };
}

class TooLarge extends Error {}

/** Sorted; of directories only those that nothing is in: the others are there by what is in them. */
function withoutFilled(entries: ReadonlyMap<string, ZipEntry>): readonly string[] {
  const filled = new Set<string>();
  for (const path of entries.keys()) {
    for (let at = path.lastIndexOf('/'); at > 0; at = path.lastIndexOf('/', at - 1)) filled.add(path.slice(0, at));
  }
  return [...entries.keys()].filter((path) => !(entries.get(path)?.type === 'directory' && filled.has(path))).sort();
}
