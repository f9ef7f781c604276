/** Runs in each program. Directories of ours that may not be there yet. */
import { access, constants, lstat, mkdir, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { Stats } from 'node:fs';
import { codeOf } from './error-code.ts';

/** A directory cannot be made or written to; the message says whose it is and what to do. */
export class DirectoryError extends Error {
  override readonly name = 'DirectoryError';
}

/**
 * Makes a directory, and those above it that are missing. Node's own `recursive` never comes back from file systems in
 * which nothing can be made, such as /proc, and says ENOENT for whatever is wrong above.
 *
 * @throws NodeJS.ErrnoException of the directory that cannot be made.
 */
export async function makeDirectory(path: string, mode = 0o777): Promise<void> {
  try {
    await mkdir(path, { mode });
  } catch (error) {
    if (codeOf(error) === 'ENOENT' && dirname(path) !== path) {
      await makeDirectory(dirname(path), mode);
      await mkdir(path, { mode }).catch(ignoreExisting);
    } else if (!(await isDirectory(path))) throw error;
  }
}

/**
 * Makes sure that a directory is there and can be written to.
 *
 * @param help what to do if not, such as "set XDG_CACHE_HOME to a directory of yours".
 * @throws DirectoryError
 */
export async function makeWritableDirectory(path: string, help: string): Promise<void> {
  try {
    await makeDirectory(path);
    await access(path, constants.W_OK);
  } catch (cause) {
    const owner = await stat(path).catch(() => null);
    const whose = owner === null ? 'cannot be made' : `belongs to user ${owner.uid} and cannot be written to`;
    throw new DirectoryError(`${path} ${whose} (${REASONS[codeOf(cause) ?? ''] ?? String(cause)}); ${help}`, { cause });
  }
}

/** Permission bits: others than the owner may make and remove names; only each their own. */
const WRITABLE_BY_OTHERS = 0o022;
const STICKY = 0o1000;

/**
 * Makes sure that nobody but us, or the administrator, decides what names in a directory lead to.
 *
 * @param help what to do if somebody does, such as "set SNAPFAAS_RUN_DIR to a directory of your own".
 * @throws DirectoryError; NodeJS.ErrnoException if the directory is not there.
 */
export async function checkOwnDirectory(path: string, help: string): Promise<void> {
  // With a slash at its end, a link would be followed.
  const problem = ownershipProblem(await lstat(resolve(path)));
  if (problem !== null) throw new DirectoryError(`${path} ${problem}; ${help}`);
}

function ownershipProblem(status: Stats): string | null {
  if (status.isSymbolicLink()) return 'is a symbolic link';
  if (!status.isDirectory()) return 'is not a directory';
  const uid = process.geteuid?.() ?? status.uid;
  if (status.uid !== uid) return `belongs to user ${status.uid}, not to us`;
  const isShared = (status.mode & WRITABLE_BY_OTHERS) !== 0 && (status.mode & STICKY) === 0;
  return isShared ? 'can be written to by other users ("chmod go-w" takes that from them)' : null;
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  ENOENT: 'nothing can be made there',
  ENOSPC: 'no space left',
  ENOTDIR: 'a file is in its way',
  EEXIST: 'a file is in its place',
  EROFS: 'the file system is read-only',
};

async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (status) => status.isDirectory(),
    () => false,
  );
}

function ignoreExisting(error: unknown): void {
  if (codeOf(error) !== 'EEXIST') throw error;
}
