/** For tests with jails: a place for them, and what is left there. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../../end-to-end/processes.ts';
import { IMAGES } from '../../support/snapctr.ts';

/** A new chroot base beside the images, so that they can be linked. */
export function makeChrootBase(): string {
  return mkdtempSync(join(IMAGES, 'test-cache/jails-'));
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
