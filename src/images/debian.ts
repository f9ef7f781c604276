/**
 * Runs in the builder and in `npm start`. Debian packages without installing them: the closure of a set of packages is
 * resolved by the host's own apt against an empty system, downloaded (apt checks the signatures and hashes) and
 * unpacked. Needs no root.
 */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CACHE_HELP, cacheDirectory } from '../storage/cache-directory.ts';
import { makeWritableDirectory } from '../storage/make-directory.ts';
import { OwnedNames } from '../storage/owned-names.ts';
import { runTool, ToolError } from './tool.ts';

export interface DebianPackage {
  readonly name: string;
  readonly version: string;
  /** "amd64" or "all". */
  readonly architecture: string;
}

/** The sources may hold repositories of others; where Debian has a package, Debian's is taken. */
const PREFER_DEBIAN = 'Package: *\nPin: release o=Debian\nPin-Priority: 990\n';

const DOWNLOADS = new OwnedNames('.snapfaas-download-');

/** Documentation is of no use in a guest, and half of some packages. */
const NEVER_UNPACKED = ['doc', 'man', 'info', 'locale', 'lintian', 'bug', 'doc-base', 'menu', 'icons', 'pixmaps'];

/**
 * The packages that would be installed for `names`, without recommended ones, on a system that has `installed` and
 * nothing else; sorted by name.
 *
 * @param source the file that `names` are from, for messages.
 * @throws ToolError if apt does not know a package (its lists may be missing: `apt-get update`).
 */
export async function resolveClosure(
  names: readonly string[],
  installed: readonly DebianPackage[] = [],
  source = 'Debian packages',
): Promise<readonly DebianPackage[]> {
  const state = await mkdtemp(join(tmpdir(), 'snapfaas-apt-'));
  try {
    await writeFile(join(state, 'status'), installed.map(statusEntry).join(''));
    await writeFile(join(state, 'preferences'), PREFER_DEBIAN);
    const options = {
      'Dir::State::status': join(state, 'status'),
      'Dir::State::extended_states': join(state, 'extended_states'),
      'Dir::Etc::preferences': join(state, 'preferences'),
      'Dir::Cache::pkgcache': '',
      'Dir::Cache::srcpkgcache': '',
      // A name that no package has is none, and no regular expression for others.
      'APT::Cmd::Pattern-Only': 'true',
    };
    const flags = Object.entries(options).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
    const plan = await runTool('apt-get', ['-s', ...flags, '--no-install-recommends', 'install', '--', ...names]);
    return parsePlan(plan.toString('utf8'));
  } catch (error) {
    throw error instanceof ToolError ? (ofUnknownNames(error, source) ?? error) : error;
  } finally {
    await rm(state, { recursive: true, force: true });
  }
}

/** What apt says of names that stand for no package, in other words; null if it is about something else. */
function ofUnknownNames(error: ToolError, source: string): ToolError | null {
  const named = (pattern: RegExp): string =>
    Array.from(error.message.matchAll(pattern), ([, name]) => `"${name}"`).join(', ');
  const unknown = named(/^\s*E: Unable to locate package (\S+)$/gm);
  const without = named(/^\s*E: Package '(\S+)' has no installation candidate$/gm);
  const problems = [
    unknown && `no Debian package is called ${unknown}: correct the name, or run "apt-get update" as root if it is new`,
    without && `${without} names no package but what others provide: name one of these, "apt-cache showpkg" lists them`,
  ].filter(Boolean);
  return problems.length === 0
    ? null
    : new ToolError(error.command, `${source}: ${problems.join('; ')}`, { cause: error });
}

/** Those of `names` that the host's sources have. */
export async function knownPackages(names: readonly string[]): Promise<readonly string[]> {
  const table = (await runTool('apt-cache', ['madison', '--', ...names])).toString('utf8');
  const found = new Set(Array.from(table.matchAll(/^ *(\S+) \|/gm), ([, name]) => name));
  return names.filter((name) => found.has(name));
}

/** As dpkg records an installed package; without its dependencies, which need not be there. */
function statusEntry(one: DebianPackage): string {
  const fields = [
    `Package: ${one.name}`,
    'Status: install ok installed',
    `Architecture: ${one.architecture}`,
    `Version: ${one.version}`,
    'Maintainer: none',
    'Description: none',
  ];
  return `${fields.join('\n')}\n\n`;
}

/** Reads lines like `Inst libc6 (2.36-9 Debian:12.15/oldstable [amd64]) []`. */
export function parsePlan(plan: string): readonly DebianPackage[] {
  const packages: DebianPackage[] = [];
  for (const [, name, version, architecture] of plan.matchAll(/^Inst (\S+) \((\S+) .*?\[(\S+?)\]\)/gm)) {
    if (name === undefined || version === undefined || architecture === undefined) continue;
    packages.push({ name, version, architecture });
  }
  return packages.sort((left, right) => (left.name < right.name ? -1 : 1));
}

/** Downloads what the cache does not hold yet. Returns the path of each package's file, in the order given. */
export async function downloadPackages(packages: readonly DebianPackage[]): Promise<readonly string[]> {
  const cache = join(cacheDirectory(), 'debian');
  await makeWritableDirectory(cache, CACHE_HELP);
  const missing = packages.filter((one) => !existsSync(join(cache, fileName(one))));
  if (missing.length > 0) {
    await DOWNLOADS.removeAbandoned(cache);
    const landing = join(cache, await DOWNLOADS.make(randomUUID()));
    await mkdir(landing);
    try {
      const wanted = missing.map((one) => `${one.name}:${aptArchitecture(one)}=${one.version}`);
      // apt's own download user could not write here; apt would fall back to the current user with a warning.
      await runTool('apt-get', ['-qq', '-o', 'APT::Sandbox::User=', 'download', '--', ...wanted], { cwd: landing });
      for (const file of await readdir(landing)) await rename(join(landing, file), join(cache, file));
    } finally {
      await rm(landing, { recursive: true, force: true });
    }
  }
  return packages.map((one) => join(cache, fileName(one)));
}

function aptArchitecture(one: DebianPackage): string {
  return one.architecture === 'all' ? 'amd64' : one.architecture;
}

/** As apt names it: the colon of an epoch is escaped. */
function fileName(one: DebianPackage): string {
  return `${one.name}_${one.version.replaceAll(':', '%3a')}_${one.architecture}.deb`;
}

/** Unpacks package files into `directory` as dpkg would, on a merged /usr, without documentation and maintainer scripts. */
export async function unpackPackages(files: readonly string[], directory: string): Promise<void> {
  const excludes = NEVER_UNPACKED.map((name) => `--exclude=./usr/share/${name}`);
  const tar = ['tar', '-x', '--keep-directory-symlink', '--no-same-owner', '--delay-directory-restore', ...excludes];
  const script = `set -o pipefail; for deb in "$@"; do dpkg-deb --fsys-tarfile "$deb" | ${tar.join(' ')} || exit 1; done`;
  await runTool('bash', ['-c', script, 'unpack', ...files], { cwd: directory });
}

/** Packages as a manifest lists them: name to version. */
export function versionsOf(packages: readonly DebianPackage[]): Readonly<Record<string, string>> {
  return Object.fromEntries(packages.map((one) => [one.name, one.version]));
}
