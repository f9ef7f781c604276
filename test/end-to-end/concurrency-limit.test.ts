import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { source } from '../support/functions.ts';
import {
  assertNothingLeft,
  createWorkspace,
  errorOf,
  startController,
  type RunningController,
  type Workspace,
} from '../support/snapctr.ts';

/** Loads only when the file is there. */
const slowImport = (file: string): string => `import os, time
UNTIL = ${JSON.stringify(file)}
while not os.path.exists(UNTIL):
    time.sleep(0.01)
def handle(request):
    return 'loaded'
`;

describe('concurrency_limit', { timeout: 30_000 }, () => {
  let directory: string;
  let workspace: Workspace;
  let controller: RunningController;

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'snapfaas-import-'));
    workspace = createWorkspace([
      source('slow', 'python3', slowImport(join(directory, 'now')), { concurrency_limit: 1 }),
    ]);
    controller = await startController(workspace, { vmm: 'process' });
  });

  after(async () => {
    assert.equal(await controller.stop(), 0);
    await assertNothingLeft(workspace);
    workspace.remove();
    rmSync(directory, { recursive: true });
  });

  test('counts a VM that still launches when its client has hung up', async () => {
    const client = new AbortController();
    const gone = controller.invoke('slow', null, client.signal);
    gone.catch(() => undefined);
    await controller.until((status) => status.vms['slow']?.launching === 1);
    client.abort();
    await assert.rejects(gone);
    await controller.until((status) => status.workers.busy === 0);
    // The next request takes the launch over; the one after it is over the limit.
    const second = controller.invoke('slow', null);
    await controller.until((status) => status.workers.busy === 1);
    const third = await controller.invoke('slow', null);
    assert.equal(errorOf(third)?.code, 'resource_exhausted', third.text);
    writeFileSync(join(directory, 'now'), '');
    const answer = await second;
    assert.deepEqual([answer.body, answer.headers.get('x-snapfaas-start')], ['loaded', 'cold']);
    assert.equal((await controller.status()).counters.launches, 1);
  });
});
