/** Expressions as AWS documents them, with times worked out by hand; croner, whose dialect differs, agrees where both say the same. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Cron as Croner } from 'croner';
import { Cron } from '../../../src/controller/schedules/cron.ts';
import { seeded } from '../../../src/workload/random.ts';

/** A Saturday. */
const FROM = Date.parse('2026-11-28T23:00:00Z');
const SEED = Number(process.env['SNAPFAAS_CRON_SEED'] ?? Math.floor(Math.random() * 1e9));
const CASES = 400;

function nextOf(text: string, count: number, from = FROM): readonly string[] {
  const cron = new Cron(text);
  const found: string[] = [];
  for (let at = cron.next(from); at !== null && found.length < count; at = cron.next(at)) {
    assert.equal(cron.previous(at), at, text);
    found.push(new Date(at).toISOString().slice(0, 16));
  }
  return found;
}

/** The examples of "Creating rules that run on a schedule" and of the Scheduler's user guide, and their wildcards. */
const TABLE: readonly (readonly [text: string, ...next: readonly string[]])[] = [
  ['0 10 * * ? *', '2026-11-29T10:00', '2026-11-30T10:00'],
  ['15 12 * * ? *', '2026-11-29T12:15', '2026-11-30T12:15'],
  ['0 18 ? * MON-FRI *', '2026-11-30T18:00', '2026-12-01T18:00'],
  ['0 8 1 * ? *', '2026-12-01T08:00', '2027-01-01T08:00'],
  ['0/15 * * * ? *', '2026-11-28T23:15', '2026-11-28T23:30', '2026-11-28T23:45', '2026-11-29T00:00'],
  ['0/10 * ? * MON-FRI *', '2026-11-30T00:00', '2026-11-30T00:10'],
  ['0/5 8-17 ? * MON-FRI *', '2026-11-30T08:00', '2026-11-30T08:05'],
  ['0/30 20-2 ? * MON-FRI *', '2026-11-30T00:00', '2026-11-30T00:30', '2026-11-30T01:00'],
  ['15 10 ? * 6L 2022-2027', '2026-12-25T10:15', '2027-01-29T10:15'],
  ['0 9 ? * 2#1 *', '2026-12-07T09:00', '2027-01-04T09:00'],
  ['0 9 ? * 3#5 *', '2026-12-29T09:00', '2027-03-30T09:00'],
  ['0 9 L * ? *', '2026-11-30T09:00', '2026-12-31T09:00', '2027-01-31T09:00', '2027-02-28T09:00'],
  ['0 9 L-2 * ? *', '2026-12-29T09:00', '2027-01-29T09:00'],
  ['0 9 LW * ? *', '2026-11-30T09:00', '2026-12-31T09:00', '2027-01-29T09:00'],
  ['0 9 3W * ? *', '2026-12-03T09:00', '2027-01-04T09:00', '2027-02-03T09:00'],
  // A Sunday is the first: Monday is nearest in its month. A Saturday likewise, never into the month before.
  ['0 9 1W 2,5 ? 2026-2027', '2027-02-01T09:00', '2027-05-03T09:00'],
  ['0 9 30W 5 ? *', '2027-05-31T09:00', '2028-05-30T09:00'],
  ['0 9 31W 2-5 ? 2027', '2027-03-31T09:00', '2027-05-31T09:00'],
  ['0 9 ? * L *', '2026-12-05T09:00', '2026-12-12T09:00'],
  ['0 9 ? * 1 *', '2026-11-29T09:00', '2026-12-06T09:00'],
  ['0 9 ? * FRI-MON *', '2026-11-29T09:00', '2026-11-30T09:00', '2026-12-04T09:00'],
  ['0 12 ? NOV-FEB 2#1 *', '2026-12-07T12:00', '2027-01-04T12:00', '2027-02-01T12:00', '2027-11-01T12:00'],
  ['50/5 3 * * ? *', '2026-11-29T03:50', '2026-11-29T03:55', '2026-11-30T03:50'],
  ['0 12 1/10 * ? *', '2026-12-01T12:00', '2026-12-11T12:00', '2026-12-21T12:00', '2026-12-31T12:00'],
  ['0 12 29 2 ? *', '2028-02-29T12:00', '2032-02-29T12:00'],
  ['0 0 1 1 ? 2026/2', '2028-01-01T00:00', '2030-01-01T00:00'],
  ['5,35 14 ? * SUN,wed *', '2026-11-29T14:05', '2026-11-29T14:35', '2026-12-02T14:05'],
];

