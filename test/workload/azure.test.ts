import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { importAzure, TraceError } from '../../src/workload/azure.ts';

const ALL = { untilMs: Infinity, seed: 1 };
const HEADER_2021 = 'app,func,end_timestamp,duration';

/** A trace of 2019: rows of trigger and counts by minute. */
function of2019(...rows: readonly (readonly [trigger: string, counts: Readonly<Record<number, number>>])[]): string {
  const minutes = Array.from({ length: 1440 }, (_, i) => i + 1);
  const header = ['HashOwner', 'HashApp', 'HashFunction', 'Trigger', ...minutes].join(',');
  const lines = rows.map(([trigger, counts], i) =>
    ['owner', 'app', `function${i}`, trigger, ...minutes.map((minute) => counts[minute] ?? 0)].join(','),
  );
  return [header, ...lines, ''].join('\n');
}

test('azure 2021: a request begins when it ended less its duration, counted from the first', () => {
  const { functions, arrivals } = importAzure(
    [HEADER_2021, 'a,f,10.5,0.5', 'b,f,4.25,1.25', 'a,f,20,0.0001', ''].join('\r\n'),
    ALL,
  );
  assert.deepEqual(arrivals, [
    { timeMs: 0, function: 'f2', userId: 2, runMs: 1250 },
    { timeMs: 7000, function: 'f1', userId: 1, runMs: 500 },
    { timeMs: 17_000, function: 'f1', userId: 1, runMs: 1 },
  ]);
  assert.deepEqual(
    functions.map(({ name }) => name),
    ['f1', 'f2'],
  );
});

test('azure 2019: as many requests as were counted, within their minutes, by seed', () => {
  const text = of2019(['http', { 1: 3, 1440: 1 }], ['timer', { 2: 1 }], ['others', {}]);
  const { functions, arrivals } = importAzure(text, ALL);
  const minutes = arrivals.map(({ timeMs, function: name }) => `${name} ${Math.floor(timeMs / 60_000) + 1}`);
  assert.deepEqual(minutes, ['f1 1', 'f1 1', 'f1 1', 'f2 2', 'f1 1440']);
  assert.deepEqual(
    functions.map(({ trigger }) => trigger),
    ['http', 'timer', null],
  );
  assert.deepEqual(importAzure(text, ALL), importAzure(text, ALL));
  assert.notDeepEqual(importAzure(text, ALL).arrivals, importAzure(text, { ...ALL, seed: 2 }).arrivals);
});

test('azure: only the first part is taken, if that is asked for', () => {
  assert.equal(
    importAzure([HEADER_2021, 'a,f,1,1', 'a,f,70,1'].join('\n'), { ...ALL, untilMs: 60_000 }).arrivals.length,
    1,
  );
  assert.equal(importAzure(of2019(['http', { 1: 2, 3: 5 }]), { ...ALL, untilMs: 60_000 }).arrivals.length, 2);
});

const refused: readonly (readonly [what: string, text: string, message: RegExp])[] = [
  ['another header', 'a,b,c\n1,2,3', /line 1: "a,b,c" begins neither trace/],
  ['nothing', '', /line 1/],
  ['a row too short', `${HEADER_2021}\na,f,1`, /line 2: expected/],
  ['a row too long', `${HEADER_2021}\na,f,1,2,3`, /line 2: expected/],
  ['a time that is none', `${HEADER_2021}\na,f,1,1\na,f,soon,1`, /line 3: expected/],
  ['minutes that are missing', `${of2019()}o,a,f,http,1,2`, /line 2: expected .* 1440 counts/],
  ['a count that is none', of2019(['http', { 7: -1 }]), /line 2: "-1" is no count/],
  ['more than fits into memory', of2019(['http', { 7: 1e9 }]), /more than 10000000 requests/],
];
for (const [what, text, message] of refused) {
  test(`azure: refuses ${what}, and says where`, () => {
    assert.throws(() => importAzure(text, ALL), { name: 'TraceError', message });
  });
}

test('azure: any text is a trace or refused', () => {
  fc.assert(
    fc.property(fc.array(fc.array(fc.string({ maxLength: 8 }), { maxLength: 6 }), { maxLength: 6 }), (rows) => {
      try {
        importAzure([HEADER_2021, ...rows.map((row) => row.join(','))].join('\n'), ALL);
      } catch (error) {
        assert.ok(error instanceof TraceError, String(error));
      }
    }),
  );
});
