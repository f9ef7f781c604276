/**
 * Runs in each program. Names for what a process makes in a directory that others use as well, so that another process of
 * ours knows it for ours and for abandoned, and touches nothing else:
 *
 * ```
 *   .snapfaas-build-4711-180533-1f0c2d3e
 *   └── prefix ────┘└─ owner ──┘└─ rest ┘      rest may be missing
 * ```
 */
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf } from './error-code.ts';
import { isAlive, ourselves, ownerFromTag, ownerTag, type Owner } from './owner.ts';
import { removeTree } from './remove-tree.ts';

export class OwnedNames {
  readonly prefix: string;

  /** @param prefix up to the owner's process id, such as `snapfaas-` or `.snapfaas-build-`. */
  constructor(prefix: `${'.' | ''}snapfaas-` | `${'.' | ''}snapfaas-${string}-`) {
    this.prefix = prefix;
  }

  /** @param rest tells several of this process apart; letters, digits, `.` and `-`. */
  async make(rest?: string): Promise<string> {
    const own = `${this.prefix}${ownerTag(await ourselves())}`;
    return rest === undefined ? own : `${own}-${rest}`;
  }

  /** @returns null for a name that is not one of these. */
  ownerOf(name: string): Owner | null {
    return name.startsWith(this.prefix) ? ownerFromTag(name.slice(this.prefix.length)) : null;
  }

  /**
   * Names in `directory` that processes have left which are gone: of this kind, of our user, and no symbolic links.
   *
   * @throws NodeJS.ErrnoException if the directory cannot be read.
   */
  async findAbandoned(directory: string): Promise<readonly string[]> {
    const abandoned: string[] = [];
    for (const name of await readdir(directory)) {
      const owner = this.ownerOf(name);
      if (owner === null || (await isAlive(owner))) continue;
      if (await isOurs(join(directory, name))) abandoned.push(name);
    }
    return abandoned;
  }

  /** Removes what `findAbandoned` finds, with all that is in it. @returns the names. */
  async removeAbandoned(directory: string): Promise<readonly string[]> {
    const abandoned = await this.findAbandoned(directory);
    for (const name of abandoned) await removeTree(join(directory, name));
    return abandoned;
  }
}

/**
 * Whether a file is there, of our user and no symbolic link. Names can be forged by whoever may write to their directory,
 * users cannot.
 */
export async function isOurs(path: string): Promise<boolean> {
  try {
    const status = await lstat(path);
    return !status.isSymbolicLink() && status.uid === (process.geteuid?.() ?? status.uid);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw error;
  }
}
