import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { createWorkspace } from '../support/snapctr.ts';
import { newFunction, openStand, packageOf } from './stand.ts';

test('functions in VMs: created, changed without a pause, published, and there after a restart', async () => {
  const workspace = createWorkspace([]);
  const data = join(workspace.directory, 'data');
  let stand = await openStand(workspace, data, 'qemu');
  try {
    const { functions } = stand.control;
    await functions.create(newFunction('f', await stand.receive(packageOf('one')), { publish: true }));
    assert.deepEqual(await stand.invoke('f', 1), ['one', '$LATEST', '$LATEST', 1]);
    await stand.settled('f');
    assert.deepEqual(await stand.invoke('f', 2, '1'), ['one', '1', '1', 2]);
    const code = await stand.receive(packageOf('two'));
    await functions.updateCode('f', { code, publish: false, dryRun: false, revisionId: null });
    assert.deepEqual(await stand.invoke('f', 3), ['one', '$LATEST', '$LATEST', 3]);
    await stand.settled('f');
    assert.deepEqual(await stand.invoke('f', 4), ['two', '$LATEST', '$LATEST', 4]);
    await stand.close();
    stand = await openStand(workspace, data, 'qemu');
    assert.deepEqual(await stand.invoke('f', 5), ['two', '$LATEST', '$LATEST', 5]);
    assert.deepEqual(await stand.invoke('f', 6, '1'), ['one', '1', '1', 6]);
  } finally {
    await stand.close();
    workspace.remove();
  }
});
