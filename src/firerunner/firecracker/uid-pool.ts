/**
 * Runs in firerunner. Users for VMs, one for each. Several firerunners may share a range: who takes a user makes a file
 * UID-OWNER in a common directory, and withdraws it if another one that lives has the same user.
 */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isAlive, ourselves, ownerFromTag, ownerTag, type Owner } from '../../storage/owner.ts';
import { HostError } from '../machine.ts';

export interface UidLease {
  readonly uid: number;
  /** Never rejects. */
  release(): Promise<void>;
}

export class UidPool {
  readonly directory: string;
  readonly #first: number;
  readonly #count: number;
  readonly #taken = new Set<number>();
  /** Where the search begins: a user that was just given back is used last. */
  #next = 0;

  constructor(directory: string, first: number, count: number) {
    this.directory = directory;
    this.#first = first;
    this.#count = count;
  }

  /** @throws HostError if every user of the range is taken. */
  async take(): Promise<UidLease> {
    for (let tried = 0; tried < this.#count; tried += 1) {
      const uid = this.#first + this.#next;
      this.#next = (this.#next + 1) % this.#count;
      if (this.#taken.has(uid)) continue;
      this.#taken.add(uid);
      const claim = await this.#claim(uid).catch((error: unknown) => {
        this.#taken.delete(uid);
        throw error;
      });
      if (claim !== null) return { uid, release: () => this.#release(uid, claim) };
      this.#taken.delete(uid);
    }
    const last = this.#first + this.#count - 1;
    throw new HostError(
      `all ${this.#count} users of \`uid_range\` ${this.#first}-${last} are taken by VMs, and VMMs that wait for one; give it more users`,
    );
  }

  /** Removes claims of firerunners that are gone. */
  async removeLeftovers(): Promise<void> {
    for (const { name, owner } of await this.#claims()) {
      if (!(await isAlive(owner))) await rm(join(this.directory, name), { force: true });
    }
  }

  /** Gives every user back. */
  async close(): Promise<void> {
    const tag = ownerTag(await ourselves());
    await Promise.all([...this.#taken].map((uid) => rm(join(this.directory, `${uid}-${tag}`), { force: true })));
  }

  /** @returns the name of the claim; null if somebody else has the user. */
  async #claim(uid: number): Promise<string | null> {
    const own = `${uid}-${ownerTag(await ourselves())}`;
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
    await writeFile(join(this.directory, own), '');
    // Ours is there before we look: of two who claim at once, both may withdraw, but never none.
    for (const { name, owner } of await this.#claims(uid)) {
      if (name === own || !(await isAlive(owner))) continue;
      await rm(join(this.directory, own), { force: true });
      return null;
    }
    return own;
  }

  async #release(uid: number, claim: string): Promise<void> {
    await rm(join(this.directory, claim), { force: true }).catch(() => undefined);
    this.#taken.delete(uid);
  }

  async #claims(uid?: number): Promise<readonly { readonly name: string; readonly owner: Owner }[]> {
    const names = await readdir(this.directory);
    return names.flatMap((name) => {
      const dash = name.indexOf('-');
      if (dash === -1 || (uid !== undefined && name.slice(0, dash) !== String(uid))) return [];
      const owner = ownerFromTag(name.slice(dash + 1));
      return owner === null ? [] : [{ name, owner }];
    });
  }
}
