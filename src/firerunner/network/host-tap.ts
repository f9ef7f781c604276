/** Runs in firerunner. Whether a tap is ready for a VM: VMMs that may make one by themselves would, and nobody be at its end. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { HostError } from '../machine.ts';

const IFF_UP = 1;

/** @throws HostError if there is no such tap, or it is down. */
export function requireTap(name: string): void {
  const problem = problemOf(name);
  if (problem === null) return;
  throw new HostError(`the tap ${name} ${problem}; set the taps up with "snapctr network up"`);
}

/** Of this process's network namespace, while /sys may be mounted for another one. */
function problemOf(name: string): string | null {
  const names = readFileSync('/proc/self/net/dev', 'utf8')
    .split('\n')
    .map((line) => line.split(':', 1)[0]?.trim());
  if (!names.includes(name)) return 'does not exist';
  try {
    const flags = Number(readFileSync(join('/sys/class/net', name, 'flags'), 'utf8'));
    return (flags & IFF_UP) === 0 ? 'is down' : null;
  } catch {
    return null;
  }
}
