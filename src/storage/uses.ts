/**
 * Runs in snapctr, the builder and firerunner. Which names of a directory that several processes share live processes need. Each
 * process has one file there, of one name a line, that counts for as long as the process lives:
 *
 * ```
 *   .snapfaas-uses-PID-START     replaced as a whole with each change
 * ```
 *
 * What is held has a fresh time from the moment in which it is let go of: its age counts from its last use.
 */
import { readdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode } from './error-code.ts';
import { isAlive } from './owner.ts';
import { OwnedNames } from './owned-names.ts';

const USES = new OwnedNames('.snapfaas-uses-');
const DRAFTS = new OwnedNames('.snapfaas-uses-draft-');

/** After a failure to write, such as by a full disk, in ms. */
const RETRY_MS = 5000;

/** What this process needs; one for each directory. */
export class Uses {
  readonly #directory: string;
  /** How many need each. */
  readonly #held = new Map<string, number>();
  #writing: Promise<void> = Promise.resolve();
  /** Whether the file is behind. */
  #isStale = false;
  #isClosed = false;
  #hasWritten = false;

  /** @param directory need not exist yet. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  hold(name: string): void {
    const count = this.#held.get(name) ?? 0;
    this.#held.set(name, count + 1);
    if (count === 0) this.#change();
  }

  release(name: string): void {
    const count = this.#held.get(name) ?? 0;
    if (count > 1) this.#held.set(name, count - 1);
    else if (this.#held.delete(name)) this.#change(name);
  }

  /** Resolves when others know what is held. */
  settled(): Promise<void> {
    return this.#writing;
  }

  /** All that is held is used now: what a process needed that was killed is not old at once. */
  async renew(): Promise<void> {
    for (const name of this.#held.keys()) await touch(join(this.#directory, name));
  }

  /** Nothing is needed any more. */
  async close(): Promise<void> {
    await this.#writing;
    await this.renew();
    this.#isClosed = true;
    await rm(join(this.#directory, await USES.make()), { force: true });
  }

  #change(released?: string): void {
    const isBehind = this.#isStale;
    this.#isStale = true;
    if (isBehind && released === undefined) return;
    this.#writing = this.#writing.then(async () => {
      // Before others may take it for unneeded.
      if (released !== undefined) await touch(join(this.#directory, released));
      await this.#write();
    });
  }

  async #write(): Promise<void> {
    if (!this.#isStale || this.#isClosed) return;
    this.#isStale = false;
    try {
      if (!this.#hasWritten) await removeAbandonedUses(this.#directory);
      this.#hasWritten = true;
      const draft = join(this.#directory, await DRAFTS.make());
      await writeFile(draft, [...this.#held.keys()].map((name) => `${name}\n`).join(''));
      await rename(draft, join(this.#directory, await USES.make()));
    } catch {
      // A directory that is not there holds nothing; for the rest there may be room later.
      setTimeout(() => this.#change(), RETRY_MS).unref();
    }
  }
}

/**
 * Names in `directory` that live processes need. Files of processes that are gone are removed.
 *
 * @throws NodeJS.ErrnoException if that cannot be told; then nothing may be removed.
 */
export async function neededNames(directory: string): Promise<ReadonlySet<string>> {
  const needed = new Set<string>();
  for (const file of await readdir(directory)) {
    const owner = USES.ownerOf(file);
    if (owner === null || !(await isAlive(owner))) continue;
    const text = await readFile(join(directory, file), 'utf8').catch((error: unknown) => {
      if (hasCode(error, 'ENOENT')) return '';
      throw error;
    });
    for (const name of text.split('\n')) if (name !== '') needed.add(name);
  }
  await removeAbandonedUses(directory);
  return needed;
}

async function removeAbandonedUses(directory: string): Promise<void> {
  for (const names of [USES, DRAFTS]) await names.removeAbandoned(directory);
}

/** It is used now. @returns false if it is not there, or not ours to change. */
export async function touch(path: string): Promise<boolean> {
  const now = new Date();
  return utimes(path, now, now).then(
    () => true,
    () => false,
  );
}
