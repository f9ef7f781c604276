/**
 * Runs in snapctr and in `npm start`. Builds the images a host needs once: kernel, initial RAM disk, and a root file
 * system for each runtime.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { RuntimeName } from '../protocol/runner.ts';
import { versionsOf } from './debian.ts';
import { sha256Json } from '../storage/digest.ts';
import { EXT4_RULES_VERSION, measureTree, tightSize, writeExt4 } from './ext4.ts';
import { fetchKernel, INIT_FOLDER, KERNEL_RECIPE, writeInitrd, writeVmlinux } from './kernel.ts';
import { readFinished, verifyFile, type Inputs, type ManifestDraft } from './manifest.ts';
import { fetchNode, fillNodeRoot, listNodeFiles, NODE_RECIPE, resolveNodeLibraries } from './nodejs.ts';
import { inStep, SILENT, type Progress } from './progress.ts';
import { digestProjectFiles, listProjectFiles } from './project.ts';
import { inBuildFolder, type BuildFolder } from './publish.ts';
import { fillPythonRoot, listPythonRuntime, PYTHON_RECIPE, resolvePython } from './python3.ts';
import { listUserland } from './userland.ts';

/** What can be built by name. */
export const IMAGE_NAMES = ['kernel', 'python3', 'nodejs'] as const;
export type ImageName = (typeof IMAGE_NAMES)[number];

export interface ImagePaths {
  readonly kernel: string;
  readonly initrd: string;
  readonly runtimefs: Readonly<Record<RuntimeName, string>>;
}

/** Where each image lies under the images directory. */
export function imagePaths(directory: string): ImagePaths {
  return {
    kernel: join(directory, 'vmlinux'),
    initrd: join(directory, 'initrd.cpio'),
    runtimefs: {
      python3: join(directory, 'runtimefs', 'python3.ext4'),
      nodejs: join(directory, 'runtimefs', 'nodejs.ext4'),
    },
  };
}

/** The files that make up an image: the kernel comes with its initial RAM disk. */
export function filesOf(name: ImageName, directory: string): readonly string[] {
  const paths = imagePaths(directory);
  return name === 'kernel' ? [paths.kernel, paths.initrd] : [paths.runtimefs[name]];
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
  if (!force && (await isUpToDate(name, directory))) return false;
  return inStep(
    progress,
    `image ${name}`,
    async (step) => {
      const onWait = (pid: number): void => step.update(`waiting for another build (process ${pid})`);
      const work = async (buildFolder: BuildFolder): Promise<boolean> => {
        // Another process may have built it while this one waited.
        if (!force && (await isUpToDate(name, directory))) return false;
        await BUILDERS[name](buildFolder, directory, (text) => step.update(text));
        return true;
      };
      return inBuildFolder(directory, work, { onWait, signal: options.signal });
    },
    (built) => (built ? 'built' : 'was built by another process'),
  );
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
  switch (name) {
    case 'kernel': {
      const sources = await listProjectFiles(INIT_FOLDER, ['.c', '.h']);
      return { recipe: sha256Json(KERNEL_RECIPE), files: await digestProjectFiles(sources) };
    }
    case 'python3':
      return {
        recipe: sha256Json({ ...PYTHON_RECIPE, ...rules }),
        files: await digestProjectFiles([...(await listPythonRuntime()), ...(await listUserland())]),
      };
    case 'nodejs':
      return {
        recipe: sha256Json({ ...NODE_RECIPE, ...rules }),
        files: await digestProjectFiles([...(await listNodeFiles()), ...(await listUserland())]),
      };
  }
}

type Builder = (buildFolder: BuildFolder, directory: string, update: (text: string) => void) => Promise<void>;

const BUILDERS: Readonly<Record<ImageName, Builder>> = {
  async kernel(buildFolder, directory, update) {
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
  },

  async python3(buildFolder, directory, update) {
    const known = await currentInputs('python3');
    update('downloading packages');
    const { unpacked: packages } = await resolvePython();
    const root = join(buildFolder.scratch, 'root');
    await mkdir(root);
    await fillPythonRoot(root, packages);
    update('writing the file system');
    const inputs = { ...known, packages: versionsOf(packages) };
    await publishRuntimefs(buildFolder, 'python3', root, inputs, directory);
  },

  async nodejs(buildFolder, directory, update) {
    const known = await currentInputs('nodejs');
    update('downloading Node');
    const node = await fetchNode(buildFolder.scratch);
    update('downloading packages');
    const { unpacked: packages } = await resolveNodeLibraries();
    const root = join(buildFolder.scratch, 'root');
    await mkdir(root);
    await fillNodeRoot(root, packages, node);
    update('writing the file system');
    const inputs = { ...known, packages: { ...versionsOf(packages), [node.package]: node.version } };
    await publishRuntimefs(buildFolder, 'nodejs', root, inputs, directory);
  },
};

async function publishRuntimefs(
  buildFolder: BuildFolder,
  runtime: RuntimeName,
  root: string,
  inputs: Inputs,
  directory: string,
): Promise<void> {
  const size = tightSize(await measureTree(root));
  const draft: ManifestDraft = { name: runtime, kind: 'runtimefs', runtime, inputs };
  await buildFolder.publish(imagePaths(directory).runtimefs[runtime], draft, (file) =>
    writeExt4(root, file, size, runtime),
  );
}
