import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Demand } from '../../../src/controller/pool/demand.ts';

const MINUTE_MS = 60_000;

/** Asked for at these times. */
function demandOf(...times: readonly number[]): Demand {
  const demand = new Demand();
  for (const time of times) demand.arrived(time, 1);
  return demand;
}

test('demand: nothing is expected of a function that was never asked for, or only once', () => {
  assert.deepEqual([demandOf().lastAt, demandOf().dueAt, demandOf(5).lastAt, demandOf(5).dueAt], [null, null, 5, null]);
});

test('demand: two pauses alike are a rhythm, and the next request is due after the shorter one', () => {
  assert.equal(demandOf(0, 5 * MINUTE_MS, 10 * MINUTE_MS + 90).dueAt, 15 * MINUTE_MS + 90);
  assert.equal(demandOf(0, 5 * MINUTE_MS, 9 * MINUTE_MS).dueAt, null);
});

test('demand: a request that is told late counts from when it came', () => {
  const demand = demandOf(0, 10 * MINUTE_MS, 5 * MINUTE_MS);
  assert.equal(demand.lastAt, 10 * MINUTE_MS);
  demand.arrived(20 * MINUTE_MS, 1);
  assert.equal(demand.dueAt, 30 * MINUTE_MS);
});

test('demand: a rhythm that a waiting VM serves best is none to launch for', () => {
  assert.equal(demandOf(0, 1000, 2000, 3000).dueAt, null);
});

test('demand: a rhythm that ends is forgotten, and another one learnt', () => {
  const demand = demandOf(0, 5 * MINUTE_MS, 10 * MINUTE_MS);
  demand.arrived(11 * MINUTE_MS, 1);
  assert.equal(demand.dueAt, null);
  demand.arrived(12 * MINUTE_MS, 1);
  assert.equal(demand.dueAt, 13 * MINUTE_MS);
});

test('demand: requests that come together are one use', () => {
  const demand = demandOf(0, 1, 2, 5 * MINUTE_MS, 5 * MINUTE_MS + 3, 10 * MINUTE_MS);
  assert.equal(demand.dueAt, 15 * MINUTE_MS - 3);
});

test('demand: a function that is asked for more often is worth more to wait for', () => {
  const often = demandOf(...Array.from({ length: 20 }, (_, i) => i * 1000 * (1 + (i % 3))));
  const seldom = demandOf(...Array.from({ length: 20 }, (_, i) => i * 60_000 * (1 + (i % 3))));
  assert.ok(often.usesPerMs(500) > 10 * seldom.usesPerMs(500));
});

test('demand: right after a use of one with long pauses little is to be had, and much when the pause is nearly over', () => {
  const hourly = demandOf(...Array.from({ length: 8 }, (_, i) => i * 60 * MINUTE_MS));
  assert.ok(hourly.usesPerMs(50 * MINUTE_MS) > 3 * hourly.usesPerMs(MINUTE_MS));
});

test('demand: of two that were used once, the later one is worth more', () => {
  const demand = demandOf(0);
  assert.ok(demand.usesPerMs(10_000) > demand.usesPerMs(60_000));
});

test('demand: what is to be had is a finite number of uses, at most one in each of the shortest pauses', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 10 ** 9 }), { maxLength: 400 }),
      fc.nat(10 ** 10),
      (pauses, idleMs) => {
        const demand = new Demand();
        let now = 0;
        for (const pause of pauses) demand.arrived((now += pause), 1);
        const uses = demand.usesPerMs(idleMs);
        assert.ok(uses > 0 && uses <= 1 / 16, String(uses));
      },
    ),
    // At the end of the bin in which its only pause is.
    { examples: [[[0, 16], 22]] },
  );
});

test('demand: how often requests come at once, among the last ones', () => {
  const demand = new Demand();
  assert.deepEqual([demand.shareOf(1), demand.shareOf(2)], [0, 0]);
  for (const atOnce of [1, 1, 1, 2, 3]) demand.arrived(0, atOnce);
  assert.deepEqual([demand.shareOf(1), demand.shareOf(2), demand.shareOf(3), demand.shareOf(4)], [1, 2 / 5, 1 / 5, 0]);
  for (let at = 0; at < 2000; at += 1) demand.arrived(at, 1);
  assert.ok(demand.shareOf(2) < 0.01, String(demand.shareOf(2)));
});

test('demand: of more at once than are told apart nothing is known', () => {
  const demand = new Demand();
  for (let i = 0; i < 100; i += 1) demand.arrived(i, 1000);
  assert.deepEqual([demand.shareOf(32), demand.shareOf(33)], [1, 0]);
});
