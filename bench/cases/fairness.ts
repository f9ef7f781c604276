/**
 * A calm function beside one that is asked for more than the host can do, on real VMs. Both wait more than they compute, so that
 * the VMs are what is short, and this process does not take from them what it measures.
 */
import { createWorkspace, startController } from '../../test/support/snapctr.ts';
import { percentile, result, summary, type Benchmark, type Result } from '../result.ts';
import { Client } from '../support/client.ts';
import { ratedLoad, VM_MIB, waiter, type Answers } from '../support/rated-load.ts';

/** Room for both, and for half of that. */
const ROOMS = [
  { name: 'both', vms: 4 },
  { name: 'half', vms: 2 },
] as const;
/** What the busy one is asked for, in capacities. */
const TIMES = [1.5, 10];
const CALM_RATE = 10;
const RUN_MS = { busy: 40, calm: 5 };

const QUIET_MS = 10_000;
const CAPACITY_MS = 5000;
/** Until each has the VMs that it gets; not measured. */
const SETTLING_MS = 3000;
const MEASURED_MS = 8000;

export const fairness: Benchmark = {
  name: 'fairness',
  async run() {
    const results: Result[] = [];
    for (const room of ROOMS) results.push(...(await measure(room)));
    return results;
  },
};

async function measure({ name: room, vms }: (typeof ROOMS)[number]): Promise<Result[]> {
  const workspace = createWorkspace([waiter('busy', RUN_MS.busy), waiter('calm', RUN_MS.calm)]);
  const controller = await startController(workspace, { vmm: 'qemu', memoryMib: vms * VM_MIB, snapshots: true });
  const client = new Client(controller.url);
  try {
    const quiet = (await ratedLoad(client, { calm: CALM_RATE }, { ms: QUIET_MS, settlingMs: 1000 }))('calm');
    const offered = (1.5 * vms * 1000) / RUN_MS.busy;
    const alone = (await ratedLoad(client, { busy: offered }, { ms: CAPACITY_MS, settlingMs: SETTLING_MS }))('busy');
    const capacity = alone.goodput;
    const results: Result[] = [];
    for (const times of TIMES) {
      const of = await ratedLoad(
        client,
        { busy: capacity * times, calm: CALM_RATE },
        { ms: MEASURED_MS, settlingMs: SETTLING_MS },
      );
      results.push(
        ...judge(`fairness-${room}-${times}x`, { vms, capacity, quiet, busy: of('busy'), calm: of('calm') }),
      );
    }
    return results;
  } finally {
    client.close();
    await controller.stop();
    workspace.remove();
  }
}

interface Measured {
  readonly vms: number;
  /** Requests of the busy function that are answered in a second when it is alone. */
  readonly capacity: number;
  readonly quiet: Answers;
  readonly busy: Answers;
  readonly calm: Answers;
}

function judge(name: string, { vms, capacity, quiet, busy, calm }: Measured): Result[] {
  const most = (value: number) => ({ at: 'most', value }) as const;
  const p99 = (samples: readonly number[]): number => (samples.length === 0 ? 0 : percentile(samples, 99));
  // One VM is the calm function's, which hardly uses it.
  const possible = (capacity * (vms - 1)) / vms + CALM_RATE;
  const goodput = busy.goodput + calm.goodput;
  const denied = calm.refused.length + calm.other.length;
  const slower = p99(calm.ok) / p99(quiet.ok);
  const beside = `with room for ${vms} VMs; alone it does ${capacity.toFixed(0)}/s`;
  return [
    result(
      `${name}-denied`,
      denied,
      'requests',
      most(0),
      [denied],
      `of the calm function's ${calm.ok.length + denied}`,
    ),
    result(
      `${name}-calm-p99`,
      slower,
      'ratio',
      most(5),
      calm.ok,
      `${summary(calm.ok)} ms; quiet ${summary(quiet.ok)} ms`,
    ),
    result(
      ...([`${name}-goodput`, goodput / possible, 'ratio', { at: 'least', value: 0.9 }, [goodput / possible]] as const),
      `${goodput.toFixed(0)}/s of ${possible.toFixed(0)}/s ${beside}`,
    ),
    result(`${name}-accepted-p99`, p99(busy.ok), 'ms', most(1000), busy.ok, `busy, accepted: ${summary(busy.ok)} ms`),
    result(
      ...([`${name}-refused-p99`, p99(busy.refused), 'ms', most(50), busy.refused] as const),
      `busy, refused: ${busy.refused.length === 0 ? 'none' : `${summary(busy.refused)} ms`}; other answers: ${busy.other.length}`,
    ),
  ];
}
