/**
 * Runs in the builder and in `npm start`. The root file system of functions that bring their own runtime: the userland, and
 * the server of the Runtime API, which is compiled here.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { downloadPackages, unpackPackages, versionsOf, type DebianPackage } from './debian.ts';
import { listProjectFiles, PROJECT_ROOT } from './project.ts';
import { FRAME_RECIPE, finishFrame, layFrame, placeFile } from './runtimefs.ts';
import type { RuntimeImage } from './runtimes.ts';
import { runTool } from './tool.ts';
import { finishUserland, resolveRoot, USERLAND_RECIPE, type RootPackages } from './userland.ts';

/** The folder of the server's sources, from the project's root, and its place in the guest. */
export const RUNTIME_API_FOLDER = join('guest', 'runtime-api');
const RUNTIME_API_PLACE = join('usr', 'lib', 'snapfaas', 'runtime-api');

/** Bootstraps in shell ask for their events with it, as AWS's own guide does. */
const PACKAGES = ['curl'];
const ARGV = [join('/', RUNTIME_API_PLACE)];

const WARNINGS = ['-Wall', '-Wextra', '-Werror'] as const;
/** Of the program in the image. */
export const GUEST_FLAGS = ['-static', '-O2', ...WARNINGS] as const;

const PROVIDED_RECIPE = {
  version: 1,
  frame: FRAME_RECIPE,
  userland: USERLAND_RECIPE,
  packages: PACKAGES,
  flags: GUEST_FLAGS,
  argv: ARGV,
};

export const PROVIDED_IMAGE: RuntimeImage = {
  recipe: PROVIDED_RECIPE,
  listFiles: listRuntimeApi,
  resolve: resolveProvided,
  async fill(root, scratch, update) {
    update('downloading packages');
    const { unpacked: packages } = await resolveProvided();
    await fillProvidedRoot(root, scratch, packages);
    return versionsOf(packages);
  },
};

/** The server's sources, from the project's root. */
export function listRuntimeApi(): Promise<readonly string[]> {
  return listProjectFiles(RUNTIME_API_FOLDER, ['.c', '.h']);
}

function resolveProvided(): Promise<RootPackages> {
  return resolveRoot(PACKAGES);
}

/** Fills the empty directory `root`. */
async function fillProvidedRoot(root: string, scratch: string, packages: readonly DebianPackage[]): Promise<void> {
  await layFrame(root);
  await unpackPackages(await downloadPackages(packages), root);
  await finishFrame(root, ARGV);
  await finishUserland(root);
  const binary = join(scratch, 'runtime-api');
  await compileRuntimeApi(binary, GUEST_FLAGS);
  await runTool('strip', [binary]);
  await placeFile(root, RUNTIME_API_PLACE, await readFile(binary), 0o755);
}

/** @param flags by default those of a program for this host. */
export async function compileRuntimeApi(file: string, flags: readonly string[] = ['-O2', ...WARNINGS]): Promise<void> {
  const sources = (await listRuntimeApi()).filter((path) => path.endsWith('.c'));
  await mkdir(join(file, '..'), { recursive: true });
  // Relative names keep the place of the checkout out of the binary.
  await runTool('gcc', [...flags, '-o', file, ...sources], { cwd: PROJECT_ROOT });
}
