/** A client of the Lambda API that hangs up while its request waits: as on AWS, what it asked for is done all the same. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { invokeRaw } from '../support/lambda-client.ts';
import { assertNothingLeft, createWorkspace, startController, type TestFunction } from '../support/snapctr.ts';
import { held, hold, release } from './held.ts';

const MARKS: TestFunction = {
  name: 'marks',
  runtime: 'nodejs',
  files: { 'index.js': "exports.handler = async ({ path }) => require('fs').writeFileSync(path, 'ran');\n" },
  keys: { handler: 'index.handler' },
};

test('lambda: a client that hangs up while its Invoke waits for a worker has it run', { timeout: 60_000 }, async () => {
  const workspace = createWorkspace([held('held'), MARKS]);
  // Memory for one VM, and so one worker.
  const controller = await startController(workspace, { vmm: 'process', memoryMib: 128 });
  try {
    const busy = controller.invoke('held', hold(workspace));
    await controller.until((status) => status.workers.busy === 1);
    const client = new AbortController();
    const path = join(workspace.directory, 'mark');
    const abandoned = invokeRaw(controller.url, 'marks', JSON.stringify({ path }), {}, client.signal);
    const hungUp = assert.rejects(abandoned, { name: 'AbortError' });
    await controller.until((status) => status.queue.length === 1);
    client.abort();
    await hungUp;
    assert.equal((await controller.status()).queue.length, 1);
    release(workspace);
    assert.equal((await busy).body, 'released');
    await controller.until(() => existsSync(path));
  } finally {
    assert.equal(await controller.stop(), 0);
    await assertNothingLeft(workspace);
    workspace.remove();
  }
});
