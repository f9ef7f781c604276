import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unqualified } from '../../src/control/changes.ts';
import {
  checkScheduleCount,
  scheduleRemoved,
  scheduleSet,
  schedulesOf,
  type ScheduleSettings,
} from '../../src/control/schedule-changes.ts';
import { functionSchema } from '../../src/registry/record-schema.ts';
import type { FunctionRecord } from '../../src/registry/records.ts';
import { functionRecord, versionRecord } from '../registry/records.ts';

const ARN = 'arn:aws:lambda:us-east-1:000000000000:function:f';
const [FIRST, LATER] = ['2026-05-01T00:00:00.000Z', '2026-05-02T00:00:00.000Z'];
const { tenantIsolation, ...shared } = versionRecord().settings;
const EMPTY = functionRecord('f', { latest: versionRecord({ settings: shared }), wanted: null });

function settings(keys: Partial<ScheduleSettings> = {}): ScheduleSettings {
  const usual = { timeZone: 'UTC', qualifier: null, input: null, missed: 'once', start: null, end: null } as const;
  return { expression: 'rate(1 day)', ...usual, isPaused: false, ...keys };
}

function set(record: FunctionRecord, name: string, keys: Partial<ScheduleSettings> = {}, now = FIRST): FunctionRecord {
  return scheduleSet(record, name, settings(keys), ARN, now);
}

test('schedules of a record: kept by name, as a disk takes them, and told in the order of their names', () => {
  const record = set(set(EMPTY, 'constructor', { qualifier: 'live', input: '{"a":1}' }), '-');
  assert.deepEqual(functionSchema.parse(JSON.parse(JSON.stringify(record))), record);
  assert.deepEqual(schedulesOf(record), [
    { name: '-', ...settings(), since: FIRST },
    { name: 'constructor', ...settings({ qualifier: 'live', input: '{"a":1}' }), since: FIRST },
  ]);
  const left = scheduleRemoved(record, '-');
  assert.deepEqual(Object.keys(left.schedules ?? {}), ['constructor']);
  assert.deepEqual(EMPTY.schedules, undefined);
  // An alias takes with it what was kept for it.
  assert.deepEqual(unqualified(record, 'live').schedules, { '-': record.schedules?.['-'] });
});

const changes: readonly (readonly [what: string, keys: Partial<ScheduleSettings>, beginsAnew: boolean])[] = [
  ['nothing', {}, false],
  ['its input', { input: '1' }, false],
  ['its qualifier', { qualifier: '2' }, false],
  ['what is missed', { missed: 'skip' }, false],
  ['to paused', { isPaused: true }, false],
  ['its expression', { expression: 'rate(2 days)' }, true],
  ['its zone', { timeZone: 'Europe/Berlin' }, true],
  ['its start', { start: FIRST }, true],
  ['its end', { end: LATER }, true],
];
for (const [what, keys, beginsAnew] of changes) {
  test(`a schedule that changes ${what} ${beginsAnew ? 'begins anew' : 'goes on'}`, () => {
    const { schedules } = set(set(EMPTY, 's'), 's', keys, LATER);
    assert.deepEqual(schedules, { s: { ...settings(keys), since: beginsAnew ? LATER : FIRST } });
  });
}

test('a schedule that is resumed is due from then on; paused again, it was not resumed', () => {
  const paused = set(EMPTY, 's', { isPaused: true });
  assert.equal(set(paused, 's', {}, LATER).schedules?.['s']?.since, LATER);
  assert.equal(set(paused, 's', { isPaused: true }, LATER).schedules?.['s']?.since, FIRST);
});

test('schedules that are refused, and at most 100 of a function and 10,000 in all', () => {
  assert.throws(() => set(EMPTY, 's', { qualifier: 'nope' }), { code: 'not_found', message: /:f:nope$/ });
  const isolated = functionRecord('f', { wanted: null });
  assert.equal(tenantIsolation, 'PER_TENANT');
  assert.throws(() => set(isolated, 's'), { code: 'invalid', message: /their events name no tenant/ });
  for (const name of ['s', 'toString']) {
    assert.throws(() => scheduleRemoved(EMPTY, name), {
      code: 'not_found',
      message: new RegExp(`no schedule ${name}`),
    });
  }
  const names = Array.from({ length: 100 }, (_, n) => `s${n}`);
  const full = names.reduce((record, name) => set(record, name), EMPTY);
  assert.throws(() => set(full, 'over'), { code: 'invalid', message: /has 100 schedules at most; remove one/ });
  assert.equal(Object.keys(set(full, 's0', { input: '1' }).schedules ?? {}).length, 100);

  const [one, two] = [set(EMPTY, 'a'), set(set(EMPTY, 'a'), 'b')];
  checkScheduleCount(one, two, 9999);
  assert.throws(() => checkScheduleCount(one, two, 10_000), { code: 'invalid', message: /10000 at most; remove some/ });
  // What does not grow is taken, whatever a file has added meanwhile.
  checkScheduleCount(two, set(two, 'b', { input: '1' }), 10_001);
  checkScheduleCount(two, one, 10_001);
});
