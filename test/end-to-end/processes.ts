/** Processes of this host by what /proc tells, and waiting for what they do. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
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

/** Such as the value of an option; empty if there is none. */
export function wordAfter(word: string, command: readonly string[]): string {
  const index = command.indexOf(word);
  return index === -1 ? '' : (command[index + 1] ?? '');
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

/**
 * Processes in which the VMs of a firerunner run: its children, but for those that wait to tidy up after it, and QEMUs that wait for a
 * machine.
 */
export function vmmsOf(firerunner: number): number[] {
  return childrenOf(firerunner).filter((pid) => {
    const command = commandOf(pid);
    const isJanitor = command.some((word) => word.startsWith('snapfaas-') && word.endsWith('janitor'));
    return command.length > 0 && !isJanitor && !isWaiting(pid, command);
  });
}

/** QEMUs of a firerunner that wait for a machine, or will. */
export function waitingQemusOf(firerunner: number): number[] {
  return childrenOf(firerunner).filter((pid) => isWaiting(pid, commandOf(pid)));
}

function isWaiting(pid: number, command: readonly string[]): boolean {
  return isStartedAhead(command) && !hasDisks(pid);
}

/** Whether it is, or was, a QEMU that waits for its machine. */
export function isStartedAhead(command: readonly string[]): boolean {
  return command.includes('-preconfig');
}

function hasDisks(pid: number): boolean {
  try {
    const fds = `/proc/${pid}/fd`;
    return readdirSync(fds).some((fd) => readlinkSync(`${fds}/${fd}`).endsWith('.ext4'));
  } catch {
    return false;
  }
}

function parentOf(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return null;
  }
}
