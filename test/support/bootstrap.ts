/** A bootstrap of the tests: `guest/fixtures/bootstrap.c`, which does what it is asked, good and bad. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { whyWithout } from './needed-program.ts';
import { PROJECT_ROOT, type TestFunction } from './snapctr.ts';

const FLAGS = ['-static', '-O2', '-Wall', '-Wextra', '-Werror'];
const SOURCES = ['test/guest/fixtures/bootstrap.c', 'guest/runtime-api/text.c'];

export const noCompiler = whyWithout('gcc', 'gcc');

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

/**
 * One that answers each event in an object, as the member of this name. It takes what bash has without any other program, so that an
 * emulated guest need not start one.
 */
export function shellBootstrap(member: string): string {
  return `#!/bin/bash
exec 3<>"/dev/tcp/\${AWS_LAMBDA_RUNTIME_API/://}"
while true; do
  printf 'GET /2018-06-01/runtime/invocation/next HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' >&3
  while IFS= read -r -u 3 line && line="\${line%$'\\r'}" && [ -n "$line" ]; do
    case "$line" in
      Lambda-Runtime-Aws-Request-Id:*) id="\${line#*: }" ;;
      Content-Length:*) length="\${line#*: }" ;;
    esac
  done
  IFS= read -r -u 3 -N "$length" event
  answer="{\\"${member}\\":$event}"
  printf 'POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: %d\\r\\n\\r\\n%s' \\
    "$id" "\${#answer}" "$answer" >&3
  while IFS= read -r -u 3 line && line="\${line%$'\\r'}" && [ -n "$line" ]; do
    case "$line" in Content-Length:*) length="\${line#*: }" ;; esac
  done
  IFS= read -r -u 3 -N "$length" ignored
done
`;
}
