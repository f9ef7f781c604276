import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvocationHistory } from '../../../src/controller/telemetry/invocation-history.ts';
import type { InvocationSummary, LaunchSummary } from '../../../src/controller/telemetry/invocation-summary.ts';
import { invocationSummary } from '../../support/invocation-summary.ts';

let at = 0;

function summary(requestId: string, keys: Partial<InvocationSummary> = {}): InvocationSummary {
  at += 1;
  return invocationSummary({ requestId, function: 'f', submittedAt: at, endedAt: at, ...keys });
}

const LAUNCH: LaunchSummary = {
  timings: { kind: 'cold', spawnMs: 1, bootMs: 1, loadMs: 1, resumeMs: 1 },
  work: null,
  isAhead: false,
  waitMs: 4,
  settleMs: 0,
  turnMs: 0,
  cause: null,
  fallback: null,
};
const COLD = { start: 'cold', launch: LAUNCH } as const;

const ids = (found: readonly InvocationSummary[]): string[] => found.map(({ requestId }) => requestId);

test('history: invocations are found by request id and by function, the newest first', () => {
  const history = new InvocationHistory();
  history.add(summary('one'));
  history.add(summary('two', { ...COLD, function: 'g' }));
  history.add(summary('three', { start: null, vm: null, outcome: 'queue_full' }));
  history.add(summary('one', { eventTry: 2 }));
  assert.deepEqual(ids(history.find({ limit: 10 })), ['one', 'three', 'two', 'one']);
  assert.deepEqual(ids(history.find({ function: 'f', limit: 2 })), ['one', 'three']);
  assert.deepEqual(
    history.find({ requestId: 'one', limit: 10 }).map(({ eventTry }) => eventTry),
    [2, null],
  );
  assert.deepEqual(history.find({ requestId: 'four', limit: 10 }), []);
});

test('history: neither warm requests nor refusals drive out starts, slow ones and failures', () => {
  const history = new InvocationHistory();
  history.add(summary('cold', COLD));
  history.add(summary('slow', { durationMs: 1000 }));
  history.add(summary('waited', { queueMs: 50, waits: { memory: 50 } }));
  history.add(summary('failed', { outcome: 'function_error' }));
  history.add(summary('warm'));
  for (let i = 0; i < 20_000; i += 1) {
    history.add(summary(`w${i}`));
    history.add(summary(`r${i}`, { start: null, vm: null, outcome: 'queue_full' }));
  }
  for (const id of ['cold', 'slow', 'waited', 'failed']) {
    assert.deepEqual(ids(history.find({ requestId: id, limit: 1 })), [id]);
  }
  assert.deepEqual(history.find({ requestId: 'warm', limit: 1 }), []);
  assert.equal(history.size.invocations, 4096 + 1024 + 4);
});

test('history: one function drives out its own starts, not those of others', () => {
  const history = new InvocationHistory();
  history.add(summary('g', { ...COLD, function: 'g' }));
  for (let i = 0; i < 10_000; i += 1) history.add(summary(`f${i}`, COLD));
  assert.deepEqual(ids(history.find({ function: 'g', limit: 10 })), ['g']);
  const kept = ids(history.find({ function: 'f', limit: 10_000 }));
  assert.equal(kept.length, 256);
  assert.deepEqual([kept[0], kept.at(-1)], ['f9999', 'f9744']);
});

test('history: ten thousand functions, and messages of any length, stay within the bounds', () => {
  const history = new InvocationHistory();
  for (let i = 0; i < 10_000; i += 1) history.add(summary(`${i}`, { ...COLD, function: `f${i}` }));
  assert.equal(history.size.invocations, 4096);
  for (let i = 0; i < 5000; i += 1) {
    history.add(summary(`long${i}`, { outcome: 'function_error', message: 'x'.repeat(10_000), function: `f${i}` }));
  }
  assert.ok(history.size.bytes <= 8 * 1024 * 1024, `${history.size.bytes} bytes`);
  assert.deepEqual(ids(history.find({ limit: 1 })), ['long4999']);
});

test('history: listeners hear each invocation until they leave', () => {
  const history = new InvocationHistory();
  const heard: string[] = [];
  const leave = history.listen(({ requestId }) => heard.push(requestId));
  history.add(summary('one'));
  leave();
  history.add(summary('two'));
  assert.deepEqual(heard, ['one']);
});
