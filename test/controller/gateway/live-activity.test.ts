import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FunctionActivity, LiveActivity } from '../../../src/controller/gateway/ui/live-activity.ts';
import { LiveTable } from '../../../src/controller/gateway/ui/live-table.ts';
import { InvocationHistory } from '../../../src/controller/telemetry/invocation-history.ts';
import { invocationSummary } from '../../support/invocation-summary.ts';

/** A slot is for 10 s. */
const SLOT_MS = 10_000;
const took = (ms: number, endedAt: number, outcome: 'ok' | 'internal' = 'ok') =>
  invocationSummary({ submittedAt: endedAt - ms, endedAt, outcome });

test('activity: quantiles are in the range of what was measured, a fifth wide', () => {
  for (const [times, p50, p99] of [
    [[0.01], 0.1, 0.1],
    [[10, 10, 10, 10], 10, 10],
    [Array.from({ length: 1000 }, (_, at) => at + 1), 500, 990],
    [[...Array.from({ length: 98 }, () => 5), 3000, 3000], 5, 3000],
    [[890_000], 890_000, 890_000],
  ] as const) {
    const activity = new FunctionActivity();
    for (const ms of times) activity.add(took(ms, 1_000_000));
    const row = activity.row(1_000_000 / SLOT_MS);
    assert.ok(row !== null);
    assert.equal(row.requests, times.length);
    assert.ok(Math.abs(row.p50Ms / p50 - 1) < 0.2, `${row.p50Ms} is not ${p50}`);
    assert.ok(Math.abs(row.p99Ms / p99 - 1) < 0.2, `${row.p99Ms} is not ${p99}`);
  }
});

test('activity: what is older than a minute counts no more, and a clock that was set back harms nothing', () => {
  const activity = new FunctionActivity();
  activity.add(took(1, 0));
  activity.add(took(1, 59_999, 'internal'));
  assert.deepEqual([activity.row(5)?.requests, activity.row(5)?.errors], [2, 1]);
  assert.deepEqual([activity.row(6)?.requests, activity.row(10)?.errors], [1, 1]);
  assert.equal(activity.row(11), null);
  activity.add(took(1, 60_000));
  activity.add(took(1, 1));
  assert.deepEqual([activity.row(6)?.requests, activity.row(6)?.lastEndedAtMs], [2, 60_000]);
});

test('activity: the starts of one function are those of the history and those since, by kind, with their parts', () => {
  const history = new InvocationHistory();
  const activity = new LiveActivity(history, () => true);
  const launch = {
    ...{
      timings: { kind: 'cold' as const, spawnMs: 10, bootMs: 20, loadMs: 30, resumeMs: 0 },
      work: null,
      isAhead: false,
    },
    ...{ waitMs: 60, settleMs: 1, turnMs: 2, cause: null, fallback: null },
  } as const;
  const now = 1_000_000;
  const cold = { start: 'cold', launch, queueMs: 3, durationMs: 7, endedAt: now } as const;
  history.add(invocationSummary({ ...cold }));
  history.add(invocationSummary({ ...cold, function: 'other' }));
  activity.begin();
  assert.deepEqual(activity.startsOf('shop', now).starts['200']?.cold, 1);
  history.add(invocationSummary({ ...cold, launch: { ...launch, isAhead: true } }));
  history.add(invocationSummary({ endedAt: now + 5000 }));
  history.add(invocationSummary({ endedAt: now + 5000, outcome: 'internal' }));
  const parts = { starts: 2, queueMs: 6, spawnMs: 10, bootMs: 20, loadMs: 30, resumeMs: 0, firstResponseMs: 7 };
  const { starts, phases, startBucket } = activity.startsOf('shop', now + 5000);
  assert.equal(startBucket, 201);
  assert.deepEqual(starts, { 200: { cold: 1, ahead: 1, parts }, 201: { warm: 1, failed: 1 } });
  assert.deepEqual(phases, { cold: { ...parts, starts: 1 }, ahead: { ...parts, starts: 1 } });
  const table = new LiveTable();
  activity.update(table, now + 5000);
  const told = JSON.parse(table.full()) as { readonly starts: object };
  assert.deepEqual(told.starts, {
    200: { cold: 2, ahead: 1, parts: { ...parts, starts: 3 } },
    201: { warm: 1, failed: 1 },
  });
  assert.deepEqual(activity.startsOf('shop', now + 10 * 60_000).starts, {});
  activity.end();
});
