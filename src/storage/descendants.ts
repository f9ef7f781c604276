/** Runs in each program. What a process has started, and those in turn; known by start time as well, so that none is mistaken. */
import { readdir, readFile } from 'node:fs/promises';
import { isAlive, type Owner } from './owner.ts';

/** Without the process itself; none where there is no /proc. Those whose parent has ended are not found. */
export async function descendantsOf(pid: number): Promise<readonly Owner[]> {
  const children = new Map<number, Owner[]>();
  const names = await readdir('/proc').catch(() => []);
  for (const name of names) {
    if (!/^\d+$/.test(name)) continue;
    const status = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => null);
    if (status === null) continue;
    // The command, field 2, is in parentheses and may hold blanks; field 4 is the parent, field 22 the start time.
    const fields = status.slice(status.lastIndexOf(')') + 2).split(' ');
    const parent = Number(fields[1]);
    const child = { pid: Number(name), started: fields[19] ?? null };
    children.set(parent, [...(children.get(parent) ?? []), child]);
  }
  const found: Owner[] = [...(children.get(pid) ?? [])];
  for (const { pid: one } of found) found.push(...(children.get(one) ?? []));
  return found;
}

/** Sends a signal to each that is still there. */
export async function signalAll(processes: readonly Owner[], signal: NodeJS.Signals): Promise<void> {
  for (const one of processes) {
    if (!(await isAlive(one))) continue;
    try {
      process.kill(one.pid, signal);
    } catch {
      // It has just ended.
    }
  }
}
