/** Runs in the builder and in `npm start`. A function's directory, read with the rules for what may go into an image. */
import { existsSync } from 'node:fs';
import { chmod, copyFile, lstat, mkdir, readdir, readlink, realpath, rm, stat, symlink } from 'node:fs/promises';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { sha256File, sha256Json } from '../storage/digest.ts';
import { hasCode } from '../storage/error-code.ts';

/** Raised when the same directory is to give another result than before. */
const TREE_RULES_VERSION = 1;

/** Made by tools in passing, and different on every machine. */
const SKIPPED: ReadonlySet<string> = new Set(['.git', '__pycache__', '.DS_Store']);

export type TreeEntry =
  | { readonly path: string; readonly type: 'directory' }
  | { readonly path: string; readonly type: 'file'; readonly executable: boolean; readonly sha256: string }
  | { readonly path: string; readonly type: 'symlink'; readonly target: string };

const FILES_AT_ONCE = 16;

/** A file whose contents were not looked at yet. */
interface FoundFile {
  readonly absolute: string;
  readonly path: string;
  readonly executable: boolean;
}

/** The directory cannot become an image; the message names the file and says what to do. */
export class TreeError extends Error {
  override readonly name = 'TreeError';
}

/**
 * Every file, directory and link below `directory`, sorted by path; paths are relative to it.
 *
 * @param skips what is left out, with all that is in it; a directory's path ends in a slash.
 * @throws TreeError if it is no directory, or holds a link that leads out of it, a device, a socket, a FIFO, or a name
 * that is not UTF-8.
 */
export async function scanTree(
  directory: string,
  skips: (path: string) => boolean = () => false,
): Promise<readonly TreeEntry[]> {
  const status = await stat(directory).catch(() => undefined);
  if (status === undefined) throw new TreeError(`the directory ${directory} does not exist`);
  if (!status.isDirectory()) throw new TreeError(`${directory} is not a directory`);
  const entries: TreeEntry[] = [];
  const files: FoundFile[] = [];
  await scan(await realpath(directory), '', { entries, files, skips });
  await forEachFile(files, async ({ absolute, path, executable }) => {
    entries.push({ path, type: 'file', executable, sha256: await sha256File(absolute) });
  });
  return entries.sort((left, right) => (left.path < right.path ? -1 : 1));
}

interface Scan {
  readonly entries: TreeEntry[];
  readonly files: FoundFile[];
  readonly skips: (path: string) => boolean;
}

async function scan(root: string, folder: string, found: Scan): Promise<void> {
  const { entries, files, skips } = found;
  for (const name of await readdir(join(root, folder))) {
    if (SKIPPED.has(name)) continue;
    const path = join(folder, name);
    const absolute = join(root, path);
    const status = await lstat(absolute).catch((cause: unknown) => {
      // What Node puts in place of bytes that are no UTF-8.
      if (!hasCode(cause, 'ENOENT') || !name.includes('\uFFFD')) throw cause;
      throw new TreeError(`${absolute}: its name is not UTF-8; rename it`);
    });
    if (skips(status.isDirectory() ? `${path}/` : path)) continue;
    if (status.isDirectory()) {
      entries.push({ path, type: 'directory' });
      await scan(root, path, found);
    } else if (status.isFile()) {
      files.push({ absolute, path, executable: (status.mode & 0o111) !== 0 });
    } else if (status.isSymbolicLink()) {
      entries.push({ path, type: 'symlink', target: await insideTarget(root, absolute) });
    } else {
      throw new TreeError(`${absolute} is neither a file, a directory nor a link; remove it`);
    }
  }
}

/** The link's target, if it stays inside: by its words, and by where it really leads. */
async function insideTarget(root: string, link: string): Promise<string> {
  const target = await readlink(link);
  const real = await realpath(link).catch(() => undefined);
  const absolute = target.startsWith(sep);
  if (absolute || !isInside(root, resolve(dirname(link), target)) || (real !== undefined && !isInside(root, real))) {
    const advice = absolute ? 'use a relative target' : 'copy the file instead';
    throw new TreeError(`${link} is a link to ${target}, which is outside of the function's directory; ${advice}`);
  }
  return target;
}

/**
 * Looks at the links in a folder of `directory`, of which another program may have made some.
 * @throws TreeError if one leads out of the directory, or nowhere.
 */
export async function checkLinks(directory: string, folder: string): Promise<void> {
  const root = await realpath(directory);
  for (const entry of await readdir(join(root, folder), { withFileTypes: true }).catch(() => [])) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await checkLinks(directory, path);
    else if (entry.isSymbolicLink()) {
      const target = await insideTarget(root, join(root, path));
      if (!existsSync(join(root, path))) {
        throw new TreeError(
          `${join(directory, path)} is a link to ${target}, which is not there; copy it into the directory`,
        );
      }
    }
  }
}

/** Whether a path, by its words, is `root` or below it. */
export function isInside(root: string, path: string): boolean {
  const way = relative(root, path);
  return way !== '..' && !way.startsWith(`..${sep}`);
}

/** Digest over names, executable bits and contents; not over times, owners or the order in the directory. */
export function treeDigest(entries: readonly TreeEntry[]): string {
  return sha256Json({ rules: TREE_RULES_VERSION, entries });
}

/**
 * Copies the entries of `directory` into `target`, readable by everyone. What is already there is overwritten, whatever it is;
 * two directories become one.
 */
export async function copyTree(directory: string, entries: readonly TreeEntry[], target: string): Promise<void> {
  for (const entry of entries) {
    if (entry.type !== 'directory') continue;
    await makeRealDirectory(join(target, entry.path));
    await chmod(join(target, entry.path), 0o755);
  }
  const others = entries.filter((entry) => entry.type !== 'directory');
  await forEachFile(others, async (entry) => {
    const path = join(target, entry.path);
    // Writing to a link that is there would write to what it points at.
    await rm(path, { recursive: true, force: true });
    if (entry.type === 'symlink') return symlink(entry.target, path);
    await copyFile(join(directory, entry.path), path);
    await chmod(path, entry.executable ? 0o755 : 0o644);
  });
}

/**
 * Some at once: each step of a small file is a way to another thread and back, in which nothing else would happen.
 *
 * @throws what the first that fails threw, when none is under way any more.
 */
async function forEachFile<T>(files: readonly T[], work: (file: T) => Promise<void>): Promise<void> {
  const failures: unknown[] = [];
  const rest = files.values();
  const worker = async (): Promise<void> => {
    for (const file of rest) {
      if (failures.length > 0) return;
      await work(file).catch((error: unknown) => failures.push(error));
    }
  };
  await Promise.all(Array.from({ length: FILES_AT_ONCE }, worker));
  if (failures.length > 0) throw failures[0];
}

/** A link to a directory would lead what is copied into it elsewhere. */
async function makeRealDirectory(path: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
    if ((await lstat(path)).isDirectory()) return;
    await rm(path);
    await mkdir(path);
  }
}
