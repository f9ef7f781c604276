/**
 * What the firecracker driver itself adds between a launch and the first response. The VMM is a stand-in whose own work, as
 * it writes it down, is taken off: its start if it was not started ahead, and its load. What a real Firecracker takes is not
 * measured here.
 */
import { Host } from '../../test/firerunner/firecracker/hosts.ts';
import { result, summary, median, type Benchmark, type Result } from '../result.ts';

const ROUNDS = 60;
const WARM_UP_ROUNDS = 5;

export const firecracker: Benchmark = {
  name: 'firecracker',
  async run() {
    return [await measure(1, 15), await measure(0, 25)];
  },
};

async function measure(prestarted: number, mostMs: number): Promise<Result> {
  const host = await Host.open({ prestarted });
  const snapshot = await host.prepare();
  const added: number[] = [];
  const totals: number[] = [];
  try {
    for (let round = 0; round < WARM_UP_ROUNDS + ROUNDS; round += 1) {
      if (prestarted > 0) await host.untilWaiting(prestarted);
      const started = performance.now();
      const { vm, invoke } = await host.launch(snapshot.restorable);
      await invoke(round);
      const total = performance.now() - started;
      const own = ownWorkMs(host, vm.machine.pid ?? 0, prestarted > 0);
      await vm.kill();
      if (round < WARM_UP_ROUNDS) continue;
      totals.push(total);
      added.push(total - own);
    }
  } finally {
    await snapshot.close();
    await host.close();
  }
  const name = prestarted > 0 ? 'firecracker-driver-prestarted' : 'firecracker-driver';
  const note = `ms added: ${summary(added)}; launch to first response with the stand-in: ${summary(totals)}`;
  return result(name, median(added), 'ms', { at: 'most', value: mostMs }, added, note);
}

/** What the stand-in says it did between the launch and the first response. */
function ownWorkMs(host: Host, pid: number, isPrestarted: boolean): number {
  const lines = host.journal().filter((line) => line.pid === pid);
  const number = (event: string, member: string): number =>
    Number(lines.find((line) => line.event === event)?.[member] ?? Number.NaN);
  const startMs = isPrestarted ? 0 : number('start', 'readyMs');
  return startMs + number('load', 'workMs');
}
