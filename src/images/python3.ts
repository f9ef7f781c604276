/**
 * Runs in the builder and in `npm start`. The root file system of the Python runtime: Debian's python3 with its standard
 * library, compiled ahead.
 */
import { readFile, readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { downloadPackages, unpackPackages, versionsOf, type DebianPackage } from './debian.ts';
import { runGuestProgram } from './guest-program.ts';
import { listProjectFiles, PROJECT_ROOT } from './project.ts';
import { FRAME_RECIPE, finishFrame, layFrame, placeFile, placeLink, removePaths } from './runtimefs.ts';
import { listRuntimeApi, placeRuntimeApi, RUNTIME_API_RECIPE } from './runtime-api.ts';
import type { RuntimeImage } from './runtimes.ts';
import type { ToolOptions } from './tool.ts';
import { finishUserland, resolveRoot, USERLAND_RECIPE, type RootPackages } from './userland.ts';

/** The folder of the runtime's modules, from the project's root, and the guest's folder they are placed in. */
const PYTHON_RUNTIME_FOLDER = join('guest', 'runtimes', 'python');
const RUNTIME_PLACE = join('usr', 'lib', 'snapfaas');

const PACKAGES = ['python3'];
/** Of the standard library; newer versions of Python have them no more. */
const PACKAGES_OF_SOME_RELEASES = ['python3-distutils', 'python3-lib2to3'];
/** Of the standard library, relative to /usr/lib/python3.N. The last is a link to nowhere. */
const LIBRARY_LEFT_OUT = ['ensurepip', 'idlelib', 'test', 'tkinter', 'turtledemo', 'venv', 'sitecustomize.py'];

/** `-s`: no modules from the home directory, which is /tmp. */
const ARGV = ['/usr/bin/python3', '-s', join('/', RUNTIME_PLACE, 'runtime.py')];

const PYTHON_RECIPE = {
  version: 3,
  frame: FRAME_RECIPE,
  userland: USERLAND_RECIPE,
  packages: [...PACKAGES, ...PACKAGES_OF_SOME_RELEASES],
  leftOut: LIBRARY_LEFT_OUT,
  argv: ARGV,
  runtimeApi: RUNTIME_API_RECIPE,
};

export const PYTHON_IMAGE: RuntimeImage = {
  recipe: PYTHON_RECIPE,
  listFiles: async () => [...(await listPythonRuntime()), ...(await listRuntimeApi())],
  resolve: resolvePython,
  async fill(root, scratch, update) {
    update('downloading packages');
    const { unpacked: packages } = await resolvePython();
    await fillPythonRoot(root, packages);
    await placeRuntimeApi(root, scratch);
    return versionsOf(packages);
  },
};

/** The runtime's own files, from the project's root. */
function listPythonRuntime(): Promise<readonly string[]> {
  return listProjectFiles(PYTHON_RUNTIME_FOLDER, ['.py']);
}

/** The packages of the root file system, as apt resolves them now. */
export function resolvePython(): Promise<RootPackages> {
  return resolveRoot(PACKAGES, PACKAGES_OF_SOME_RELEASES);
}

/** Fills the empty directory `root`. */
async function fillPythonRoot(root: string, packages: readonly DebianPackage[]): Promise<void> {
  const program = await unpackPython(root, packages);
  for (const name of ['python', 'python3']) await placeLink(root, join('usr', 'bin', name), program);
  const library = join('usr', 'lib', program);
  await removePaths(root, ['usr/lib/python3', ...LIBRARY_LEFT_OUT.map((name) => join(library, name))]);
  await compilePython(root, program, join(root, library), join('/', library));
  await finishFrame(root, ARGV);
  await finishUserland(root);
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
