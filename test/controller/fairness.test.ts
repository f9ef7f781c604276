/** What functions get beside each other, in virtual time: the real channel, workers and pool on VMs that only take time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FairShare } from '../../src/controller/pool/fair-share.ts';
import { functionConfig } from '../support/scripted-guests.ts';
import { SimulatedHost, type Answered, type SimulatedFunction } from '../../src/workload/simulation/host.ts';
import { seeded } from '../../src/workload/random.ts';

const RUN_MS = 12;
const START_MS = 120;
const CORES = 2;
/** Requests per second that the cores are enough for. */
const CAPACITY = (CORES * 1000) / RUN_MS;
const SECONDS = 10;
/** When all that is asked for has been started once, in ms. */
const WARM_MS = 3000;

const fair = (now: () => number) => ({ flowOf: (fn: object) => fn, policy: new FairShare<never>(now) });

function fn(name: string, keys: Partial<SimulatedFunction> = {}): SimulatedFunction {
  return { config: functionConfig(name), startMs: START_MS, runMs: RUN_MS, ...keys };
}

function percentile(samples: readonly Answered[], percent: number): number {
  const sorted = samples.map(({ tookMs }) => tookMs).sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))] ?? 0;
}

/** Answers to requests that came when all was warm, by function. */
async function run(host: SimulatedHost): Promise<(name: string) => { ok: Answered[]; refused: Answered[] }> {
  await host.run(WARM_MS + SECONDS * 1000);
  const answers = host.answers.filter(({ at }) => at >= WARM_MS);
  await host.close();
  return (name) => ({
    ok: answers.filter((one) => one.function === name && one.ending === 'ok'),
    refused: answers.filter((one) => one.function === name && one.ending !== 'ok'),
  });
}

for (const { vms, times } of [2, 4, 8].flatMap((vms) => [1.5, 10].map((times) => ({ vms, times })))) {
  test(`fairness: a function at 10/s beside one at ${times} × capacity, with room for ${vms} VMs`, async () => {
    const host = new SimulatedHost({
      cores: CORES,
      memoryMib: vms * 128,
      functions: [fn('busy'), fn('calm', { runMs: 5 })],
      discipline: fair,
    });
    const random = seeded(vms * 100 + times);
    const untilMs = WARM_MS + SECONDS * 1000;
    host.load('busy', 20, { untilMs: 1000 });
    host.load('busy', CAPACITY * times, { fromMs: 1000, untilMs, random });
    host.load('calm', 10, { untilMs, random });
    const of = await run(host);
    const [busy, calm] = [of('busy'), of('calm')];
    assert.deepEqual(calm.refused, []);
    // The cores are shared by all that run: alone, a request takes 5 ms.
    const sharedMs = 5 * Math.max(1, vms / CORES);
    assert.ok(percentile(calm.ok, 99) <= 5 * sharedMs, `calm p99 ${percentile(calm.ok, 99)} ms`);
    // With two VMs, one is the calm one's, and so is most of a core.
    const usable = Math.min(CORES, vms - 1) / CORES;
    const goodput = busy.ok.length / SECONDS + (calm.ok.length / SECONDS) * (5 / RUN_MS);
    assert.ok(goodput >= 0.9 * CAPACITY * usable, `goodput ${goodput}/s of ${CAPACITY * usable}/s`);
    assert.ok(percentile(busy.ok, 99) <= 1000, `accepted p99 ${percentile(busy.ok, 99)} ms`);
    assert.ok(percentile(busy.refused, 99) <= 50, `refused p99 ${percentile(busy.refused, 99)} ms`);
  });
}

test('fairness: functions that all want everything get the same, and do more than start', async () => {
  const names = ['a', 'b', 'c', 'd', 'e', 'f'];
  const host = new SimulatedHost({
    cores: CORES,
    memoryMib: 3 * 128,
    functions: names.map((name) => fn(name)),
    discipline: fair,
  });
  for (const name of names) host.load(name, CAPACITY, { untilMs: WARM_MS + SECONDS * 1000 });
  await host.run(WARM_MS + SECONDS * 1000);
  await host.close();
  const answeredIn = ({ at, tookMs, ending }: Answered): boolean => at + tookMs >= WARM_MS && ending === 'ok';
  const counts = names.map((name) => host.answers.filter((one) => one.function === name && answeredIn(one)).length);
  assert.ok(Math.max(...counts) <= 2 * Math.min(...counts), `answered: ${counts.join(', ')}`);
  const goodput = counts.reduce((sum, count) => sum + count, 0) / SECONDS;
  assert.ok(goodput >= 0.25 * CAPACITY, `goodput ${goodput}/s of ${CAPACITY}/s`);
});

test('fairness: thirty functions asked for once are all answered, with room for eight', async () => {
  const names = Array.from({ length: 30 }, (_, i) => `f${i}`);
  const host = new SimulatedHost({
    cores: CORES,
    memoryMib: 8 * 128,
    functions: names.map((name) => fn(name, { startMs: 5000 })),
    discipline: fair,
  });
  for (const name of names) host.arrive(1, name);
  await host.run(300_000);
  assert.deepEqual(
    host.answers.filter(({ ending }) => ending !== 'ok'),
    [],
  );
  assert.equal(host.answers.length, 30);
  await host.close();
});

