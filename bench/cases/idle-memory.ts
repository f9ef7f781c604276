/** Resident memory of an idle snapctr with many functions. */
import { setTimeout as sleep } from 'node:timers/promises';
import { createWorkspace, startController, type TestFunction } from '../../test/support/snapctr.ts';
import { median, result, type Benchmark } from '../result.ts';
import { residentMb } from '../support/processes.ts';

const FUNCTIONS = 1000;
const SAMPLES = 5;

export const idleMemory: Benchmark = {
  name: 'idle-memory',
  async run() {
    const functions = Array.from({ length: FUNCTIONS }, (_, i): TestFunction => ({
      name: `function-${i}`,
      runtime: 'python3',
      files: { 'workload.py': `def handle(request):\n    return ${i}\n` },
    }));
    const workspace = createWorkspace(functions);
    const controller = await startController(workspace, { vmm: 'process' });
    const samples: number[] = [];
    try {
      for (let i = 0; i < SAMPLES; i += 1) {
        await sleep(1000);
        samples.push(residentMb(controller.pid));
      }
    } finally {
      await controller.stop();
      workspace.remove();
    }
    const note = `VmRSS of snapctr with ${FUNCTIONS} functions and no request`;
    return [result('idle-memory', median(samples), 'MB', { at: 'most', value: 120 }, samples, note)];
  },
};
