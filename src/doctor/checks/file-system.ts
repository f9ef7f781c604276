/** Runs in `snapctr doctor`. What is known of the file system a directory is on. */
import { constants, copyFileSync, existsSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** `f_type` of statfs(2). Source: that manual page and the kernel's magic.h. */
const NAMES: Readonly<Record<number, string>> = {
  0x01021994: 'tmpfs',
  0x858458f6: 'ramfs',
  0xef53: 'ext4',
  0x58465342: 'xfs',
  0x9123683e: 'btrfs',
  0xca451a4e: 'bcachefs',
  0x2fc12fc1: 'zfs',
  0xf2f52010: 'f2fs',
  0x794c7630: 'overlayfs',
  0x6969: 'nfs',
  0xff534d42: 'cifs',
  0xfe534d42: 'smb',
  0x01021997: '9p',
  0x65735546: 'fuse',
};
/** File systems whose files are in memory. */
const IN_MEMORY = ['tmpfs', 'ramfs'];
const ON_NETWORK = ['nfs', 'cifs', 'smb', '9p'];
/** A whole block of any file system, in bytes. */
const SAMPLE_BYTES = 64 * 1024;

export interface FileSystem {
  /** Such as "ext4", or its number. */
  readonly name: string;
  readonly isInMemory: boolean;
  readonly isOnNetwork: boolean;
  /** What an ordinary user may still write. */
  readonly freeMib: number;
  /** Whether copies can share blocks (really tried); null if nothing could be written. */
  readonly hasReflinks: boolean | null;
  /** Why nothing can be written; null if something was. */
  readonly unwritable: string | null;
}

/** @param directory that exists. */
export function examineFileSystem(directory: string): FileSystem {
  const { type, bavail, bsize } = statfsSync(directory);
  // The kernel's number is signed on some systems.
  const name = NAMES[type >>> 0] ?? `type 0x${(type >>> 0).toString(16)}`;
  return {
    name,
    isInMemory: IN_MEMORY.includes(name),
    isOnNetwork: ON_NETWORK.includes(name),
    freeMib: Math.floor((bavail * bsize) / 1024 / 1024),
    ...tryWriting(directory),
  };
}

function tryWriting(directory: string): Pick<FileSystem, 'hasReflinks' | 'unwritable'> {
  let place: string;
  try {
    place = mkdtempSync(join(directory, '.doctor-'));
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    return { hasReflinks: null, unwritable: code };
  }
  try {
    writeFileSync(join(place, 'sample'), Buffer.alloc(SAMPLE_BYTES, 1));
    return { hasReflinks: canReflink(place), unwritable: null };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    return { hasReflinks: null, unwritable: code };
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

function canReflink(place: string): boolean {
  try {
    copyFileSync(join(place, 'sample'), join(place, 'copy'), constants.COPYFILE_FICLONE_FORCE);
    return true;
  } catch {
    return false;
  }
}

/** The path itself, or the closest directory above it that is there. */
export function nearestExisting(path: string): string {
  return existsSync(path) || dirname(path) === path ? path : nearestExisting(dirname(path));
}
