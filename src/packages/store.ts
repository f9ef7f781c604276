/**
 * Runs in snapctr. Function packages as they were sent, by content: `DIRECTORY/SHA256.zip`. A name is there only for a file that
 * is whole and on disk. What is in them is the builder's matter.
 */
import { createHash, randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { open, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { codeOf } from '../storage/error-code.ts';
import { makeDirectory } from '../storage/make-directory.ts';
import { OwnedNames } from '../storage/owned-names.ts';
import { sync } from '../storage/sync.ts';
import { PackageError } from './package-error.ts';

const RECEIVING = new OwnedNames('.snapfaas-package-');
const NAME = /^([0-9a-f]{64})\.zip$/;

export interface StoredPackage {
  readonly path: string;
  /** In hex, as names have it. */
  readonly sha256: string;
  /** In base64, as AWS Lambda has it. */
  readonly codeSha256: string;
  readonly bytes: number;
}

export interface PackageLimits {
  /** Largest package. */
  readonly maxBytes: number;
  /** All packages together. */
  readonly quotaBytes: number;
}

export class PackageStore {
  readonly #directory: string;
  readonly #limits: PackageLimits;

  /** @param directory is made when it is needed. */
  constructor(directory: string, limits: PackageLimits) {
    this.#directory = directory;
    this.#limits = limits;
  }

  pathOf(sha256: string): string {
    return join(this.#directory, `${sha256}.zip`);
  }

  /**
   * Keeps a package that comes in parts.
   *
   * @throws PackageError if it is empty or too large; the signal's reason as the cause of an AbortError; NodeJS.ErrnoException, such
   *   as of a full disk; whatever `parts` throws. Then nothing is left.
   */
  async add(parts: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<StoredPackage> {
    await makeDirectory(this.#directory, 0o700);
    const temporary = join(this.#directory, await RECEIVING.make(randomUUID()));
    try {
      const room = this.#limits.quotaBytes - (await this.#usedBytes());
      const { hash, bytes } = await this.#receive(parts, temporary, room, signal);
      const sha256 = hash.toString('hex');
      const path = this.pathOf(sha256);
      await rename(temporary, path);
      await sync(this.#directory);
      return { path, sha256, codeSha256: hash.toString('base64'), bytes };
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }

  /**
   * Removes packages that nothing needs, and what processes that are gone have left.
   *
   * @param keep SHA-256 in hex of those that are needed.
   * @param minAgeMs younger ones stay: what was just received may not be known to be needed yet.
   * @returns the SHA-256 of those that were removed.
   */
  async removeUnused(keep: ReadonlySet<string>, minAgeMs: number): Promise<readonly string[]> {
    const removed: string[] = [];
    for (const name of await this.#names()) {
      const [, sha256] = NAME.exec(name) ?? [];
      if (sha256 === undefined || keep.has(sha256)) continue;
      const status = await stat(this.pathOf(sha256)).catch(() => null);
      if (status === null || Date.now() - status.mtimeMs < minAgeMs) continue;
      await rm(this.pathOf(sha256), { force: true });
      removed.push(sha256);
    }
    if (removed.length > 0) await sync(this.#directory);
    await RECEIVING.removeAbandoned(this.#directory).catch(ignoreMissing);
    return removed;
  }

  async #receive(
    parts: AsyncIterable<Uint8Array>,
    file: string,
    room: number,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly hash: Buffer; readonly bytes: number }> {
    const { maxBytes } = this.#limits;
    const hash = createHash('sha256');
    let bytes = 0;
    const counting = new Transform({
      transform: (chunk: Buffer, _encoding, callback) => {
        bytes += chunk.length;
        if (bytes > maxBytes) {
          callback(new PackageError('too_large', `the package is larger than ${maxBytes} bytes; make it smaller`));
        } else if (bytes > room) {
          callback(
            new PackageError('store_full', 'there is no room for further packages; delete functions or versions'),
          );
        } else {
          hash.update(chunk);
          callback(null, chunk);
        }
      },
    });
    const written = createWriteStream(file, { flags: 'wx', mode: 0o600 });
    await pipeline(parts, counting, written, signal === undefined ? {} : { signal });
    if (bytes === 0) throw new PackageError('empty', 'the package has no bytes; send a zip archive');
    const handle = await open(file, 'r+');
    try {
      // Its age counts from now, also for one that was there before.
      await utimes(file, new Date(), new Date());
      await handle.sync();
    } finally {
      await handle.close();
    }
    return { hash: hash.digest(), bytes };
  }

  async #usedBytes(): Promise<number> {
    let used = 0;
    for (const name of await this.#names())
      used += await stat(join(this.#directory, name)).then(
        ({ size }) => size,
        () => 0,
      );
    return used;
  }

  async #names(): Promise<readonly string[]> {
    return readdir(this.#directory).catch((error: unknown) => {
      ignoreMissing(error);
      return [];
    });
  }
}

function ignoreMissing(error: unknown): void {
  if (codeOf(error) !== 'ENOENT') throw error;
}
