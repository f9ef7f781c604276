/**
 * Runs in the builder and in `npm start`. File systems for guests: ext4 without a journal, made from a directory by
 * mke2fs, then made reproducible. mke2fs walks directories in the order of names, but copies owners and times of
 * change, which no program can set; these are overwritten in the image. Checksums of metadata are off: the images are
 * read-only, and their inodes are edited here.
 */
import { lstat, open, readdir, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool } from './tool.ts';

const BLOCK_BYTES = 4096;
const INODE_BYTES = 256;
/** Of an entry without its name, padding included. */
const DIRECTORY_ENTRY_BYTES = 12;
/** Targets of links that are shorter are in the inode. */
const SHORT_LINK_BYTES = 60n;
/** Any fixed value does; it is also the seed of the directory hash. */
const UUID = '5ba9faa5-0000-4000-8000-736e61706661';
/** 2020-01-01 00:00 UTC: the time of every file in an image. */
const FILE_TIME_S = 1_577_836_800;
/** All that is on; `none` clears the defaults of mke2fs.conf, which differ between systems. */
const FEATURES =
  'none,ext_attr,dir_index,filetype,extent,sparse_super2,large_file,huge_file,flex_bg,extra_isize,dir_nlink';

/** Raised when the bytes of an image change for the same contents. */
export const EXT4_RULES_VERSION = 2;

export interface Ext4Size {
  /** Size of the file system and (sparse) file, a multiple of 4096. */
  readonly bytes: number;
  readonly inodes: number;
}

/** What a directory needs in a file system, in whole blocks, without the file system's own tables. */
export interface TreeSize {
  readonly bytes: number;
  /** Files, directories and links. */
  readonly entries: number;
}

export async function measureTree(directory: string): Promise<TreeSize> {
  return measureDirectory(directory, new Set());
}

/** @param seen files with several names that were counted: their contents are there once. */
async function measureDirectory(directory: string, seen: Set<bigint>): Promise<TreeSize> {
  let ownBytes = 0;
  let bytes = 0;
  let entries = 1;
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    ownBytes += DIRECTORY_ENTRY_BYTES + Buffer.byteLength(entry.name);
    if (entry.isDirectory()) {
      const inner = await measureDirectory(path, seen);
      bytes += inner.bytes;
      entries += inner.entries;
    } else {
      const status = await lstat(path, { bigint: true });
      if (status.nlink > 1n && seen.has(status.ino)) continue;
      seen.add(status.ino);
      if (!status.isSymbolicLink() || status.size >= SHORT_LINK_BYTES) bytes += wholeBlocks(Number(status.size));
      entries += 1;
    }
  }
  return { bytes: bytes + Math.max(wholeBlocks(ownBytes), BLOCK_BYTES), entries };
}

function wholeBlocks(bytes: number): number {
  return Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;
}

/** A size that fits the tree with little to spare, for images that nobody else has to match in size. */
export function tightSize(tree: TreeSize): Ext4Size {
  const inodes = tree.entries + 64;
  const mebibyte = 1024 * 1024;
  const needed = tree.bytes * 1.005 + inodes * INODE_BYTES + mebibyte;
  return { bytes: Math.ceil(needed / mebibyte) * mebibyte, inodes };
}

/** Whose a file is, and what it may be used for; nobody but root could give it to files in a directory. */
export interface FileAttributes {
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Of its last change, in seconds since 1970; at most 32 bits. */
  readonly mtimeS: number;
}

/**
 * Writes the tree under `directory` as a file system to the new file `image`.
 *
 * @param attributes null: everything in it belongs to root, and is as old as all other images' files. Otherwise the time of a file in
 * the tree, in whole seconds since 1970, is the index of its attributes; the first are those of the root.
 * @throws ToolError if it does not fit, or e2fsprogs is not installed.
 */
export async function writeExt4(
  directory: string,
  image: string,
  size: Ext4Size,
  label: string,
  attributes: readonly FileAttributes[] | null = null,
): Promise<void> {
  const extended = `hash_seed=${UUID},root_owner=0:0,num_backup_sb=0,nodiscard,lazy_itable_init=1`;
  const layout = ['-b', String(BLOCK_BYTES), '-I', String(INODE_BYTES), '-N', String(size.inodes), '-m', '0'];
  const content = ['-U', UUID, '-L', label, '-E', extended, '-d', directory];
  const blocks = String(size.bytes / BLOCK_BYTES);
  await runTool('mke2fs', ['-q', '-F', '-t', 'ext4', '-O', FEATURES, ...layout, ...content, image, blocks], {
    environment: { MKE2FS_CONFIG: '/dev/null', LC_ALL: 'C' },
  });
  // A function that lists its directory should find its own files only.
  await runTool('debugfs', ['-w', '-R', 'rmdir lost+found', image]);
  await fixTimesAndOwners(image, attributes);
}

