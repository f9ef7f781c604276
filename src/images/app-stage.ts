/**
 * Runs in the builder and in `npm start`. The first half of a function's way from its directory to an image; the second is
 * `app-image.ts`:
 *
 * ```
 *   DIR ── stageApp ──▶ cache/apps/DIGEST/files/  ── packApp ──▶ cache/apps/DIGEST/app.ext4
 *          copy, bring packages, compile                 mke2fs
 * ```
 *
 * | named in                | becomes                                                             | file            |
 * | ----------------------- | ------------------------------------------------------------------- | --------------- |
 * | `debian-packages.txt`   | `.snapfaas/root`, which guests lay over their root file system      | `app-debian.ts` |
 * | `requirements.txt`      | `/usr/local` of that                                                | `app-pypi.ts`   |
 * | `package-lock.json`     | `node_modules`                                                      |                 |
 *
 * Layers become `/opt` of that root, each laid over those before it and over what Debian packages have there.
 *
 * Both results are kept by content: DIGEST is over the files of DIR and the rules, so the same directory is staged once.
 * The `process` driver runs functions from `files/`; virtual machines mount the image as /srv.
 */
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { defaultRuntimefs, RUNTIMES, type RuntimefsName, type RuntimeName } from '../protocol/runtimes.ts';
import { compileModules } from './app-bytecode.ts';
import { addPackages, PACKAGES_FILE, readPackagesFile, SYSTEM_FOLDER } from './app-debian.ts';
import { addRequirements, vendoredNames } from './app-pypi.ts';
import { CACHE_HELP, cacheDirectory } from '../storage/cache-directory.ts';
import { describeAbsent } from './complete-app.ts';
import { versionsOf } from './debian.ts';
import { sha256Json } from '../storage/digest.ts';
import { HOOKS_PACKAGE_FILES, placeHooksPackage } from './hooks-package.ts';
import { checkNativeModules } from './native-modules.ts';
import { addNpmPackages } from './npm-packages.ts';
import { LOCKS } from './npm-project.ts';
import { describeUnread } from './unread-files.ts';
import { digestProjectFiles } from './project.ts';
import { guestPython } from './guest-python.ts';
import { checkProvidedProgram } from './provided-program.ts';
import { inBuildFolder, type BuildFolder } from './publish.ts';
import { readRequirements, REQUIREMENTS_FILE } from './requirements.ts';
import { ToolError } from './tool.ts';
import { useApp } from './app-retention.ts';
import { copyTree, scanTree, treeDigest, TreeError, type TreeEntry } from './tree.ts';

/** Raised when staging the same directory is to give other files than before. */
const STAGE_RULES_VERSION = 8;

export interface StageOptions {
  /** Where results are kept; `apps/` below it. Default: `cacheDirectory()`. */
  readonly cacheDirectory?: string;
  /** Whose root file system the packages are for; by default what the function's files look like. */
  readonly runtime?: RuntimeName;
  /** That packages are laid over; by default the usual one of the runtime. */
  readonly runtimefs?: RuntimefsName;
  /**
   * The function will run as a plain process of this host: Debian packages are left out, and those of PyPI where there is no
   * apt to bring pip; notes say so.
   */
  readonly onHost?: boolean;
  /** It comes with its modules, as a function package does: of npm and PyPI nothing is installed. */
  readonly isComplete?: boolean;
  /** Directories that become /opt, each laid over those before it. */
  readonly layers?: readonly string[];
  /** Stage again, with the newest packages. */
  readonly force?: boolean;
  /** What is being done, such as "installing npm packages". */
  readonly onProgress?: (text: string) => void;
  readonly signal?: AbortSignal;
}

export interface StagedApp {
  /** Over the function's files and the rules, in hex. */
  readonly digest: string;
  /** Where the staged files are. Must not be changed. */
  readonly directory: string;
  /** Packages that were brought: name to version; names of PyPI's begin with "pypi:". */
  readonly packages: Readonly<Record<string, string>>;
  /** What the user should know, such as packages that were left out. */
  readonly notes: readonly string[];
}

/** Written last: a staged directory without it is not finished. */
const stampSchema = z.strictObject({ packages: z.record(z.string(), z.string()), notes: z.array(z.string()) });
type Stamp = z.infer<typeof stampSchema>;

/**
 * Copies a function's directory into the cache together with its dependencies, unless that was done before.
 *
 * @throws TreeError if the directory cannot become an image; ToolError if npm, pip or apt failed.
 */
