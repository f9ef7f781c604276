/**
 * Runs in `npm start`, `npm test` and `npm run bench`. `npm test` and `npm run bench`: the project's own programs, run
 * from source.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PROJECT_ROOT } from '../images/project.ts';
import { runNode } from './child.ts';

/** Virtual machines under emulation take a core each; more files at once would only make each other time out. */
const CONCURRENCY = 2;

/**
 * Runs the tests and returns the exit status of node's test runner, whose summary is the last output.
 * @param args files to run instead of all, and flags for the test runner such as `--test-name-pattern=TEXT`.
 */
export async function runTests(args: readonly string[]): Promise<number> {
  const flags = args.filter((arg) => arg.startsWith('-') && !arg.startsWith('--vmm'));
  const named = args.filter((arg) => arg.endsWith('.ts'));
  const files = named.length > 0 ? named : await findTests();
  const runner = ['--test', '--test-reporter=spec', `--test-concurrency=${CONCURRENCY}`];
  return runNode(['--import', 'tsx', ...runner, ...flags, ...files], { cwd: PROJECT_ROOT });
}

async function findTests(): Promise<readonly string[]> {
  const names = await readdir(join(PROJECT_ROOT, 'test'), { recursive: true });
  return names
    .filter((name) => name.endsWith('.test.ts'))
    .sort()
    .map((name) => join('test', name));
}

/** Runs the benchmark; the arguments are its own. */
export async function runBench(args: readonly string[]): Promise<number> {
  return runNode(['--import', 'tsx', join('bench', 'bench.ts'), ...args], { cwd: PROJECT_ROOT });
}
