/**
 * Runs in snapctr and in `npm start`. The first half of a function's way from its directory to an image; the second is
 * `app-image.ts`:
 *
 * ```
 *   DIR ── stageApp ──▶ cache/apps/DIGEST/files/  ── packApp ──▶ cache/apps/DIGEST/app.ext4
 *          copy, npm ci, Debian packages                 mke2fs
 * ```
 *
 * Both results are kept by content: DIGEST is over the files of DIR and the rules, so the same directory is staged once.
 * The `process` driver runs functions from `files/`; virtual machines mount the image as /srv.
 */
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { addPackages, PACKAGES_FILE, readPackagesFile } from './app-packages.ts';
import { CACHE_HELP, cacheDirectory } from '../storage/cache-directory.ts';
import { versionsOf } from './debian.ts';
import { sha256Json } from '../storage/digest.ts';
import { HOOKS_PACKAGE_FILES, placeHooksPackage } from './hooks-package.ts';
import { addNpmPackages } from './npm-packages.ts';
import { digestProjectFiles } from './project.ts';
import { inBuildFolder, type BuildFolder } from './publish.ts';
import { copyTree, scanTree, treeDigest, TreeError, type TreeEntry } from './tree.ts';

/** Raised when staging the same directory is to give other files than before. */
const STAGE_RULES_VERSION = 4;

export interface StageOptions {
  /** Where results are kept; `apps/` below it. Default: `cacheDirectory()`. */
  readonly cacheDirectory?: string;
  /** Leave out `debian-packages.txt`, for hosts without apt; the result has a note that says so. */
  readonly skipDebianPackages?: boolean;
  /** Stage again, with the newest Debian packages. */
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
  /** Packages brought by `debian-packages.txt`: name to version. */
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
 * @throws TreeError if the directory cannot become an image; ToolError if npm or apt failed.
 */
export async function stageApp(directory: string, options: StageOptions = {}): Promise<StagedApp> {
  const entries = await scanTree(directory);
  const skip = options.skipDebianPackages === true && hasFile(entries, PACKAGES_FILE);
  const hooksPackage = await digestProjectFiles(HOOKS_PACKAGE_FILES);
  const rules = { version: STAGE_RULES_VERSION, hooksPackage };
  const digest = sha256Json({ rules, tree: treeDigest(entries), skippedPackages: skip });
  const folder = join(options.cacheDirectory ?? cacheDirectory(), 'apps', digest);
  const staged = { digest, directory: join(folder, 'files') };

  const finished = options.force === true ? undefined : await readStamp(folder);
  if (finished !== undefined) return { ...staged, ...finished };
  const stamp = await inBuildFolder(
    folder,
    async (buildFolder) => {
      const other = options.force === true ? undefined : await readStamp(folder);
      if (other !== undefined) return other;
      const files = join(buildFolder.scratch, 'files');
      const made = await fillStage(directory, entries, files, buildFolder, { ...options, skipDebianPackages: skip });
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

async function readStamp(folder: string): Promise<Stamp | undefined> {
  const text = await readFile(stampPath(folder), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  return stampSchema.parse(JSON.parse(text));
}

function hasFile(entries: readonly TreeEntry[], path: string): boolean {
  return entries.some((entry) => entry.path === path && entry.type === 'file');
}

async function fillStage(
  directory: string,
  entries: readonly TreeEntry[],
  files: string,
  buildFolder: BuildFolder,
  options: StageOptions,
): Promise<Stamp> {
  await mkdir(files);
  await chmod(files, 0o755);
  const stamp: Stamp = { packages: {}, notes: [] };
  if (hasFile(entries, PACKAGES_FILE)) {
    const names = await readPackagesFile(join(directory, PACKAGES_FILE));
    if (options.skipDebianPackages === true) {
      stamp.notes.push(`Debian packages are left out (${PACKAGES_FILE}): ${names.join(', ')}`);
    } else if (names.length > 0) {
      options.onProgress?.(`unpacking Debian packages: ${names.join(', ')}`);
      stamp.packages = versionsOf(await addPackages(names, buildFolder.scratch, files));
    }
  }
  // After the packages, so that the function's own files win.
  options.onProgress?.('copying files');
  await copyTree(directory, entries, files);
  if (treeDigest(await scanTree(directory)) !== treeDigest(entries)) {
    throw new TreeError(`${directory} was changed while it was copied; try again`);
  }
  if (hasFile(entries, 'package-lock.json') && !entries.some((entry) => entry.path === 'node_modules')) {
    options.onProgress?.('installing npm packages');
    stamp.notes.push(...(await addNpmPackages(files, buildFolder.scratch, options.signal)));
  }
  return stamp;
}
