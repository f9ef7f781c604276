/** A lock between processes, as a file that names its owner: a dead owner's lock is broken by the next. */
import { link, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { randomUUID } from 'node:crypto';

const POLL_MS = 50;
/** Breaking a dead owner's lock takes microseconds; a breaker this old died while at it. */
const BREAKER_DEAD_MS = 10_000;

export interface LockOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called once if another live process holds the lock. */
  readonly onWait?: ((ownerPid: number) => void) | undefined;
}

/** Runs `work` while holding the lock `path`; waits as long as a live process holds it. */
export async function withLock<T>(path: string, work: () => Promise<T>, options: LockOptions = {}): Promise<T> {
  const ours = await identity(process.pid);
  // The lock appears by link(2), complete with its owner: there is no moment in which it is empty.
  const candidate = `${path}.${process.pid}.${randomUUID()}`;
  await writeFile(candidate, ours ?? String(process.pid));
  try {
    let told = false;
    while (!(await created(candidate, path))) {
      options.signal?.throwIfAborted();
      const owner = await readOwner(path);
      if (owner !== undefined && !(await isAlive(owner))) {
        await breakLock(path, owner);
        continue;
      }
      if (owner !== undefined && !told) {
        told = true;
        options.onWait?.(pidOf(owner));
      }
      await sleep(POLL_MS, undefined, options.signal === undefined ? {} : { signal: options.signal });
    }
  } finally {
    await rm(candidate, { force: true });
  }
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
    if (hasCode(error, 'EEXIST')) return false;
    throw error;
  }
}

/** Only one process may break at a time, else a second could remove the lock that the first has just taken. */
async function breakLock(path: string, owner: string): Promise<void> {
  const breaker = `${path}.breaker`;
  try {
    await writeFile(breaker, String(process.pid), { flag: 'wx' });
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
    const age = await stat(breaker).then(
      (status) => Date.now() - status.mtimeMs,
      () => 0,
    );
    if (age > BREAKER_DEAD_MS) await rm(breaker, { force: true });
    await sleep(POLL_MS);
    return;
  }
  try {
    if ((await readOwner(path)) === owner) await rm(path, { force: true });
  } finally {
    await rm(breaker, { force: true });
  }
}

async function readOwner(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch((error: unknown) => {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  });
}

function pidOf(owner: string): number {
  return Number.parseInt(owner, 10);
}

async function isAlive(owner: string): Promise<boolean> {
  const pid = pidOf(owner);
  if (!(pid > 0)) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    return hasCode(error, 'EPERM');
  }
  const now = await identity(pid);
  return now === undefined || now === owner;
}

/** "PID START", START in clock ticks since boot: process ids are used again. Undefined where there is no /proc. */
async function identity(pid: number): Promise<string | undefined> {
  try {
    const status = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The command, field 2, is in parentheses and may hold blanks; field 22 is the start time.
    const start = status.slice(status.lastIndexOf(')') + 2).split(' ')[19];
    return start === undefined ? undefined : `${pid} ${start}`;
  } catch {
    return undefined;
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
