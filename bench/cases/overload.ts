/** Many times more requests than there is capacity for: turning them away must leave the time to serve the others. */
import { createWorkspace, startController } from '../../test/support/snapctr.ts';
import { median, result, summary, type Benchmark } from '../result.ts';
import { Client } from '../support/client.ts';
import { ratedLoad, VM_MIB, waiter } from '../support/rated-load.ts';

const VMS = 4;
const RUN_MS = 40;
const TIMES = 25;
const ROUNDS = 3;
const MEASURED_MS = 5000;
const SETTLING_MS = 2000;

export const overload: Benchmark = {
  name: 'overload',
  async run() {
    const workspace = createWorkspace([waiter('waiter', RUN_MS)]);
    const args = ['--log-level', 'error'];
    const controller = await startController(workspace, { vmm: 'process', memoryMib: VMS * VM_MIB, args });
    const client = new Client(controller.url);
    let lost = 0;
    const goodput = async (rate: number): Promise<number> => {
      const load = { ms: MEASURED_MS, settlingMs: SETTLING_MS };
      const { goodput: answered, other } = (await ratedLoad(client, { waiter: rate }, load))('waiter');
      lost += other.length;
      return answered;
    };
    try {
      const full: number[] = [];
      const over: number[] = [];
      for (let i = 0; i < ROUNDS; i += 1) {
        const most = await goodput((1.2 * VMS * 1000) / RUN_MS);
        full.push(most);
        over.push(await goodput(TIMES * most));
      }
      const ratios = over.map((value, i) => value / (full[i] ?? Number.NaN));
      const note = `answers/s at ${TIMES} times capacity: ${summary(over)}; at capacity: ${summary(full)}; ${lost} without an answer`;
      return [result('overload', median(ratios), 'ratio', { at: 'least', value: 0.8 }, ratios, note)];
    } finally {
      client.close();
      await controller.stop();
      workspace.remove();
    }
  },
};
