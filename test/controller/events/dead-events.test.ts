/** How many dead events are kept, and for how long. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeadEvents } from '../../../src/controller/events/dead-events.ts';
import type { StoredEvent } from '../../../src/controller/events/event-store.ts';
import { createLogger } from '../../../src/controller/log.ts';

const DAY_MS = 24 * 3600 * 1000;
const GIB = 1024 ** 3;

function dead(sequence: number, at: number, bytes = 1): StoredEvent {
  return {
    sequence,
    target: 'function:f',
    acceptedAt: 0,
    origin: null,
    bytes,
    state: { status: 'dead', tries: 1, at, reason: 'no' },
  };
}

function createBench() {
  const settled: number[] = [];
  const bench = { now: 0, sweep: (): void => undefined };
  const events = new DeadEvents({
    store: { settle: ({ sequence }) => (settled.push(sequence), Promise.resolve([])) },
    clock: {
      now: () => bench.now,
      after: (_ms, act) => {
        bench.sweep = act;
        return () => undefined;
      },
    },
    logger: createLogger('silent'),
  });
  return { bench, events, settled };
}

test('dead events: ten thousand are kept, then the oldest goes', () => {
  const { events, settled } = createBench();
  for (let sequence = 0; sequence < 10_000; sequence += 1) events.add(dead(sequence, 0));
  assert.deepEqual([events.size, settled], [10_000, []]);
  events.add(dead(10_000, 0));
  assert.deepEqual([events.size, settled], [10_000, [0]]);
});

test('dead events: a gibibyte of them is kept, then the oldest go', () => {
  const { events, settled } = createBench();
  events.add(dead(0, 0, GIB / 2));
  events.add(dead(1, 0, GIB / 2));
  assert.deepEqual(settled, []);
  events.add(dead(2, 0, GIB));
  assert.deepEqual([events.size, settled], [1, [0, 1]]);
});

test('dead events: one goes fourteen days after it died', () => {
  const { bench, events, settled } = createBench();
  events.add(dead(0, 0));
  events.add(dead(1, DAY_MS));
  events.start();
  bench.now = 14 * DAY_MS - 1;
  bench.sweep();
  assert.deepEqual(settled, []);
  bench.now = 14 * DAY_MS;
  bench.sweep();
  assert.deepEqual([events.size, settled], [1, [0]]);
});
