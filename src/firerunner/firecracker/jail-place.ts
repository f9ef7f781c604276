/** Runs in firerunner and in `snapctr doctor`. Whether the file system below `chroot_base` is one that programs and devices run from. */
import { readFileSync, realpathSync } from 'node:fs';
import { dirname } from 'node:path';
import { unusable, type ProbeResult } from '../probes/result.ts';

/** Where file systems are mounted in this process's view. Source: proc_pid_mountinfo(5). */
const MOUNT_INFO = '/proc/self/mountinfo';

/** Mount options under which no jail works, and what of a jail they forbid. */
const FORBIDDING: readonly (readonly [option: string, what: string])[] = [
  ['nodev', 'open /dev/kvm'],
  ['noexec', 'be started'],
];

export interface Mount {
  readonly point: string;
  readonly options: readonly string[];
  /** Different for any other mount, and for other options. */
  readonly identity: string;
}

/** @returns null if `mountInfo` does not tell. */
export function mountOf(path: string, mountInfo = readMountInfo()): Mount | null {
  const place = nearest(path);
  let found: Mount | null = null;
  for (const line of mountInfo.split('\n')) {
    const [, , device = '', root = '', rawPoint, options = ''] = line.split(' ');
    if (rawPoint === undefined) continue;
    const point = rawPoint.replace(/\\([0-7]{3})/g, (_, code: string) => String.fromCharCode(parseInt(code, 8)));
    const isAbove = point === '/' || place === point || place.startsWith(`${point}/`);
    // Of two at one place the later one covers the other.
    if (!isAbove || point.length < (found?.point.length ?? 0)) continue;
    found = { point, options: options.split(','), identity: [device, root, point, options].join(' ') };
  }
  return found;
}

/** Why no VM can run in jails there; null if nothing speaks against it. */
export function jailPlaceFault(chrootBase: string, mountInfo = readMountInfo()): ProbeResult | null {
  const mount = mountOf(chrootBase, mountInfo);
  if (mount === null) return null;
  const faults = FORBIDDING.filter(([option]) => mount.options.includes(option));
  if (faults.length === 0) return null;
  const options = faults.map(([option]) => option).join(' and ');
  const what = faults.map(([, forbidden]) => forbidden).join(' or ');
  const allowed = faults.map(([option]) => option.replace(/^no/, '')).join(',');
  return unusable(
    `no VM in a jail below ${chrootBase} can ${what}: ${mount.point} is mounted with ${options}`,
    `mount it without (mount -o remount,${allowed} ${mount.point}), or name another place with \`chroot_base\``,
  );
}

function readMountInfo(): string {
  try {
    return readFileSync(MOUNT_INFO, 'utf8');
  } catch {
    return '';
  }
}

/** The path itself without links, or the closest directory above it that is there. */
function nearest(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return dirname(path) === path ? path : nearest(dirname(path));
  }
}
