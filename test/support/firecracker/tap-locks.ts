/**
 * Runs in the fake Firecracker. TAP devices of the host: a device must exist in this network namespace and have no other
 * holder among the fakes that share a directory of locks. The fake sends and receives nothing.
 */
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

/** More than one retry: another fake may take the lock of a dead one at the same time. */
const TRIES = 5;

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
  // The files may show another namespace's devices, where this one's is not among them.
  if (existsSync(`/sys/class/net/${name}`) && !existsSync(`/sys/class/net/${name}/tun_flags`)) {
    throw new Error(`Open tap device failed: ${name} is no TAP device`);
  }
  const holder = takeLock(join(directory, `${namespaceOf()}-${name}`), directory);
  if (holder !== null) throw new Error(`Open tap device failed: ${name} is busy: process ${holder} has it`);
}

function namespaceOf(): string {
  return /\d+/.exec(readlinkSync('/proc/self/ns/net'))?.[0] ?? '';
}

/** Returns the process that holds the lock; null if it is ours now. */
function takeLock(path: string, directory: string): string | null {
  makeDirectory(directory);
  for (let tries = 0; tries < TRIES; tries++) {
    try {
      const fd = openSync(path, 'wx', 0o644);
      writeSync(fd, String(process.pid));
      closeSync(fd);
      return null;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const holder = readHolder(path);
    if (holder === null) continue;
    if (existsSync(`/proc/${holder}`)) return holder;
    try {
      unlinkSync(path);
    } catch {
      // Another fake was faster.
    }
  }
  return 'unknown';
}

/** Open to all users: jailed fakes have one each. */
function makeDirectory(path: string): void {
  if (existsSync(path)) return;
  mkdirSync(path, { recursive: true });
  chmodSync(path, 0o777);
}

function readHolder(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
