/**
 * Runs in the builder and in `npm start`. Puts built files in place so that a reader sees a whole file or none:
 *
 * ```
 *   lock → remove leftovers → build under a temporary name → fsync → remove old manifest → rename file → rename manifest
 * ```
 *
 * A build that is killed anywhere leaves no manifest for a file it did not finish, and leftovers that the next removes.
 *
 * The user may name any folder, /tmp as well. So the lock is not in it but in the cache, where nobody else can hold it; and
 * leftovers are known by their names.
 */
import { mkdir, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { randomUUID } from 'node:crypto';
import { CACHE_HELP, cacheDirectory } from '../storage/cache-directory.ts';
import { sha256 } from '../storage/digest.ts';
import { withLock, type LockOptions } from '../storage/lock.ts';
import { makeWritableDirectory } from '../storage/make-directory.ts';
import { OwnedNames } from '../storage/owned-names.ts';
import { removeTree } from '../storage/remove-tree.ts';
import { sync } from '../storage/sync.ts';
import { describeFile, manifestPath, type Manifest, type ManifestDraft } from './manifest.ts';
import { runTool } from './tool.ts';

/** A folder in which one builder works at a time. */
export interface BuildFolder {
  /** A new empty directory for unpacked things; removed at the end. */
  readonly scratch: string;
  /**
   * Builds `file` (in the folder that is built in, or below): `produce` writes it under the path it is given.
   * @returns its manifest, once both are in place.
   */
  publish(file: string, draft: ManifestDraft, produce: (temporary: string) => Promise<void>): Promise<Manifest>;
  /** Moves the directory `made` to `place`, then writes `stamp` beside it, which says that it is whole. */
  publishDirectory(place: string, made: string, stampFile: string, stamp: string): Promise<void>;
}

export interface BuildFolderOptions extends LockOptions {
  /** What to do if the folder cannot be written to. */
  readonly help?: string;
}

/**
 * Gives `work` the folder for itself, so that two builders do not disturb each other.
 *
 * @throws DirectoryError if it cannot be written to; AbortError while waiting; whatever `work` throws.
 */
export async function inBuildFolder<T>(
  folder: string,
  work: (buildFolder: BuildFolder) => Promise<T>,
  { help = 'name another directory, or make it yours', ...options }: BuildFolderOptions = {},
): Promise<T> {
  await makeWritableDirectory(folder, help);
  const inFolder = async (): Promise<T> => {
    // Who had the lock before may have removed it.
    await makeWritableDirectory(folder, help);
    return inOwnFolder(folder, work);
  };
  return withLock(await buildFolderLock(folder), inFolder, options);
}

/** Whoever builds in the folder, or removes it, has this lock. @throws NodeJS.ErrnoException if the folder is not there. */
export async function buildFolderLock(folder: string): Promise<string> {
  const locks = join(cacheDirectory(), 'locks');
  await makeWritableDirectory(locks, CACHE_HELP);
  return join(locks, `${sha256(await realpath(folder)).slice(0, 32)}.lock`);
}

const IMAGE_BUILDS = new OwnedNames('.snapfaas-image-');

/** Removes what builders have left in the folder that were killed; who builds in it now is not disturbed. */
export async function removeAbandonedBuilds(folder: string): Promise<void> {
  await IMAGE_BUILDS.removeAbandoned(folder);
}

async function inOwnFolder<T>(folder: string, work: (buildFolder: BuildFolder) => Promise<T>): Promise<T> {
  await removeAbandonedBuilds(folder);
  const own = join(folder, await IMAGE_BUILDS.make(randomUUID().slice(0, 8)));
  const scratch = join(own, 'scratch');
  await mkdir(own, { mode: 0o700 });
  try {
    await mkdir(scratch);
    return await work({
      scratch,
      publish: (file, draft, produce) => publish(own, file, draft, produce),
      publishDirectory: (place, made, stampFile, stamp) => publishDirectory(own, place, made, stampFile, stamp),
    });
  } finally {
    await removeTree(own);
  }
}

async function publish(
  own: string,
  file: string,
  draft: ManifestDraft,
  produce: (temporary: string) => Promise<void>,
): Promise<Manifest> {
  const temporary = join(own, basename(file));
  const temporaryManifest = manifestPath(temporary);
  await produce(temporary);
  await sync(temporary);
  const manifest = await describeFile(temporary, draft);
  await writeFile(temporaryManifest, `${JSON.stringify(manifest, undefined, 2)}\n`);
  await sync(temporaryManifest);
  await mkdir(dirname(file), { recursive: true });
  await rm(manifestPath(file), { force: true });
  await rename(temporary, file);
  await rename(temporaryManifest, manifestPath(file));
  await sync(dirname(file));
  return manifest;
}

async function publishDirectory(
  own: string,
  place: string,
  made: string,
  stampFile: string,
  stamp: string,
): Promise<void> {
  const temporaryStamp = join(own, basename(stampFile));
  await writeFile(temporaryStamp, stamp);
  await syncTree(made, temporaryStamp);
  await rm(stampFile, { force: true });
  await removeTree(place);
  await rename(made, place);
  await rename(temporaryStamp, stampFile);
  await sync(dirname(place));
}

/** One call for the whole file system: syncing each of a thousand small files takes seconds. */
async function syncTree(directory: string, file: string): Promise<void> {
  if (process.platform === 'linux') await runTool('sync', ['-f', directory]);
  await sync(file);
}
