/** What one more idle VM of a function takes: memory of the host, and CPU time while it waits. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { createWorkspace, startController, type TestFunction } from '../../test/support/snapctr.ts';
import { availableMib } from '../support/processes.ts';
import { result, type Benchmark, type Result } from '../result.ts';

const VMS = 50;
const MEMORY_MIB = 128;
/** Time after which idle VMs are paused and the host has settled, in ms. */
const SETTLE_MS = 3000;
/** CPU time is counted over this long, in ms. */
const WINDOW_MS = 10_000;

const FUNCTIONS: readonly (TestFunction & { readonly mostMb: number })[] = [
  {
    name: 'python3',
    runtime: 'python3',
    mostMb: 11,
    files: { 'workload.py': 'import time\n\ndef handle(request):\n    time.sleep(request)\n    return 1\n' },
  },
  {
    name: 'nodejs',
    runtime: 'nodejs',
    mostMb: 20,
    files: { 'workload.js': 'exports.handle = (s) => new Promise((r) => setTimeout(() => r(1), s * 1000));\n' },
  },
];

export const density: Benchmark = {
  name: 'density',
  async run() {
    const results: Result[] = [];
    for (const fn of FUNCTIONS) results.push(...(await measure(fn, fn.mostMb)));
    return results;
  },
};

async function measure(fn: TestFunction, mostMb: number): Promise<Result[]> {
  const workspace = createWorkspace([{ ...fn, keys: { timeout: 300 } }]);
  const controller = await startController(workspace, {
    vmm: 'qemu',
    memoryMib: (VMS + 1) * MEMORY_MIB,
    snapshots: true,
  });
  try {
    // The first VM brings what all share.
    await controller.invoke(fn.name, 0);
    await sleep(SETTLE_MS);
    const before = availableMib();
    // Each sleeps until all of the others have been started.
    const busy = Array.from({ length: VMS + 1 }, () => controller.invoke(fn.name, 30));
    await controller.until(({ vms }) => vms[fn.name]?.busy === VMS + 1, 60_000);
    await Promise.all(busy);
    await sleep(SETTLE_MS);
    const each = (before - availableMib()) / VMS;
    const cpuBefore = vmmCpuSeconds(workspace.runDirectory);
    await sleep(WINDOW_MS);
    const share = ((vmmCpuSeconds(workspace.runDirectory) - cpuBefore) / WINDOW_MS) * 1000 * 100;
    const idle = (await controller.status()).vms[fn.name]?.idle ?? 0;
    if (idle !== VMS + 1) throw new Error(`${idle} VMs are idle, not ${VMS + 1}`);
    return [
      result(
        `idle-vm-memory-${fn.name}`,
        each,
        'MB',
        { at: 'most', value: mostMb },
        [each],
        `MemAvailable, mean of ${VMS}`,
      ),
      result(`idle-vms-cpu-${fn.name}`, share, '% of a core', { at: 'most', value: 1 }, [share], `${VMS + 1} VMs`),
    ];
  } finally {
    await controller.stop();
    workspace.remove();
  }
}

/** CPU time of all VMMs whose sockets are in this run directory. */
function vmmCpuSeconds(runDirectory: string): number {
  const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
  let ticks = 0;
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      if (!command.startsWith('qemu') || !command.includes(runDirectory)) continue;
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      ticks += Number(fields[11]) + Number(fields[12]);
    } catch {
      // It ended meanwhile.
    }
  }
  return ticks / ticksPerSecond;
}