for (const [text, ...next] of TABLE) {
  test(`cron: ${text}`, () => assert.deepEqual(nextOf(text, next.length), next));
}

test('cron: an expression that is never due again says so, soon', () => {
  assert.deepEqual(nextOf('0 12 30 2 ? *', 1), []);
  assert.deepEqual(nextOf('0 12 * * ? 2025', 1), []);
  assert.equal(new Cron('0 12 * * ? 2027').previous(FROM), null);
  assert.equal(new Cron('0 12 * * ? 2199').next(Date.UTC(2199, 11, 31, 12)), null);
});

test('cron: what AWS refuses is refused, with what is wrong', () => {
  const refused: readonly (readonly [text: string, why: RegExp])[] = [
    ['0 10 * * ?', /six fields.*not 5/],
    ['0 10 * * * *', /exactly one of/],
    ['0 10 ? * ? *', /exactly one of/],
    ['60 10 * * ? *', /`60` is nothing for minutes: 0 to 59/],
    ['0 24 * * ? *', /hours/],
    ['0 0 32 * ? *', /day of month/],
    ['0 0 0 * ? *', /day of month/],
    ['0 0 1 13 ? *', /month/],
    ['0 0 ? * 0 *', /day of week: 1 to 7 or SUN to SAT/],
    ['0 0 ? * 8 *', /day of week/],
    ['0 0 1 * ? 1969', /year: 1970 to 2199/],
    ['0 0 1 * ? 2030-2027', /from the earlier to the later/],
    ['0 0 ? * 3#1,6#3 *', /alone/],
    ['0 0 ? * 3#6 *', /from 1 to 5/],
    ['0/0 0 * * ? *', /minutes/],
    ['1-2-3 0 * * ? *', /minutes/],
    ['1,,2 0 * * ? *', /list/],
    ['-5 0 * * ? *', /minutes/],
    ['1.5 0 * * ? *', /minutes/],
    ['0 0 L-31 * ? *', /day of month/],
    ['0 0 W * ? *', /day of month/],
    ['', /six fields/],
  ];
  for (const [text, why] of refused)
    assert.throws(() => new Cron(text), { name: 'ExpressionError', message: why }, text);
});

test(`cron: ${CASES} expressions by chance are due when croner says so (seed ${SEED})`, () => {
  const random = seeded(SEED);
  const whole = (least: number, most: number): number => least + Math.floor(random() * (most - least + 1));
  const one = <T>(...choices: readonly (() => T)[]): T => {
    const choice = choices[whole(0, choices.length - 1)];
    assert.ok(choice !== undefined);
    return choice();
  };
  const range = (least: number, most: number): string => {
    const first = whole(least, most);
    return `${first}-${whole(first, most)}`;
  };
  const field = (least: number, most: number): string =>
    one(
      () => '*',
      () => String(whole(least, most)),
      () => range(least, most),
      () => `${range(least, most)}/${whole(1, 5)}`,
      () => `${whole(least, most)},${whole(least, most)}`,
    );
  for (let round = 0; round < CASES; round += 1) {
    const minutes = field(0, 59);
    const hours = field(0, 23);
    const month = field(1, 12);
    const days = one(
      () => `${field(1, 31)} ${month} ?`,
      () => `L ${month} ?`,
      () => `LW ${month} ?`,
      () => `${whole(1, 28)}W ${month} ?`,
      () => `? ${month} ${field(1, 7)}`,
      () => `? ${month} ${whole(1, 7)}L`,
      () => `? ${month} ${whole(1, 7)}#${whole(1, 5)}`,
    );
    const text = `${minutes} ${hours} ${days} *`;
    const croner = new Croner(`0 ${text}`, { timezone: 'UTC', mode: '7-part', alternativeWeekdays: true });
    const from = FROM + whole(-1e6, 1e6) * 60_000;
    const theirs = croner.nextRuns(5, new Date(from)).map((at) => at.toISOString().slice(0, 16));
    assert.deepEqual(nextOf(text, 5, from), theirs, text);
    const [before] = croner.previousRuns(1, new Date(from));
    assert.equal(new Cron(text).previous(from - 1), before?.getTime() ?? null, text);
  }
});
