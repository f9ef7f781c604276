/** Runs in the builder and in `npm start`. Files that say what a function depends on, and are not read by us. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { RUNTIMES, type RuntimeName } from '../protocol/runtimes.ts';
import { LOCKS } from './npm-project.ts';
import { REQUIREMENTS_FILE } from './requirements.ts';
import { decodeText } from './text.ts';
import type { TreeEntry } from './tree.ts';

const OTHER_NODE_LOCKS = ['yarn.lock', 'pnpm-lock.yaml', 'bun.lock', 'bun.lockb'];
const OTHER_PYTHON_FILES = [
  'Pipfile.lock',
  'Pipfile',
  'poetry.lock',
  'uv.lock',
  'pdm.lock',
  'pylock.toml',
  'environment.yml',
];

const manifestSchema = z.object({ dependencies: z.record(z.string(), z.unknown()).optional() });

/**
 * Notes on what will be missing, and what to do.
 * @param runtime undefined if the function's files do not depend on it.
 */
export async function describeUnread(
  directory: string,
  entries: readonly TreeEntry[],
  runtime: RuntimeName | undefined,
): Promise<readonly string[]> {
  const has = (name: string): boolean => entries.some(({ path }) => path === name);
  const notes: string[] = [];
  if (!has('node_modules') && !LOCKS.some(has)) {
    const found = OTHER_NODE_LOCKS.find(has) ?? ((await dependsOnPackages(directory)) ? 'package.json' : undefined);
    if (found !== undefined) {
      notes.push(
        `${found} brings no packages: make a package-lock.json (npm install --package-lock-only), or put node_modules into ` +
          "the function's directory",
      );
    }
  }
  const mayBePython = runtime === undefined || runtime === 'python3';
  if (mayBePython && !has(REQUIREMENTS_FILE)) {
    const found = OTHER_PYTHON_FILES.find(has);
    if (found !== undefined) notes.push(`${found} is not read: write what it names into a ${REQUIREMENTS_FILE}`);
  }
  if (!mayBePython && has(REQUIREMENTS_FILE)) {
    notes.push(`${REQUIREMENTS_FILE} is not read: the function runs in ${RUNTIMES[runtime].title}`);
  }
  return notes;
}

/** Of a package.json that Node could not read, Node tells itself. */
async function dependsOnPackages(directory: string): Promise<boolean> {
  try {
    const manifest = manifestSchema.parse(JSON.parse(decodeText(await readFile(join(directory, 'package.json')))));
    return Object.keys(manifest.dependencies ?? {}).length > 0;
  } catch {
    return false;
  }
}
