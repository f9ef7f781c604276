import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { EXIT_CODES } from '../../src/firerunner/exit-codes.ts';
import { obedient, source } from '../support/functions.ts';
import { startProgram, type RunningProgram } from '../support/program.ts';
import {
  assertNothingLeft,
  createWorkspace,
  FIRERUNNER,
  run,
  type Finished,
  type Workspace,
} from '../support/snapctr.ts';
import { until } from '../end-to-end/processes.ts';

const SIZE = ['--mem_size', '128', '--vcpu_count', '1'];

describe('firerunner in the foreground', { timeout: 180_000 }, () => {
  let workspace: Workspace;
  before(() => {
    workspace = createWorkspace([
      obedient('python', 'python3'),
      obedient('node', 'nodejs'),
      source('broken', 'python3', "raise RuntimeError('at import')\n"),
      source(
        'parent',
        'nodejs',
        `exports.handle = (event) => {
  require('child_process').spawn('tail', ['-f', '/dev/null', '--', event], { stdio: 'ignore', detached: false });
  process.exit(3);
};
`,
      ),
    ]);
  });
  after(async () => {
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  const app = (name: string): string => join(workspace.directory, 'apps', name);
  const asProcess = (name: string, runtime: string): string[] => [
    ...['--vmm', 'process', '--runtime', runtime, '--appfs', app(name), ...SIZE],
  ];
  const start = (...args: string[]): RunningProgram => startProgram(FIRERUNNER, args, { workspace });
  const runWith = (args: readonly string[], ...events: unknown[]): Promise<Finished> =>
    run(FIRERUNNER, args, { workspace, stdin: events.map((payload) => `${JSON.stringify({ payload })}\n`).join('') });
  const ready = (program: RunningProgram): Promise<void> =>
    until('the VM is ready', () => program.stderr.includes('is ready'), 60_000);

  for (const [name, runtime] of [
    ['python', 'python3'],
    ['node', 'nodejs'],
  ] as const) {
    test(`${runtime}: requests in, results out in their order, everything else on stderr`, async () => {
      const events = [{ do: 'count' }, { do: 'say', text: 'a word' }, { do: 'echo', a: ['ä', 1.5] }, { do: 'count' }];
      const { status, stdout, stderr } = await runWith(asProcess(name, runtime), ...events);
      assert.deepEqual(
        stdout
          .trimEnd()
          .split('\n')
          .map((line) => JSON.parse(line) as unknown),
        [1, null, events[2], 2],
      );
      assert.match(
        stderr,
        /^firerunner: VM abcde1234 is ready \(cold\): spawn \d+ ms, boot \d+ ms, load \d+ ms, resume \d+ ms$/m,
      );
      assert.match(stderr, /^a word$/m);
      assert.match(stderr, /isolates nothing/);
      assert.equal(status, EXIT_CODES.ok);
    });
  }

  test('without a request it starts, and ends well', async () => {
    const { status, stdout } = await runWith(asProcess('node', 'nodejs'));
    assert.deepEqual([status, stdout], [EXIT_CODES.ok, '']);
  });

  test('each result is written before the next request comes', async () => {
    const program = start(...asProcess('node', 'nodejs'));
    for (let number = 1; number <= 3; number += 1) {
      program.write('{"payload":{"do":"count"}}\n');
      await until(`result ${number}`, () => program.stdout.endsWith(`${number}\n`));
    }
    program.end();
    assert.equal((await program.finished).status, EXIT_CODES.ok);
  });

  test('a line that is no request gets an error line, the next one is served, and the exit code is 1', async () => {
    const stdin = '{"payload":\n{"payload":{"do":"throw"}}\n{"payload":{"do":"count"}}';
    const { status, stdout } = await run(FIRERUNNER, asProcess('python', 'python3'), { workspace, stdin });
    const [bad, thrown, good] = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { error?: object });
    assert.equal((bad?.error as { code?: string }).code, 'bad_request');
    assert.deepEqual(
      { ...thrown?.error, stack: [] },
      { code: 'function_error', message: 'as asked', type: 'ValueError', stack: [] },
    );
    assert.equal(good, 1);
    assert.equal(status, EXIT_CODES.request_failed);
  });

  test('a request over --timeout ends the VM, and the exit code is 1', async () => {
    const { status, stdout } = await runWith(
      [...asProcess('node', 'nodejs'), '--timeout', '0.3'],
      { do: 'hang' },
      { do: 'count' },
    );
    const [line, ...more] = stdout.trimEnd().split('\n');
    assert.match(line ?? '', /"code":"function_timeout"/);
    assert.deepEqual(more, []);
    assert.equal(status, EXIT_CODES.request_failed);
  });

  test('an import that fails: its error is on stderr, and the exit code is 5', async () => {
    const { status, stdout, stderr } = await runWith(asProcess('broken', 'python3'), {});
    assert.equal(stdout, '');
    assert.match(stderr, /the function does not load: RuntimeError: at import/);
    assert.equal(status, EXIT_CODES.load_failed);
  });

  test('a child that the function left behind ends with it', async () => {
    // Its argument names the workspace, so that it counts among what is left.
    const { status } = await runWith(asProcess('parent', 'nodejs'), workspace.directory);
    assert.equal(status, EXIT_CODES.request_failed);
    await assertNothingLeft(workspace);
  });

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    test(`${signal} ends it while it waits for a line, and in the middle of a request: exit code 7`, async () => {
      const waiting = start(...asProcess('node', 'nodejs'));
      await ready(waiting);
      waiting.kill(signal);
      assert.equal((await waiting.finished).status, EXIT_CODES.interrupted);
      const busy = start(...asProcess('python', 'python3'));
      busy.write('{"payload":{"do":"say","text":"here I am"}}\n{"payload":{"do":"hang"}}\n');
      await until('the request runs', () => busy.stdout === 'null\n');
      busy.kill(signal);
      assert.equal((await busy.finished).status, EXIT_CODES.interrupted);
      await assertNothingLeft(workspace);
    });
  }

  test('a reader of the results that goes away ends it without a stack trace: exit code 7', async () => {
    const program = start(...asProcess('node', 'nodejs'));
    await ready(program);
    program.closeStdout();
    program.write('{"payload":{"do":"count"}}\n{"payload":{"do":"count"}}\n');
    program.end();
    const { status, stderr } = await program.finished;
    assert.doesNotMatch(stderr, /^\s+at /m);
    assert.equal(status, EXIT_CODES.interrupted);
    await assertNothingLeft(workspace);
  });
});
