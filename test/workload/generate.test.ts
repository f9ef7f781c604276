import assert from 'node:assert/strict';
import { test } from 'node:test';
import { generate, type WorkloadShape } from '../../src/workload/generate.ts';
import { Random, zipf } from '../../src/workload/random.ts';

const HOUR_MS = 3_600_000;
const SHAPE: WorkloadShape = {
  functions: 200,
  durationMs: 24 * HOUR_MS,
  requestsPerSecond: 1,
  zipfExponent: 1,
  seed: 1,
};

test('workload: the same seed makes the same requests, another one others', () => {
  const shape = { ...SHAPE, durationMs: HOUR_MS };
  assert.deepEqual(generate(shape), generate(shape));
  assert.notDeepEqual(generate(shape).arrivals, generate({ ...shape, seed: 2 }).arrivals);
});

test('workload: requests are in order, within the time, of functions that there are, in whole ms', () => {
  const { functions, arrivals } = generate(SHAPE);
  const names = new Set(functions.map(({ name }) => name));
  assert.equal(names.size, SHAPE.functions);
  let before = 0;
  for (const { timeMs, function: name, runMs } of arrivals) {
    assert.ok(names.has(name) && Number.isInteger(timeMs) && Number.isInteger(runMs));
    assert.ok(timeMs >= before && timeMs < SHAPE.durationMs && runMs >= 1 && runMs <= 10_000);
    before = timeMs;
  }
});

test('workload: people and queues ask as often as was said, and timers in their rhythm', () => {
  const { functions, arrivals } = generate(SHAPE);
  const timers = new Set(functions.filter(({ trigger }) => trigger === 'timer').map(({ name }) => name));
  const share = functions.reduce((sum, { name }, i) => sum + (timers.has(name) ? 0 : (zipf(200, 1)[i] ?? 0)), 0);
  const asked = arrivals.filter((one) => !timers.has(one.function)).length / (SHAPE.durationMs / 1000);
  assert.ok(Math.abs(asked / share - 1) < 0.1, `${asked}/s of ${share}/s`);
  for (const name of timers) {
    const times = arrivals.filter((one) => one.function === name).map(({ timeMs }) => timeMs);
    const pauses = times.slice(1).map((time, i) => time - (times[i] ?? 0));
    assert.ok(Math.max(...pauses) - Math.min(...pauses) <= 201, `${name}: ${pauses.join(' ')}`);
  }
});

test('workload: more is asked by day than by night', () => {
  const { arrivals } = generate({ ...SHAPE, requestsPerSecond: 5 });
  const within = (from: number, to: number): number =>
    arrivals.filter(({ timeMs }) => timeMs >= from * HOUR_MS && timeMs < to * HOUR_MS).length;
  assert.ok(within(3, 9) > 1.5 * within(15, 21));
});

test('workload: the first function of a Zipf distribution gets its share', () => {
  const shares = zipf(1000, 1);
  assert.ok(Math.abs(shares.reduce((sum, share) => sum + share, 0) - 1) < 1e-9);
  assert.ok(Math.abs((shares[0] ?? 0) / (shares[9] ?? 1) - 10) < 1e-9);
});

test('random: means and medians are what was asked for', () => {
  const random = new Random(3);
  const mean = (draw: () => number): number =>
    Array.from({ length: 20_000 }, draw).reduce((sum, x) => sum + x, 0) / 20_000;
  assert.ok(Math.abs(mean(() => random.exponential(50)) / 50 - 1) < 0.05);
  assert.ok(Math.abs(mean(() => random.geometric(4)) / 4 - 1) < 0.05);
  assert.equal(random.geometric(1), 1);
  assert.ok(Math.abs(mean(() => (random.logNormal(40, 1) < 40 ? 1 : 0)) / 0.5 - 1) < 0.05);
  assert.ok(
    Math.abs(
      mean(() =>
        random.pick([
          ['a', 3],
          ['b', 1],
        ]) === 'a'
          ? 1
          : 0,
      ) /
        0.75 -
        1,
    ) < 0.05,
  );
});
