/** Runs in the commands of people. What of a directory is not for its package. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import ignore from 'ignore';
import { codeOf } from '../storage/error-code.ts';
import { badInput } from './client-error.ts';
import { SETTINGS_FILE } from './function-settings.ts';

/** In the words of `.gitignore`; a line `!name` takes something back. */
export const IGNORE_FILE = '.snapfaasignore';

/** Belongs to tools, or is made by them in passing. Hidden environments of Python hold a whole interpreter. */
const ALWAYS = [
  ...['.git', '.hg', '.svn', '.github', '.idea', '.vscode', '.DS_Store', '.gitignore', IGNORE_FILE],
  ...['__pycache__', '*.pyc', '.venv', 'venv', '.tox', '.mypy_cache', '.pytest_cache', '.ruff_cache'],
  ...['.npmrc', '.nyc_output', 'node_modules/.cache', 'node_modules/.bin', 'node_modules/.package-lock.json'],
  ...['.snapfaas', `/${SETTINGS_FILE}`],
];

/**
 * @returns whether a path is left out; a directory's ends in a slash. Lines that do not name `node_modules` do not hold in it: a
 * package needs its `dist` whatever the function's author thinks of theirs.
 */
export async function readIgnored(directory: string): Promise<(path: string) => boolean> {
  const lines = (await readLines(join(directory, IGNORE_FILE))).map((line) => line.trimEnd());
  const everywhere = ignore().add(ALWAYS).add(lines);
  const inModules = ignore()
    .add(ALWAYS)
    .add(lines.filter((line) => line.includes('node_modules/')));
  return (path) => (/(^|\/)node_modules\/./.test(path) ? inModules : everywhere).ignores(path);
}

async function readLines(path: string): Promise<readonly string[]> {
  try {
    return (await readFile(path, 'utf8')).split('\n');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    return badInput(`${path} cannot be read; correct or remove it`, error);
  }
}
