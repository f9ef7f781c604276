/**
 * Runs in each program. Names of processes that are never used again: a process id is, together with its start time it
 * is not.
 */
import { readFile } from 'node:fs/promises';

export interface Owner {
  readonly pid: number;
  /** When it started, in clock ticks since boot; null where there is no /proc. */
  readonly started: string | null;
}

/** This process. */
export async function ourselves(): Promise<Owner> {
  return { pid: process.pid, started: await startTime(process.pid) };
}

/** As part of a file's name: `PID-START`, START 0 where it is unknown. */
export function ownerTag({ pid, started }: Owner): string {
  return `${pid}-${started ?? '0'}`;
}

/** The owner in a name that is its tag, or its tag and more after a `-`; null for all others. */
export function ownerFromTag(name: string): Owner | null {
  const [, pid, started] = /^([1-9][0-9]{0,9})-(0|[1-9][0-9]{0,19})(?:-[A-Za-z0-9.-]+)?$/.exec(name) ?? [];
  if (pid === undefined || started === undefined) return null;
  return { pid: Number(pid), started: started === '0' ? null : started };
}

/** Whether the process runs; where start times are unknown, whether any process of its id does. */
export async function isAlive(owner: Owner): Promise<boolean> {
  if (!(owner.pid > 0)) return false;
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
  const now = await startTime(owner.pid);
  return now === null || now === owner.started;
}

async function startTime(pid: number): Promise<string | null> {
  try {
    const status = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The command, field 2, is in parentheses and may hold blanks; field 22 is the start time.
    return status.slice(status.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}
