/**
 * Runs in firerunner. How files get into jails and back. A VMM that was broken into owns its jail and may put anything in the
 * place of any name there, at any moment. So nothing in a jail is opened, copied or given an owner by its name: what is to
 * be shared is made ready where only we have a say, and then linked; what comes back is what was linked, by our own name for it.
 */
import { constants, type Stats } from 'node:fs';
import { chmod, chown, copyFile, link, open, realpath, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { HostError, LaunchError, type SavedFile } from '../machine.ts';
import { hasCode } from '../../storage/error-code.ts';
import { fileIdentity } from '../../storage/file-identity.ts';
import { copyPrivate } from '../../storage/private-file.ts';
import type { WritableLink } from './vmm-directory.ts';

const READABLE_BY_OTHERS = 0o004;
const WRITABLE_BY_OTHERS = 0o002;
const WRITABLE_BY_GROUP = 0o020;

const NOT_LINKABLE = 'it is not on the file system of `chroot_base`, so it cannot be linked';

export interface JailOwner {
  readonly uid: number;
  readonly gid: number;
}

/** Links files into any number of jails. */
export class JailFiles {
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
  async link(source: string | SavedFile, target: string, owner: JailOwner): Promise<void> {
    const named = typeof source === 'string' ? source : source.path;
    if (named === null) throw new HostError('a file without a name cannot be linked into a jail');
    const path = await realpath(named);
    const fault = faultFor(owner, await stat(path));
    if (fault === null && (await tryLink(path, target))) return;
    await put(await this.#copyOf(path, fault ?? NOT_LINKABLE), target);
  }

  /** A file that the VMM may change until it is collected, or dropped; made if it is not there. */
  async linkWritable(source: string, target: string, { uid, gid }: JailOwner): Promise<WritableLink> {
    await createIfMissing(source);
    // Before the VMM can see it: from then on the name may lead to another file.
    await chown(source, uid, gid);
    if (await tryLink(source, target)) {
      return { collect: () => takeOwnership(source), drop: () => Promise.resolve() };
    }
    if (!this.#hasCopiedMemory) {
      this.#onCopy(`the memory of a VM is copied, to its jail and back, for each snapshot: ${NOT_LINKABLE}`);
    }
    this.#hasCopiedMemory = true;
    const copy = await this.#copied(source);
    const drop = (): Promise<void> => rm(copy, { force: true }).catch(() => undefined);
    try {
      await chmod(copy, 0o600);
      await chown(copy, uid, gid);
      await put(copy, target);
    } catch (error) {
      await drop();
      throw error;
    }
    return {
      collect: async () => {
        await copyFile(copy, source, constants.COPYFILE_FICLONE);
        await takeOwnership(source);
      },
      drop,
    };
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
      copy = this.#copied(path);
      copy.catch(() => this.#copies.delete(key));
      this.#copies.set(key, copy);
    }
    return copy;
  }

  #copied(path: string): Promise<string> {
    return copyPrivate(this.#directory, path).catch((error: unknown) => {
      throw this.#explained(error);
    });
  }

  #explained(error: unknown): unknown {
    if (!hasCode(error, 'ENOSPC', 'EDQUOT')) return error;
    return chrootBaseIsFull(dirname(dirname(this.#directory)), error);
  }
}

/** @param base the directory that `chroot_base` names. */
export function chrootBaseIsFull(base: string, cause: unknown): HostError {
  return new HostError(
    `\`chroot_base\` ${base} is full; make room there, or put it on the file system of the images, so that they need not be ` +
      'copied',
    { cause },
  );
}

/** Why a VMM of this user must not have a link to such a file: it could not read it, or could change it for all others. */
function faultFor({ uid, gid }: JailOwner, file: Stats): string | null {
  if (file.uid === uid) return `it belongs to user ${uid}, which a VM runs as`;
  if ((file.mode & WRITABLE_BY_OTHERS) !== 0) return 'other users may write to it';
  if ((file.mode & WRITABLE_BY_GROUP) !== 0 && file.gid === gid)
    return `group ${gid}, which VMs are in, may write to it`;
  if (file.gid === gid ? (file.mode & (READABLE_BY_OTHERS << 3)) === 0 : (file.mode & READABLE_BY_OTHERS) === 0) {
    return 'other users may not read it';
  }
  return null;
}

async function createIfMissing(path: string): Promise<void> {
  const file = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  await file.close();
}

async function takeOwnership(path: string): Promise<void> {
  await chown(path, process.getuid?.() ?? 0, process.getgid?.() ?? 0);
}

/** @throws LaunchError if the VMM has put something there. */
async function put(source: string, target: string): Promise<void> {
  try {
    await link(source, target);
  } catch (error) {
    if (hasCode(error, 'EEXIST')) throw new LaunchError(`the VMM has put something in the place of ${target}`);
    throw error;
  }
}

/** @returns false where a link is not possible, but a copy is. */
async function tryLink(source: string, target: string): Promise<boolean> {
  try {
    await put(source, target);
    return true;
  } catch (error) {
    if (hasCode(error, 'EXDEV', 'EPERM', 'EMLINK', 'EOPNOTSUPP')) return false;
    throw error;
  }
}
