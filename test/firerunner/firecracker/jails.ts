/** For tests with jails: a place for them, and what is left there. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../../end-to-end/processes.ts';
import { IMAGES } from '../../support/snapctr.ts';

/**
 * A new chroot base on the file system of the images, so that they can be linked. The project's own directory is the
 * last choice: however deep somebody keeps it, the sockets in a jail have to fit into 107 bytes.
 */
export function makeChrootBase(): string {
  const { dev } = statSync(IMAGES);
  const place = [tmpdir(), '/var/tmp'].find((path) => existsSync(path) && statSync(path).dev === dev);
  return mkdtempSync(join(place ?? join(IMAGES, 'test-cache'), 'jails-'));
}

/** What is left of jails below a chroot base: their directories, users, files and processes. */
export function leftIn(chrootBase: string): readonly string[] {
  const directories = ['firecracker', 'snapfaas/uids', 'snapfaas/files'];
  const entries = directories.flatMap((name) => {
    const path = join(chrootBase, name);
    return existsSync(path) ? readdirSync(path).map((entry) => join(name, entry)) : [];
  });
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const cwds = spawnSync(
    'readlink',
    pids.map((pid) => `/proc/${pid}/cwd`),
    { encoding: 'utf8' },
  ).stdout;
  return [...entries, ...cwds.split('\n').filter((cwd) => cwd.startsWith(chrootBase))];
}

export async function untilNothingIsLeftIn(chrootBase: string): Promise<void> {
  await until('nothing is left of the jails', () => leftIn(chrootBase).length === 0);
}
