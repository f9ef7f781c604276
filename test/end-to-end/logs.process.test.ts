/** Logs of functions as people read them: by our command and by AWS's, while a function runs and after everything was killed. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import * as sdk from '@aws-sdk/client-lambda';
import { makeZip } from '../packages/zip.ts';
import { lambdaClient } from '../support/lambda-client.ts';
import { logged } from '../support/snapshots.ts';
import { AWS, awsEnvironment, NO_AWS } from '../support/aws-command.ts';
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

interface Follower {
  /** Messages so far. */
  readonly seen: readonly string[];
  until(message: string): Promise<void>;
  interrupt(): Promise<void>;
}

/** `snapctr logs NAME -f`. */
function follow(name: string): Follower {
  const follower = spawn(process.execPath, [SNAPCTR, 'logs', name, '-f', '--json', '--endpoint', controller.url], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: environment(workspace),
  });
  const seen: string[] = [];
  let onLine = (): void => undefined;
  createInterface({ input: follower.stdout }).on('line', (line) => {
    seen.push((JSON.parse(line) as { readonly message: string }).message);
    onLine();
  });
  return {
    seen,
    until: async (message) => {
      const signal = AbortSignal.timeout(20_000);
      while (!seen.includes(message)) {
        await Promise.race([new Promise<void>((resolve) => (onLine = resolve)), once(signal, 'abort')]);
        if (signal.aborted) assert.fail(`${message} was not shown: ${seen.join(' ')}`);
      }
    },
    interrupt: async () => {
      follower.kill('SIGINT');
      assert.deepEqual(await once(follower, 'exit'), [130, null]);
    },
  };
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

test('snapctr logs shows what one version printed, and what was printed until a time', async () => {
  await say('of the latest');
  await untilLogged('of the latest', '--version', '$LATEST');
  assert.deepEqual(await logs('--version', '7'), []);
  assert.deepEqual(await logs('--until', '1m'), []);
  const later = new Date(Date.now() + 60_000).toISOString();
  assert.ok((await logs('--since', '1m', '--until', later)).includes('of the latest'));
});

test('snapctr logs does not let what was printed turn the order of characters', async () => {
  await say('safe \u202egnp.exe');
  assert.deepEqual(await untilLogged('safe', '--filter', 'safe'), ['safe \\u202egnp.exe']);
});

test('snapctr logs --follow goes on over a restart, and shows each line once', async () => {
  const { port } = new URL(controller.url);
  const follower = follow('talker');
  await say('before');
  await follower.until('before');
  controller.kill('SIGKILL');
  await controller.exited;
  controller = await startController(workspace, {
    vmm: 'process',
    args: ['--port', port, '--data-dir', join(workspace.directory, 'kept')],
  });
  await say('after');
  await follower.until('after');
  await follower.interrupt();
  for (const message of ['before', 'after']) assert.equal(follower.seen.filter((one) => one === message).length, 1);
});

test('snapctr logs: what was typed wrongly', async () => {
  const of = (...args: readonly string[]): ReturnType<typeof run> =>
    run(SNAPCTR, ['logs', ...args, '--endpoint', controller.url], { workspace });
  const since = await of('talker', '--since', 'yesterday');
  assert.equal(since.status, 2);
  assert.match(since.stderr, /--since: "yesterday" is no time; write it as in 30s/);
  const until = await of('talker', '--until', 'tomorrow');
  assert.equal(until.status, 2);
  assert.match(until.stderr, /--until: "tomorrow" is no time/);
  const endless = await of('talker', '--until', '1m', '--follow');
  assert.equal(endless.status, 2);
  assert.match(endless.stderr, /leave out one of --follow and --until/);
  const version = await of('talker', '--version', 'live');
  assert.equal(version.status, 2);
  assert.match(version.stderr, /--version: "live" is no version/);
  const name = await of('nobody');
  assert.equal(name.status, 1);
  assert.match(name.stderr, /ResourceNotFoundException: The specified log group does not exist/);
  const filter = await of('talker', '--filter', '{ $.a = 1 }');
  assert.equal(filter.status, 1);
  assert.match(filter.stderr, /patterns for JSON/);
});

