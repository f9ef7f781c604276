/**
 * Runs in the builder and in `npm start`. The Python of the guest, unpacked into the cache, for what has to be done by the very
 * version that functions run with: choosing and unpacking their wheels, compiling their modules. Code of a function is
 * never run by it.
 */
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CACHE_HELP, cacheDirectory } from '../storage/cache-directory.ts';
import { sha256Json } from '../storage/digest.ts';
import { downloadPackages, resolveClosure, unpackPackages, versionsOf } from './debian.ts';
import { resolvePython, runUnpackedPython, unpackPython, type UnpackedPython } from './debian-python.ts';
import { PROJECT_ROOT } from './project.ts';
import { inBuildFolder, type BuildFolder } from './publish.ts';
import { layFrame } from './runtimefs.ts';
import type { ToolOptions } from './tool.ts';

/** Holds pip as a wheel, which runs without being installed. */
const PIP_PACKAGE = 'python3-pip-whl';
const PIP_FOLDER = join('usr', 'share', 'python-wheels');
const SCRIPTS = join(PROJECT_ROOT, 'src', 'images', 'python');
/** Raised when the same packages are to be unpacked in another way. */
const LAYOUT_VERSION = 1;

export interface GuestPython extends UnpackedPython {
  /** Such as "3.11". */
  readonly version: string;
}

let unpacking: Promise<GuestPython> | null = null;

/**
 * The interpreter, as apt resolves it now; looked up once in each process.
 * @throws ToolError without apt, or if it fails; then it is tried again the next time.
 */
export function guestPython(): Promise<GuestPython> {
  unpacking ??= unpackGuestPython().catch((error: unknown) => {
    unpacking = null;
    throw error;
  });
  return unpacking;
}

async function unpackGuestPython(): Promise<GuestPython> {
  const packages = (await resolvePython()).unpacked;
  const digest = sha256Json({ version: LAYOUT_VERSION, packages: versionsOf(packages) });
  const folder = join(cacheDirectory(), 'python', digest);
  const root = join(folder, 'root');
  const stamp = join(folder, 'root.json');
  const made = await once(folder, stamp, async (buildFolder) => {
    const { scratch } = buildFolder;
    const directory = join(scratch, 'root');
    await mkdir(directory);
    const program = await unpackPython(directory, packages);
    await buildFolder.publishDirectory(root, directory, stamp, program);
  });
  return { root, program: made, version: made.replace('python', '') };
}

/**
 * pip's wheel, of the version that Debian has; in the cache.
 * @throws ToolError without apt, or if it fails.
 */
export async function guestPip(): Promise<string> {
  const pip = (await resolveClosure([PIP_PACKAGE])).find((one) => one.name === PIP_PACKAGE);
  if (pip === undefined) throw new Error(`apt has no package ${PIP_PACKAGE}`);
  const folder = join(cacheDirectory(), 'python', `pip-${sha256Json(versionsOf([pip])).slice(0, 16)}`);
  const place = join(folder, 'wheels');
  const wheel = await once(folder, join(folder, 'wheels.json'), async (buildFolder) => {
    const { scratch } = buildFolder;
    await layFrame(scratch);
    await unpackPackages(await downloadPackages([pip]), scratch);
    const wheels = join(scratch, PIP_FOLDER);
    const name = (await readdir(wheels)).find((one) => one.startsWith('pip-'));
    if (name === undefined) throw new Error(`${PIP_PACKAGE} ${pip.version} holds no wheel of pip`);
    await buildFolder.publishDirectory(place, wheels, join(folder, 'wheels.json'), name);
  });
  return join(place, wheel);
}

/** Has something made in a folder of the cache unless its stamp is there. Returns what the stamp says. */
async function once(folder: string, stamp: string, make: (buildFolder: BuildFolder) => Promise<void>): Promise<string> {
  const read = (): Promise<string | undefined> => readFile(stamp, 'utf8').catch(() => undefined);
  const found = await read();
  if (found !== undefined) return found;
  await inBuildFolder(
    folder,
    async (buildFolder) => {
      if ((await read()) === undefined) await make(buildFolder);
    },
    { help: CACHE_HELP },
  );
  return readFile(stamp, 'utf8');
}

/** Runs one of our programs in src/images/python with it. */
export function runGuestScript(
  python: GuestPython,
  name: string,
  argv: readonly string[],
  options: ToolOptions = {},
): Promise<Buffer> {
  return runUnpackedPython(python, [join(SCRIPTS, name), ...argv], options);
}
