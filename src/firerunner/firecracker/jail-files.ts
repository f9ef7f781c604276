/**
 * Runs in firerunner. How files get into jails and back. A VMM that was broken into owns its jail: what is taken from there
 * may be anything, and nothing is followed.
 */
import { constants, createWriteStream } from 'node:fs';
import { chown, copyFile, lchown, link, lstat, open, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { HostError, LaunchError, type SavedFile } from '../drivers/driver.ts';
import { copyPrivate } from '../snapshots/private-file.ts';
import { fileIdentity } from '../snapshots/stamps.ts';
import { hasCode } from '../snapshots/store-error.ts';

/** Whoever reads a file through a link in a jail is none of its owner's group. */
const READABLE_BY_OTHERS = 0o004;

const NOT_LINKABLE = 'it is not on the file system of `chroot_base`, so it cannot be linked';

export interface JailOwner {
  readonly uid: number;
  readonly gid: number;
}

/** Lends files to any number of jails, by links. */
export class LentFiles {
  readonly #directory: string;
  readonly #onCopy: (note: string) => void;
  /** Copies of files that jails cannot have links to, by path and identity. */
  readonly #copies = new Map<string, Promise<string>>();
  #hasCopiedMemory = false;

  /**
   * @param directory for the copies; on the file system of the jails, and ours alone to enter.
   * @param onCopy called once for each file that is copied, with the reason, and once for the memory of snapshots.
   */
  constructor(directory: string, onCopy: (note: string) => void) {
    this.#directory = directory;
    this.#onCopy = onCopy;
  }

  /** The VMM may read what it has a link to, and no more: the file stays ours. */
  async lend(source: string | SavedFile, target: string): Promise<void> {
    const named = typeof source === 'string' ? source : source.path;
    if (named === null) throw new HostError('a file without a name cannot be lent to a jail');
    const path = await realpath(named);
    const { mode } = await stat(path);
    const isReadable = (mode & READABLE_BY_OTHERS) !== 0;
    if (isReadable && (await tryLink(path, target))) return;
    const why = isReadable ? NOT_LINKABLE : 'other users may not read it';
    await link(await this.#copyOf(path, why), target);
  }

  /** A file of ours that the VMM may change meanwhile; one that is not there yet is made by the VMM. */
  async lendToWrite(source: string, target: string, { uid, gid }: JailOwner): Promise<void> {
    const exists = await stat(source).then(
      () => true,
      () => false,
    );
    if (!exists) return;
    if (!(await tryLink(source, target))) {
      if (!this.#hasCopiedMemory) {
        this.#onCopy(`the memory of a VM is copied, to its jail and back, for each snapshot: ${NOT_LINKABLE}`);
      }
      this.#hasCopiedMemory = true;
      await copyFile(source, target, constants.COPYFILE_FICLONE).catch((error: unknown) => {
        throw this.#explained(error);
      });
    }
    await chown(target, uid, gid);
  }

  /** Removes the copies; what jails have links to stays until they are removed. */
  async close(): Promise<void> {
    const copies = await Promise.allSettled(this.#copies.values());
    for (const copy of copies) if (copy.status === 'fulfilled') await rm(copy.value, { force: true });
  }

  async #copyOf(path: string, why: string): Promise<string> {
    const key = `${path} ${fileIdentity(path)}`;
    let copy = this.#copies.get(key);
    if (copy === undefined) {
      this.#onCopy(`${path} is copied to ${this.#directory}, for jails to have links to it: ${why}`);
      copy = copyPrivate(this.#directory, path).catch((error: unknown) => {
        throw this.#explained(error);
      });
      copy.catch(() => this.#copies.delete(key));
      this.#copies.set(key, copy);
    }
    return copy;
  }

  #explained(error: unknown): unknown {
    if (!hasCode(error, 'ENOSPC', 'EDQUOT')) return error;
    return new HostError(
      `\`chroot_base\` ${dirname(dirname(this.#directory))} is full; make room there, or put it on the file system of the ` +
        'images, so that they need not be copied',
      { cause: error },
    );
  }
}

/** @throws LaunchError if the VMM has put something else than a file there. */
export async function takeBack(source: string, target: string): Promise<void> {
  try {
    // Without effect if the two are links to one file.
    await rename(source, target);
  } catch (error) {
    if (!hasCode(error, 'EXDEV')) throw error;
    await copyWithoutFollowing(source, target);
  }
  const found = await lstat(target);
  if (!found.isFile()) {
    await rm(target, { force: true });
    throw new LaunchError('the VMM left something else than a file where its snapshot should be');
  }
  await lchown(target, process.getuid?.() ?? 0, process.getgid?.() ?? 0);
}

async function copyWithoutFollowing(source: string, target: string): Promise<void> {
  const file = await open(source, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    if (!(await file.stat()).isFile()) throw new LaunchError('the VMM left something else than a file');
    await pipeline(file.createReadStream({ autoClose: false }), createWriteStream(target, { mode: 0o600 }));
  } finally {
    await file.close();
  }
}

/** @returns false where a link is not possible, but a copy is. */
async function tryLink(source: string, target: string): Promise<boolean> {
  try {
    await link(source, target);
    return true;
  } catch (error) {
    if (hasCode(error, 'EXDEV', 'EPERM', 'EMLINK', 'EOPNOTSUPP')) return false;
    throw error;
  }
}
