/** Lists of schedules, page by page. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ANYBODY, type Caller } from '../../../src/auth/caller.ts';
import { readBody } from '../../../src/controller/gateway/json/body.ts';
import { SchedulesApi } from '../../../src/controller/gateway/schedules/api.ts';
import { FunctionRegistry, type FunctionSchedule } from '../../../src/registry/function-registry.ts';

const AT = Date.parse('2026-05-01T08:00:00Z');

function schedule(name: string): FunctionSchedule {
  const usual = { timeZone: 'UTC', qualifier: null, input: '1', missed: 'once', start: null, end: null } as const;
  return { name, expression: 'rate(1 day)', ...usual, isPaused: false, since: null };
}

interface Page {
  readonly schedules: readonly { readonly functionName: string; readonly name: string; readonly nextDue?: string }[];
  readonly nextToken?: string;
}

function createBench(functions: Readonly<Record<string, readonly string[]>>) {
  const registry = new FunctionRegistry();
  for (const [name, names] of Object.entries(functions)) registry.configure(name, { schedules: names.map(schedule) });
  const scheduler = { nextDue: (_of: string, name: string) => (name === 'never' ? null : AT) };
  const api = new SchedulesApi({ registry, scheduler, functions: null, audit: { add: () => Promise.resolve() } });
  const run = (operation: string, members: object, caller: Caller = ANYBODY): Promise<unknown> =>
    api.run(operation, readBody(Buffer.from(JSON.stringify(members))), caller);
  const list = async (members: object, caller?: Caller): Promise<readonly [readonly string[], string?]> => {
    const { schedules, nextToken } = (await run('ListSchedules', members, caller)) as Page;
    const names = schedules.map(({ functionName, name }) => `${functionName}/${name}`);
    return nextToken === undefined ? [names] : [names, nextToken];
  };
  return { registry, run, list };
}

test('schedules are listed by function and name, in pages that fit whatever comes and goes between', async () => {
  const { registry, list } = createBench({ b: ['x', 'y'], a: ['m', 'n'], c: [], d: ['k'] });
  assert.deepEqual(await list({}), [['a/m', 'a/n', 'b/x', 'b/y', 'd/k']]);
  assert.deepEqual(await list({ limit: 3 }), [['a/m', 'a/n', 'b/x'], 'b/x']);
  assert.deepEqual(await list({ limit: 3, nextToken: 'b/x' }), [['b/y', 'd/k']]);
  registry.configure('b', { schedules: ['a', 'y', 'z'].map(schedule) });
  assert.deepEqual(await list({ limit: 1, nextToken: 'b/x' }), [['b/y'], 'b/y']);
  registry.remove('b');
  assert.deepEqual(await list({ nextToken: 'b/y' }), [['d/k']]);
  assert.deepEqual(await list({ functionName: 'a', limit: 1 }), [['a/m'], 'a/m']);
  assert.deepEqual(await list({ functionName: 'nothing' }), [[]]);
  await assert.rejects(list({ limit: 101 }), { type: 'InvalidParameterException' });
  const some = { ...ANYBODY, mayList: (name: string) => name === 'd' };
  assert.deepEqual(await list({ limit: 1 }, some), [['d/k']]);
});

test('the next due time is told, and the input of one alone', async () => {
  const { run } = createBench({ f: ['daily', 'never'] });
  const daily = {
    functionName: 'f',
    name: 'daily',
    expression: 'rate(1 day)',
    timeZone: 'UTC',
    missed: 'once',
    state: 'enabled',
    from: 'file',
    nextDue: '2026-05-01T08:00:00.000Z',
  };
  const { nextDue, ...never } = { ...daily, name: 'never' };
  assert.deepEqual(await run('ListSchedules', {}), { schedules: [daily, never] });
  assert.deepEqual(await run('GetSchedule', { functionName: 'f', name: 'daily' }), { ...daily, input: '1' });
  assert.equal(nextDue, daily.nextDue);
});

test('where nothing is kept, schedules are not changed', async () => {
  const { run } = createBench({ f: ['daily'] });
  const daily = { functionName: 'f', name: 'daily', expression: 'rate(1 day)' };
  for (const operation of ['PutSchedule', 'DeleteSchedule']) {
    await assert.rejects(run(operation, daily), { type: 'InvalidParameterException', message: /give it --data-dir/ });
  }
  await assert.rejects(run('RunSchedule', daily), { type: 'UnknownOperationException' });
});
