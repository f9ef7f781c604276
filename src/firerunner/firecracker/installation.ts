/** Runs in firerunner. Finds Firecracker and its jailer, and refuses versions that cannot do what is asked of them. */
import { execFile } from 'node:child_process';
import { closeSync, openSync, readSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { FirecrackerSettings, JailerSettings } from '../../protocol/runner.ts';
import { findProgram } from '../find-program.ts';
import { HostError } from '../drivers/driver.ts';

/** Before it, connections from the guest were dead after a restore if data was in flight at the snapshot. */
export const OLDEST_VERSION = '1.16.1';

/** `--version` answers at once, or something else was started, in ms. */
const VERSION_LIMIT_MS = 5000;

export interface FirecrackerInstallation {
  /** Absolute, or as the settings name it. */
  readonly path: string;
  /** Such as "1.16.1". */
  readonly version: string;
  /** Null: no jail was asked for. */
  readonly jailerPath: string | null;
}

/** Where Firecracker would be started from; null if it is nowhere. */
export function firecrackerPath(settings: FirecrackerSettings | null): string | null {
  return settings?.path ?? findProgram('firecracker');
}

/** The same for the jailer, which is looked for beside Firecracker first. */
export function jailerPath(settings: JailerSettings, firecracker: string): string | null {
  return settings.path ?? findProgram('jailer', [dirname(firecracker)]);
}

/** @throws HostError with the remedy if either is missing, does not run on this machine, or is too old. */
export async function findFirecracker(
  settings: FirecrackerSettings | null,
  jailer: JailerSettings | null,
): Promise<FirecrackerInstallation> {
  const path = firecrackerPath(settings);
  if (path === null) {
    throw new HostError(
      `firecracker is not in PATH: install version ${OLDEST_VERSION} or newer ` +
        '(https://github.com/firecracker-microvm/firecracker/releases), or name it with `firecracker: {path: …}`',
    );
  }
  const version = await versionOf(path, 'Firecracker');
  if (isOlder(version, OLDEST_VERSION)) {
    throw new HostError(
      `${path} is Firecracker ${version}; ${OLDEST_VERSION} or newer is needed: before it, the vsock of a restored VM ` +
        'loses connections',
    );
  }
  if (jailer === null) return { path, version, jailerPath: null };
  const found = jailerPath(jailer, path);
  if (found === null) {
    throw new HostError(`jailer is neither beside ${path} nor in PATH: it comes with Firecracker's release`);
  }
  const jailerVersion = await versionOf(found, 'Jailer');
  if (jailerVersion !== version) {
    throw new HostError(`${found} is version ${jailerVersion} and ${path} is ${version}; install both of one release`);
  }
  return { path, version, jailerPath: found };
}

/**
 * @param name what the program calls itself in its first line: "Firecracker v1.16.1".
 * @throws HostError if it cannot be run or says something else.
 */
async function versionOf(path: string, name: string): Promise<string> {
  const output = await new Promise<string>((resolve, reject) => {
    execFile(path, ['--version'], { timeout: VERSION_LIMIT_MS }, (error, stdout) => {
      if (error === null) resolve(stdout);
      else reject(new HostError(`${path} ${whyNot(error, path)}`, { cause: error }));
    });
  });
  const [firstLine = ''] = output.split('\n', 1);
  const version = new RegExp(`^${name} v(\\d+\\.\\d+\\.\\d+)`).exec(firstLine)?.[1];
  if (version === undefined) {
    throw new HostError(`${path} --version says ${JSON.stringify(firstLine)}; "${name} v…" was expected`);
  }
  return version;
}

function whyNot(error: Error & { readonly code?: unknown; readonly killed?: boolean }, path: string): string {
  switch (error.code) {
    case 'ENOENT':
      return 'does not exist; correct the path';
    case 'EACCES':
      return 'may not be executed; make it executable (chmod +x)';
    default:
      if (isForAnotherProcessor(path)) {
        return `does not run on this machine: it is a program for another processor; install the release for ${process.arch}`;
      }
      return error.killed === true
        ? `--version did not answer within ${VERSION_LIMIT_MS} ms`
        : `--version failed: ${error.message.trim()}`;
  }
}

/** ELF's `e_machine`, at byte 18. A shell gets to see such a program, and says nothing useful of it. */
function isForAnotherProcessor(path: string): boolean {
  const machines: Partial<Record<NodeJS.Architecture, number>> = { x64: 62, arm64: 183 };
  const header = Buffer.alloc(20);
  try {
    const fd = openSync(path, 'r');
    try {
      readSync(fd, header, 0, header.length, 0);
    } finally {
      closeSync(fd);
    }
  } catch {
    return false;
  }
  return header.toString('latin1', 0, 4) === '\x7fELF' && header.readUInt16LE(18) !== machines[process.arch];
}

function isOlder(version: string, than: string): boolean {
  const [a, b] = [version, than].map((text) => text.split('.').map(Number));
  for (const [index, number] of (a ?? []).entries()) {
    const other = b?.[index] ?? 0;
    if (number !== other) return number < other;
  }
  return false;
}

/** The directory in which the jailer makes the jails of this program. */
export function jailsDirectory(settings: JailerSettings, firecracker: string): string {
  return join(settings.chrootBase, firecracker.slice(firecracker.lastIndexOf('/') + 1));
}
