/** `snapctr top`, with and without a terminal. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { source } from '../support/functions.ts';
import { createWorkspace, run, SNAPCTR, startController, type RunningController } from '../support/snapctr.ts';

const NODE = 'exports.handle = async (request) => request;\n';
const workspace = createWorkspace([source('one', 'nodejs', NODE), source('two', 'nodejs', NODE)]);
const keys = join(workspace.directory, 'keys.json');
let controller: RunningController;
let token: string;

before(async () => {
  const added = await run(SNAPCTR, ['keys', 'add', 'boss', '--role', 'admin', '--keys', keys, '--json']);
  assert.equal(added.status, 0, added.stderr);
  const { id, secret } = JSON.parse(added.stdout) as { readonly id: string; readonly secret: string };
  token = `${id}.${secret}`;
  controller = await startController(workspace, { vmm: 'process', memoryMib: 512, args: ['--keys', keys], token });
  await controller.invoke('one', 1);
});
after(async () => {
  await controller.stop();
  workspace.remove();
});

const top = (...args: readonly string[]) => run(SNAPCTR, ['top', ...args, '--endpoint', controller.url], { workspace });

test('top: without a terminal it shows the state once', async () => {
  const { status, stdout, stderr } = await top('--token', token);
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^snapctr {2}process {2}running\n/);
  assert.match(stdout, /^Memory +128 of 512 MiB, 128 idle, 1 VM$/m);
  assert.match(stdout, /^Functions 2, 0 deploying$/m);
  assert.match(stdout, /^one +Active /m);
  assert.ok(!stdout.includes('\u001b'), 'colours where there is no terminal');
  assert.ok(stdout.split('\n').every((line) => line.length <= 100));
});

test('top: as JSON it has the same rows', async () => {
  const { status, stdout } = await top('--once', '--json', '--token', token);
  assert.equal(status, 0);
  const { functions, vms } = JSON.parse(stdout) as { readonly functions: object; readonly vms: object };
  assert.deepEqual([Object.keys(functions).sort(), Object.keys(vms).length], [['one', 'two'], 1]);
});

test('top: without a key, or a controller, it says what is missing', async () => {
  const denied = await top();
  assert.deepEqual([denied.status, /the controller wants a key/.test(denied.stderr)], [1, true], denied.stderr);
  const { status, stderr } = await run(SNAPCTR, ['top', '--endpoint', 'http://127.0.0.1:1'], { workspace });
  assert.deepEqual([status, /nobody listens on/.test(stderr)], [1, true], stderr);
});

test('top: in a terminal it follows what happens, and leaves the screen as it was', async () => {
  const command = `'${process.execPath}' '${SNAPCTR}' top --endpoint ${controller.url} --token ${token}`;
  const terminal = spawn('script', ['--quiet', '--flush', '--return', '--command', command, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, TERM: 'xterm', COLUMNS: '100', LINES: '40' },
  });
  let screen = '';
  const shows = async (text: RegExp): Promise<void> => {
    while (!text.test(screen)) screen += String((await once(terminal.stdout, 'data', { signal: limit }))[0]);
  };
  const limit = AbortSignal.timeout(60_000);
  await shows(/128 of 512 MiB/);
  await controller.invoke('two', 1);
  await shows(/256 of 512 MiB/);
  const exited = once(terminal, 'exit');
  const rest = shows(/\u001b\[\?1049l/);
  terminal.stdin.write('q');
  await rest;
  assert.deepEqual(await exited, [0, null]);
  assert.ok(screen.includes('\u001b[?1049h'));
});
