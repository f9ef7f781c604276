/** `snapctr explain` on real VMs: restored starts, the one that was evicted, and VMs that were launched ahead. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { KnownInvocation } from '../../src/client/invocations-client.ts';
import { source } from '../support/functions.ts';
import {
  assertNothingLeft,
  createWorkspace,
  run,
  SNAPCTR,
  startController,
  type RunningController,
} from '../support/snapctr.ts';

const PYTHON = 'def handle(request):\n    return request\n';

describe('explain on QEMU', { timeout: 400_000 }, () => {
  const workspace = createWorkspace([source('one', 'python3', PYTHON), source('two', 'python3', PYTHON)]);
  let controller: RunningController;

  before(async () => {
    controller = await startController(workspace, { vmm: 'qemu', memoryMib: 128, snapshots: true });
  });
  after(async () => {
    await controller.stop();
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  const invoke = async (name: string): Promise<string> => {
    const answer = await controller.invoke(name, 1);
    assert.equal(answer.status, 200, answer.text);
    return answer.headers.get('x-snapfaas-request-id') ?? '';
  };
  const explain = async (...args: readonly string[]): Promise<string> => {
    const { status, stdout, stderr } = await run(SNAPCTR, ['explain', ...args, '--endpoint', controller.url], {
      workspace,
    });
    assert.equal(status, 0, stderr);
    return stdout;
  };
  const known = async (id: string): Promise<KnownInvocation> => {
    const [one] = JSON.parse(await explain(id, '--json')) as readonly KnownInvocation[];
    if (one === undefined) throw new Error(`nothing is known of ${id}`);
    return one;
  };

  test('a restored start has its phases, and the VM that was evicted for it', async () => {
    const first = await known(await invoke('one'));
    const id = await invoke('two');
    const second = await known(id);
    assert.equal(second.start, 'restored');
    assert.deepEqual(second.launch?.cause?.evicted, [{ vm: first.vm, function: 'one', version: '$LATEST' }]);
    const { timings, waitMs } = second.launch;
    assert.ok(timings !== null && timings.loadMs > 0 && waitMs >= timings.loadMs, JSON.stringify(second));
    const whole = second.queueMs + waitMs + second.durationMs;
    assert.ok(Math.abs(second.endedAt - second.submittedAt - whole) < 50, JSON.stringify(second));
    const text = await explain(id);
    assert.match(text, /was restored from its function's snapshot for it/);
    const { work } = (await known(id)).launch ?? assert.fail('it was launched');
    assert.ok(
      work !== null && work.cpuMs >= 20 && work.faults >= 1000 && work.diskFaults <= work.faults,
      JSON.stringify(work),
    );
    assert.match(
      text,
      /Until its first answer its VM used \d+0 ms of processor time, and touched \d+\.\d MiB of memory/,
    );
    assert.match(text, /To make room for it, vm-\d+ of one was evicted\./);
    assert.match(await explain(await invoke('one')), /the last one was evicted for two, /);
  });

  test('a request on a VM that was paused says how long it had no CPU', async () => {
    await invoke('one');
    // Idle VMs are paused after 200 to 400 ms; the log does not tell, so that it is tried until one was.
    for (let pauseMs = 450; ; pauseMs *= 2) {
      assert.ok(pauseMs < 30_000, 'no VM was paused');
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
      const id = await invoke('one');
      const { start, wakeMs } = await known(id);
      if (wakeMs === null) continue;
      assert.equal(start, 'warm');
      assert.match(await explain(id), /Its VM was paused: it had its CPU again after/);
      return;
    }
  });
});
