/**
 * Runs in snapctr and in `npm start`. Debian packages for a Python function, named in its `debian-packages.txt`. Their
 * modules become `package/`, their shared libraries `lib/`: the runtime finds both there. What the Python root file
 * system has is not brought again.
 */
import { cp, mkdir, readdir, readFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { downloadPackages, resolveClosure, unpackPackages, type DebianPackage } from './debian.ts';
import { compilePython, resolvePython, unpackPython } from './python3.ts';
import { layFrame } from './runtimefs.ts';
import { TreeError } from './tree.ts';

export const PACKAGES_FILE = 'debian-packages.txt';

const MODULES = join('usr', 'lib', 'python3', 'dist-packages');
const LIBRARIES = join('usr', 'lib', 'x86_64-linux-gnu');
/**
 * Named as dependencies by packages whose Python modules do without them; large. apt is told that they are there, in a
 * version that satisfies every wish.
 */
const PRETENDED: readonly DebianPackage[] = ['mailcap', 'mime-support', 'perl', 'perl-base'].map((name) => ({
  name,
  version: '9999',
  architecture: 'all',
}));
/** For compiling programs, not for running them. */
const DEVELOPMENT_FILES = /^(pkgconfig|cmake)$|\.(a|la|o)$/;

/**
 * Names of packages, one per line; `#` begins a comment.
 * @throws TreeError with the line that is no package name.
 */
export async function readPackagesFile(path: string): Promise<readonly string[]> {
  const lines = (await readFile(path, 'utf8')).split('\n');
  const names: string[] = [];
  for (const [index, line] of lines.entries()) {
    const name = line.replace(/#.*/, '').trim();
    if (name === '') continue;
    if (!/^[a-z0-9][a-z0-9+.-]+$/.test(name)) {
      throw new TreeError(`${path}:${index + 1}: "${name}" is not the name of a Debian package`);
    }
    names.push(name);
  }
  return names;
}

/**
 * Puts the packages' modules and libraries into `target`, using the empty directory `scratch`.
 *
 * @returns the packages that were brought.
 * @throws ToolError if apt is not there, or does not know a package.
 */
export async function addPackages(
  names: readonly string[],
  scratch: string,
  target: string,
): Promise<readonly DebianPackage[]> {
  const python = await resolvePython();
  const packages = await resolveClosure(names, [...python.provided, ...PRETENDED]);
  const unpacked = join(scratch, 'packages');
  await mkdir(unpacked);
  await layFrame(unpacked);
  await unpackPackages(await downloadPackages(packages), unpacked);

  const modules = join(target, 'package');
  await copyDirectory(join(unpacked, MODULES), modules);
  await copyDirectory(join(unpacked, LIBRARIES), join(target, 'lib'));
  if (existsSync(modules)) {
    const root = join(scratch, 'python');
    await mkdir(root);
    await compilePython(root, await unpackPython(root, python.unpacked), modules, '/srv/package');
  }
  return packages;
}

async function copyDirectory(source: string, target: string): Promise<void> {
  if (!existsSync(source)) return;
  for (const name of await readdir(source)) {
    if (DEVELOPMENT_FILES.test(name)) continue;
    await mkdir(target, { recursive: true });
    await cp(join(source, name), join(target, name), { recursive: true, verbatimSymlinks: true });
  }
}
