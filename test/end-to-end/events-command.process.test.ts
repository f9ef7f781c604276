/** `snapctr events`: what is kept of events that wait and of those that failed for good, and what becomes of it. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import * as sdk from '@aws-sdk/client-lambda';
import { makeZip } from '../packages/zip.ts';
import { lambdaClient } from '../support/lambda-client.ts';
import {
  createWorkspace,
  run,
  SNAPCTR,
  startController,
  type Finished,
  type RunningController,
} from '../support/snapctr.ts';

const keys = { handler: 'index.handler' };
const files = { 'index.js': 'exports.handler = async () => { throw new Error("later"); };\n' };
const workspace = createWorkspace([
  { name: 'filed', runtime: 'nodejs', keys, files },
  {
    name: 'noted',
    runtime: 'nodejs',
    keys: { ...keys, events: '{retries: 0, on_success: filed, on_failure: "file:failed.jsonl"}' },
    files,
  },
  {
    name: 'slow',
    runtime: 'nodejs',
    keys: { ...keys, concurrency_limit: 1 },
    // One is under way for as long as the test runs, and the others wait.
    files: { 'index.js': 'exports.handler = () => new Promise((done) => setTimeout(done, 30_000));\n' },
  },
]);
const audit = join(workspace.directory, 'audit.jsonl');
const gate = join(workspace.directory, 'gate');
const ran = join(workspace.directory, 'ran');
/** Fails until there is a gate, in words that would steer a terminal. */
const SOURCE = `
const { existsSync, appendFileSync } = require('node:fs');
exports.handler = async (n) => {
  if (!existsSync(${JSON.stringify(gate)})) throw new Error('\\u001b[31mnot yet');
  appendFileSync(${JSON.stringify(ran)}, n + '\\n');
};
`;
let controller: RunningController;
let client: sdk.LambdaClient;

before(async () => {
  const args = ['--data-dir', join(workspace.directory, 'kept'), '--audit-log', audit, '--drain-timeout', '1'];
  controller = await startController(workspace, { vmm: 'process', args });
  client = lambdaClient(controller.url);
  const ZipFile = makeZip([{ name: 'index.js', data: SOURCE }]);
  for (const FunctionName of ['orders', 'mails']) {
    const Role = 'arn:aws:iam::000000000000:role/any';
    const made = { FunctionName, Role, Runtime: 'nodejs24.x', Handler: 'index.handler', Code: { ZipFile } } as const;
    await client.send(new sdk.CreateFunctionCommand(made));
    await sdk.waitUntilFunctionActiveV2({ client, maxWaitTime: 60, minDelay: 1 }, { FunctionName });
    await client.send(new sdk.PutFunctionEventInvokeConfigCommand({ FunctionName, MaximumRetryAttempts: 0 }));
  }
});
after(async () => {
  client.destroy();
  await controller.stop();
  workspace.remove();
});

function snapctr(...args: readonly string[]): Promise<Finished> {
  return run(SNAPCTR, ['events', ...args, '--endpoint', controller.url], { workspace });
}

async function said(...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await snapctr(...args);
  assert.equal(status, 0, stderr);
  return stdout;
}

interface Listed {
  readonly event: number;
  readonly target: string;
  readonly status: string;
  readonly tries: number;
  readonly reason?: string;
}

async function listed(...args: readonly string[]): Promise<readonly Listed[]> {
  return JSON.parse(await said('list', ...args, '--json')) as readonly Listed[];
}

async function until(what: string, condition: () => Promise<boolean> | boolean): Promise<void> {
  for (const deadline = performance.now() + 60_000; !(await condition()); await sleep(50)) {
    assert.ok(performance.now() < deadline, what);
  }
}

async function send(FunctionName: string, n: number): Promise<void> {
  const { StatusCode } = await client.send(
    new sdk.InvokeCommand({ FunctionName, InvocationType: 'Event', Payload: JSON.stringify(n) }),
  );
  assert.equal(StatusCode, 202);
}

