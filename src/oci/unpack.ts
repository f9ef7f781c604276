/**
 * Runs in the builder. Layers become a directory that a file system can be made of:
 *
 * ```
 *   layers ──▶ decompress ──▶ tar ──▶ Tree (names, links, owners) ──┐
 *                               └──▶ one flat file for each content ─┴──▶ directory
 * ```
 *
 * While the layers come, nothing of theirs is a name in a directory of this host. Owners, modes and times are not given to files
 * here, which would take root: each file's time is a number, under which its attributes are told.
 */
import { writeFileSync } from 'node:fs';
import { link, lutimes, mkdir, open, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageError } from './image-error.ts';
import { MAX_IMAGE_BYTES } from './manifest.ts';
import { readTar, type TarEntry, type TarReader } from './tar.ts';
import { isDirectory, MAX_ENTRIES, Tree, type Attributes, type Directory, type Inode } from './tree.ts';

/** Files up to this size are written by one call. */
const SMALL_BYTES = 256 * 1024;
/** Files that are put in their places at once. */
const AT_ONCE = 16;
const MAX_STAGED_PATH_BYTES = 3800;
/** Headers and the padding of files come on top. */
const MAX_TAR_BYTES = MAX_IMAGE_BYTES + MAX_ENTRIES * 2048;

export interface LayerSource {
  /** Such as "layer 3 (sha256:…)". */
  readonly name: string;
  /** The tar, unpacked. */
  open(): AsyncIterable<Buffer>;
}

export interface Unpacked {
  readonly tree: Tree;
  /** Makes a file that the tree may name. */
  readonly newFile: (content: string) => Promise<string>;
  /** Devices and pipes that were left out. */
  readonly leftOut: readonly string[];
}

/** @param directory empty; what contents lie in. @throws ImageError; the signal's reason. */
export async function unpackLayers(
  layers: readonly LayerSource[],
  directory: string,
  signal: AbortSignal,
): Promise<Unpacked> {
  const gone: Promise<void>[] = [];
  const tree = new Tree({
    nameOf: (layer) => layers[layer - 1]?.name ?? 'the image',
    onGone: (file) => void gone.push(rm(file, { force: true })),
  });
  const leftOut: string[] = [];
  let files = 0;
  const newPath = (): string => join(directory, String((files += 1)));
  let room = MAX_IMAGE_BYTES;
  for (const layer of layers) {
    tree.beginLayer();
    const tar = readTar(layer.open(), layer.name, MAX_TAR_BYTES);
    try {
      for (let entry; (entry = await tar.next()) !== null;) {
        signal.throwIfAborted();
        room -= entry.size;
        if (room < 0) throw tooLarge();
        await addEntry(tree, entry, tar, newPath, leftOut);
        if (gone.length > 100) await Promise.all(gone.splice(0));
      }
      await tar.rest();
    } finally {
      await tar.close();
    }
  }
  await Promise.all(gone);
  const newFile = async (content: string): Promise<string> => {
    const file = newPath();
    await writeFile(file, content, { flag: 'wx', mode: 0o600 });
    return file;
  };
  return { tree, newFile, leftOut };
}

function tooLarge(): ImageError {
  const limit = `${MAX_IMAGE_BYTES / 1024 ** 3} GB`;
  return new ImageError('too_large', `the layers of the image hold more than ${limit} unpacked; leave files out`);
}

async function addEntry(
  tree: Tree,
  entry: TarEntry,
  tar: TarReader,
  newPath: () => string,
  leftOut: string[],
): Promise<void> {
  const { path, type, target, uid, gid, mtimeS } = entry;
  if (tree.takeAway(path)) return;
  // Programs of a function never gain rights by being run, and files of nobody's making keep no promise that says they do.
  const mode = entry.mode & (type === 'directory' ? 0o1777 : 0o777);
  const attributes: Attributes = { mode, uid, gid, mtimeS };
  switch (type) {
    case 'directory':
      return tree.addDirectory(path, attributes);
    case 'hardlink':
      return tree.addName(path, target);
    case 'symlink':
      if (target === '' || Buffer.byteLength(target) > 4095 || target.includes('\0')) {
        throw new ImageError('bad_image', `${JSON.stringify(path.slice(0, 200))} is a link without a usable target`);
      }
      return tree.add(path, { attributes: { ...attributes, mode: 0o777 }, content: { target } });
    case 'device':
    case 'fifo':
      if (leftOut.length < 10) leftOut.push(path.slice(0, 200));
      return tree.leaveOut(path);
    case 'file': {
      const file = newPath();
      await writeContent(file, entry.size, tar);
      return tree.add(path, { attributes, content: { file } });
    }
  }
}

async function writeContent(path: string, size: number, tar: TarReader): Promise<void> {
  if (size <= SMALL_BYTES) {
    const pieces: Buffer[] = [];
    for (let piece; (piece = await tar.content()) !== null;) pieces.push(piece);
    const content = pieces.length === 1 ? (pieces[0] ?? Buffer.alloc(0)) : Buffer.concat(pieces);
    // At once: an image has thousands of them, and the ways to other threads and back would take longer than the writing.
    writeFileSync(path, content, { flag: 'wx', mode: 0o600 });
    return;
  }
  const file = await open(path, 'wx', 0o600);
  try {
    for (let piece; (piece = await tar.content()) !== null;) await file.write(piece);
  } finally {
    await file.close();
  }
}

/**
 * Puts the files of the tree in their places below the new directory `root`. The time of each, in seconds since 1970, is the index of
 * its attributes; those of `root` itself are the first.
 *
 * @throws ImageError; the signal's reason.
 */
export async function placeTree(tree: Tree, root: string, signal: AbortSignal): Promise<readonly Attributes[]> {
  const attributes: Attributes[] = [];
  /** The first name of each file. */
  const firstNames = new Map<Inode, string>();
  const numberOf = (given: Attributes): number => attributes.push(given) - 1;

  const placeFile = (inode: Inode, place: string): (() => Promise<void>) => {
    const number = numberOf(inode.attributes);
    firstNames.set(inode, place);
    return async () => {
      if ('file' in inode.content) await rename(inode.content.file, place);
      else await symlink(inode.content.target, place);
      await lutimes(place, number, number);
    };
  };
  const placeDirectory = async (directory: Directory, path: string): Promise<void> => {
    signal.throwIfAborted();
    if (Buffer.byteLength(path) > MAX_STAGED_PATH_BYTES) {
      throw new ImageError('bad_image', `the image has directories too deep inside each other; links lead there`);
    }
    const number = numberOf(directory.attributes);
    await mkdir(path, { mode: 0o700 });
    const work: (() => Promise<void>)[] = [];
    // Files come before directories: a file's first name is there when a hard link elsewhere is made.
    for (const [name, child] of directory.children) {
      if (isDirectory(child)) continue;
      const place = join(path, name);
      const { inode } = child;
      const other = firstNames.get(inode);
      if (other === undefined) work.push(placeFile(inode, place));
      else {
        await inTurns(work.splice(0));
        await link(other, place);
      }
    }
    await inTurns(work);
    for (const [name, child] of directory.children)
      if (isDirectory(child)) await placeDirectory(child, join(path, name));
    // Last: what is made in it changes it.
    await lutimes(path, number, number);
  };

  await placeDirectory(tree.root, root);
  return attributes;
}

async function inTurns(work: readonly (() => Promise<void>)[]): Promise<void> {
  for (let at = 0; at < work.length; at += AT_ONCE) {
    await Promise.all(work.slice(at, at + AT_ONCE).map((one) => one()));
  }
}
