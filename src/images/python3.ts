/**
 * Runs in the builder and in `npm start`. The root file system of the Python runtime: Debian's python3 with its standard
 * library, compiled ahead.
 */
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { placePythonSdk, PYTHON_SDK_RECIPE } from './aws-sdk.ts';
import { versionsOf, type DebianPackage } from './debian.ts';
import { compilePython, PYTHON_PACKAGES, resolvePython, unpackPython } from './debian-python.ts';
import { listProjectFiles, PROJECT_ROOT } from './project.ts';
import { FRAME_RECIPE, finishFrame, placeFile, placeLink, removePaths } from './runtimefs.ts';
import { listRuntimeApi, placeRuntimeApi, RUNTIME_API_RECIPE } from './runtime-api.ts';
import type { RuntimeImage } from './runtimes.ts';
import { finishUserland, USERLAND_RECIPE } from './userland.ts';

/** The folder of the runtime's modules, from the project's root, and the guest's folder they are placed in. */
const PYTHON_RUNTIME_FOLDER = join('guest', 'runtimes', 'python');
const RUNTIME_PLACE = join('usr', 'lib', 'snapfaas');

/** Of the standard library, relative to /usr/lib/python3.N. The last is a link to nowhere. */
const LIBRARY_LEFT_OUT = ['ensurepip', 'idlelib', 'test', 'tkinter', 'turtledemo', 'venv', 'sitecustomize.py'];

/** `-s`: no modules from the home directory, which is /tmp. */
const ARGV = ['/usr/bin/python3', '-s', join('/', RUNTIME_PLACE, 'runtime.py')];

const PYTHON_RECIPE = {
  version: 4,
  frame: FRAME_RECIPE,
  userland: USERLAND_RECIPE,
  packages: PYTHON_PACKAGES,
  leftOut: LIBRARY_LEFT_OUT,
  argv: ARGV,
  runtimeApi: RUNTIME_API_RECIPE,
  sdk: PYTHON_SDK_RECIPE,
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
    return { ...versionsOf(packages), ...(await placePythonSdk(root, update)) };
  },
};

/** The runtime's own files, from the project's root. */
function listPythonRuntime(): Promise<readonly string[]> {
  return listProjectFiles(PYTHON_RUNTIME_FOLDER, ['.py']);
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
