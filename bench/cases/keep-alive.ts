/**
 * A generated day of 1,000 functions on a host with a tenth of the memory that a VM of each would need, in virtual time: how many
 * requests wait for a start, and how long, beside the least recently used VM going first and nothing launched ahead.
 */
import { createOrder, type EvictionOrderName } from '../../src/controller/pool/eviction-orders.ts';
import { FairShare } from '../../src/controller/pool/fair-share.ts';
import { generate } from '../../src/workload/generate.ts';
import { SimulatedHost } from '../../src/workload/simulation/host.ts';
import type { Trace } from '../../src/workload/trace.ts';
import { functionConfig } from '../../test/support/scripted-guests.ts';
import { percentile, result, type Benchmark } from '../result.ts';

const SHAPE = {
  functions: 1000,
  durationMs: 24 * 3_600_000,
  requestsPerSecond: 3,
  zipfExponent: 1,
  seed: 1,
};
/** As a restored start takes here. */
const START_MS = 150;
const CORES = 2;
const MEMORY_SHARE = 1 / 10;
const STANDBY_SHARE = 1 / 4;

interface Day {
  /** Of all requests, those that did not run at once. */
  readonly waiting: number;
  readonly waits: readonly number[];
}

async function day({ functions, arrivals }: Trace, order: EvictionOrderName, standbyShare: number): Promise<Day> {
  const memoryMib = Math.floor(functions.reduce((sum, { memoryMib }) => sum + memoryMib, 0) * MEMORY_SHARE);
  const waits: number[] = [];
  const host = new SimulatedHost({
    cores: CORES,
    memoryMib,
    functions: functions.map(({ name, memoryMib }) => ({
      config: functionConfig(name, { memoryMib }),
      startMs: START_MS,
      runMs: 0,
    })),
    discipline: (now) => ({ flowOf: (use) => use, policy: new FairShare<never>(now, createOrder(order)) }),
    standbyMib: Math.floor(memoryMib * standbyShare),
    // One that is refused has waited for ever.
    onAnswer: ({ waitedMs }) => void waits.push(waitedMs ?? Infinity),
  });
  host.arriveAll(arrivals);
  await host.run(Infinity);
  await host.close();
  return { waiting: waits.filter((ms) => ms > 1).length / waits.length, waits };
}

export const keepAlive: Benchmark = {
  name: 'keep-alive',
  async run() {
    const trace = generate(SHAPE);
    const lru = await day(trace, 'lru', 0);
    const demand = await day(trace, 'demand', STANDBY_SHARE);
    const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
    const [lruP99, demandP99] = [percentile(lru.waits, 99), percentile(demand.waits, 99)];
    const bound = { at: 'most', value: 0.5 } as const;
    return [
      result(
        'keep-alive-waiting',
        demand.waiting / lru.waiting,
        'ratio',
        bound,
        [],
        `of ${trace.arrivals.length} requests (seed ${SHAPE.seed}) ${percent(demand.waiting)} wait; by least recent use alone ${percent(lru.waiting)}`,
      ),
      result(
        'keep-alive-p99',
        demandP99 / lruP99,
        'ratio',
        bound,
        [],
        `99 % wait ${demandP99.toFixed(0)} ms at most; by least recent use alone ${lruP99.toFixed(0)} ms`,
      ),
    ];
  },
};
