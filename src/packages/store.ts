/**
 * Runs in snapctr. Packages as they were sent, by content: `DIRECTORY/SHA256.zip`. A name is there only for a file that is whole
 * and on disk. What is in them is the builder's matter.
 *
 * ```
 *   receive ──▶ received, under a name of its own ──keep──▶ held, by its content ──last release──▶ removed
 *                        └── discard: nothing is left
 * ```
 *
 * Whoever needs a package holds it: a record from when it was read or written until it is no more, an operation from `keep` until
 * its record is on disk. What a crash has left without a holder is removed at the next start.
 */
import { createHash, randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Turns } from '../protocol/turns.ts';
import { makeDirectory } from '../storage/make-directory.ts';
import { OwnedNames } from '../storage/owned-names.ts';
import { sync } from '../storage/sync.ts';
import { PackageError } from './package-error.ts';

const RECEIVING = new OwnedNames('.snapfaas-package-');
const NAME = /^([0-9a-f]{64})\.zip$/;

/** A package that is whole and on disk, and that nobody can ask for yet. One of the two has to be called in the end. */
export interface ReceivedPackage {
  /** In hex. */
  readonly sha256: string;
  readonly bytes: number;
  /** Keeps it by its content, and holds it; one of the same content may be there. @throws NodeJS.ErrnoException */
  keep(): Promise<void>;
  /** Leaves nothing of it; nothing happens if it was kept or discarded before. */
  discard(): Promise<void>;
}

export interface PackageLimits {
  /** Largest package. */
  readonly maxBytes: number;
  /** All packages together, with those that are received. */
  readonly quotaBytes: number;
}

export class PackageStore {
  readonly #directory: string;
  readonly #limits: PackageLimits;
  /** Bytes of each package, by its SHA-256. */
  readonly #sizes: Map<string, number>;
  readonly #holders = new Map<string, number>();
  /** A package is not removed while it is kept again. */
  readonly #turns = new Turns<string>();
  #usedBytes: number;

  private constructor(directory: string, limits: PackageLimits, sizes: Map<string, number>) {
    this.#directory = directory;
    this.#limits = limits;
    this.#sizes = sizes;
    this.#usedBytes = [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  /**
   * Removes what processes that are gone were receiving.
   *
   * @param directory is made if it is missing; no other process has it open.
   * @throws NodeJS.ErrnoException
   */
  static async open(directory: string, limits: PackageLimits): Promise<PackageStore> {
    await makeDirectory(directory, 0o700);
    await RECEIVING.removeAbandoned(directory);
    const sizes = new Map<string, number>();
    for (const name of await readdir(directory)) {
      const [, sha256] = NAME.exec(name) ?? [];
      if (sha256 !== undefined) sizes.set(sha256, (await stat(join(directory, name))).size);
    }
    return new PackageStore(directory, limits, sizes);
  }

  /** All of it together, in bytes. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  get quotaBytes(): number {
    return this.#limits.quotaBytes;
  }

  pathOf(sha256: string): string {
    return join(this.#directory, `${sha256}.zip`);
  }

  has(sha256: string): boolean {
    return this.#sizes.has(sha256);
  }

  /**
   * Takes in a package that comes in parts.
   *
   * @throws PackageError if it is empty or too large; the signal's reason as the cause of an AbortError; NodeJS.ErrnoException, such
   *   as of a full disk; whatever `parts` throws. Then nothing is left.
   */
  async receive(parts: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<ReceivedPackage> {
    const temporary = join(this.#directory, await RECEIVING.make(randomUUID()));
    let counted = 0;
    const count = (bytes: number): void => {
      counted += bytes;
      this.#usedBytes += bytes;
      this.#check(counted);
    };
    const leave = async (): Promise<void> => {
      this.#usedBytes -= counted;
      counted = 0;
      await rm(temporary, { force: true });
    };
    try {
      const { sha256, bytes } = await write(parts, temporary, count, signal);
      let isSettled = false;
      return {
        sha256,
        bytes,
        keep: async () => {
          if (isSettled) throw new Error('bug: a package was kept that is not there any more');
          isSettled = true;
          this.hold(sha256);
          try {
            await this.#turns.take(sha256, async () => {
              await rename(temporary, this.pathOf(sha256));
              // One of the same content was replaced.
              if (this.#sizes.has(sha256)) this.#usedBytes -= bytes;
              this.#sizes.set(sha256, bytes);
              counted = 0;
            });
            await sync(this.#directory);
          } catch (error) {
            await leave();
            await this.release(sha256);
            throw error;
          }
        },
        discard: async () => {
          if (isSettled) return;
          isSettled = true;
          await leave();
        },
      };
    } catch (error) {
      await leave();
      throw error;
    }
  }

  /** It is not removed until it is released as often as it was held. */
  hold(sha256: string): void {
    this.#holders.set(sha256, (this.#holders.get(sha256) ?? 0) + 1);
  }

  /** Never throws: what cannot be removed now is removed at the next start. */
  async release(sha256: string): Promise<void> {
    const holders = (this.#holders.get(sha256) ?? 0) - 1;
    if (holders > 0) return void this.#holders.set(sha256, holders);
    this.#holders.delete(sha256);
    await this.#removeUnheld(sha256);
  }

  /** Removes what nobody holds. Called once all that is needed is held. @returns the SHA-256 of what was removed. */
  async removeAllUnheld(): Promise<readonly string[]> {
    const unheld = [...this.#sizes.keys()].filter((sha256) => !this.#holders.has(sha256));
    for (const sha256 of unheld) await this.#removeUnheld(sha256);
    return unheld;
  }

  #removeUnheld(sha256: string): Promise<void> {
    return this.#turns.take(sha256, async () => {
      const bytes = this.#sizes.get(sha256);
      // It may have come again meanwhile.
      if (bytes === undefined || this.#holders.has(sha256)) return;
      const isGone = await rm(this.pathOf(sha256), { force: true }).then(
        () => true,
        () => false,
      );
      if (!isGone) return;
      this.#sizes.delete(sha256);
      this.#usedBytes -= bytes;
    });
  }

  /** @throws PackageError */
  #check(bytes: number): void {
    const { maxBytes, quotaBytes } = this.#limits;
    if (bytes > maxBytes) {
      throw new PackageError('too_large', `the package is larger than ${maxBytes} bytes; make it smaller`);
    }
    if (this.#usedBytes > quotaBytes) {
      const all = `all packages together may have ${quotaBytes} bytes`;
      throw new PackageError('store_full', `there is no room for it: ${all}; delete functions, versions or layers`);
    }
  }
}

/** @param count is told of each part before it is written. */
async function write(
  parts: AsyncIterable<Uint8Array>,
  file: string,
  count: (bytes: number) => void,
  signal: AbortSignal | undefined,
): Promise<{ readonly sha256: string; readonly bytes: number }> {
  const hash = createHash('sha256');
  let bytes = 0;
  const counting = new Transform({
    transform: (chunk: Buffer, _encoding, callback) => {
      try {
        count(chunk.length);
      } catch (error) {
        return callback(error as Error);
      }
      bytes += chunk.length;
      hash.update(chunk);
      callback(null, chunk);
    },
  });
  const written = createWriteStream(file, { flags: 'wx', mode: 0o600 });
  await pipeline(parts, counting, written, signal === undefined ? {} : { signal });
  if (bytes === 0) throw new PackageError('empty', 'the package has no bytes; send a zip archive');
  const handle = await open(file, 'r+');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
  return { sha256: hash.digest('hex'), bytes };
}
