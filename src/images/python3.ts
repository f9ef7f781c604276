/**
 * Runs in snapctr and in `npm start`. The root file system of the Python runtime: Debian's python3 with its standard
 * library, compiled ahead.
 */
import { readFile, readdir, symlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { downloadPackages, resolveClosure, unpackPackages, type DebianPackage } from './debian.ts';
import { listProjectFiles, PROJECT_ROOT } from './project.ts';
import { FRAME_RECIPE, finishFrame, keepPrograms, layFrame, placeFile, removePaths } from './runtimefs.ts';
import { runTool, type ToolOptions } from './tool.ts';

/** The folder of the runtime's modules, from the project's root, and the guest's folder they are placed in. */
const PYTHON_RUNTIME_FOLDER = join('guest', 'runtimes', 'python');
const RUNTIME_PLACE = join('usr', 'lib', 'snapfaas');

const PACKAGES = ['python3'];
/** Serves the installing of packages only; no program of the guest uses it. */
const INSTALLERS: ReadonlySet<string> = new Set([
  'dpkg',
  'gcc-12-base',
  'gcc-14-base',
  'python3-minimal',
  'readline-common',
  'tar',
]);
/** Libraries of those programs. */
const INSTALLERS_LIBRARIES: ReadonlySet<string> = new Set(['libacl1', 'libmd0', 'libpcre2-8-0', 'libselinux1']);
/** Of the standard library, relative to /usr/lib/python3.N. */
const LIBRARY_LEFT_OUT = ['ensurepip', 'idlelib', 'lib2to3', 'pydoc_data', 'test', 'tkinter', 'turtledemo', 'venv'];

/** `-s`, `-S`: nothing to find in site-packages; the runtime puts the function's own directories on the path. */
const ARGV = ['/usr/bin/python3', '-s', '-S', join('/', RUNTIME_PLACE, 'runtime.py')];

export const PYTHON_RECIPE = {
  version: 2,
  frame: FRAME_RECIPE,
  packages: PACKAGES,
  leftOut: [...INSTALLERS, ...INSTALLERS_LIBRARIES, ...LIBRARY_LEFT_OUT],
  argv: ARGV,
};

/** The runtime's own files, from the project's root. */
export function listPythonRuntime(): Promise<readonly string[]> {
  return listProjectFiles(PYTHON_RUNTIME_FOLDER, ['.py']);
}

export interface PythonPackages {
  /** What the root file system holds. */
  readonly unpacked: readonly DebianPackage[];
  /** What a package for the function need not bring: the above, and what only the installing of packages needs. */
  readonly provided: readonly DebianPackage[];
}

/** The packages of the root file system, as apt resolves them now. */
export async function resolvePython(): Promise<PythonPackages> {
  const provided = (await resolveClosure(PACKAGES)).filter((one) => !INSTALLERS_LIBRARIES.has(one.name));
  return { provided, unpacked: provided.filter((one) => !INSTALLERS.has(one.name)) };
}

/** Fills the empty directory `root`. */
export async function fillPythonRoot(root: string, packages: readonly DebianPackage[]): Promise<void> {
  const program = await unpackPython(root, packages);
  await keepPrograms(root, new Set([program]));
  await symlink(program, join(root, 'usr', 'bin', 'python3'));
  const library = join('usr', 'lib', program);
  await removePaths(root, ['usr/share', 'usr/include', 'usr/lib/python3', 'usr/lib/systemd', 'usr/lib/mime']);
  await removePaths(
    root,
    LIBRARY_LEFT_OUT.map((name) => join(library, name)),
  );
  await compilePython(root, program, join(root, library), join('/', library));
  await finishFrame(root, ARGV);
  for (const path of await listPythonRuntime()) {
    await placeFile(root, join(RUNTIME_PLACE, basename(path)), await readFile(join(PROJECT_ROOT, path)), 0o644);
  }
  await compilePython(root, program, join(root, RUNTIME_PLACE), join('/', RUNTIME_PLACE));
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
 * interpreter unpacked in `root` is used, through its own loader, as the host's may be of another version or absent.
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
  const loader = join(root, 'usr', 'lib64', 'ld-linux-x86-64.so.2');
  const libraries = join(root, 'usr', 'lib', 'x86_64-linux-gnu');
  const environment = {
    ...options.environment,
    PYTHONHOME: join(root, 'usr'),
    // Fixes the order of sets, which is written into compiled modules.
    PYTHONHASHSEED: '0',
    PYTHONPATH: '',
    PYTHONDONTWRITEBYTECODE: '1',
  };
  const command = ['--library-path', libraries, join(root, 'usr', 'bin', program), '-s', '-S', ...argv];
  return runTool(loader, command, { ...options, environment });
}
