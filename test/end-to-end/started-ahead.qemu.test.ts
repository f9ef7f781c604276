/** QEMUs that are started before their machine is known, under a controller. */
import assert from 'node:assert/strict';
import { afterEach, describe, test } from 'node:test';
import { source } from '../support/functions.ts';
import {
  assertNothingLeft,
  createWorkspace,
  errorOf,
  startController,
  type RunningController,
  type Workspace,
} from '../support/snapctr.ts';
import { startOf } from '../support/snapshots.ts';
import { commandOf, isRunning, isStartedAhead, until, vmmsOf, waitingQemusOf, wordAfter } from './processes.ts';

const python = (name: string): string => `
import os
def handle(request):
    if request == 'exit':
        os._exit(0)
    return ['${name}', request]
`;
const NODE = `
exports.handle = async (request) => {
  if (request === 'exit') process.exit(0);
  return ['node', request];
};
`;
/** The first two are alike in size, with two root file systems. */
const FUNCTIONS = [
  source('python', 'python3', python('python')),
  source('node', 'nodejs', NODE),
  source('large', 'python3', python('large'), { memory: 256 }),
];

describe('QEMUs started ahead', { timeout: 240_000 }, () => {
  let workspace: Workspace;
  let controller: RunningController;
  const start = async (keys: readonly string[] = []): Promise<void> => {
    workspace = createWorkspace(FUNCTIONS, ['standby: 0', ...keys]);
    controller = await startController(workspace, { vmm: 'qemu', memoryMib: 512, snapshots: true });
  };
  afterEach(async () => {
    const status = await controller.stop();
    await assertNothingLeft(workspace);
    workspace.remove();
    assert.equal(status, 0);
  });
  const firerunner = async (): Promise<number> => (await controller.status()).runner_pid ?? 0;
  const untilWaiting = async (...mib: readonly number[]): Promise<void> => {
    const parent = await firerunner();
    const waiting = (): string[] => waitingQemusOf(parent).map((pid) => wordAfter('-m', commandOf(pid)));
    const expected = mib.map((one) => `${one}M`).join();
    await until(`${expected} wait`, () => waiting().sort().join() === expected);
  };
  /** Whether the VM of a first request came of a QEMU that had waited. The VM is ended. */
  const fromWaiting = async (name: string): Promise<boolean> => {
    const answer = await controller.invoke(name, 'hello');
    assert.deepEqual([answer.body, startOf(answer)], [[name, 'hello'], 'restored'], answer.text);
    const vmms = vmmsOf(await firerunner());
    assert.equal(vmms.length, 1);
    const isAhead = vmms.every((pid) => isStartedAhead(commandOf(pid)));
    assert.equal(errorOf(await controller.invoke(name, 'exit'))?.code, 'function_error');
    await until('its VM has ended', () => !vmms.some(isRunning));
    return isAhead;
  };

  test('become VMs of any function of their size, one each, and others wait in their place', async () => {
    await start(['qemu: { prestarted: 2 }']);
    assert.equal(await fromWaiting('python'), false);
    await untilWaiting(128);
    for (const name of ['node', 'python']) {
      assert.equal(await fromWaiting(name), true, name);
      await untilWaiting(128, 128);
    }
    // One of the two restores before was of the other size.
    assert.equal(await fromWaiting('large'), false);
    await untilWaiting(128, 256);
    assert.deepEqual([await fromWaiting('python'), await fromWaiting('large')], [true, true]);
  });

  test('one that is killed is replaced, and all end with firerunner', async () => {
    await start(['qemu: { prestarted: 1 }']);
    await fromWaiting('python');
    await untilWaiting(128);
    const parent = await firerunner();
    const [killed = 0] = waitingQemusOf(parent);
    process.kill(killed, 'SIGKILL');
    await until('another one waits', () => {
      const [pid = killed, ...others] = waitingQemusOf(parent);
      return pid !== killed && others.length === 0;
    });
    assert.equal(await fromWaiting('python'), true);
    await untilWaiting(128);
    const waiting = waitingQemusOf(parent);
    process.kill(parent, 'SIGKILL');
    await until('they have ended', () => !waiting.some(isRunning));
  });

  test('none are started if none are wanted', async () => {
    await start(['qemu: { prestarted: 0 }']);
    for (const name of ['python', 'python', 'node']) assert.equal(await fromWaiting(name), false);
    assert.deepEqual(waitingQemusOf(await firerunner()), []);
  });
});