export async function stageApp(directory: string, options: StageOptions = {}): Promise<StagedApp> {
  const entries = await scanTree(directory);
  if (entries.some(({ path }) => path === RESERVED)) {
    throw new TreeError(`${join(directory, RESERVED)}: the name is kept for what is made of a function; rename it`);
  }
  const hooksPackage = await digestProjectFiles(HOOKS_PACKAGE_FILES);
  const layers: Layer[] = [];
  for (const layer of options.layers ?? []) layers.push({ directory: layer, entries: await scanTree(layer) });
  const rules = {
    version: STAGE_RULES_VERSION,
    hooksPackage,
    ...(options.isComplete === true && { isComplete: true }),
  };
  const fitting = fit(entries, layers, options);
  const laidOver = layers.map((layer) => treeDigest(layer.entries));
  const digest = sha256Json({
    rules,
    tree: treeDigest(entries),
    fitting,
    ...(laidOver.length > 0 && { layers: laidOver }),
  });
  const folder = join(options.cacheDirectory ?? cacheDirectory(), 'apps', digest);
  const staged = { digest, directory: join(folder, 'files') };

  const finished = options.force === true ? undefined : await readStamp(folder);
  if (finished !== undefined && (await useApp(folder, stampPath(folder), options.signal))) {
    return { ...staged, ...finished };
  }
  const stamp = await inBuildFolder(
    folder,
    async (buildFolder) => {
      const other = options.force === true ? undefined : await readStamp(folder);
      if (other !== undefined) return other;
      const files = join(buildFolder.scratch, 'files');
      const made = await fillStage({ directory, entries }, layers, files, buildFolder, { ...options, ...fitting });
      // Node takes a file's module format from the nearest package.json above it: in a VM there is none above /srv.
      await writeFile(join(folder, 'package.json'), '{}\n');
      // In a VM it is above /srv as well, as part of the root file system.
      await placeHooksPackage(folder);
      await buildFolder.publishDirectory(staged.directory, files, stampPath(folder), JSON.stringify(made));
      return made;
    },
    { help: CACHE_HELP, signal: options.signal, onWait: (pid) => options.onProgress?.(`waiting for process ${pid}`) },
  );
  return { ...staged, ...stamp };
}

function stampPath(folder: string): string {
  return join(folder, 'files.json');
}

/** Undefined where nothing was staged; a stamp that cannot be read says as little as none. */
async function readStamp(folder: string): Promise<Stamp | undefined> {
  try {
    return stampSchema.parse(JSON.parse(await readFile(stampPath(folder), 'utf8')));
  } catch {
    return undefined;
  }
}

/** Of the root file system's. */
const OPT_FOLDER = `${SYSTEM_FOLDER}/opt`;

function hasFile(entries: readonly TreeEntry[], path: string): boolean {
  return entries.some((entry) => entry.path === path && entry.type === 'file');
}

/** A directory as it was read. */
interface Layer {
  readonly directory: string;
  readonly entries: readonly TreeEntry[];
}

const RESERVED = dirname(SYSTEM_FOLDER);

/** What a stage is made for, as far as it matters to the files: functions that are the same everywhere are staged once. */
interface Fitting {
  readonly runtime: RuntimeName;
  readonly onHost: boolean;
  /** That Debian packages are laid over, if it is not the usual one of the runtime. */
  readonly runtimefs?: RuntimefsName;
}

/** The files are all the same to it: they are not looked through. */
function speaksRuntimeApi(options: StageOptions): options is StageOptions & { readonly runtime: RuntimeName } {
  return options.runtime !== undefined && RUNTIMES[options.runtime].speaksRuntimeApi;
}

function fit(entries: readonly TreeEntry[], layers: readonly Layer[], options: StageOptions): Fitting | null {
  const onHost = options.onHost === true;
  const isPackaged = hasFile(entries, PACKAGES_FILE);
  const fitting = (runtime: RuntimeName): Fitting => {
    const { runtimefs } = options;
    const isOther = isPackaged && runtimefs !== undefined && runtimefs !== defaultRuntimefs(runtime);
    return { runtime, onHost, ...(isOther && { runtimefs }) };
  };
  if (speaksRuntimeApi(options)) return fitting(options.runtime);
  const hasModules = [entries, ...layers.map((layer) => layer.entries)].some((all) =>
    all.some(({ path }) => /^(?!.*\bnode_modules\/).*\.py$/.test(path)),
  );
  const isNode = entries.some(({ path }) => /^[^/]+\.([mc]?[jt]s)$|^package\.json$/.test(path));
  if (!hasModules && !isPackaged && !hasFile(entries, REQUIREMENTS_FILE)) return null;
  return fitting(options.runtime ?? (isNode && !hasModules ? 'nodejs' : 'python3'));
}

