/**
 * Runs in the commands of people. `node_modules` for a package, as the lock file has it: what `npm ci --omit=dev` brings, without
 * scripts. Kept by what was asked for, so that a function whose code alone changes is packed at once.
 */
import { copyFile, mkdir, rename, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { addNpmPackages } from '../images/npm-packages.ts';
import { LOCKS, readNpmProject } from '../images/npm-project.ts';
import { inBuildFolder } from '../images/publish.ts';
import { copyTree, type TreeEntry } from '../images/tree.ts';
import { CACHE_HELP, cacheDirectory } from '../storage/cache-directory.ts';
import { sha256Json } from '../storage/digest.ts';

/** Raised when the same lock file is to give other files than before. */
const RULES_VERSION = 1;

export interface NpmModules {
  /** It has `node_modules`, and those of local packages in their places. */
  readonly directory: string;
  readonly notes: readonly string[];
}

interface NpmOptions {
  /** An empty directory. */
  readonly scratch: string;
  readonly onProgress: (text: string) => void;
  readonly signal: AbortSignal | undefined;
}

export function hasLock(files: ReadonlySet<string>): boolean {
  return LOCKS.some((name) => files.has(name));
}

/**
 * @param entries of the function's directory, a lock file among them, without `node_modules`.
 * @throws TreeError if a package comes from where it must not; ToolError if npm fails.
 */
export async function npmModules(
  directory: string,
  entries: readonly TreeEntry[],
  options: NpmOptions,
): Promise<NpmModules> {
  const project = await readNpmProject(directory);
  if (project.directories.size > 1 || project.archives.size > 0) {
    // Local packages are among the function's files.
    const files = join(options.scratch, 'files');
    await mkdir(files);
    await copyTree(directory, entries, files);
    return { directory: files, notes: await install(files, options.scratch, options) };
  }
  const digest = sha256Json({ version: RULES_VERSION, node: process.versions.node, texts: [...project.texts] });
  const folder = join(cacheDirectory(), 'node', 'sets', digest);
  const [place, stamp] = [join(folder, 'files'), join(folder, 'files.json')];
  if (existsSync(stamp)) return { directory: place, notes: [] };
  return inBuildFolder(
    folder,
    async (buildFolder) => {
      if (existsSync(stamp)) return { directory: place, notes: [] };
      const files = join(buildFolder.scratch, 'files');
      await mkdir(files);
      for (const [path, text] of project.texts) await writeFile(join(files, path), text);
      if (existsSync(join(directory, '.npmrc'))) await copyFile(join(directory, '.npmrc'), join(files, '.npmrc'));
      const notes = await install(files, buildFolder.scratch, options);
      const made = join(buildFolder.scratch, 'made');
      await mkdir(made);
      if (existsSync(join(files, 'node_modules')))
        await rename(join(files, 'node_modules'), join(made, 'node_modules'));
      await buildFolder.publishDirectory(place, made, stamp, '{}');
      return { directory: place, notes };
    },
    { help: CACHE_HELP, signal: options.signal },
  );
}

function install(files: string, scratch: string, { onProgress, signal }: NpmOptions): Promise<readonly string[]> {
  onProgress('installing npm packages');
  return addNpmPackages(files, scratch, signal);
}
