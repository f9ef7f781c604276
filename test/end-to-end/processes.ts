/** Processes of this host by what /proc tells, and waiting for what they do. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Waits until a condition holds; fails after the time given, in ms. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  patienceMs = 10_000,
): Promise<void> {
  const deadline = Date.now() + patienceMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not within ${patienceMs} ms: ${what}`);
    await sleep(10);
  }
}

/** The words of a process's command line; empty if it has ended. */
export function commandOf(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
  } catch {
    return [];
  }
}

/** False for zombies too: nothing of such a process is left but its exit status. */
export function isRunning(pid: number): boolean {
  return commandOf(pid).length > 0;
}

export function childrenOf(parent: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => parentOf(pid) === parent);
}

/** Processes in which the VMs of a firerunner run: its children, but for those that wait to tidy up after it. */
export function vmmsOf(firerunner: number): number[] {
  return childrenOf(firerunner).filter((pid) => {
    const command = commandOf(pid);
    return command.length > 0 && !command.some((word) => word.startsWith('snapfaas-') && word.endsWith('janitor'));
  });
}

function parentOf(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return null;
  }
}