test('events that failed for good are listed, shown, begun anew and removed', async () => {
  assert.deepEqual(await listed(), []);
  await send('orders', 1);
  await send('orders', 2);
  await send('mails', 3);
  await until('all have failed', async () => (await listed('--status', 'dead')).length === 3);
  const orders = await listed('orders');
  assert.deepEqual(
    orders.map(({ target, status, tries }) => [target, status, tries]),
    [
      ['function:orders', 'dead', 1],
      ['function:orders', 'dead', 1],
    ],
  );
  // As text, nothing of it reaches the terminal but what can be seen.
  assert.match(await said('list'), /^EVENT +FOR .*\n\d+ +function:orders +dead +1 +2\d{3}-.*Z +.*\\x1b\[31mnot yet\n/);
  const first = String(orders[0]?.event);
  const shown = await said('show', first);
  assert.match(shown, new RegExp(`^event: ${first}\\n(.*\\n)*requestId: [0-9a-f-]{36}\\n(.*\\n)*\\n1\\n$`));

  writeFileSync(gate, '');
  assert.equal(await said('redrive', 'orders'), '2 events begun anew\n');
  await until('both have run', () => existsSync(ran) && readFileSync(ran, 'utf8') === '1\n2\n');
  await until('they are done', async () => (await listed('orders')).length === 0);
  const [mails] = await listed();
  assert.deepEqual(JSON.parse(await said('purge', String(mails?.event), '--json')), { changed: 1 });
  assert.deepEqual(await listed(), []);
  assert.equal(await said('purge', 'mails'), '0 events removed\n');
  // Nobody has a key; what has changed nothing has no line.
  const lines = readFileSync(audit, 'utf8').trimEnd().split('\n');
  const told = lines.map((line) => ({ ...(JSON.parse(line) as { action: string; function: string }), time: '' }));
  const made = ['orders', 'mails'].flatMap((name) => [
    ['lambda:CreateFunction', name],
    ['lambda:PutFunctionEventInvokeConfig', name],
  ]);
  assert.deepEqual(
    told.slice(0, made.length).map((line) => [line.action, line.function]),
    made,
  );
  assert.deepEqual(told.slice(made.length), [
    { time: '', action: 'snapfaas:RedriveEvents', by: 'anybody', function: 'orders', changed: 2 },
    { time: '', action: 'snapfaas:PurgeEvents', by: 'anybody', function: 'mails', event: mails?.event, changed: 1 },
  ]);
});

test('a function of a file says there how its events are tried, and who is told', async () => {
  const config = await client.send(new sdk.GetFunctionEventInvokeConfigCommand({ FunctionName: 'noted' }));
  assert.equal(config.MaximumRetryAttempts, 0);
  assert.deepEqual(config.DestinationConfig, {
    OnSuccess: { Destination: 'arn:aws:lambda:us-east-1:000000000000:function:filed' },
    OnFailure: { Destination: 'file:failed.jsonl' },
  });
  await assert.rejects(
    client.send(new sdk.PutFunctionEventInvokeConfigCommand({ FunctionName: 'noted', MaximumRetryAttempts: 1 })),
    { name: 'ResourceConflictException', message: /functions\.yaml/ },
  );
  await send('noted', 5);
  const told = join(workspace.directory, 'kept/destinations/failed.jsonl');
  await until('the file is told', () => existsSync(told) && readFileSync(told, 'utf8').endsWith('\n'));
  const { requestContext, requestPayload } = JSON.parse(readFileSync(told, 'utf8')) as {
    readonly requestContext: { readonly condition: string; readonly approximateInvokeCount: number };
    readonly requestPayload: number;
  };
  assert.equal(requestPayload, 5);
  assert.equal(requestContext.condition, 'RetriesExhausted');
  assert.equal(requestContext.approximateInvokeCount, 1);
});

test('what cannot be done to an event is told', async () => {
  await send('filed', 4);
  await until('it has failed once', async () => (await listed('filed')).some(({ tries }) => tries === 1));
  const [pending] = await listed('filed', '--status', 'pending');
  const early = await snapctr('purge', String(pending?.event));
  assert.equal(early.status, 1);
  assert.match(early.stderr, /InvalidParameterException: event \d+ is pending: it is tried again by itself/);
  const none = await snapctr('show', '999999');
  assert.equal(none.status, 1);
  assert.match(none.stderr, /ResourceNotFoundException: there is no event 999999: it is done, or never was/);
  const word = await snapctr('show', 'filed');
  assert.equal(word.status, 2);
  assert.match(word.stderr, /"filed" is no number of an event/);
});

test('a list of more events than an answer has is shown to its end', async () => {
  const count = 1050;
  for (let sent = 0; sent < count; sent += 50) {
    await Promise.all(Array.from({ length: 50 }, (_, index) => send('slow', sent + index)));
  }
  const events = await listed('slow');
  assert.equal(events.length, count);
  const numbers = events.map(({ event }) => event);
  assert.deepEqual(
    numbers,
    [...new Set(numbers)].sort((a, b) => a - b),
  );
  assert.ok(events.every(({ target, status }) => target === 'function:slow' && status === 'pending'));
  assert.equal((await said('list', 'slow')).trimEnd().split('\n').length, 1 + count);
});
