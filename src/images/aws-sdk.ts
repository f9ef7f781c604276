/**
 * Runs in the builder and in `npm start`. The AWS SDKs that AWS's own runtimes bring along: in /var/runtime of the guest, where modules
 * are looked for last, so that what a function or a layer brings goes first.
 */
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { NODE_SDK_PACKAGES } from '../protocol/runtimes.ts';
import { fetchSet, modulesOf } from './app-pypi.ts';
import { compilePython } from './debian-python.ts';
import { guestPython } from './guest-python.ts';
import { runTool, ToolError } from './tool.ts';

const PLACE = join('var', 'runtime');

/** Has images built without, where it is `none`. */
const VARIABLE = 'SNAPFAAS_AWS_SDK';
const isWanted = process.env[VARIABLE] !== 'none';

const PYTHON_PACKAGE = 'boto3';

export const PYTHON_SDK_RECIPE = isWanted ? { version: 1, place: PLACE, packages: [PYTHON_PACKAGE] } : null;
export const NODE_SDK_RECIPE = isWanted ? { version: 1, place: PLACE, packages: NODE_SDK_PACKAGES } : null;

/**
 * Adds boto3, as PyPI has it for the guest's Python, to the root file system `root`.
 *
 * @returns name to version.
 * @throws ToolError if pip does not get it.
 */
export async function placePythonSdk(
  root: string,
  update: (text: string) => void,
): Promise<Readonly<Record<string, string>>> {
  if (!isWanted) return {};
  update(`downloading ${PYTHON_PACKAGE}`);
  const wanted = { requirements: [PYTHON_PACKAGE], constraints: [], names: [PYTHON_PACKAGE], flags: [] };
  const python = await guestPython();
  // Without `force` it would be for ever of the version that was there when it was first asked for.
  const set = await orWithout(fetchSet(wanted, { force: true, namedBy: 'the image' }));
  const place = join(root, PLACE);
  await cp(join(set.directory, modulesOf(python)), place, { recursive: true, verbatimSymlinks: true });
  await compilePython(python.root, python.program, place, join('/', PLACE));
  return Object.fromEntries(Object.entries(set.versions).map(([name, version]) => [`pypi:${name}`, version]));
}

const lockSchema = z.object({ packages: z.record(z.string(), z.object({ version: z.string().optional() })) });

/**
 * Adds clients of the AWS SDK for JavaScript, as npm has them, to the root file system `root`.
 *
 * @returns name to version.
 * @throws ToolError if npm does not get them.
 */
export async function placeNodeSdk(
  root: string,
  scratch: string,
  update: (text: string) => void,
): Promise<Readonly<Record<string, string>>> {
  if (!isWanted) return {};
  update('downloading the AWS SDK');
  const directory = join(scratch, 'aws-sdk');
  await mkdir(directory);
  await writeFile(join(directory, 'package.json'), '{"private": true}');
  const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--silent'];
  await orWithout(runTool('npm', ['install', ...quiet, ...NODE_SDK_PACKAGES], { cwd: directory }));
  const modules = join(directory, 'node_modules');
  const { packages } = lockSchema.parse(JSON.parse(await readFile(join(directory, 'package-lock.json'), 'utf8')));
  // What is only read by compilers, and npm's own list.
  const isRead = (path: string): boolean =>
    !/\/dist-types(\/|$)|\.d\.[cm]?ts$|\.map$|\/\.package-lock\.json$/.test(path);
  await cp(modules, join(root, PLACE, 'node_modules'), { recursive: true, verbatimSymlinks: true, filter: isRead });
  return Object.fromEntries(
    NODE_SDK_PACKAGES.map((name) => [name, packages[`node_modules/${name}`]?.version ?? 'unknown']),
  );
}

/** Says what else can be done where the packages cannot be had. */
async function orWithout<T>(fetched: Promise<T>): Promise<T> {
  try {
    return await fetched;
  } catch (error) {
    if (!(error instanceof ToolError) || error.missing) throw error;
    const message = `${error.message}\n  With ${VARIABLE}=none in the environment images are built without the AWS SDK.`;
    throw new ToolError(error.command, message, { cause: error });
  }
}
