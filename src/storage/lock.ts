/**
 * Runs in each program. A lock between processes, as a file that names its owner: a dead owner's lock is broken by the
 * next. A lock by anybody but us, the administrator or the directory's owner is an error: whoever may write to a directory could
 * forge one that never ends.
 *
 * ```
 *   PATH                   "PID START" of the owner; without START where there is no /proc
 *   PATH.PID-START-RANDOM  the same file before it was linked to PATH
 *   PATH.breaker           there while a dead owner's lock is being removed
 * ```
 */
import { constants, type Stats } from 'node:fs';
import { link, lstat, open, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { randomUUID } from 'node:crypto';
import { codeOf } from './error-code.ts';
import { DirectoryError } from './make-directory.ts';
import { isOurs } from './owned-names.ts';
import { isAlive, ourselves, ownerFromTag, ownerTag, type Owner } from './owner.ts';

const POLL_MS = 50;
/** Breaking a dead owner's lock takes microseconds; a breaker this old died while at it. */
const BREAKER_DEAD_MS = 10_000;

export interface LockOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called once if another live process holds the lock. */
  readonly onWait?: ((ownerPid: number) => void) | undefined;
}

/**
 * Runs `work` while holding the lock `path`; waits as long as a live process holds it.
 *
 * @throws DirectoryError if the lock is somebody else's; AbortError while waiting; whatever `work` throws.
 */
export async function withLock<T>(path: string, work: () => Promise<T>, options: LockOptions = {}): Promise<T> {
  const { signal, onWait } = options;
  let told = false;
  const wait = async (owner: Owner | undefined): Promise<boolean> => {
    if (owner !== undefined && !told) {
      told = true;
      onWait?.(owner.pid);
    }
    await sleep(POLL_MS, undefined, signal === undefined ? {} : { signal });
    return true;
  };
  await acquire(path, wait, signal);
  return release(path, work);
}

/** Runs `work` while holding the lock `path`, unless a live process holds it. Returns whether it ran. */
export async function withFreeLock(path: string, work: () => Promise<void>): Promise<boolean> {
  if (!(await acquire(path, () => Promise.resolve(false)))) return false;
  await release(path, work);
  return true;
}

/** Removes what processes that were killed while they took or broke the lock `path` have left beside it. */
export async function removeLockLeftovers(path: string): Promise<void> {
  const prefix = `${basename(path)}.`;
  for (const name of await readdir(dirname(path))) {
    if (!name.startsWith(prefix)) continue;
    const leftover = join(dirname(path), name);
    if (!(await isOurs(leftover))) continue;
    const owner = ownerFromTag(name.slice(prefix.length));
    if (name === `${prefix}breaker`) await removeDeadBreaker(leftover);
    else if (owner !== null && !(await isAlive(owner))) await rm(leftover, { force: true });
  }
}

/** @param onHeld - whether to try again; its argument is undefined if the lock has just become free. */
async function acquire(
  path: string,
  onHeld: (owner: Owner | undefined) => Promise<boolean>,
  signal?: AbortSignal,
): Promise<boolean> {
  const us = await ourselves();
  // The lock appears by link(2), complete with its owner: there is no moment in which it is empty.
  const candidate = `${path}.${ownerTag(us)}-${randomUUID()}`;
  try {
    await writeFile(candidate, us.started === null ? String(us.pid) : `${us.pid} ${us.started}`, { flag: 'wx' });
    while (!(await created(candidate, path))) {
      signal?.throwIfAborted();
      const owner = await readOwner(path);
      if (owner !== undefined && !(await isAlive(ownerOf(owner)))) await breakLock(path, owner);
      else if (!(await onHeld(owner === undefined ? undefined : ownerOf(owner)))) return false;
    }
    return true;
  } finally {
    await rm(candidate, { force: true });
  }
}

async function release<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } finally {
    await rm(path, { force: true });
  }
}

async function created(candidate: string, path: string): Promise<boolean> {
  try {
    await link(candidate, path);
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  }
}

/** Only one process may break at a time, else a second could remove the lock that the first has just taken. */
async function breakLock(path: string, owner: string): Promise<void> {
  const breaker = `${path}.breaker`;
  try {
    await writeFile(breaker, String(process.pid), { flag: 'wx' });
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error;
    await removeDeadBreaker(breaker);
    await sleep(POLL_MS);
    return;
  }
  try {
    if ((await readOwner(path)) === owner) await rm(path, { force: true });
  } finally {
    await rm(breaker, { force: true });
  }
}

async function removeDeadBreaker(breaker: string): Promise<void> {
  const status = await lstat(breaker).catch(() => null);
  if (status === null) return;
  await assertTrusted(breaker, status);
  if (Date.now() - status.mtimeMs > BREAKER_DEAD_MS) await rm(breaker, { force: true });
}

/** @returns undefined if there is no lock. */
async function readOwner(path: string): Promise<string | undefined> {
  let file;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const code = codeOf(error);
    if (code === 'ENOENT') return undefined;
    if (code === 'ELOOP' || code === 'EACCES' || code === 'ENXIO') await assertTrusted(path, await lstat(path));
    throw error;
  }
  try {
    await assertTrusted(path, await file.stat());
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

async function assertTrusted(path: string, status: Stats): Promise<void> {
  const trusted = [0, process.geteuid?.() ?? status.uid, (await stat(dirname(path))).uid];
  if (status.isFile() && trusted.includes(status.uid)) return;
  const what = status.isFile() ? `was made by user ${status.uid}` : 'is no file';
  throw new DirectoryError(`the lock ${path} ${what}; remove it, or use a directory of your own`);
}

function ownerOf(text: string): Owner {
  const [pid, started] = text.split(' ');
  return { pid: Number.parseInt(pid ?? '', 10), started: started ?? null };
}
