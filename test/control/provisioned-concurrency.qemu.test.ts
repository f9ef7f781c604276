import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createWorkspace } from '../support/snapctr.ts';
import { newFunction, openStand, packageOf } from './stand.ts';

const PATIENCE_MS = 240_000;

test('provisioned concurrency in VMs: they are restored ahead, paused, and used', { timeout: 300_000 }, async () => {
  const workspace = createWorkspace([]);
  const stand = await openStand(workspace, join(workspace.directory, 'data'), 'qemu');
  try {
    const { functions } = stand.control;
    await functions.create(newFunction('f', await stand.receive(packageOf('one')), { publish: true }));
    await stand.settled('f');
    await stand.settled('f', '1');
    await functions.setProvisionedConcurrency('f', '1', 2);
    const deadline = Date.now() + PATIENCE_MS;
    while (stand.controller.provisionedState('f', '1').available < 2) {
      assert.equal(stand.controller.provisionedState('f', '1').problem, null);
      assert.ok(Date.now() < deadline, 'they are ready');
      await sleep(100);
    }
    // Longer than an idle VM runs.
    await sleep(500);
    const { launches } = stand.controller.status().counters;
    const answers = await Promise.all([stand.invoke('f', 1, '1'), stand.invoke('f', 2, '1')]);
    assert.deepEqual(answers, [
      ['one', '1', '1', 1],
      ['one', '1', '1', 2],
    ]);
    assert.equal(stand.controller.status().counters.launches, launches);
    assert.deepEqual(stand.controller.status().provisioned, { requested: 2, available: 2 });
  } finally {
    await stand.close();
    workspace.remove();
  }
});
