/**
 * Runs in `snapctr simulate` and benchmarks. A workload on a host in virtual time: what would wait, and what memory would be used for,
 * under an order of eviction.
 */
import { createOrder, type EvictionOrderName } from '../../controller/pool/eviction-orders.ts';
import { FairShare } from '../../controller/pool/fair-share.ts';
import { LATEST } from '../../protocol/arn.ts';
import type { FunctionVersion } from '../../registry/function-version.ts';
import type { Trace } from '../trace.ts';
import { SimulatedHost } from './host.ts';
import type { VmRecord } from '../../controller/pool/vm-life.ts';
import { Utilisation, type UtilisationSlice } from './utilisation.ts';

export interface SimulationOptions {
  readonly cores: number;
  /** For all VMs. */
  readonly memoryMib: number;
  /** Of it for VMs that are launched ahead. */
  readonly standbyMib: number;
  /** What the start of a VM takes of a core, in ms. */
  readonly startMs: number;
  readonly order: EvictionOrderName;
  /** Its reason is thrown. */
  readonly signal?: AbortSignal;
  /** A VM has ended. Default: nobody wants to know. */
  readonly onVm?: (record: VmRecord) => void;
}

export interface Simulation {
  readonly order: EvictionOrderName;
  readonly requests: number;
  /** Those that were not run. */
  readonly refused: number;
  /** Of all requests, those that did not run at once, from 0 to 1. */
  readonly waiting: number;
  /** How long requests waited, each in ms, in order; those that were refused for ever. */
  readonly waits: Float64Array;
  readonly launches: number;
  readonly evictions: number;
  readonly slices: readonly UtilisationSlice[];
}

/** A wait that nobody would notice, in ms. */
const NO_WAIT_MS = 1;
const SLICES = 240;

export async function simulate({ functions, arrivals }: Trace, options: SimulationOptions): Promise<Simulation> {
  const { startMs, order, onVm } = options;
  const waits = new Float64Array(arrivals.length);
  let [answered, refused] = [0, 0];
  const lastMs = arrivals.at(-1)?.timeMs ?? 0;
  const utilisation = new Utilisation(Math.ceil((lastMs + 1) / SLICES));
  const host = new SimulatedHost({
    cores: options.cores,
    memoryMib: options.memoryMib,
    standbyMib: options.standbyMib,
    functions: functions.map(({ name, memoryMib }) => ({ config: versionOf(name, memoryMib), startMs, runMs: 0 })),
    discipline: (now) => ({ flowOf: (use) => use, policy: new FairShare(now, createOrder(order)) }),
    utilisation,
    ...(onVm === undefined ? {} : { onVm }),
    onAnswer: ({ at, waitedMs }) => {
      if (waitedMs === null) refused += 1;
      waits[answered] = waitedMs ?? Infinity;
      answered += 1;
      utilisation.onRequest(at, (waitedMs ?? Infinity) > NO_WAIT_MS);
    },
  });
  host.arriveAll(arrivals);
  try {
    await host.run(Infinity, options.signal);
  } catch (error) {
    await host.close();
    throw error;
  }
  const { launches, evictions } = host.pool.counters;
  const slices = utilisation.slices(host.now);
  await host.close();
  waits.sort();
  const waiting = waits.reduce((count, ms) => count + (ms > NO_WAIT_MS ? 1 : 0), 0) / Math.max(1, waits.length);
  return { order, requests: arrivals.length, refused, waiting, waits, launches, evictions, slices };
}

/** Of waits in order. @param p from 0 to 1. */
export function quantileOf(waits: Float64Array, p: number): number {
  return waits[Math.max(0, Math.ceil(p * waits.length) - 1)] ?? 0;
}

/** Of a function that is never really run. */
function versionOf(name: string, memoryMib: number): FunctionVersion {
  return {
    ...{ name, version: LATEST, runtime: 'python3', runtimefsPath: '', appfs: null, vcpus: 1, memoryMib },
    ...{ concurrencyLimit: null, timeoutMs: 3_600_000, handler: null, environment: {}, layers: [] },
    ...{ snapshotLayers: null, network: false },
  };
}
