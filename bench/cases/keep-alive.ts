/**
 * A generated day of 1,000 functions on a host with a tenth of the memory that a VM of each would need, in virtual time: how many
 * requests wait for a start, and how long, beside the least recently used VM going first and nothing launched ahead.
 */
import type { EvictionOrderName } from '../../src/controller/pool/eviction-orders.ts';
import { generate } from '../../src/workload/generate.ts';
import { quantileOf, simulate, type Simulation } from '../../src/workload/simulation/simulate.ts';
import type { Trace } from '../../src/workload/trace.ts';
import { result, type Benchmark } from '../result.ts';

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

function day(trace: Trace, order: EvictionOrderName, standbyShare: number): Promise<Simulation> {
  const allMib = trace.functions.reduce((sum, { memoryMib }) => sum + memoryMib, 0);
  const memoryMib = Math.floor(allMib * MEMORY_SHARE);
  const standbyMib = Math.floor(memoryMib * standbyShare);
  return simulate(trace, { cores: CORES, memoryMib, standbyMib, startMs: START_MS, order });
}

export const keepAlive: Benchmark = {
  name: 'keep-alive',
  async run() {
    const trace = generate(SHAPE);
    const lru = await day(trace, 'lru', 0);
    const demand = await day(trace, 'demand', STANDBY_SHARE);
    const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
    const [lruP99, demandP99] = [quantileOf(lru.waits, 0.99), quantileOf(demand.waits, 0.99)];
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
