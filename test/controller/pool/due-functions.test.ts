/** VMs for functions that are called by timers, in virtual time: the real pool, channel and launches ahead. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createOrder, type EvictionOrderName } from '../../../src/controller/pool/eviction-orders.ts';
import { FairShare } from '../../../src/controller/pool/fair-share.ts';
import { Random } from '../../../src/workload/random.ts';
import { SimulatedHost, type Answered } from '../../../src/workload/simulation/host.ts';
import { functionConfig } from '../../support/scripted-guests.ts';

const MINUTE_MS = 60_000;
const START_MS = 150;
const VM_MIB = 128;
const OTHERS = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];

interface Scene {
  readonly order?: EvictionOrderName;
  readonly standbyMib?: number;
  /** When the timer comes. */
  readonly times: readonly number[];
  readonly untilMs: number;
}

/** A function called at these times, on a host with room for four VMs that eight others want all the time. */
async function waits({ order = 'demand', standbyMib = VM_MIB, times, untilMs }: Scene): Promise<readonly Answered[]> {
  const host = new SimulatedHost({
    cores: 2,
    memoryMib: 4 * VM_MIB,
    functions: ['timer', ...OTHERS].map((name) => ({ config: functionConfig(name), startMs: START_MS, runMs: 10 })),
    discipline: (now) => ({ flowOf: (use) => use, policy: new FairShare<never>(now, createOrder(order)) }),
    standbyMib,
  });
  const random = new Random(7);
  for (const name of OTHERS) host.load(name, 1 / 30, { untilMs, random: random.uniform });
  for (const time of times) host.arrive(time, 'timer');
  await host.run(Infinity);
  await host.close();
  return host.answers.filter(({ function: name }) => name === 'timer');
}

const every = (periodMs: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => (i + 1) * periodMs);
const waitedMs = (answers: readonly Answered[]): number[] => answers.map((one) => Math.round(one.waitedMs ?? Infinity));

test('due functions: from its third call on, a function called by a timer finds its VM, although memory is full', async () => {
  const answers = await waits({ times: every(5 * MINUTE_MS, 12), untilMs: 61 * MINUTE_MS });
  const late = waitedMs(answers.slice(3)).filter((ms) => ms > 0);
  assert.ok(late.length <= 1, `waited ${waitedMs(answers).join(', ')} ms`);
});

test('due functions: without launches ahead, and by least recent use, each of its calls waits for a start', async () => {
  const answers = await waits({
    order: 'lru',
    standbyMib: 0,
    times: every(5 * MINUTE_MS, 12),
    untilMs: 61 * MINUTE_MS,
  });
  assert.ok(waitedMs(answers).filter((ms) => ms >= START_MS).length >= 11, `waited ${waitedMs(answers).join(', ')} ms`);
});

test('due functions: a timer that stops costs one launch, and its VM makes room', async () => {
  const times = every(5 * MINUTE_MS, 4);
  const answers = await waits({ times: [...times, 60 * MINUTE_MS], untilMs: 60 * MINUTE_MS });
  assert.ok((answers.at(-1)?.waitedMs ?? 0) >= START_MS, 'its VM was kept for half an hour');
});

test('due functions: a timer that changes its pace is followed', async () => {
  const slow = every(5 * MINUTE_MS, 5);
  const last = slow.at(-1) ?? 0;
  const fast = every(2 * MINUTE_MS, 10).map((time) => last + time);
  const answers = await waits({ times: [...slow, ...fast], untilMs: 46 * MINUTE_MS });
  const late = waitedMs(answers.slice(-6)).filter((ms) => ms > 0);
  assert.ok(late.length <= 1, `waited ${waitedMs(answers).join(', ')} ms`);
});
