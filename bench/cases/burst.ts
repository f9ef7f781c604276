/**
 * Fifty functions that nobody has used, asked for at once, and what another function's warm requests feel of it; then ten requests at once
 * for each of them, while it has one idle VM.
 */
import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { createWorkspace, startController } from '../../test/support/snapctr.ts';
import { median, percentile, result, summary, type Benchmark } from '../result.ts';
import { Client } from '../support/client.ts';
import { EVENT, HELLO, testFunction } from '../support/hello.ts';

const FUNCTIONS = 50;
const SINGLES = 10;
const MEMORY_MIB = 128;
/** Between two warm requests, in ms. */
const PAUSE_MS = 5;
const QUIET_REQUESTS = 300;
const AT_ONCE = 10;
const FUNCTIONS_AT_ONCE = 30;

export const burst: Benchmark = {
  name: 'burst',
  async run() {
    const names = Array.from({ length: FUNCTIONS + SINGLES }, (_, i) => `f${i}`);
    const workspace = createWorkspace([...names, 'calm'].map((name) => testFunction(name, HELLO.python3)));
    const controller = await startController(workspace, {
      vmm: 'qemu',
      memoryMib: (FUNCTIONS + SINGLES + 1) * MEMORY_MIB,
      snapshots: true,
    });
    const client = new Client(controller.url);
    const timed = async (name: string): Promise<number> => {
      const answer = await client.invoke(name, EVENT);
      if (answer.status !== 200) throw new Error(answer.text);
      return answer.tookMs;
    };
    try {
      const singles: number[] = [];
      for (const name of names.splice(0, SINGLES)) singles.push(await timed(name));
      await timed('calm');
      const quiet: number[] = [];
      for (let i = 0; i < QUIET_REQUESTS; i += 1) {
        quiet.push(await timed('calm'));
        await sleep(PAUSE_MS);
      }
      const meanwhile: number[] = [];
      const began = performance.now();
      const burstOver = new AbortController();
      const all = Promise.all(names.map(timed)).finally(() => burstOver.abort());
      while (!burstOver.signal.aborted) {
        meanwhile.push(await timed('calm'));
        await sleep(PAUSE_MS);
      }
      const each = await all;
      const total = performance.now() - began;
      const ideal = (FUNCTIONS * median(singles)) / cpus().length;
      const note = `${total.toFixed(0)} ms in all, single ${summary(singles)} ms, in the burst ${summary(each)} ms`;
      const disturbed = percentile(meanwhile, 99) / percentile(quiet, 99);
      const atOnce: number[] = [];
      for (const name of names.slice(0, FUNCTIONS_AT_ONCE)) {
        atOnce.push(...(await Promise.all(Array.from({ length: AT_ONCE }, () => timed(name)))));
      }
      const waited = percentile(atOnce, 99) / median(singles);
      return [
        result('burst-total', total / ideal, 'ratio', { at: 'most', value: 1.1 }, [total / ideal], note),
        result(
          'burst-warm-p99',
          disturbed,
          'ratio',
          { at: 'most', value: 4 },
          meanwhile,
          `warm meanwhile ${summary(meanwhile)} ms; quiet ${summary(quiet)} ms`,
        ),
        result(
          'burst-of-one-p99',
          waited,
          'ratio',
          { at: 'most', value: 2 },
          atOnce,
          `${AT_ONCE} at once ${summary(atOnce)} ms; single restore ${summary(singles)} ms`,
        ),
      ];
    } finally {
      client.close();
      await controller.stop();
      workspace.remove();
    }
  },
};
