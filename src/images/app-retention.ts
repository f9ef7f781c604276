/** Runs in the builder. Staged functions and their images are kept while somebody needs them, and for a while after that. */
import { randomUUID } from 'node:crypto';
import { lstat, readdir, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { withFreeLock, withLock } from '../storage/lock.ts';
import { makeDirectory } from '../storage/make-directory.ts';
import { OwnedNames } from '../storage/owned-names.ts';
import { hasCode } from '../storage/error-code.ts';
import { removeTree } from '../storage/remove-tree.ts';
import { GRACE_MS, removable, REMOVED_AT_ONCE, type Retained, type RetentionLimits } from '../storage/retention.ts';
import { neededNames, touch } from '../storage/uses.ts';
import { buildFolderLock, removeAbandonedBuilds } from './publish.ts';

/** As digests are written; whatever else is in the directory is not ours. */
const APP = /^[0-9a-f]{64}$/;
const OLD_APPS = new OwnedNames('.snapfaas-old-');

/** By folder: its time, and how large it was then. */
const measured = new Map<string, { readonly usedAt: number; readonly bytes: number }>();

/**
 * A function's folder is used now, and stays for `GRACE_MS` at least.
 *
 * @param file in it, without which it is of no use.
 * @returns false if it was removed meanwhile: it has to be made again.
 */
export async function useApp(folder: string, file: string, signal?: AbortSignal): Promise<boolean> {
  try {
    const lock = await buildFolderLock(folder);
    return await withLock(lock, async () => (await isThere(file)) && touch(folder), { signal });
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
}

/**
 * Removes what nobody needs and the limits do not cover, some of it: what is left is for the next call. Nothing that is being
 * built, or was used within `GRACE_MS`, is touched.
 *
 * @param apps directory of folders by digest.
 * @returns names of what was removed; whether there is more.
 */
export async function removeUnusedApps(
  apps: string,
  limits: RetentionLimits,
  signal: AbortSignal,
): Promise<{ readonly removed: readonly string[]; readonly more: boolean }> {
  await makeDirectory(apps);
  await OLD_APPS.removeAbandoned(apps);
  const found: Retained[] = [];
  for (const name of await readdir(apps)) {
    if (!APP.test(name)) continue;
    signal.throwIfAborted();
    // A builder that was killed when all was in its place is followed by none that builds there again.
    await removeAbandonedBuilds(join(apps, name)).catch(ignoreMissing);
    const one = await measure(join(apps, name), name, signal);
    if (one !== null) found.push(one);
  }
  const wanted = removable(found, await neededNames(apps), limits, Date.now());
  const removed: string[] = [];
  for (const { name } of wanted.slice(0, REMOVED_AT_ONCE)) {
    signal.throwIfAborted();
    if (await removeApp(apps, name)) removed.push(name);
  }
  return { removed, more: wanted.length > REMOVED_AT_ONCE };
}

/** @returns whether it was removed; not if it is being built, or was used since it was looked at. */
async function removeApp(apps: string, name: string): Promise<boolean> {
  const folder = join(apps, name);
  const old = join(apps, await OLD_APPS.make(randomUUID().slice(0, 8)));
  const isRemoved = { yet: false };
  await withFreeLock(await buildFolderLock(folder), async () => {
    const usedAt = (await stat(folder)).mtimeMs;
    if (Date.now() - usedAt <= GRACE_MS || (await neededNames(apps)).has(name)) return;
    await rename(folder, old);
    isRemoved.yet = true;
  });
  await removeTree(old);
  if (isRemoved.yet) measured.delete(folder);
  return isRemoved.yet;
}

/** @returns null if it is not there any more. */
async function measure(folder: string, name: string, signal: AbortSignal): Promise<Retained | null> {
  const status = await stat(folder).catch(() => null);
  if (status === null) return null;
  const usedAt = status.mtimeMs;
  const known = measured.get(folder);
  if (known?.usedAt === usedAt) return { name, ...known };
  const bytes = await allocatedBytes(folder, signal);
  measured.set(folder, { usedAt, bytes });
  return { name, usedAt, bytes };
}

/** Images are sparse: what counts is what they take. */
async function allocatedBytes(directory: string, signal: AbortSignal): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(directory, { withFileTypes: true }).catch(() => [])) {
    signal.throwIfAborted();
    const path = join(directory, entry.name);
    if (entry.isDirectory()) bytes += await allocatedBytes(path, signal);
    else bytes += ((await lstat(path).catch(() => null))?.blocks ?? 0) * 512;
  }
  return bytes;
}

function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Another process may have removed it. */
function ignoreMissing(error: unknown): void {
  if (!hasCode(error, 'ENOENT')) throw error;
}
