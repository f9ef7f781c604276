/** The first requests of many functions, at once, right after the first start on a host: there is no snapshot yet. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createWorkspace, startController } from '../../test/support/snapctr.ts';
import { percentile, result, summary, type Benchmark } from '../result.ts';
import { Client } from '../support/client.ts';
import { EVENT, HELLO, testFunction } from '../support/hello.ts';

const FUNCTIONS = 30;

export const firstStart: Benchmark = {
  name: 'first-start',
  async run() {
    const snapshots = mkdtempSync(join(tmpdir(), 'snapfaas-first-start-'));
    const kinds = [HELLO.python3, HELLO.nodejs];
    const functions = Array.from({ length: FUNCTIONS }, (_, i) =>
      testFunction(`f${i}`, kinds[i % kinds.length] ?? HELLO.python3),
    );
    const workspace = createWorkspace(functions, [`snapshot_dir: ${snapshots}`]);
    const controller = await startController(workspace, {
      vmm: 'qemu',
      memoryMib: (FUNCTIONS + 2) * 128,
      snapshots: 'being made',
    });
    const client = new Client(controller.url);
    try {
      const answers = await Promise.all(functions.map(({ name }) => client.invoke(name, EVENT)));
      const failures = answers.filter(({ status }) => status !== 200);
      const times = answers.map(({ tookMs }) => tookMs);
      const words = failures.map(({ status, text }) => `${status} ${text.slice(0, 200)}`);
      return [
        result(
          'first-start-failed',
          failures.length,
          'requests',
          { at: 'most', value: 0 },
          [failures.length],
          words.join('; '),
        ),
        result(
          'first-start-p99',
          percentile(times, 99),
          'ms',
          null,
          times,
          `${FUNCTIONS} first requests of ${FUNCTIONS} functions without snapshots: ${summary(times)} ms`,
        ),
      ];
    } finally {
      client.close();
      await controller.stop();
      workspace.remove();
      rmSync(snapshots, { recursive: true, force: true });
    }
  },
};
