/**
 * Runs in the builder and in `npm start`. The npm package `snapfaas`, through which Node functions register their hooks.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { PROJECT_ROOT } from './project.ts';

/** Its files, from the project's root. */
export const HOOKS_PACKAGE_FILES: readonly string[] = [
  join('guest', 'runtimes', 'node', 'snapfaas', 'package.json'),
  join('dist', 'guest', 'node', 'snapfaas', 'index.cjs'),
  join('dist', 'guest', 'node', 'snapfaas', 'index.d.cts'),
];

/** Writes the package so that the modules of `directory`, and of those below it, find it. */
export async function placeHooksPackage(directory: string): Promise<void> {
  const place = join(directory, 'node_modules', 'snapfaas');
  await mkdir(place, { recursive: true });
  for (const path of HOOKS_PACKAGE_FILES) {
    await writeFile(join(place, basename(path)), await readFile(join(PROJECT_ROOT, path)), { mode: 0o644 });
  }
}