async function fillStage(
  { directory, entries }: Layer,
  layers: readonly Layer[],
  files: string,
  { scratch }: BuildFolder,
  options: StageOptions,
): Promise<Stamp> {
  if (options.runtime === 'provided') await checkProvidedProgram({ directory, entries }, layers);
  await mkdir(files);
  await chmod(files, 0o755);
  const isComplete = options.isComplete === true;
  const describe = isComplete ? describeAbsent : describeUnread;
  const stamp: Stamp = { packages: {}, notes: [...(await describe(directory, entries, options.runtime))] };
  await bringDebianPackages(directory, entries, files, scratch, options, stamp);
  if (!isComplete) await bringPypiPackages(directory, entries, files, options, stamp);
  options.onProgress?.('copying files');
  await copyUnchanged({ directory, entries }, files);
  for (const layer of layers) {
    await copyUnchanged(layer, join(files, OPT_FOLDER));
    const agents = layer.entries.filter(({ path, type }) => type === 'file' && dirname(path) === 'extensions');
    if (speaksRuntimeApi(options)) continue;
    for (const { path } of agents) {
      stamp.notes.push(
        `the extension ${path} of a layer is not started: that is for the Runtime API (\`provided.al2023\`) and for applications on a port`,
      );
    }
  }
  const hasLock = LOCKS.some((name) => hasFile(entries, name));
  if (!isComplete && hasLock && !entries.some((entry) => entry.path === 'node_modules')) {
    options.onProgress?.('installing npm packages');
    stamp.notes.push(...(await addNpmPackages(files, scratch, options.signal)));
  }
  await finishPython(files, options, stamp);
  return stamp;
}

async function copyUnchanged({ directory, entries }: Layer, target: string): Promise<void> {
  await mkdir(target, { recursive: true });
  await copyTree(directory, entries, target);
  if (treeDigest(await scanTree(directory)) !== treeDigest(entries)) {
    throw new TreeError(`${directory} was changed while it was copied; try again`);
  }
}

async function bringDebianPackages(
  directory: string,
  entries: readonly TreeEntry[],
  files: string,
  scratch: string,
  options: StageOptions,
  stamp: Stamp,
): Promise<void> {
  if (!hasFile(entries, PACKAGES_FILE)) return;
  const names = await readPackagesFile(join(directory, PACKAGES_FILE));
  if (names.length === 0) return;
  if (options.onHost === true) {
    stamp.notes.push(`Debian packages are left out (${PACKAGES_FILE}): ${names.join(', ')}`);
    return;
  }
  options.onProgress?.(`unpacking Debian packages: ${names.join(', ')}`);
  const runtimefs = options.runtimefs ?? defaultRuntimefs(options.runtime ?? 'python3');
  const brought = await addPackages(names, runtimefs, scratch, join(files, SYSTEM_FOLDER));
  Object.assign(stamp.packages, versionsOf(brought.packages));
  stamp.notes.push(...brought.notes);
}

async function bringPypiPackages(
  directory: string,
  entries: readonly TreeEntry[],
  files: string,
  options: StageOptions,
  stamp: Stamp,
): Promise<void> {
  if (options.runtime !== 'python3' || !hasFile(entries, REQUIREMENTS_FILE)) return;
  const wanted = await readRequirements(directory);
  const vendored = vendoredNames(entries);
  // Installed by hand, as for AWS Lambda: that is what runs.
  if (wanted.names.every((name) => vendored.has(name))) return;
  try {
    Object.assign(stamp.packages, await addRequirements(wanted, join(files, SYSTEM_FOLDER), options));
  } catch (error) {
    if (options.onHost !== true || !(error instanceof ToolError) || error.command !== 'apt-get') throw error;
    stamp.notes.push(`packages of PyPI are left out (${REQUIREMENTS_FILE}): apt, which brings pip, is not here`);
  }
}

/** Where there is no apt to bring an interpreter, functions start all the same, only later. */
async function finishPython(files: string, options: StageOptions, stamp: Stamp): Promise<void> {
  if (options.runtime !== 'python3' || options.onHost === true) return;
  const system = `${SYSTEM_FOLDER}/`;
  const shown = (path: string): string => `/${path.startsWith(system) ? path.slice(system.length) : `srv/${path}`}`;
  try {
    const python = await guestPython();
    stamp.notes.push(...(await checkNativeModules(files, python)));
    options.onProgress?.('compiling modules');
    await compileModules(python, files, shown, options.signal);
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    stamp.notes.push(`modules are not compiled ahead, so that imports take longer: ${error.message}`);
  }
}
