/** Runs in the builder and in `npm start`. Files of this project that go into images. */
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256 } from '../storage/digest.ts';

/** The project's root; this file is two levels below it, as source and as built. */
export const PROJECT_ROOT = join(import.meta.dirname, '..', '..');

/** Where images are built unless said otherwise. */
export const DEFAULT_IMAGES_DIRECTORY = join(PROJECT_ROOT, 'images');

/** A file of this project that should go into an image is not there; the message says how to get it. */
export class MissingFileError extends Error {
  override readonly name = 'MissingFileError';
}

/**
 * Digests of files, for a manifest: path from the project's root to SHA-256.
 * @throws MissingFileError that names a missing file and says how to get it.
 */
export async function digestProjectFiles(paths: readonly string[]): Promise<Readonly<Record<string, string>>> {
  const digests: Record<string, string> = {};
  for (const path of [...paths].sort()) {
    const contents = await readFile(join(PROJECT_ROOT, path)).catch((cause: unknown) => {
      const advice = path.startsWith('dist/') ? '; build it first: npm run build' : '';
      throw new MissingFileError(`cannot read ${path} of the project${advice}`, { cause });
    });
    digests[path] = sha256(contents);
  }
  return digests;
}

/** Files with one of the endings in a folder of the project, as paths from its root, sorted. */
export async function listProjectFiles(folder: string, endings: readonly string[]): Promise<readonly string[]> {
  const names = await readdir(join(PROJECT_ROOT, folder));
  return names
    .filter((name) => endings.some((ending) => name.endsWith(ending)))
    .sort()
    .map((name) => join(folder, name));
}
