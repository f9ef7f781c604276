import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deploySchedules, schedulesSchema } from '../../src/client/deploy-schedules.ts';
import type { NewSchedule, Schedule } from '../../src/client/schedules-client.ts';

/** A controller with schedules of one function; what is asked of it. */
function createBench(schedules: readonly Partial<Schedule>[]) {
  const kept = new Map(
    schedules.map((one): [string, Schedule] => {
      const usual = { functionName: 'f', name: '', expression: 'rate(1 day)', timeZone: 'UTC' } as const;
      const whole: Schedule = { ...usual, missed: 'once', state: 'enabled', from: 'api', ...one };
      return [whole.name, whole];
    }),
  );
  const asked: string[] = [];
  const put: NewSchedule[] = [];
  const client = {
    async *list() {
      await Promise.resolve();
      for (const one of kept.values()) {
        const whole = { ...one };
        // A list has no inputs.
        delete whole.input;
        yield whole;
      }
    },
    get: (_of: string, name: string) => Promise.resolve(kept.get(name) ?? assert.fail(name)),
    put: (one: NewSchedule) => {
      asked.push(`put ${one.name}`);
      put.push(one);
      return Promise.resolve(kept.get('a') ?? assert.fail('a'));
    },
    delete: (_of: string, name: string) => {
      asked.push(`delete ${name}`);
      return Promise.resolve();
    },
  };
  const deploy = (written: unknown) => deploySchedules(client, 'f', schedulesSchema.parse(written));
  return { asked, put, deploy };
}

const daily = { expression: 'rate(1 day)' };

test('schedules of function.yaml: what is written as it is kept changes nothing', async () => {
  const start = '2026-05-01T08:00:00.000Z';
  const { deploy, asked } = createBench([
    { name: 'a', state: 'paused' },
    { name: 'b', input: '{"n":1}', start, qualifier: 'live', missed: 'skip', timeZone: 'Europe/Berlin' },
  ]);
  const b = { input: { n: 1 }, start: '2026-05-01T10:00:00+02:00', qualifier: 'live', missed: 'skip' };
  const written = [
    { name: 'b', ...daily, ...b, time_zone: 'Europe/Berlin' },
    { name: 'a', ...daily, qualifier: '$LATEST' },
  ];
  assert.deepEqual(await deploy(written), { set: [], removed: [] });
  assert.deepEqual(asked, []);
});

test('schedules of function.yaml: others go first, new and changed ones are set, and paused ones stay so', async () => {
  const { deploy, asked, put } = createBench([{ name: 'a', state: 'paused', input: '1' }, { name: 'old' }]);
  const written = [
    { name: 'new', expression: 'cron(0 8 ? * MON-FRI *)', input: null },
    { name: 'a', ...daily },
  ];
  assert.deepEqual(await deploy(written), { set: ['new', 'a'], removed: ['old'] });
  assert.deepEqual(asked, ['delete old', 'put new', 'put a']);
  assert.deepEqual(
    put.map(({ input, state }) => [input, state]),
    [
      ['null', undefined],
      [undefined, 'paused'],
    ],
  );
  assert.deepEqual(await createBench([{ name: 'a' }]).deploy([]), { set: [], removed: ['a'] });
});
