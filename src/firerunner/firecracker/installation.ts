/** Runs in firerunner. Finds Firecracker and its jailer, and refuses versions that cannot do what is asked of them. */
import { realpathSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { FirecrackerSettings, JailerSettings } from '../../protocol/vmm-settings.ts';
import { executableIn, findProgram } from '../programs/find-program.ts';
import { UnusableProgramError, versionLine } from '../programs/program-version.ts';

/** Before it, connections from the guest were dead after a restore if data was in flight at the snapshot. */
export const OLDEST_VERSION = '1.16.1';

export interface FirecrackerInstallation {
  /** Absolute; without links if there is a jailer. */
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

/**
 * The same for the jailer, which is looked for beside Firecracker first: by the name that goes with that one's, as in a release
 * (`firecracker-v1.16.1-x86_64`, `jailer-v1.16.1-x86_64`), and by its own.
 */
export function jailerPath(settings: JailerSettings, firecracker: string): string | null {
  if (settings.path !== null) return settings.path;
  for (const path of new Set([firecracker, withoutLinks(firecracker)])) {
    const sibling = basename(path).replace('firecracker', 'jailer');
    const names = sibling === basename(path) ? ['jailer'] : [sibling, 'jailer'];
    for (const name of names) {
      const found = executableIn(dirname(path), name);
      if (found !== null) return found;
    }
  }
  return findProgram('jailer');
}

function withoutLinks(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/** @throws UnusableProgramError with the remedy if either is missing, does not run on this machine, or is too old. */
export async function findFirecracker(
  settings: FirecrackerSettings | null,
  jailer: JailerSettings | null,
): Promise<FirecrackerInstallation> {
  const path = firecrackerPath(settings);
  if (path === null) {
    throw new UnusableProgramError(
      'firecracker is not in PATH',
      `install version ${OLDEST_VERSION} or newer (https://github.com/firecracker-microvm/firecracker/releases), ` +
        'or name it with `firecracker: {path: …}`',
    );
  }
  const version = await versionOf(path, 'Firecracker');
  if (isOlder(version, OLDEST_VERSION)) {
    throw new UnusableProgramError(
      `${path} is Firecracker ${version}; ${OLDEST_VERSION} or newer is needed: before it, the vsock of a restored VM loses ` +
        'connections',
      'install a newer release (https://github.com/firecracker-microvm/firecracker/releases)',
    );
  }
  if (jailer === null) return { path: resolve(path), version, jailerPath: null };
  const found = jailerPath(jailer, path);
  if (found === null) {
    throw new UnusableProgramError(
      `jailer is neither beside ${path} nor in PATH`,
      "install it from Firecracker's release, or name it with `jailer: {path: …}`",
    );
  }
  const jailerVersion = await versionOf(found, 'Jailer');
  if (jailerVersion !== version) {
    throw new UnusableProgramError(
      `${found} is version ${jailerVersion} and ${path} is ${version}`,
      'install both of one release',
    );
  }
  // The jailer goes by the program that a link leads to, and names its directories by it.
  return { path: await realpath(path), version, jailerPath: resolve(found) };
}

/**
 * @param name what the program calls itself in its first line: "Firecracker v1.16.1".
 * @throws UnusableProgramError if it cannot be run or says something else.
 */
async function versionOf(path: string, name: string): Promise<string> {
  const firstLine = await versionLine(path);
  const version = new RegExp(`^${name} v(\\d+\\.\\d+\\.\\d+)`).exec(firstLine)?.[1];
  if (version !== undefined) return version;
  throw new UnusableProgramError(
    `${path} --version says ${JSON.stringify(firstLine)} instead of "${name} v…"`,
    `name the program of ${name}'s release`,
  );
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
  return join(settings.chrootBase, basename(firecracker));
}
