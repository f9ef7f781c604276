/**
 * Runs in the builder. Blobs of registries that were downloaded before, by their digests: images share their layers. A blob is there whole or
 * not at all; those used longest ago go first when they take too much room.
 */
import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { CACHE_HELP, cacheDirectory } from '../storage/cache-directory.ts';
import { makeWritableDirectory } from '../storage/make-directory.ts';
import { OwnedNames } from '../storage/owned-names.ts';

/** Of all blobs, in bytes. */
export const MAX_CACHE_BYTES = 10 * 1024 ** 3;
/** What was used within this time stays: somebody may be about to read it. In ms. */
const GRACE_MS = 15 * 60_000;
const DRAFTS = new OwnedNames('.snapfaas-blob-');
const BLOB = /^[0-9a-f]{64}$/;

export class BlobCache {
  readonly #directory: string;
  readonly #maxBytes: number;

  constructor(directory = join(cacheDirectory(), 'blobs', 'sha256'), maxBytes = MAX_CACHE_BYTES) {
    this.#directory = directory;
    this.#maxBytes = maxBytes;
  }

  /** @returns the file of the blob, which `fetch` is asked for if it is not there. @throws what `fetch` throws. */
  async file(digest: string, size: number, fetch: () => AsyncIterable<Buffer>): Promise<string> {
    const path = this.#pathOf(digest);
    const known = await stat(path).catch(() => null);
    if (known?.isFile() === true && known.size === size) {
      const now = new Date();
      await utimes(path, now, now).catch(() => undefined);
      return path;
    }
    await makeWritableDirectory(this.#directory, CACHE_HELP);
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const draft = join(this.#directory, await DRAFTS.make(randomUUID().slice(0, 8)));
    try {
      const file = await open(draft, 'wx', 0o600);
      try {
        for await (const piece of fetch()) await file.write(piece);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(draft, path);
    } finally {
      await rm(draft, { force: true });
    }
    return path;
  }

  async bytes(digest: string, size: number, fetch: () => AsyncIterable<Buffer>): Promise<Buffer> {
    return readFile(await this.file(digest, size, fetch));
  }

  /** Null if it is not there. */
  async known(digest: string): Promise<Buffer | null> {
    return readFile(this.#pathOf(digest)).catch(() => null);
  }

  async keep(digest: string, bytes: Buffer): Promise<void> {
    await this.file(digest, bytes.length, () => once(bytes));
  }

  /** Removes what is over the bound, and what processes have left that are gone. */
  async trim(): Promise<void> {
    const names = await readdir(this.#directory).catch(() => []);
    if (names.length === 0) return;
    await DRAFTS.removeAbandoned(this.#directory);
    const blobs: { readonly path: string; readonly bytes: number; readonly usedAt: number }[] = [];
    for (const name of names) {
      const path = join(this.#directory, name);
      const status = BLOB.test(name) ? await stat(path).catch(() => null) : null;
      if (status !== null) blobs.push({ path, bytes: status.size, usedAt: status.mtimeMs });
    }
    let total = blobs.reduce((sum, { bytes }) => sum + bytes, 0);
    for (const { path, bytes, usedAt } of blobs.sort((one, other) => one.usedAt - other.usedAt)) {
      if (total <= this.#maxBytes || Date.now() - usedAt < GRACE_MS) return;
      await rm(path, { force: true });
      total -= bytes;
    }
  }

  #pathOf(digest: string): string {
    return join(this.#directory, digest.slice('sha256:'.length));
  }
}

/** A file in the pieces that it is read in. */
export function piecesOfFile(path: string, start = 0, end = Infinity): AsyncIterable<Buffer> {
  return createReadStream(path, { start, end, highWaterMark: 256 * 1024 });
}

// eslint-disable-next-line @typescript-eslint/require-await -- a source is asynchronous
async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}
