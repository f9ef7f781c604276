/** What the server of the Runtime API takes of the host's processor for an invocation, and of memory. No VM. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compileRuntimeApi, GUEST_FLAGS } from '../../src/images/runtime-api.ts';
import { compiledBootstrap } from '../../test/support/bootstrap.ts';
import { GuestProcess } from '../../test/support/guest-process.ts';
import { median, result, summary, type Benchmark, type Result } from '../result.ts';

const ROUNDS = 7;
const INVOCATIONS = 1000;
const MAX_CPU_US = 60;
const MAX_RESIDENT_KIB = 1024;

/** Processor time of a process, in µs. */
function cpuUs(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ', 1)[0]) / 1000;
}

function residentKib(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

export const runtimeApi: Benchmark = {
  name: 'runtime-api',
  async run(): Promise<readonly Result[]> {
    const directory = mkdtempSync(join(tmpdir(), 'snapfaas-bench-'));
    try {
      const program = join(directory, 'runtime-api');
      await compileRuntimeApi(program, GUEST_FLAGS);
      const guest = await GuestProcess.startProgram(program, [], { bootstrap: compiledBootstrap() });
      await guest.load({ handler: 'bootstrap', style: 'lambda' });
      const perInvocation: number[] = [];
      for (let round = 0; round < ROUNDS; round += 1) {
        const before = cpuUs(guest.pid);
        for (let n = 0; n < INVOCATIONS; n += 1) await guest.invoke('{"do":"count"}');
        perInvocation.push((cpuUs(guest.pid) - before) / INVOCATIONS);
      }
      const resident = residentKib(guest.pid);
      await guest.stop();
      const atMost = (value: number): Result['bound'] => ({ at: 'most', value });
      return [
        result(
          'runtime-api-cpu',
          median(perInvocation),
          'us',
          atMost(MAX_CPU_US),
          perInvocation,
          `processor time of the server for each of ${INVOCATIONS} invocations, in µs: ${summary(perInvocation)}`,
        ),
        result(
          'runtime-api-resident',
          resident,
          'KiB',
          atMost(MAX_RESIDENT_KIB),
          [resident],
          `resident memory of the server after ${ROUNDS * INVOCATIONS} invocations`,
        ),
      ];
    } finally {
      rmSync(directory, { recursive: true });
    }
  },
};
