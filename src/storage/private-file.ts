/**
 * Runs in firerunner. Files that VMs map, and that nobody else may change or remove:
 *
 * ```
 *   nameless   only the handle leads to it; nothing is left when this process is killed
 *   named      for a VMM that can only be given a name (a link in its jail): read-only for everybody, in a directory that only
 *              we may enter; what a killed process left is removed by the next one
 * ```
 */
import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { chmod, copyFile, mkdir, open, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode } from './error-code.ts';
import { OwnedNames } from './owned-names.ts';

/** Those without a name have one of these for a moment. */
export const PRIVATE_FILES = new OwnedNames('.snapfaas-private-');

export interface PrivateFile {
  readonly handle: FileHandle;
  /** Null: it has none. */
  readonly path: string | null;
}

/** Where private files are made. */
export interface PrivatePlace {
  readonly directory: string;
  readonly isNamed: boolean;
}

/**
 * Copies a file to a named one.
 *
 * @param directory exists.
 * @returns its path.
 */
export async function copyPrivate(directory: string, source: string): Promise<string> {
  const path = join(directory, await privateName());
  try {
    await copyFile(source, path, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
    await chmod(path, 0o444);
    return path;
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
}

/** Closes it, and takes its name away; what has been mapped stays. */
export async function closePrivate({ handle, path }: PrivateFile): Promise<void> {
  if (path !== null) await rm(path, { force: true });
  await handle.close();
}

/** Removes named files of processes that are gone. */
export async function removePrivateLeftovers(directory: string): Promise<void> {
  await PRIVATE_FILES.removeAbandoned(directory).catch((error: unknown) => {
    if (!hasCode(error, 'ENOENT')) throw error;
  });
}

/** An empty one. @throws NodeJS.ErrnoException */
export async function createPrivate({ directory, isNamed }: PrivatePlace): Promise<PrivateFile> {
  if (isNamed) await mkdir(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, await privateName());
  const handle = await open(path, 'wx+', 0o600);
  if (isNamed) return { handle, path };
  try {
    await rm(path);
    return { handle, path: null };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

function privateName(): Promise<string> {
  return PRIVATE_FILES.make(randomUUID());
}