test('fairness: a burst on a function that is starting is answered whole', async () => {
  const host = new SimulatedHost({
    cores: CORES,
    memoryMib: 4 * 128,
    functions: [fn('slow', { startMs: 4000 })],
    discipline: fair,
  });
  host.load('slow', 200, { untilMs: 2000 });
  await host.run(60_000);
  assert.deepEqual([host.answers.length, host.answers.filter(({ ending }) => ending === 'ok').length], [399, 399]);
  await host.close();
});

test('fairness: a request takes the VM that is free first, and leaves its launch to the next one', async () => {
  const host = new SimulatedHost({
    cores: CORES,
    memoryMib: 4 * 128,
    functions: [fn('f', { startMs: 1000 })],
    discipline: fair,
  });
  for (const at of [1, 3000, 3001]) host.arrive(at, 'f');
  await host.run(10_000);
  const times = host.answers.map(({ tookMs }) => Math.round(tookMs));
  assert.ok((times[2] ?? Infinity) < 100, `took ${times.join(', ')} ms`);
  await host.close();
});

test('fairness: short requests that come together wait for the VM that there is, where another one would need memory', async () => {
  const names = ['a', 'b', 'c', 'd', 'e'];
  const host = new SimulatedHost({
    cores: CORES,
    memoryMib: (names.length + 1) * 128,
    functions: names.map((name) => fn(name, { runMs: 5 })),
    discipline: fair,
  });
  const random = seeded(1);
  for (let at = 0; at < 100_000; at += 1000) {
    const name = names[Math.floor(random() * names.length)] ?? 'a';
    for (let together = 0; together < 5; together += 1) host.arrive(at, name);
  }
  await host.run(200_000);
  assert.equal(host.answers.length, 500);
  // One for each and some more of the first ones; one for each request that comes second was 385, and made requests wait 300 ms.
  assert.ok(host.pool.counters.launches <= 20, `${host.pool.counters.launches} launches`);
  const waits = host.answers.map(({ waitedMs }) => waitedMs ?? Infinity).sort((a, b) => a - b);
  assert.ok((waits[250] ?? Infinity) <= 4 * 5, `half of them waited ${waits[250]} ms`);
  await host.close();
});

test('fairness: how long the first request on a VM took is no reason to evict others for a burst of later ones', async () => {
  const names = Array.from({ length: 20 }, (_, i) => `f${i}`);
  const host = new SimulatedHost({
    cores: CORES,
    memoryMib: names.length * 128,
    functions: names.map((name) => fn(name)),
    discipline: fair,
  });
  host.arriveAll(names.map((name, i) => ({ timeMs: i * 1000, function: name, runMs: 150 })));
  host.arriveAll(Array.from({ length: 10 }, () => ({ timeMs: 60_000, function: 'f0', runMs: 5 })));
  await host.run(70_000);
  assert.deepEqual([host.pool.counters.launches, host.pool.counters.evictions], [names.length, 0]);
  const waits = host.answers.filter(({ at }) => at >= 60_000).map(({ waitedMs }) => waitedMs ?? Infinity);
  assert.equal(waits.length, 10);
  assert.ok(Math.max(...waits) <= 10 * 5, waits.join());
  await host.close();
});

test('fairness: a busy function gets as many VMs as it uses at once where the others are not needed', async () => {
  const idle = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
  const host = new SimulatedHost({
    cores: CORES,
    memoryMib: (idle.length + 1) * 128,
    functions: ['busy', ...idle].map((name) => fn(name)),
    discipline: fair,
  });
  for (const name of idle) host.arrive(1, name);
  host.load('busy', 40, { fromMs: 60_000, untilMs: 120_000, random: seeded(2) });
  await host.run(130_000);
  const waits = host.answers
    .filter(({ at }) => at > 65_000)
    .map(({ waitedMs }) => waitedMs ?? Infinity)
    .sort((a, b) => a - b);
  const p99 = waits[Math.floor(waits.length * 0.99)] ?? Infinity;
  assert.ok(p99 < 1, `p99 of the waits is ${p99} ms`);
  await host.close();
});

test('fairness: memory that is busy for long is no reason to wait for long', async () => {
  const host = new SimulatedHost({
    cores: CORES,
    memoryMib: 384,
    functions: [
      fn('hour', { config: functionConfig('hour', { memoryMib: 256 }), runMs: 3_600_000 }),
      fn('other', { config: functionConfig('other', { memoryMib: 256 }) }),
    ],
    discipline: fair,
  });
  host.arrive(1, 'hour');
  host.arrive(1000, 'other');
  await host.run(5000);
  assert.deepEqual(
    host.answers.map(({ function: name, ending }) => [name, ending]),
    [['other', 'resource_exhausted']],
  );
  const took = host.answers[0]?.tookMs ?? 0;
  assert.ok(took >= 500 && took <= 700, `after ${took} ms`);
  await host.close();
});
