/** A bootstrap of the tests: `guest/fixtures/bootstrap.c`, which does what it is asked, good and bad. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PROJECT_ROOT, type TestFunction } from './snapctr.ts';

const FLAGS = ['-static', '-O2', '-Wall', '-Wextra', '-Werror'];
const SOURCES = ['test/guest/fixtures/bootstrap.c', 'guest/runtime-api/text.c'];

export const noCompiler = spawnSync('gcc', ['--version']).error === undefined ? false : 'gcc is not installed';

let compiled: Buffer | null = null;

/** Static, so that it runs on the host and in any image. */
export function compiledBootstrap(): Buffer {
  if (compiled !== null) return compiled;
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-bootstrap-'));
  try {
    const program = join(directory, 'bootstrap');
    const args = [...FLAGS, '-I', 'guest/runtime-api', '-o', program, ...SOURCES];
    const { status, stderr } = spawnSync('gcc', args, { cwd: PROJECT_ROOT, encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    return (compiled = readFileSync(program));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** @param handler what it does when it starts. */
export function bootstrap(
  name: string,
  handler = 'bootstrap',
  keys: TestFunction['keys'] = {},
  file: string | Buffer = compiledBootstrap(),
): TestFunction<'provided'> {
  return { name, runtime: 'provided', files: { bootstrap: file }, keys: { handler, ...keys } };
}
