/**
 * Runs in the fake Firecracker. TAP devices of the host: a device must exist in this network namespace and have no other
 * holder among the fakes that share a directory of locks. The fake sends and receives nothing.
 */
import { chmodSync, existsSync, linkSync, mkdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** More than one retry: another fake may take the lock of a dead one at the same time. */
const TRIES = 5;
/** Of linux/if_tun.h, in the device's `tun_flags`. */
const IFF_TAP = 0x0002;
const IFF_MULTI_QUEUE = 0x0100;
/** Of `owner` and `group`: anybody may have the device. */
const NOBODY = -1;

/**
 * Opens a TAP device for the life of this process. @throws Error if that is not possible.
 *
 * @param directory of the locks; made if it is missing.
 */
export function openTap(name: string, directory: string): void {
  const interfaces = readFileSync('/proc/self/net/dev', 'utf8')
    .split('\n')
    .map((line) => line.split(':')[0]?.trim());
  if (name === '' || name.includes('/') || !interfaces.includes(name)) {
    throw new Error(`Open tap device failed: there is no interface ${JSON.stringify(name)} in this network namespace`);
  }
  const why = misfit(name);
  if (why !== null) throw new Error(`Open tap device failed: ${name} ${why}`);
  const holder = takeLock(join(directory, `${namespaceOf()}-${name}`), directory);
  if (holder !== null) throw new Error(`Open tap device failed: ${name} is busy: process ${holder} has it`);
}

/** Why the kernel would not give a device to this process; null where it would, or its files do not show the device. */
function misfit(name: string): string | null {
  const directory = `/sys/class/net/${name}`;
  // The files may show another namespace's devices, where this one's is not among them.
  if (!existsSync(directory)) return null;
  const flags = Number(readFile(`${directory}/tun_flags`) ?? 0);
  if ((flags & IFF_TAP) === 0) return 'is no TAP device';
  if ((flags & IFF_MULTI_QUEUE) !== 0) return 'has several queues';
  if (process.geteuid?.() === 0) return null;
  const owner = Number(readFile(`${directory}/owner`) ?? NOBODY);
  const group = Number(readFile(`${directory}/group`) ?? NOBODY);
  if (owner !== NOBODY && owner !== process.geteuid?.()) return `belongs to user ${owner}: operation not permitted`;
  return group !== NOBODY && group !== process.getegid?.()
    ? `belongs to group ${group}: operation not permitted`
    : null;
}

function namespaceOf(): string {
  return /\d+/.exec(readlinkSync('/proc/self/ns/net'))?.[0] ?? '';
}

/** Returns the process that holds the lock; null if it is ours now. */
function takeLock(path: string, directory: string): string | null {
  makeDirectory(directory);
  // Whole from the moment it is there: others may read it at once.
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, `${process.pid} ${startOf(String(process.pid))}`);
  try {
    for (let tries = 0; tries < TRIES; tries++) {
      if (link(draft, path)) return null;
      const [holder = '', start] = (readFile(path) ?? '').split(' ');
      if (startOf(holder) === start) return holder;
      rmSync(path, { force: true });
    }
  } finally {
    rmSync(draft, { force: true });
  }
  return 'unknown';
}

/** False: the name is taken. */
function link(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return false;
  }
}

/** When a process began, in ticks: its number alone may be another's by now. Empty: there is none. */
function startOf(pid: string): string {
  const stat = readFile(`/proc/${pid}/stat`);
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}

/** Open to all users: jailed fakes have one each. */
function makeDirectory(path: string): void {
  if (existsSync(path)) return;
  mkdirSync(path, { recursive: true });
  chmodSync(path, 0o777);
}

function readFile(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
