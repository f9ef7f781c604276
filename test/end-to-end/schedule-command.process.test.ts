/** `snapctr schedule`: functions made over the API get events by themselves, as the command says, over a restart. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import * as sdk from '@aws-sdk/client-lambda';
import { z } from 'zod';
import { jsonCall } from '../../src/client/json-call.ts';
import type { Schedule } from '../../src/client/schedules-client.ts';
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

const PATIENCE_MS = 60_000;
const keys = { handler: 'index.handler', schedules: '[{name: hourly, expression: rate(1 hour)}]' };
const files = { 'index.js': 'exports.handler = async () => 1;\n' };
const workspace = createWorkspace([{ name: 'filed', runtime: 'nodejs', keys, files }]);
const notes = join(workspace.directory, 'notes');
const NOTING = `
const { appendFileSync } = require('node:fs');
exports.handler = async (event) => appendFileSync(${JSON.stringify(notes)}, JSON.stringify(event) + '\\n');
`;
let controller: RunningController;

async function start(): Promise<void> {
  controller = await startController(workspace, {
    vmm: 'process',
    args: ['--data-dir', join(workspace.directory, 'kept')],
  });
}

async function inLambda<T>(use: (client: sdk.LambdaClient) => Promise<T>): Promise<T> {
  const client = lambdaClient(controller.url);
  try {
    return await use(client);
  } finally {
    client.destroy();
  }
}

before(async () => {
  await start();
  await inLambda(async (client) => {
    const Role = 'arn:aws:iam::000000000000:role/any';
    const Code = { ZipFile: makeZip([{ name: 'index.js', data: NOTING }]) };
    const FunctionName = 'report';
    const made = { FunctionName, Role, Runtime: 'nodejs24.x', Handler: 'index.handler', Code } as const;
    await client.send(new sdk.CreateFunctionCommand(made));
    await sdk.waitUntilFunctionActiveV2({ client, maxWaitTime: 60, minDelay: 1 }, { FunctionName });
  });
});
after(async () => {
  await controller.stop();
  workspace.remove();
});

function snapctr(...args: readonly string[]): Promise<Finished> {
  return run(SNAPCTR, ['schedule', ...args, '--endpoint', controller.url], { workspace });
}

async function said(...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await snapctr(...args);
  assert.equal(status, 0, stderr);
  return stdout;
}

async function shown(name: string): Promise<Schedule> {
  return JSON.parse(await said('show', 'report', name, '--json')) as Schedule;
}

async function listed(): Promise<readonly string[]> {
  const all = JSON.parse(await said('list', '--json')) as readonly Schedule[];
  return all.map(({ functionName, name, from }) => `${functionName}/${name} ${from}`);
}

function call(operation: string, members: object): Promise<unknown> {
  const signal = new AbortController().signal;
  return jsonCall(
    { endpoint: new URL(controller.url), token: null, signal },
    `SnapfaasSchedules.${operation}`,
    members,
    z.unknown(),
  );
}

const ran = (): readonly string[] => (existsSync(notes) ? readFileSync(notes, 'utf8').trimEnd().split('\n') : []);

async function until(what: string, condition: () => boolean): Promise<void> {
  for (const deadline = performance.now() + PATIENCE_MS; !condition(); await sleep(50)) {
    assert.ok(performance.now() < deadline, `${what} has not come:\n${controller.log.join('\n')}`);
  }
}

/** Due once within the test; a host that was too slow to be told in time is given more of it. @returns when it is due. */
async function addSoon(name: string, expression: string, input: string): Promise<string> {
  for (let leadMs = 3000; leadMs < PATIENCE_MS; leadMs *= 2) {
    const due = new Date(Date.now() + leadMs).toISOString();
    const told = await said('add', 'report', name, expression, '--start', due, '--input', input);
    if (told === `report/${name}: due next at ${due}\n`) return due;
  }
  return assert.fail('this host is too slow for the test');
}

const day = { functionName: 'report', name: 'daily', expression: 'rate(1 day)' };
const refused: readonly (readonly [members: object, type: string, message: RegExp])[] = [
  [{ expression: 'rate(1 day)', name: 'daily' }, 'InvalidParameterException', /'functionName' must be given/],
  [{ ...day, name: 'a b' }, 'InvalidParameterException', /'name' must be 1 to 64 letters/],
  [{ ...day, name: '__proto__' }, 'InvalidParameterException', /'name' must be/],
  [{ ...day, expression: 'rate(1 days)' }, 'InvalidParameterException', /schedule "daily": rate\(1 days\): give/],
  [{ ...day, expression: 'cron(0 8 * * * *)' }, 'InvalidParameterException', /schedule "daily": /],
  [{ ...day, expression: 5 }, 'InvalidParameterException', /'expression' must be a string/],
  [{ ...day, timeZone: 'Europe/Atlantis' }, 'InvalidParameterException', /there is no time zone "Europe\/Atlantis"/],
  [{ ...day, start: 'tomorrow' }, 'InvalidParameterException', /'start' must be a moment/],
  [{ ...day, start: '0000-01-01T00:00:00+14:00' }, 'InvalidParameterException', /'start' must be a moment/],
  [{ ...day, end: '9999-12-31T23:00:00-14:00' }, 'InvalidParameterException', /'end' must be a moment/],
  [
    { ...day, start: '2026-05-02T00:00:00Z', end: '2026-05-01T00:00:00Z' },
    'InvalidParameterException',
    /its end is before its start/,
  ],
  [{ ...day, input: '{' }, 'InvalidParameterException', /'input' must be JSON, in a string/],
  [{ ...day, input: { a: 1 } }, 'InvalidParameterException', /'input' must be a string/],
  [{ ...day, input: `"${'x'.repeat(32 * 1024 - 1)}"` }, 'InvalidParameterException', /has 32769 bytes; at most 32768/],
  [{ ...day, missed: 'all' }, 'InvalidParameterException', /'missed' must be "once" or "skip"/],
  [{ ...day, state: 'on' }, 'InvalidParameterException', /'state' must be "enabled" or "paused"/],
  [{ ...day, qualifier: 'live' }, 'ResourceNotFoundException', /report:live$/],
  [{ ...day, functionName: 'nothing' }, 'ResourceNotFoundException', /Function not found: .*:nothing$/],
  [{ ...day, functionName: '../x' }, 'ResourceNotFoundException', /Function not found/],
  [{ ...day, functionName: 'filed' }, 'ConflictException', /is one of the file .*functions\.yaml; change it there/],
];

