/**
 * Runs in the builder and in `npm start`. Debian's Python, unpacked and not installed: for the root file system of the guest, and to do
 * on the host what only the guest's own version can do.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { downloadPackages, unpackPackages, type DebianPackage } from './debian.ts';
import { runGuestProgram } from './guest-program.ts';
import { layFrame } from './runtimefs.ts';
import type { ToolOptions } from './tool.ts';
import { resolveRoot, type RootPackages } from './userland.ts';

const PACKAGES = ['python3'];
/** Of the standard library; newer versions of Python have them no more. */
const PACKAGES_OF_SOME_RELEASES = ['python3-distutils', 'python3-lib2to3'];
export const PYTHON_PACKAGES: readonly string[] = [...PACKAGES, ...PACKAGES_OF_SOME_RELEASES];

/** The packages of the root file system, as apt resolves them now. */
export function resolvePython(): Promise<RootPackages> {
  return resolveRoot(PACKAGES, PACKAGES_OF_SOME_RELEASES);
}

/**
 * Unpacks the packages of the Python root into the empty directory `root`.
 * @returns the interpreter's name, such as "python3.11".
 */
export async function unpackPython(root: string, packages: readonly DebianPackage[]): Promise<string> {
  await layFrame(root);
  await unpackPackages(await downloadPackages(packages), root);
  const names = await readdir(join(root, 'usr', 'bin'));
  const programs = names.filter((name) => /^python3\.\d+$/.test(name));
  const [program] = programs;
  if (program === undefined || programs.length > 1) {
    throw new Error(`expected one python3.N among the packages, found: ${programs.join(', ') || 'none'}`);
  }
  return program;
}

/**
 * Writes .pyc files that Python trusts without looking at the source: parsing it under emulation costs seconds. The
 * interpreter unpacked in `root` is used.
 *
 * @param tree directory whose modules are compiled.
 * @param guestPath where the guest will see `tree`; stack traces show it.
 */
export async function compilePython(root: string, program: string, tree: string, guestPath: string): Promise<void> {
  const compile = ['-m', 'compileall', '-q', '--invalidation-mode', 'unchecked-hash', '-s', tree, '-p', guestPath];
  await runUnpackedPython({ root, program }, [...compile, tree]);
}

/** An interpreter that was unpacked and not installed. */
export interface UnpackedPython {
  readonly root: string;
  /** Its name, such as "python3.11". */
  readonly program: string;
}

/** Runs the interpreter on the host, through its own loader: the host's may be of another version, or absent. */
export async function runUnpackedPython(
  { root, program }: UnpackedPython,
  argv: readonly string[],
  options: ToolOptions = {},
): Promise<Buffer> {
  const environment = {
    ...options.environment,
    PYTHONHOME: join(root, 'usr'),
    // Fixes the order of sets, which is written into compiled modules.
    PYTHONHASHSEED: '0',
    PYTHONPATH: '',
    PYTHONDONTWRITEBYTECODE: '1',
  };
  return runGuestProgram(root, join('usr', 'bin', program), ['-s', '-S', ...argv], { ...options, environment });
}
