/**
 * Runs in the builder and in `npm start`. Builds the images a host needs once: kernel, initial RAM disk, and a root file
 * system for each runtime.
 */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  ON_DEMAND_RUNTIMEFS,
  RUNTIMEFS_NAMES,
  STANDING_RUNTIMEFS,
  isMadeOnDemand,
  runtimefsAt,
  runtimeOfRuntimefs,
  type RuntimefsName,
} from '../protocol/runtimes.ts';
import { versionsOf } from './debian.ts';
import { sha256Json } from '../storage/digest.ts';
import { EXT4_RULES_VERSION, measureTree, tightSize, writeExt4 } from './ext4.ts';
import { fetchKernel, INIT_FOLDER, KERNEL_RECIPE, writeInitrd, writeVmlinux } from './kernel.ts';
import { readFinished, verifyFile, type Inputs, type ManifestDraft } from './manifest.ts';
import { inStep, SILENT, type Progress } from './progress.ts';
import { digestProjectFiles, listProjectFiles, MissingFileError } from './project.ts';
import { inBuildFolder, type BuildFolder } from './publish.ts';
import { RUNTIME_IMAGES } from './runtimes.ts';
import { listUserland } from './userland.ts';

/** What can be built by name. */
export type ImageName = 'kernel' | RuntimefsName;
export const IMAGE_NAMES: readonly ImageName[] = ['kernel', ...RUNTIMEFS_NAMES];

export interface ImagePaths {
  readonly kernel: string;
  readonly initrd: string;
  readonly runtimefs: Readonly<Record<RuntimefsName, string>>;
}

/** Where each image lies under the images directory. */
export function imagePaths(directory: string): ImagePaths {
  return {
    kernel: join(directory, 'vmlinux'),
    initrd: join(directory, 'initrd.cpio'),
    runtimefs: Object.fromEntries(
      RUNTIMEFS_NAMES.map((name) => [name, join(directory, 'runtimefs', `${name}.ext4`)]),
    ) as Record<RuntimefsName, string>,
  };
}

/** The files that make up an image: the kernel comes with its initial RAM disk. */
export function filesOf(name: ImageName, directory: string): readonly string[] {
  const paths = imagePaths(directory);
  return name === 'kernel' ? [paths.kernel, paths.initrd] : [paths.runtimefs[name]];
}

/** What each host has, and what a function has wanted (`ensureRuntimefs`). */
export function wantedImages(directory: string): readonly ImageName[] {
  const { runtimefs } = imagePaths(directory);
  return ['kernel', ...STANDING_RUNTIMEFS, ...ON_DEMAND_RUNTIMEFS.filter((name) => existsSync(runtimefs[name]))];
}

export interface BuildOptions {
  /** Images directory; absolute. */
  readonly directory: string;
  /** Build even what is up to date: takes newer packages. */
  readonly force?: boolean;
  readonly progress?: Progress;
  readonly signal?: AbortSignal;
}

/**
 * Builds those of `names` that are not up to date, one after another.
 *
 * @returns the names that were built.
 * @throws ToolError if a program is missing or failed. Nothing half-built is left in place.
 */
export async function buildImages(names: readonly ImageName[], options: BuildOptions): Promise<readonly ImageName[]> {
  const built: ImageName[] = [];
  for (const name of names) if (await buildImage(name, options)) built.push(name);
  return built;
}

async function buildImage(name: ImageName, options: BuildOptions): Promise<boolean> {
  const { directory, force = false, progress = SILENT } = options;
  const isNeeded = async (): Promise<boolean> => force || !(await isUpToDate(name, directory));
  if (!(await isNeeded())) return false;
  return inStep(
    progress,
    `image ${name}`,
    (step) => {
      const update: Update = (text) => step.update(text);
      const build = (folder: BuildFolder): Promise<void> =>
        name === 'kernel'
          ? buildKernel(folder, directory, update)
          : buildRuntimefs(name, imagePaths(directory).runtimefs[name], folder, update);
      return buildInTurn(directory, isNeeded, build, update, options.signal);
    },
    (built) => (built ? 'built' : 'was built by another process'),
  );
}

/** @returns false: another process has built it while this one waited. */
function buildInTurn(
  directory: string,
  isNeeded: () => Promise<boolean>,
  build: (folder: BuildFolder) => Promise<void>,
  update: Update,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const work = async (folder: BuildFolder): Promise<boolean> => {
    if (!(await isNeeded())) return false;
    await build(folder);
    return true;
  };
  const onWait = (pid: number): void => update(`waiting for another build (process ${pid})`);
  return inBuildFolder(directory, work, { onWait, signal });
}

