/** Runs in the builder. One run of it: a low priority, a directory for temporary files, and an end that leaves nothing behind. */
import { mkdir, readFile, rm } from 'node:fs/promises';
import { constants, setPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { OwnedNames } from '../storage/owned-names.ts';
import { serve } from './serve.ts';

/** How long builds may take to end when snapctr is gone or ends; it waits a little longer, in ms. */
const END_PATIENCE_MS = 2500;

const TEMPORARY = new OwnedNames('snapfaas-builder-');

/** Serves snapctr until it is gone, and ends this process. */
export async function runBuilder(): Promise<void> {
  // snapctr decides when this ends.
  process.on('SIGINT', () => undefined).on('SIGTERM', () => undefined);
  stayOutOfTheWay();
  const base = tmpdir();
  // What the programs that it runs leave there when they are killed is gone with the directory.
  const temporary = join(base, await TEMPORARY.make());
  await TEMPORARY.removeAbandoned(base);
  await mkdir(temporary, { mode: 0o700 });
  process.env['TMPDIR'] = temporary;
  const haveEnded = await serve({ stdin: process.stdin, stdout: process.stdout }, END_PATIENCE_MS);
  await rm(temporary, { recursive: true, force: true });
  if (!haveEnded && (await leadsGroup())) process.kill(-process.pid, 'SIGKILL');
}

/** Requests come first. What it starts has the same priority. */
function stayOutOfTheWay(): void {
  try {
    setPriority(constants.priority.PRIORITY_BELOW_NORMAL);
  } catch {
    // Not on this system.
  }
}

/** Whether the programs it has started are in its process group and nobody else is; snapctr starts it so. */
async function leadsGroup(): Promise<boolean> {
  const status = await readFile('/proc/self/stat', 'utf8').catch(() => '');
  return Number(status.slice(status.lastIndexOf(')') + 2).split(' ')[2]) === process.pid;
}
