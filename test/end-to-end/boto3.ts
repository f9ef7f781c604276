/** The life of a function by AWS's SDK for Python, on any VMM; each driver has a file of its own. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, test } from 'node:test';
import { pythonWithBoto3 } from '../support/boto3.ts';
import type { TestVmm } from '../support/snapctr.ts';
import { withSnapctr } from './control.ts';

const SCRIPT = join(import.meta.dirname, 'boto3-life.py');
const PATIENCE_MS = 400_000;
/** What the script says when it has seen all. */
const CHECKS = [
  ...['check_life', 'check_aliases', 'check_permissions_and_tags', 'check_layers', 'check_stream', 'check_lists'],
  'check_end',
];

export async function describeBoto3(vmm: TestVmm): Promise<void> {
  const python = await pythonWithBoto3();
  const skip = typeof python === 'string' && python;
  describe(`boto3 with ${vmm}`, { timeout: 600_000, skip }, () => {
    test('creates, invokes, streams, updates, publishes, lists by pages, and deletes', () =>
      withSnapctr(async ({ url }) => {
        if (typeof python === 'string') return;
        const child = spawn(python.program, [SCRIPT, url], {
          stdio: ['ignore', 'pipe', 'pipe'],
          timeout: PATIENCE_MS,
          env: { ...process.env, ...python.env },
        });
        const closed = once(child, 'close');
        const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
        const [status] = (await closed) as [number | null];
        assert.deepEqual([status, stdout.trimEnd().split('\n')], [0, CHECKS], `${stdout}\n${stderr}`);
      }, vmm));
  });
}
