/**
 * Runs in the builder and in `npm start`. Debian packages for a function, named in its `debian-packages.txt`. They are
 * unpacked whole, without running their scripts, into `.snapfaas/root` of the function's files, which init lays over the
 * root file system: what a package brings is where Debian has it. What the root file system has is not brought again.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { RuntimefsName } from '../protocol/runtimes.ts';
import { linkAlternatives, linkLibraries } from './debian-links.ts';
import { describeUnmet, readInstallation } from './debian-scripts.ts';
import { downloadPackages, resolveClosure, unpackPackages, type DebianPackage } from './debian.ts';
import { RUNTIME_IMAGES } from './runtimes.ts';
import { layFrame, removeFrame } from './runtimefs.ts';
import { decodeText } from './text.ts';
import { TreeError } from './tree.ts';

export const PACKAGES_FILE = 'debian-packages.txt';
/** Of a staged function: what is laid over the root file system. The same place is written in guest/init/boot.c. */
export const SYSTEM_FOLDER = join('.snapfaas', 'root');

/**
 * Serve the installing of packages, which nobody does in a guest, and depend on much. apt is told that they are there, in
 * a version that satisfies every wish, unless the function names them itself.
 */
const PRETENDED = [
  'adduser',
  'debconf',
  'dpkg',
  'gcc-12-base',
  'gcc-14-base',
  'init-system-helpers',
  'install-info',
  'mailcap',
  'mime-support',
  'perl-base',
  'sensible-utils',
  'ucf',
];

export interface BroughtPackages {
  readonly packages: readonly DebianPackage[];
  /** What a user should know, one line each: packages that cannot do in a guest what they do elsewhere. */
  readonly notes: readonly string[];
}

/**
 * Names of packages, one per line; `#` begins a comment.
 * @throws TreeError with the line that is no package name.
 */
export async function readPackagesFile(path: string): Promise<readonly string[]> {
  return parsePackages(path, await readFile(path));
}

/** What is in such a file. @throws TreeError */
export function parsePackages(path: string, bytes: Buffer): readonly string[] {
  const lines = decodeText(bytes).split('\n');
  const names: string[] = [];
  for (const [index, line] of lines.entries()) {
    const name = line.replace(/#.*/, '').trim();
    if (name === '') continue;
    // With a minus at its end apt would remove it.
    if (!/^[a-z0-9][a-z0-9+.-]*[a-z0-9+.]$/.test(name)) throw new TreeError(`${path}:${index + 1}: ${whyNoName(name)}`);
    names.push(name);
  }
  return names;
}

function whyNoName(text: string): string {
  const [, name, rest] = /^([a-z0-9][a-z0-9+.-]+)\s*([:=/].*)$/.exec(text) ?? [];
  if (name === undefined || rest === undefined) return `"${text}" is not the name of a Debian package`;
  if (!rest.startsWith(':')) return `"${text}": versions cannot be chosen, apt takes its newest; write "${name}"`;
  return `"${text}": guests are amd64 and run packages of no other architecture; write "${name}"`;
}

/**
 * Unpacks the packages and what they depend on into `target`, using the empty directory `scratch`.
 *
 * @param runtimefs the root file system that they are laid over.
 * @throws ToolError if apt is not there, or does not know a package.
 */
export async function addPackages(
  names: readonly string[],
  runtimefs: RuntimefsName,
  scratch: string,
  target: string,
): Promise<BroughtPackages> {
  const packages = await resolveClosure(names, await providedPackages(names, runtimefs), PACKAGES_FILE);
  const files = await downloadPackages(packages);
  await mkdir(target, { recursive: true });
  await layFrame(target);
  await unpackPackages(files, target);
  await removeFrame(target);
  const installations = await readInstallation(packages, files, scratch);
  await linkAlternatives(
    target,
    installations.map((one) => one.script),
  );
  await linkLibraries(target);
  return { packages, notes: describeUnmet(installations.filter((one) => names.includes(one.name))) };
}

async function providedPackages(names: readonly string[], runtimefs: RuntimefsName): Promise<readonly DebianPackage[]> {
  const { provided } = await RUNTIME_IMAGES[runtimefs].resolve();
  const known = new Set(provided.map((one) => one.name));
  const pretended = PRETENDED.filter((name) => !known.has(name)).map((name) => ({
    name,
    version: '9999',
    architecture: 'all',
  }));
  return [...provided, ...pretended].filter((one) => !(PRETENDED.includes(one.name) && names.includes(one.name)));
}
