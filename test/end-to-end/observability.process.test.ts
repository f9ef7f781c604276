/** What a running controller shows of itself: `/status` as its schema has it, `/metrics`, and `/readyz` of a full disk and queue. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { z } from 'zod';
import { statusSchema } from '../../src/controller/telemetry/status-schema.ts';
import { source } from '../support/functions.ts';
import { createWorkspace, PROJECT_ROOT, startController, type RunningController } from '../support/snapctr.ts';

const workspace = createWorkspace([source('echo', 'nodejs', 'exports.handle = async (request) => request;\n')]);
let controller: RunningController;

before(async () => {
  controller = await startController(workspace, {
    vmm: 'process',
    args: ['--data-dir', join(workspace.directory, 'data')],
  });
});
after(async () => {
  await controller.stop();
  workspace.remove();
});

test('status: what is answered is what the schema says', async () => {
  await controller.invoke('echo', 1);
  const status: unknown = await (await fetch(`${controller.url}/status`)).json();
  assert.deepEqual(statusSchema.parse(status), status);
});

test('status: the schema in the docs is the one of the code', () => {
  const text = readFileSync(join(PROJECT_ROOT, 'docs', 'status.schema.json'), 'utf8');
  assert.deepEqual(JSON.parse(text), z.toJSONSchema(statusSchema));
});

test('metrics: requests, refusals and the disk of a running controller', async () => {
  const refused = await fetch(controller.url, { method: 'POST', headers: { 'content-type': 'text/plain' }, body: 'x' });
  assert.equal(refused.status, 400);
  const body = await (await fetch(`${controller.url}/metrics`)).text();
  assert.match(body, /^snapfaas_gateway_refusals_total\{status="400"\} 1$/m);
  assert.match(body, /^snapfaas_function_requests_total\{function="echo",version="\$LATEST",code="ok"\} \d+$/m);
  assert.match(body, /^snapfaas_disk_free_bytes\{directory="data"\} \d+$/m);
  assert.match(body, /^snapfaas_event_loop_delay_seconds\{of="p99"\} /m);
});

test('readyz: a full disk is told with its directory', async (t) => {
  const directory = join(workspace.directory, 'full');
  mkdirSync(directory);
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', directory]).status !== 0) {
    return t.skip('no file system can be mounted here; it needs root');
  }
  try {
    const args = ['--data-dir', join(directory, 'data')];
    const full = await startController(workspace, { vmm: 'process', args });
    try {
      assert.equal((await fetch(`${full.url}/readyz`)).status, 200);
      spawnSync('dd', ['if=/dev/zero', `of=${join(directory, 'ballast')}`, 'bs=64k']);
      for (const deadline = performance.now() + 30_000; ;) {
        const ready = await fetch(`${full.url}/readyz`);
        const { reason = '' } = (await ready.json()) as { reason?: string };
        if (ready.status === 503) {
          assert.match(reason, /the disk of \S+full\/data \(data\) is full: 0 MB are free/);
          break;
        }
        assert.ok(performance.now() < deadline, 'it is ready for ever');
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    } finally {
      await full.stop();
    }
  } finally {
    spawnSync('umount', ['-l', directory]);
  }
});
