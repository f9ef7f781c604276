/** Logs of functions as people read them: by our command and by AWS's, while a function runs and after everything was killed. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { logged } from '../support/snapshots.ts';
import { AWS, awsEnvironment } from '../support/aws-command.ts';
import {
  createWorkspace,
  environment,
  run,
  SNAPCTR,
  startController,
  type RunningController,
} from '../support/snapctr.ts';

const CODE = `print('imported')
def handler(event, context):
    print(event['say'], flush=True)
    return event['say']
`;

const workspace = createWorkspace([
  { name: 'talker', runtime: 'python3', keys: { handler: 'app.handler' }, files: { 'app.py': CODE } },
]);
let controller: RunningController;

before(async () => {
  controller = await startController(workspace, {
    vmm: 'process',
    args: ['--data-dir', join(workspace.directory, 'kept')],
  });
});

after(async () => {
  await controller.stop();
  workspace.remove();
});

async function say(text: string): Promise<void> {
  const { status } = await controller.invoke('talker', { say: text });
  assert.equal(status, 200);
}

async function logs(...args: readonly string[]): Promise<string[]> {
  const { status, stdout, stderr } = await run(SNAPCTR, ['logs', 'talker', '--endpoint', controller.url, ...args], {
    workspace,
  });
  assert.equal(status, 0, stderr);
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.replace(/^\S+Z /, ''));
}

/** Until a reading has what is waited for: the last lines of an invocation are written a moment after its answer. */
async function untilLogged(wanted: string, ...args: readonly string[]): Promise<string[]> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const lines = await logs(...args);
    if (lines.some((line) => line.includes(wanted))) return lines;
    assert.ok(Date.now() < deadline, `there is no ${wanted} in ${lines.join('\n')}`);
  }
}

test('snapctr logs shows what was printed, between the lines of its invocation', async () => {
  await say('first');
  const lines = await untilLogged('REPORT');
  const [imported, start = '', first, end = '', report = ''] = lines;
  assert.equal(imported, 'imported');
  const [, id = ''] = /^START RequestId: (\S+) Version: \$LATEST$/.exec(start) ?? [];
  assert.equal(first, 'first');
  assert.equal(end, `END RequestId: ${id}`);
  assert.ok(report.startsWith(`REPORT RequestId: ${id}\tDuration: `), report);
  await say('\u001b[31mred');
  const red = await untilLogged('red', '--filter', 'red');
  assert.deepEqual(red, ['\\x1b[31mred']);
  const ofOne = await untilLogged('REPORT', '--request', id);
  assert.deepEqual(ofOne, [start, 'first', end, report]);
});

test('snapctr logs --follow goes on over a restart, and shows each line once', async () => {
  const { port } = new URL(controller.url);
  const follower = spawn(process.execPath, [SNAPCTR, 'logs', 'talker', '-f', '--json', '--endpoint', controller.url], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: environment(workspace),
  });
  const seen: string[] = [];
  let onLine = (): void => undefined;
  createInterface({ input: follower.stdout }).on('line', (line) => {
    seen.push((JSON.parse(line) as { readonly message: string }).message);
    onLine();
  });
  const until = async (message: string): Promise<void> => {
    const signal = AbortSignal.timeout(20_000);
    while (!seen.includes(message)) {
      await Promise.race([new Promise<void>((resolve) => (onLine = resolve)), once(signal, 'abort')]);
      if (signal.aborted) assert.fail(`${message} was not shown: ${seen.join(' ')}`);
    }
  };
  await say('before');
  await until('before');
  controller.kill('SIGKILL');
  await controller.exited;
  controller = await startController(workspace, {
    vmm: 'process',
    args: ['--port', port, '--data-dir', join(workspace.directory, 'kept')],
  });
  await say('after');
  await until('after');
  follower.kill('SIGINT');
  assert.deepEqual(await once(follower, 'exit'), [130, null]);
  for (const message of ['before', 'after']) assert.equal(seen.filter((one) => one === message).length, 1);
});

test('snapctr logs: what was typed wrongly', async () => {
  const of = (...args: readonly string[]): ReturnType<typeof run> =>
    run(SNAPCTR, ['logs', ...args, '--endpoint', controller.url], { workspace });
  const since = await of('talker', '--since', 'yesterday');
  assert.equal(since.status, 2);
  assert.match(since.stderr, /--since: "yesterday" is no time; write it as in 30s/);
  const name = await of('nobody');
  assert.equal(name.status, 1);
  assert.match(name.stderr, /ResourceNotFoundException: The specified log group does not exist/);
  const filter = await of('talker', '--filter', '{ $.a = 1 }');
  assert.equal(filter.status, 1);
  assert.match(filter.stderr, /patterns for JSON/);
});

test('a second snapctr of the same user runs, and says that it keeps nothing', async () => {
  const other = createWorkspace([
    { name: 'talker', runtime: 'python3', keys: { handler: 'app.handler' }, files: { 'app.py': CODE } },
  ]);
  const env = { XDG_DATA_HOME: join(other.directory, 'home') };
  const first = await startController(other, { vmm: 'process', env });
  const second = await startController(other, { vmm: 'process', env });
  try {
    assert.equal((await second.invoke('talker', { say: 'hello' })).status, 200);
    assert.equal(logged(first, 'logs are not kept').length, 0);
    const [warning] = logged(second, 'logs are not kept');
    assert.match(warning?.msg ?? '', /is used by another snapctr; name another one with --data-dir/);
  } finally {
    await Promise.all([first.stop(), second.stop()]);
    other.remove();
  }
});

const noAws = spawnSync(AWS, ['--version']).error === undefined ? false : 'the Debian package awscli is not installed';

test('aws logs tail shows the same', { skip: noAws }, async () => {
  await say('by aws');
  await untilLogged('by aws');
  const { stdout, stderr, status } = spawnSync(
    AWS,
    ['--endpoint-url', controller.url, 'logs', 'tail', '/aws/lambda/talker', '--since', '1h', '--format', 'short'],
    { env: awsEnvironment(workspace.directory), encoding: 'utf8', timeout: 60_000 },
  );
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d by aws$/m);
  assert.match(stdout, /START RequestId: /);
});