/**
 * Builds the root file system at `path` if it is one that is made when it is wanted, and is missing or out of date.
 *
 * @throws as `buildImages`, and DirectoryError if its directory cannot be written to.
 */
export async function ensureRuntimefs(path: string, update: Update, signal: AbortSignal): Promise<void> {
  const name = runtimefsAt(path);
  if (name === null || !isMadeOnDemand(path)) return;
  const isNeeded = async (): Promise<boolean> => {
    try {
      return !(await isFileUpToDate(name, path));
    } catch (error) {
      // A finished one is taken as it is where what it was made of is not there.
      if (error instanceof MissingFileError && (await readFinished(path)) !== undefined) return false;
      throw error;
    }
  };
  if (!(await isNeeded())) return;
  const told: Update = (text) => update(`root file system ${name}: ${text}`);
  const build = (folder: BuildFolder): Promise<void> => buildRuntimefs(name, path, folder, told);
  await buildInTurn(dirname(path), isNeeded, build, told, signal);
}

/**
 * Whether an image is finished and was made by the recipe and from the guest files as they are now. Fast: packages are
 * not looked up and contents not read; see `verifyImages` for that.
 */
export async function isUpToDate(name: ImageName, directory: string): Promise<boolean> {
  for (const file of filesOf(name, directory)) if (!(await isFileUpToDate(name, file))) return false;
  return true;
}

/** The same of one file, wherever it lies. */
export async function isFileUpToDate(name: ImageName, file: string): Promise<boolean> {
  const { recipe, files } = await currentInputs(name);
  const manifest = await readFinished(file);
  if (manifest === undefined || manifest.inputs.recipe !== recipe) return false;
  // The kernel itself holds none of our files.
  return manifest.kind === 'kernel' || sha256Json(manifest.inputs.files) === sha256Json(files);
}

/** Reads every image whole. Returns a line for each that is missing or damaged. */
export async function verifyImages(names: readonly ImageName[], directory: string): Promise<readonly string[]> {
  const problems: string[] = [];
  for (const name of names) {
    for (const file of filesOf(name, directory)) {
      const problem = await verifyFile(file);
      if (problem !== undefined) problems.push(`${file} ${problem}`);
    }
  }
  return problems;
}

type KnownInputs = Omit<Inputs, 'packages'>;

/** The inputs that are known without asking apt. */
async function currentInputs(name: ImageName): Promise<KnownInputs> {
  const rules = { ext4: EXT4_RULES_VERSION };
  if (name === 'kernel') {
    const sources = await listProjectFiles(INIT_FOLDER, ['.c', '.h']);
    return { recipe: sha256Json(KERNEL_RECIPE), files: await digestProjectFiles(sources) };
  }
  const image = RUNTIME_IMAGES[name];
  return {
    recipe: sha256Json({ ...image.recipe, ...rules }),
    files: await digestProjectFiles([...(await image.listFiles()), ...(await listUserland())]),
  };
}

type Update = (text: string) => void;

async function buildKernel(buildFolder: BuildFolder, directory: string, update: Update): Promise<void> {
  const { recipe, files } = await currentInputs('kernel');
  const paths = imagePaths(directory);
  update('downloading the kernel package');
  const kernel = await fetchKernel(buildFolder.scratch);
  const packages = versionsOf([kernel.package]);
  update('extracting the kernel');
  const vmlinux: ManifestDraft = { name: 'vmlinux', kind: 'kernel', inputs: { recipe, files: {}, packages } };
  await buildFolder.publish(paths.kernel, vmlinux, (file) => writeVmlinux(kernel, file));
  update('compiling init');
  const initrd: ManifestDraft = { name: 'initrd', kind: 'initrd', inputs: { recipe, files, packages } };
  await buildFolder.publish(paths.initrd, initrd, (file) => writeInitrd(kernel, buildFolder.scratch, file));
}

async function buildRuntimefs(
  name: RuntimefsName,
  path: string,
  buildFolder: BuildFolder,
  update: Update,
): Promise<void> {
  const known = await currentInputs(name);
  const root = join(buildFolder.scratch, 'root');
  await mkdir(root);
  const packages = await RUNTIME_IMAGES[name].fill(root, buildFolder.scratch, update);
  update('writing the file system');
  const size = tightSize(await measureTree(root));
  const runtime = runtimeOfRuntimefs(name);
  const draft: ManifestDraft = { name, kind: 'runtimefs', runtime, inputs: { ...known, packages } };
  await buildFolder.publish(path, draft, (file) => writeExt4(root, file, size, name));
}
