/**
 * Runs in `npm start`, `npm test` and `npm run bench`. `npm test` and `npm run bench`: the project's own programs, run
 * from source.
 */
import { existsSync, statSync } from 'node:fs';
import { mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fetchNode } from '../images/nodejs.ts';
import { PROJECT_ROOT } from '../images/project.ts';
import { CACHE_HELP, cacheDirectory } from '../storage/cache-directory.ts';
import { makeWritableDirectory } from '../storage/make-directory.ts';
import { runNode } from './child.ts';

/** Virtual machines under emulation take a core each; more files at once would only make each other time out. */
const CONCURRENCY = 2;

/** As built: node's runner loads it before it knows TypeScript. */
const REPORTER = `./${join('dist', 'setup', 'test-reporter.js')}`;
/** Takes a major version of Node to run tests and programs with, such as 24. */
const NODE_FLAG = '--node=';

/**
 * Runs the tests and returns the exit status of node's test runner, whose summary is the last output.
 * @param args files and folders to run instead of all, `--node=MAJOR`, and flags for the test runner such as
 * `--test-name-pattern=TEXT`.
 */
export async function runTests(args: readonly string[]): Promise<number> {
  const major = args.find((arg) => arg.startsWith(NODE_FLAG))?.slice(NODE_FLAG.length);
  const flags = args.filter((arg) => arg.startsWith('-') && !arg.startsWith('--vmm') && !arg.startsWith(NODE_FLAG));
  const places = args.filter((arg, index) => !arg.startsWith('-') && args[index - 1] !== '--vmm');
  const files = (await Promise.all((places.length > 0 ? places : ['test']).map(findTests))).flat();
  const runner = ['--test', `--test-reporter=${REPORTER}`, `--test-concurrency=${CONCURRENCY}`];
  const node = major === undefined ? process.execPath : await nodeOfMajor(major);
  return runNode(['--import', 'tsx', ...runner, ...flags, ...files], { cwd: PROJECT_ROOT, node });
}

/** The tests in a file or folder, from the project's root. A name that is not there is the runner's to refuse. */
async function findTests(place: string): Promise<readonly string[]> {
  const isFolder = statSync(join(PROJECT_ROOT, place), { throwIfNoEntry: false })?.isDirectory() ?? false;
  if (!isFolder) return [place];
  const names = await readdir(join(PROJECT_ROOT, place), { recursive: true });
  return names
    .filter((name) => name.endsWith('.test.ts'))
    .sort()
    .map((name) => join(place, name));
}

/**
 * The path of another Node, fetched from npm once.
 * @throws ToolError if npm has none of that version.
 */
async function nodeOfMajor(major: string): Promise<string> {
  const directory = join(cacheDirectory(), 'node');
  const program = join(directory, `node-${major}`);
  if (existsSync(program)) return program;
  await makeWritableDirectory(directory, CACHE_HELP);
  const scratch = await mkdtemp(join(directory, '.download-'));
  try {
    await rename((await fetchNode(scratch, major)).path, program);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
  return program;
}

/** Runs `test/fuzz/`; the arguments are its own. */
export async function runFuzz(args: readonly string[]): Promise<number> {
  return runNode(['--import', 'tsx', join('test', 'fuzz', 'fuzz.ts'), ...args], { cwd: PROJECT_ROOT });
}

/** Runs a program of `bench/`; the arguments are its own. */
export async function runBench(program: string, args: readonly string[]): Promise<number> {
  return runNode(['--import', 'tsx', join('bench', `${program}.ts`), ...args], { cwd: PROJECT_ROOT });
}