test('what cannot be a schedule is refused, and nothing is kept', async () => {
  for (const [members, type, message] of refused) {
    await assert.rejects(call('PutSchedule', members), { type, message }, JSON.stringify(members).slice(0, 200));
  }
  const usage = await snapctr('add', 'report', 'daily', 'rate(1 day)', '--input', '{');
  assert.deepEqual([usage.status, usage.stderr], [2, 'error: --input: "{" is not JSON; quote it as JSON\n']);
  for (const words of [
    ['remove', 'filed', 'hourly'],
    ['pause', 'filed', 'hourly'],
  ]) {
    const { status, stderr } = await snapctr(...words);
    assert.deepEqual([status, /^error: ConflictException: .*functions\.yaml; change it there/.test(stderr)], [1, true]);
  }
  const { status, stderr } = await snapctr('resume', 'report', 'daily');
  assert.deepEqual(
    [status, stderr],
    [1, 'error: ResourceNotFoundException: the function report has no schedule daily\n'],
  );
  assert.deepEqual(await listed(), ['filed/hourly file']);
});

test('schedules of function.yaml are deployed with the function, and go when they are no longer written', async () => {
  const directory = join(workspace.directory, 'nightly');
  mkdirSync(directory);
  writeFileSync(join(directory, 'index.js'), 'exports.handler = async () => 1;\n');
  const deploy = async (schedules: string): Promise<readonly string[]> => {
    writeFileSync(join(directory, 'function.yaml'), `handler: index.handler\n${schedules}`);
    const { status, stdout, stderr } = await run(SNAPCTR, ['deploy', directory, '--endpoint', controller.url], {
      workspace,
    });
    assert.equal(status, 0, stderr);
    return stdout.trimEnd().split('\n').slice(1);
  };
  const two = '{name: a, expression: rate(1 day), input: {n: 1}}, {name: b, expression: rate(2 days)}';
  assert.deepEqual(await deploy(`schedules: [${two}]\n`), ['schedules set: a, b']);
  assert.deepEqual(await deploy(`schedules: [${two}]\n`), []);
  assert.deepEqual(await deploy(''), []);
  assert.deepEqual(await listed(), ['filed/hourly file', 'nightly/a api', 'nightly/b api']);
  const changed = '{name: a, expression: rate(1 day), input: {n: 2}}';
  assert.deepEqual(await deploy(`schedules: [${changed}]\n`), ['schedules set: a', 'schedules removed: b']);
  assert.deepEqual(await deploy('schedules: []\n'), ['schedules removed: a']);
});

test('a schedule is made, runs, is paused, resumed, kept over a kill, and removed', async () => {
  const first = await addSoon('tick', 'rate(1 minute)', '{"n": 1}');
  await until('the event', () => ran().length > 0);
  assert.deepEqual(ran(), ['{"n":1}']);
  assert.equal((await shown('tick')).nextDue, new Date(Date.parse(first) + 60_000).toISOString());

  assert.equal(await said('pause', 'report', 'tick'), 'report/tick: paused\n');
  assert.match(await said('list'), /^FUNCTION +NAME .*\nfiled +hourly .* file\nreport +tick .* paused +- +api\n$/);
  // One that is due when nobody is there; the paused one stays as it is.
  const due = await addSoon('missed', 'rate(1 day)', '2');
  controller.kill('SIGKILL');
  await controller.exited;
  await sleep(Math.max(0, Date.parse(due) - Date.now()));
  await start();
  await until('what was missed', () => ran().length > 1);
  assert.deepEqual([...new Set(ran())], ['{"n":1}', '2']);
  const { state, input, nextDue } = await shown('tick');
  assert.deepEqual([state, input, nextDue], ['paused', '{"n": 1}', undefined]);
  assert.match(await said('resume', 'report', 'tick'), /^report\/tick: due next at 2\d{3}-.*Z\n$/);

  assert.equal(await said('remove', 'report', 'tick'), 'report/tick is removed\n');
  assert.deepEqual(await listed(), ['filed/hourly file', 'report/missed api']);
  await inLambda((client) => client.send(new sdk.DeleteFunctionCommand({ FunctionName: 'report' })));
  assert.deepEqual(await listed(), ['filed/hourly file']);
});
