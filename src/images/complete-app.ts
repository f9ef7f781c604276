/** Runs in the builder. A function that comes with its modules: none is brought for it, and what is missing is said. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { RuntimeName } from '../protocol/runtimes.ts';
import { vendoredNames } from './app-pypi.ts';
import { readRequirements, REQUIREMENTS_FILE } from './requirements.ts';
import { decodeText } from './text.ts';
import type { TreeEntry } from './tree.ts';

/** Packages that a note names. */
const MAX_NAMED = 10;

const manifestSchema = z.object({ dependencies: z.record(z.string(), z.unknown()).optional() });

/** Notes on packages that the function's files name and do not have. @param runtime undefined if it is not known. */
export async function describeAbsent(
  directory: string,
  entries: readonly TreeEntry[],
  runtime: RuntimeName | undefined,
): Promise<readonly string[]> {
  const paths = new Set(entries.map(({ path }) => path));
  const notes: string[] = [];
  if (runtime !== 'python3' && paths.has('package.json')) {
    const missing = (await dependencies(directory)).filter((name) => !paths.has(`node_modules/${name}`));
    if (missing.length > 0) notes.push(absent(missing, 'package.json', 'npm ci --omit=dev'));
  }
  if (runtime !== 'nodejs' && paths.has(REQUIREMENTS_FILE)) {
    const vendored = vendoredNames(entries);
    // What cannot be read matters to nobody here.
    const names = await readRequirements(directory).then(
      (wanted) => wanted.names,
      () => [],
    );
    const missing = names.filter((name) => !vendored.has(name));
    if (missing.length > 0)
      notes.push(absent(missing, REQUIREMENTS_FILE, `pip install -r ${REQUIREMENTS_FILE} --target .`));
  }
  return notes;
}

async function dependencies(directory: string): Promise<readonly string[]> {
  try {
    const manifest = manifestSchema.parse(JSON.parse(decodeText(await readFile(join(directory, 'package.json')))));
    return Object.keys(manifest.dependencies ?? {});
  } catch {
    return [];
  }
}

function absent(names: readonly string[], file: string, command: string): string {
  const listed = names.slice(0, MAX_NAMED).join(', ') + (names.length > MAX_NAMED ? ', …' : '');
  return `${file} names what is not in the package: ${listed}; nothing is installed for packages, so run "${command}" before making it`;
}
