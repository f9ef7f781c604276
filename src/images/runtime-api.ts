/**
 * Runs in the builder and in `npm start`. The server of the Runtime API, which is compiled here: the runtime of functions that bring
 * their own, and in every root file system what serves applications on a port.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { listProjectFiles, PROJECT_ROOT } from './project.ts';
import { placeFile } from './runtimefs.ts';
import { runTool } from './tool.ts';

/** The folder of the server's sources, from the project's root, and its place in the guest. */
export const RUNTIME_API_FOLDER = join('guest', 'runtime-api');
const RUNTIME_API_PLACE = join('usr', 'lib', 'snapfaas', 'runtime-api');
/** Its command line for applications on a port: init starts that in place of the runtime where it is asked to. */
const WEB_COMMAND_PLACE = join('etc', 'snapfaas', 'web');

const WARNINGS = ['-Wall', '-Wextra', '-Werror'] as const;
/** Of the program in the image. */
export const GUEST_FLAGS = ['-static', '-O2', ...WARNINGS] as const;

/** Part of the recipe of whoever places it. */
export const RUNTIME_API_RECIPE = { flags: GUEST_FLAGS, argv: [join('/', RUNTIME_API_PLACE)], web: WEB_COMMAND_PLACE };

/** The server's sources, from the project's root. */
export function listRuntimeApi(): Promise<readonly string[]> {
  return listProjectFiles(RUNTIME_API_FOLDER, ['.c', '.h']);
}

/**
 * Adds it to the root file system `root`.
 *
 * @param variables for the environment of applications, such as `NAME=value`.
 */
export async function placeRuntimeApi(root: string, scratch: string, variables: readonly string[] = []): Promise<void> {
  const binary = join(scratch, 'runtime-api');
  await compileRuntimeApi(binary, GUEST_FLAGS);
  await runTool('strip', [binary]);
  await placeFile(root, RUNTIME_API_PLACE, await readFile(binary), 0o755);
  const command = [...RUNTIME_API_RECIPE.argv, ...variables].map((argument) => `${argument}\n`).join('');
  await placeFile(root, WEB_COMMAND_PLACE, Buffer.from(command), 0o644);
}

/** @param flags by default those of a program for this host. */
export async function compileRuntimeApi(file: string, flags: readonly string[] = ['-O2', ...WARNINGS]): Promise<void> {
  const sources = (await listRuntimeApi()).filter((path) => path.endsWith('.c'));
  await mkdir(join(file, '..'), { recursive: true });
  // Relative names keep the place of the checkout out of the binary.
  await runTool('gcc', [...flags, '-o', file, ...sources], { cwd: PROJECT_ROOT });
}