/** Fields of the superblock (at byte 1024) that hold times, or the upper bits of times. */
const SUPERBLOCK_TIMES = { s_mtime: 0x2c, s_wtime: 0x30, s_lastcheck: 0x40, s_mkfs_time: 0x108, upper: 0x274 } as const;
/** Fields of an inode that say who and when; offsets in bytes, each 4 long (ids: 2). */
const INODE_TIMES = { atime: 0x08, ctime: 0x0c, mtime: 0x10, crtime: 0x90 } as const;
const INODE_TIMES_EXTRA = { ctime: 0x84, mtime: 0x88, atime: 0x8c, crtime: 0x94 } as const;
const INODE_OWNERS = { uid: 0x02, gid: 0x18, uidHigh: 0x78, gidHigh: 0x7a } as const;
const INODE_DELETION_TIME = 0x14;
const ROOT_INODE = 2;
/** Of files. */
const FIRST_INODE = 11;
/** Of an inode's mode. */
const TYPE_BITS = 0o170000;
const UNUSED_INODE = Buffer.alloc(INODE_BYTES);

/** See https://docs.kernel.org/filesystems/ext4/ ("Super Block", "Block Group Descriptors", "Index Nodes"). */
async function fixTimesAndOwners(image: string, attributes: readonly FileAttributes[] | null): Promise<void> {
  const file = await open(image, 'r+');
  try {
    const superblock = await readAt(file, 1024, 1024);
    for (const offset of Object.values(SUPERBLOCK_TIMES)) superblock.writeUInt32LE(FILE_TIME_S, offset);
    superblock.writeUInt32LE(0, SUPERBLOCK_TIMES.upper);
    await file.write(superblock, 0, 1024, 1024);

    const blocks = superblock.readUInt32LE(0x04);
    const blocksPerGroup = superblock.readUInt32LE(0x20);
    const inodesPerGroup = superblock.readUInt32LE(0x28);
    const groups = Math.ceil(blocks / blocksPerGroup);
    const descriptors = await readAt(file, BLOCK_BYTES, groups * 32);
    for (let group = 0; group < groups; group += 1) {
      const tableAt = descriptors.readUInt32LE(group * 32 + 8) * BLOCK_BYTES;
      const first = group * inodesPerGroup + 1;
      await fixInodes(file, tableAt, inodesPerGroup * INODE_BYTES, first, attributes);
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Edits one group's inode table in place; unused inodes are zero and stay so, which keeps the file sparse. */
async function fixInodes(
  file: FileHandle,
  tableAt: number,
  tableBytes: number,
  first: number,
  attributes: readonly FileAttributes[] | null,
): Promise<void> {
  const table = await readAt(file, tableAt, tableBytes);
  let end = 0;
  for (let at = 0; at < tableBytes; at += INODE_BYTES) {
    const inode = table.subarray(at, at + INODE_BYTES);
    if (inode.equals(UNUSED_INODE)) continue;
    // Deleted (lost+found): nothing refers to it, and what is left in it depends on the moment.
    if (inode.readUInt16LE(0x1a) === 0 && inode.readUInt32LE(INODE_DELETION_TIME) !== 0) inode.fill(0);
    else fixInode(inode, first + at / INODE_BYTES, attributes);
    end = at + INODE_BYTES;
  }
  if (end > 0) await file.write(table, 0, end, tableAt);
}

/** @param number from 1 on; the first ten but for the root's are the file system's own. */
function fixInode(inode: Buffer, number: number, attributes: readonly FileAttributes[] | null): void {
  const index = number === ROOT_INODE ? 0 : inode.readUInt32LE(INODE_TIMES.mtime);
  const own = number === ROOT_INODE || number >= FIRST_INODE ? attributes?.[index] : undefined;
  if (attributes !== null && own === undefined && number >= FIRST_INODE) {
    throw new Error(`bug: inode ${number} has the time ${index}, which no attributes are told for`);
  }
  const { uid, gid, mtimeS } = own ?? { uid: 0, gid: 0, mtimeS: FILE_TIME_S };
  for (const offset of Object.values(INODE_TIMES)) inode.writeUInt32LE(mtimeS, offset);
  // Of 1970 and later up to 2038 with these bits unset; beyond, the first of them counts.
  const era = mtimeS > 0x7fff_ffff ? 1 : 0;
  for (const offset of Object.values(INODE_TIMES_EXTRA)) inode.writeUInt32LE(era, offset);
  inode.writeUInt16LE(uid & 0xffff, INODE_OWNERS.uid);
  inode.writeUInt16LE(uid >>> 16, INODE_OWNERS.uidHigh);
  inode.writeUInt16LE(gid & 0xffff, INODE_OWNERS.gid);
  inode.writeUInt16LE(gid >>> 16, INODE_OWNERS.gidHigh);
  if (own !== undefined) inode.writeUInt16LE((inode.readUInt16LE(0) & TYPE_BITS) | own.mode, 0);
}

async function readAt(file: FileHandle, position: number, bytes: number): Promise<Buffer> {
  const buffer = Buffer.alloc(bytes);
  const { bytesRead } = await file.read(buffer, 0, bytes, position);
  if (bytesRead !== bytes) throw new Error(`the file system image ends at byte ${position + bytesRead}`);
  return buffer;
}
