/** Many times more requests than there is capacity for: turning them away must leave the time to serve the others. */
import autocannon from 'autocannon';
import { createWorkspace, startController, type TestFunction } from '../../test/support/snapctr.ts';
import { median, result, summary, type Benchmark } from '../result.ts';

const VMS = 4;
const MEMORY_MIB = 128;
const RUN_MS = 20;
const TIMES = 25;
const ROUNDS = 3;
const SECONDS = 5;
/** More than requests that wait to be answered: whoever is refused comes back in time for the rate. */
const CONNECTIONS = 400;

const WAITER: TestFunction = {
  ...{ name: 'waiter', runtime: 'python3', keys: { memory: MEMORY_MIB } },
  files: {
    'workload.py': `import time\ndef handle(request):\n    time.sleep(${RUN_MS / 1000})\n    return request\n`,
  },
};

export const overload: Benchmark = {
  name: 'overload',
  async run() {
    const workspace = createWorkspace([WAITER]);
    const args = ['--log-level', 'error'];
    const controller = await startController(workspace, { vmm: 'process', memoryMib: VMS * MEMORY_MIB, args });
    const body = JSON.stringify({ function: WAITER.name, payload: 1 });
    const headers = { 'content-type': 'application/json' };
    const run = async (rate: number): Promise<{ readonly goodput: number; readonly sent: number }> => {
      const options = { url: controller.url, method: 'POST', headers, body, duration: SECONDS } as const;
      const { duration, errors, requests, ...answers } = await autocannon({
        ...options,
        connections: CONNECTIONS,
        overallRate: Math.round(rate),
      });
      if (errors > 0) throw new Error(`${errors} errors`);
      return { goodput: answers['2xx'] / duration, sent: requests.total / duration };
    };
    try {
      const ideal = (VMS * 1000) / RUN_MS;
      await run(ideal);
      const samples = { full: [] as number[], over: [] as number[], sent: [] as number[] };
      for (let i = 0; i < ROUNDS; i += 1) {
        const full = await run(1.2 * ideal);
        const over = await run(TIMES * full.goodput);
        samples.full.push(full.goodput);
        samples.over.push(over.goodput);
        samples.sent.push(over.sent);
      }
      const ratios = samples.over.map((value, i) => value / (samples.full[i] ?? Number.NaN));
      const note = `answers/s: ${summary(samples.over)} of ${median(samples.sent).toFixed(0)} asked for; at capacity ${summary(samples.full)}`;
      return [result('overload', median(ratios), 'ratio', { at: 'least', value: 0.8 }, ratios, note)];
    } finally {
      await controller.stop();
      workspace.remove();
    }
  },
};
