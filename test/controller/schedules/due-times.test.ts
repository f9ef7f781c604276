/** When schedules are due: rates, zones with daylight saving both ways, starts and ends. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dueTimes, type DueTimesOptions } from '../../../src/controller/schedules/due-times.ts';

const HOUR_MS = 3600 * 1000;

function times(expression: string, timeZone = 'UTC', more: Partial<DueTimesOptions> = {}): ReturnType<typeof dueTimes> {
  return dueTimes({ expression, timeZone, startAt: null, endAt: null, anchor: 0, ...more });
}

/** All that are due after one moment and up to another; looking back from each moment between finds the last of them. */
function between(expression: string, timeZone: string, from: string, to: string): readonly string[] {
  const due = times(expression, timeZone);
  const found: number[] = [];
  const end = Date.parse(to);
  for (let at = due.next(Date.parse(from)); at !== null && at <= end; at = due.next(at)) found.push(at);
  for (let at = Date.parse(from); at <= end; at += 7 * 60_000) {
    const last = found.filter((one) => one <= at).at(-1);
    if (last !== undefined) assert.equal(due.latest(at), last, new Date(at).toISOString());
  }
  return found.map((at) => new Date(at).toISOString().slice(0, 16));
}

test('spring in Berlin: what falls into the hour that is left out is passed over, and all else goes on', () => {
  const [from, to] = ['2026-03-28T02:00:00Z', '2026-03-30T12:00:00Z'];
  assert.deepEqual(between('cron(30 2 * * ? *)', 'Europe/Berlin', from, to), ['2026-03-30T00:30']);
  assert.deepEqual(between('cron(0 8 * * ? *)', 'Europe/Berlin', from, to), [
    '2026-03-28T07:00',
    '2026-03-29T06:00',
    '2026-03-30T06:00',
  ]);
  assert.deepEqual(between('cron(30 * * * ? *)', 'Europe/Berlin', '2026-03-28T23:00:00Z', '2026-03-29T03:00:00Z'), [
    '2026-03-28T23:30',
    '2026-03-29T00:30',
    '2026-03-29T01:30',
    '2026-03-29T02:30',
  ]);
});

test('autumn in Berlin: what comes twice is due once, at the first time', () => {
  const [from, to] = ['2026-10-24T02:00:00Z', '2026-10-26T12:00:00Z'];
  assert.deepEqual(between('cron(30 2 * * ? *)', 'Europe/Berlin', from, to), ['2026-10-25T00:30', '2026-10-26T01:30']);
  assert.deepEqual(between('cron(0 8 * * ? *)', 'Europe/Berlin', from, to), [
    '2026-10-24T06:00',
    '2026-10-25T07:00',
    '2026-10-26T07:00',
  ]);
  assert.deepEqual(between('cron(0/30 * * * ? *)', 'Europe/Berlin', '2026-10-24T23:30:00Z', '2026-10-25T02:30:00Z'), [
    '2026-10-25T00:00',
    '2026-10-25T00:30',
    '2026-10-25T02:00',
    '2026-10-25T02:30',
  ]);
});

test('both ways in New York', () => {
  assert.deepEqual(between('cron(30 2 * * ? *)', 'America/New_York', '2026-03-07T00:00:00Z', '2026-03-09T12:00:00Z'), [
    '2026-03-07T07:30',
    '2026-03-09T06:30',
  ]);
  assert.deepEqual(between('cron(30 1 * * ? *)', 'America/New_York', '2026-10-31T00:00:00Z', '2026-11-02T12:00:00Z'), [
    '2026-10-31T05:30',
    '2026-11-01T05:30',
    '2026-11-02T06:30',
  ]);
});

test('half an hour in Lord Howe, and a zone without changes', () => {
  assert.deepEqual(
    between('cron(45 1 * * ? *)', 'Australia/Lord_Howe', '2026-04-03T20:00:00Z', '2026-04-06T00:00:00Z'),
    ['2026-04-04T14:45', '2026-04-05T15:15'],
  );
  assert.deepEqual(between('cron(0 9 ? * MON *)', 'Asia/Kolkata', '2026-03-27T00:00:00Z', '2026-04-06T12:00:00Z'), [
    '2026-03-30T03:30',
    '2026-04-06T03:30',
  ]);
});

test('a rate counts from its anchor, or from its start, and knows no daylight saving', () => {
  const anchor = Date.parse('2026-03-28T12:00:00Z');
  const daily = times('rate(1 day)', 'Europe/Berlin', { anchor });
  assert.equal(daily.next(anchor), anchor + 24 * HOUR_MS);
  assert.equal(daily.next(anchor + 24 * HOUR_MS), anchor + 48 * HOUR_MS);
  assert.equal(daily.latest(anchor + 24 * HOUR_MS - 1), anchor);
  assert.equal(daily.latest(anchor + 1000 * 24 * HOUR_MS + 5), anchor + 1000 * 24 * HOUR_MS);
  const startAt = anchor + 90_000;
  const started = times('rate(2 hours)', 'UTC', { anchor, startAt });
  assert.equal(started.next(0), startAt);
  assert.equal(started.next(startAt), startAt + 2 * HOUR_MS);
  assert.equal(started.latest(startAt), startAt);
  assert.equal(started.latest(startAt - 1), null);
});

test('nothing is due before the start or after the end', () => {
  const startAt = Date.parse('2026-05-02T08:00:00Z');
  const endAt = Date.parse('2026-05-03T08:00:00Z');
  const due = times('cron(0 8 * * ? *)', 'UTC', { startAt, endAt });
  assert.equal(due.next(0), startAt);
  assert.equal(due.next(startAt), endAt);
  assert.equal(due.next(endAt), null);
  assert.equal(due.latest(startAt - 1), null);
  assert.equal(due.latest(endAt + 1e9), endAt);
});

test('what is no schedule is refused, and a zone that is none', () => {
  const refused: readonly (readonly [text: string, why: RegExp])[] = [
    ['rate(5 minute)', /minutes, hours and days with more/],
    ['rate(1 minutes)', /minute, hour and day with 1/],
    ['rate(0 minutes)', /rate/],
    ['rate(-1 minutes)', /rate/],
    ['rate(30 seconds)', /rate/],
    ['rate(4000000 days)', /ten years/],
    ['at(2026-05-01T00:00:00)', /is no schedule/],
    ['every minute', /is no schedule/],
    [`cron(${'0,'.repeat(200)}0 0 * * ? *)`, /is no schedule/],
  ];
  for (const [text, message] of refused) assert.throws(() => times(text), { name: 'ExpressionError', message }, text);
  for (const zone of ['Mars/Olympus', '+02:00', '', 'UTC; DROP']) {
    assert.throws(() => times('rate(5 minutes)', zone), { message: /no time zone/ }, zone);
  }
});
