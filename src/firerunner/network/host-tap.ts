/** Runs in firerunner. Whether a tap is ready for a VM: VMMs that may make one by themselves would, and nobody be at its end. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { LaunchError } from '../drivers/driver.ts';

const INTERFACES = '/sys/class/net';
const IFF_UP = 1;

/** @throws LaunchError if there is no such tap, or it is down. */
export function requireTap(name: string): void {
  const problem = problemOf(name);
  if (problem === null) return;
  throw new LaunchError(`the tap ${name} ${problem}; set the taps up with "snapctr network up"`);
}

function problemOf(name: string): string | null {
  try {
    const flags = Number(readFileSync(join(INTERFACES, name, 'flags'), 'utf8'));
    return (flags & IFF_UP) === 0 ? 'is down' : null;
  } catch {
    return 'does not exist';
  }
}