test('snapctr logs --follow goes on when its function is deleted, and made again', async () => {
  const client = lambdaClient(controller.url);
  const FunctionName = 'comes-and-goes';
  const make = async (): Promise<void> => {
    const code = 'def handle(event, context):\n    print(event["say"], flush=True)\n';
    await client.send(
      new sdk.CreateFunctionCommand({
        ...{ FunctionName, Role: 'arn:aws:iam::000000000000:role/any', Runtime: 'python3.11', Handler: 'main.handle' },
        Code: { ZipFile: makeZip([{ name: 'main.py', data: code }]) },
      }),
    );
    await sdk.waitUntilFunctionActiveV2({ client, maxWaitTime: 60, minDelay: 1, maxDelay: 1 }, { FunctionName });
  };
  await make();
  const follower = follow(FunctionName);
  try {
    assert.equal((await controller.invoke(FunctionName, { say: 'before' })).status, 200);
    await follower.until('before');
    await client.send(new sdk.DeleteFunctionCommand({ FunctionName }));
    await make();
    assert.equal((await controller.invoke(FunctionName, { say: 'after' })).status, 200);
    await follower.until('after');
    for (const message of ['before', 'after']) assert.equal(follower.seen.filter((one) => one === message).length, 1);
  } finally {
    await follower.interrupt();
    client.destroy();
  }
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

function aws(...args: readonly string[]): string {
  const { stdout, stderr, status } = spawnSync(AWS, ['--endpoint-url', controller.url, 'logs', ...args], {
    env: awsEnvironment(workspace.directory),
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.equal(status, 0, stderr);
  return stdout;
}

test('aws logs tail shows the same', { skip: NO_AWS }, async () => {
  await say('by aws');
  await untilLogged('by aws');
  const stdout = aws('tail', '/aws/lambda/talker', '--since', '1h', '--format', 'short');
  assert.match(stdout, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d by aws$/m);
  assert.match(stdout, /START RequestId: /);
});

test('aws logs finds groups, streams and events', { skip: NO_AWS }, async () => {
  await say('found by aws');
  await untilLogged('found by aws');
  const group = ['--log-group-name', '/aws/lambda/talker'];
  const { logGroups } = JSON.parse(aws('describe-log-groups', '--output', 'json')) as {
    readonly logGroups: readonly { readonly logGroupName: string; readonly storedBytes: number }[];
  };
  assert.ok(
    logGroups.some(({ logGroupName, storedBytes }) => logGroupName === '/aws/lambda/talker' && storedBytes > 0),
  );
  const newest = ['--order-by', 'LastEventTime', '--descending', '--max-items', '1'];
  const { logStreams } = JSON.parse(aws('describe-log-streams', ...group, ...newest, '--output', 'json')) as {
    readonly logStreams: readonly { readonly logStreamName: string }[];
  };
  const { logStreamName = '' } = logStreams[0] ?? {};
  type Events = { readonly events: readonly { readonly message: string }[] };
  const filter = ['--filter-pattern', '"found by aws"', '--output', 'json'];
  const filtered = JSON.parse(aws('filter-log-events', ...group, ...filter)) as Events;
  assert.deepEqual(
    filtered.events.map(({ message }) => message),
    ['found by aws'],
  );
  const stream = ['--log-stream-name', logStreamName, '--output', 'json'];
  const got = JSON.parse(aws('get-log-events', ...group, ...stream)) as Events;
  assert.ok(got.events.some(({ message }) => message === 'found by aws'));
});

test('aws logs tail --follow shows what comes, once', { skip: NO_AWS }, async () => {
  // Longer than aws takes to start: what is said meanwhile is asked for as well.
  const args = ['logs', 'tail', '/aws/lambda/talker', '--since', '5m', '--follow', '--format', 'short'];
  const tail = spawn(AWS, ['--endpoint-url', controller.url, ...args], {
    env: { ...awsEnvironment(workspace.directory), PYTHONUNBUFFERED: '1' },
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 120_000,
  });
  const exited = once(tail, 'exit');
  let shown = '';
  tail.stdout.setEncoding('utf8').on('data', (text: string) => (shown += text));
  const shownTimes = (text: string): number => shown.split(` ${text}\n`).length - 1;
  try {
    for (const text of ['tailed one', 'tailed two']) {
      await say(text);
      for (const deadline = performance.now() + 60_000; shownTimes(text) === 0;) {
        assert.ok(performance.now() < deadline && tail.exitCode === null, `${text} is not in: ${shown}`);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
    assert.deepEqual(['tailed one', 'tailed two'].map(shownTimes), [1, 1]);
  } finally {
    tail.kill('SIGKILL');
    await exited;
  }
});
