/**
 * `npm run soak -- [--minutes M] [--rate R] [--out FILE.svg] [--vmm qemu|process|fake-firecracker]`: load on real VMs for as
 * long as one likes: functions of both languages that take each other's memory, VMs that end, handlers that fail. Each second
 * memory, descriptors and VMs are noted, and how long requests took. Exit status 1 if memory grew after the first ten
 * minutes, or a request was answered wrongly.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { SoakLoad, SOAK_FUNCTIONS, SOAK_MEMORY_MIB } from './support/soak-load.ts';
import { judge, soakChart, type SoakSample } from './support/soak-report.ts';
import { startProbed } from './support/probed.ts';
import { surroundings } from './result.ts';
import { createWorkspace, type TestVmm } from '../test/support/snapctr.ts';
import { descriptorsOf } from './support/processes.ts';
import { setTimeout as sleep } from 'node:timers/promises';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '60' },
    rate: { type: 'string', default: '10' },
    out: { type: 'string', default: 'soak.svg' },
    vmm: { type: 'string', default: 'qemu' },
  },
});
const minutes = Number(values.minutes);
const rate = Number(values.rate);
if (!(minutes > 0) || !(rate > 0)) {
  console.error('--minutes and --rate (requests a second) take numbers above 0');
  process.exit(2);
}
console.log(surroundings());
const workspace = createWorkspace(SOAK_FUNCTIONS, ['standby: 128']);
const controller = await startProbed(workspace, {
  vmm: values.vmm as TestVmm,
  memoryMib: SOAK_MEMORY_MIB,
  snapshots: true,
});
const load = new SoakLoad(controller.url);
const samples: SoakSample[] = [];
const over = new AbortController();
const stop = (): void => over.abort();
process.once('SIGINT', stop).once('SIGTERM', stop);

async function sampleEachSecond(): Promise<void> {
  const began = performance.now();
  for (let second = 1; !over.signal.aborted; second += 1) {
    await sleep(Math.max(0, second * 1000 - (performance.now() - began)), undefined, { signal: over.signal }).catch(
      () => undefined,
    );
    const status = await controller.status();
    const snapctr = controller.latest('snapctr');
    const firerunner = controller.latest('firerunner');
    if (snapctr === undefined || firerunner === undefined) continue;
    const vms = Object.values(status.vms).reduce(
      (sum, states) => sum + Object.values(states).reduce((a, b) => a + b, 0),
      0,
    );
    samples.push({
      minute: (performance.now() - began) / 60_000,
      snapctr: { ...snapctr, descriptors: descriptorsOf(controller.pid) },
      firerunner: { ...firerunner, descriptors: descriptorsOf(status.runner_pid ?? 0) },
      vms,
      launches: status.counters.launches,
      evictions: status.counters.evictions,
      tookMs: load.takeTimes(),
    });
  }
}

const sampling = sampleEachSecond();
await load.run(rate, minutes * 60_000, over.signal);
over.abort();
await sampling;
load.close();
await controller.stop();
workspace.remove();

const last = samples.at(-1);
const endings = [...load.endings].map(([ending, count]) => `${ending} ${count}`).join(', ');
writeFileSync(values.out, soakChart(`${minutes} minutes, ${rate} requests/s, ${values.vmm}`, samples));
console.log(`${last?.launches ?? 0} launches, ${last?.evictions ?? 0} evictions; requests: ${endings}; ${values.out}`);
const judgement = judge(samples);
for (const line of judgement.lines) console.log(line);
for (const wrong of load.wrong) console.log(`wrong answer: ${wrong}`);
process.exit(judgement.ok !== false && load.wrong.length === 0 ? 0 : 1);
