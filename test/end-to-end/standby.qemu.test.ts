/** VMs that are launched ahead of requests, within a budget and out of everybody's way. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, afterEach, describe, test } from 'node:test';
import { InvocationsClient } from '../../src/client/invocations-client.ts';
import type { ControllerStatus } from '../../src/controller/controller.ts';
import { source } from '../support/functions.ts';
import {
  assertNothingLeft,
  createWorkspace,
  errorOf,
  startController,
  type RunningController,
  type TestFunction,
  type Workspace,
} from '../support/snapctr.ts';
import { logged, startOf } from '../support/snapshots.ts';
import { commandOf, isRunning, until, vmmsOf, wordAfter } from './processes.ts';

/** First requests that are measured of each kind. */
const ROUNDS = 7;
/** VMs that were launched ahead answer in less than this part of the time that a restore on demand takes. */
const LARGEST_SHARE = 0.5;

/** A request that takes longer may find another VM launched beside its own, in ms. */
const LONGEST_QUICK_MS = 40;

const PYTHON = `
import os
def handle(request):
    if request == 'exit':
        os._exit(0)
    return request
`;
const NODE = `
exports.handle = async (request) => {
  if (request === 'exit') process.exit(0);
  return request;
};
`;

const FUNCTIONS: readonly TestFunction[] = [
  source('python', 'python3', PYTHON),
  source('node', 'nodejs', NODE),
  source('large', 'python3', PYTHON, { memory: 256 }),
];

describe('VMs launched ahead', { timeout: 180_000 }, () => {
  const workspaces: Workspace[] = [];
  let controller: RunningController | null = null;

  afterEach(async () => {
    controller?.kill('SIGKILL');
    await controller?.exited;
    controller = null;
  });
  after(async () => {
    for (const workspace of workspaces) {
      await assertNothingLeft(workspace);
      workspace.remove();
    }
  });

  const start = async (names: readonly string[], memoryMib: number, standbyMib: number): Promise<RunningController> => {
    const functions = FUNCTIONS.filter(({ name }) => names.includes(name));
    const workspace = createWorkspace(functions, [`standby: ${standbyMib}`]);
    workspaces.push(workspace);
    controller = await startController(workspace, { vmm: 'qemu', memoryMib, snapshots: true });
    return controller;
  };
  const stop = async (running: RunningController): Promise<void> => {
    const { runner_pid: firerunner } = await running.status();
    const vmms = vmmsOf(firerunner ?? 0);
    assert.equal(await running.stop(), 0);
    assert.deepEqual(vmms.filter(isRunning), []);
    controller = null;
  };
  const isSettled = ({ vms }: ControllerStatus): boolean =>
    Object.values(vms).every(({ launching, busy, dead }) => !(launching ?? busy ?? dead));
  const waiting =
    (vms: number) =>
    (status: ControllerStatus): boolean =>
      status.standby.vms === vms && isSettled(status);
  const assertInBudget = ({ memory, runner_pid: firerunner }: ControllerStatus): void => {
    assert.ok(memory.reserved_mib <= memory.total_mib, JSON.stringify(memory));
    assert.equal(memory.reserved_mib + memory.free_mib, memory.total_mib);
    // What the books say holds for the processes as well, those that are just ending included.
    const mib = vmmsOf(firerunner ?? 0).map((pid) => Number.parseInt(wordAfter('-m', commandOf(pid)), 10) || 0);
    const sum = mib.reduce((total, one) => total + one, 0);
    assert.ok(sum <= memory.total_mib, `VMMs have ${mib.join(' + ')} MiB of ${memory.total_mib}`);
  };
  /** The first request on a VM, in ms, which is then ended, so that the next one finds another VM. */
  const firstRequest = async (running: RunningController, name: string): Promise<number> => {
    const before = performance.now();
    const answer = await running.invoke(name, 'hello');
    const tookMs = performance.now() - before;
    assert.deepEqual([answer.body, startOf(answer)], ['hello', 'restored'], answer.text);
    assert.equal(errorOf(await running.invoke(name, 'exit'))?.code, 'function_error');
    return tookMs;
  };

  test('each function has one, which is stopped until its first request', async () => {
    const running = await start(['python', 'node'], 512, 256);
    const status = await running.until(waiting(2), 30_000);
    assert.deepEqual(status.vms, { python: { idle: 1 }, node: { idle: 1 } });
    assert.deepEqual(status.standby, { budget_mib: 256, vms: 2 });
    assert.equal(status.memory.idle_mib, 256);
    const isStopped = (pid: number): boolean => /^\d+ \(.*\) T/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
    await until('both are stopped', () => vmmsOf(status.runner_pid ?? 0).every(isStopped), 2000);
    assert.deepEqual(
      logged(running, 'VM launched').map(({ ahead }) => ahead),
      [true, true],
    );

    const slow: string[] = [];
    for (const name of ['python', 'node']) {
      const before = performance.now();
      const answer = await running.invoke(name, 'hello');
      if (performance.now() - before > LONGEST_QUICK_MS) slow.push(name);
      assert.deepEqual([answer.body, startOf(answer)], ['hello', 'restored']);
      assert.equal(startOf(await running.invoke(name, 'hello')), 'warm');
    }
    // Each function has an idle VM: none is launched for it, unless its VM was busy for longer on a busy host.
    const end = await running.until((now) => isSettled(now) && now.standby.vms <= slow.length);
    const more = (name: string): number => (end.vms[name]?.idle ?? 0) - 1;
    assert.equal(more('python') + more('node'), end.standby.vms);
    for (const name of ['python', 'node']) assert.ok(more(name) === 0 || (more(name) === 1 && slow.includes(name)));
    const metrics = await (await fetch(`${running.url}/metrics`)).text();
    assert.match(metrics, slow.length === 0 ? /^snapfaas_standby_vms 0$/m : /^snapfaas_standby_vms [0-2]$/m);
    await stop(running);
  });

  test('a first request on one takes a fraction of the time that a restore on demand takes', async () => {
    const times = new Map<string, number[]>();
    const functions = ['python', 'node'];
    for (const [kind, standbyMib] of [
      ['ahead', 256],
      ['on demand', 0],
    ] as const) {
      const running = await start(functions, 512, standbyMib);
      for (let round = 0; round < ROUNDS; round += 1) {
        for (const name of functions) {
          // It is filled up again after each.
          await running.until(waiting(standbyMib / 128), 30_000);
          const key = `${name} ${kind}`;
          times.set(key, [...(times.get(key) ?? []), await firstRequest(running, name)]);
        }
      }
      const launched = logged(running, 'VM launched');
      assert.ok(launched.length >= ROUNDS * functions.length);
      assert.ok(launched.every(({ ahead }) => ahead === standbyMib > 0));
      await stop(running);
    }
    for (const name of functions) {
      const [ahead, onDemand] = [median(times.get(`${name} ahead`)), median(times.get(`${name} on demand`))];
      assert.ok(ahead <= onDemand * LARGEST_SHARE, `${name}: ${ahead} ms ahead, ${onDemand} ms on demand`);
    }
  });

  test('they give way to a function that needs their memory, and come back when it is free', async () => {
    const running = await start(['python', 'node', 'large'], 384, 256);
    // Those that were used come first, and leave no room for the large one.
    for (const name of ['python', 'node']) await firstRequest(running, name);
    const full = await running.until(waiting(2), 30_000);
    assert.deepEqual(full.vms, { python: { idle: 1 }, node: { idle: 1 } });
    assertInBudget(full);
    const asked = running.invoke('large', 'hello');
    asked.catch(() => undefined);
    let isAnswered = false;
    const over = (): void => void (isAnswered = true);
    asked.then(over, over);
    await until('it is answered', async () => {
      assertInBudget(await running.status());
      return isAnswered;
    });
    const answer = await asked;
    assert.deepEqual([answer.status, startOf(answer)], [200, 'restored'], answer.text);
    const after = await running.status();
    assertInBudget(after);
    // Meanwhile another one may have been evicted, for one that is launched ahead.
    const invocations = new InvocationsClient({ endpoint: new URL(running.url), token: null });
    const [known] = await invocations.get(answer.headers.get('x-snapfaas-request-id') ?? '');
    const evicted = known?.launch?.cause?.evicted.map(({ function: name }) => name) ?? [];
    assert.ok(evicted.length === 1 && ['python', 'node'].includes(evicted[0] ?? ''), evicted.join());
    assert.ok(after.counters.evictions > full.counters.evictions);
    assert.equal(errorOf(await running.invoke('large', 'exit'))?.code, 'function_error');
    // The large one was used last, so that it comes first.
    const isBack = (status: ControllerStatus): boolean => waiting(1)(status) && status.vms['large']?.idle === 1;
    const again = await running.until(isBack, 30_000);
    assertInBudget(again);
    await stop(running);
  });

  test('one that dies is replaced', async () => {
    const running = await start(['python'], 256, 128);
    const { runner_pid: firerunner } = await running.until(waiting(1), 30_000);
    const [killed = 0] = vmmsOf(firerunner ?? 0);
    process.kill(killed, 'SIGKILL');
    await until('it is gone', () => !isRunning(killed));
    await running.until((status) => waiting(1)(status) && status.counters.launches === 2, 30_000);
    assert.equal(startOf(await running.invoke('python', 'hello')), 'restored');
    await stop(running);
  });

  test('after the end of firerunner they are launched by the next one', async () => {
    const running = await start(['python'], 256, 128);
    const { runner_pid: firerunner } = await running.until(waiting(1), 30_000);
    process.kill(firerunner ?? 0, 'SIGKILL');
    await running.until((now) => now.runner_pid !== null && now.runner_pid !== firerunner && waiting(1)(now), 30_000);
    const kinds = logged(running, 'VM launched').map(({ kind }) => kind);
    assert.deepEqual(kinds, ['restored', 'restored']);
    assert.equal(startOf(await running.invoke('python', 'hello')), 'restored');
    await stop(running);
  });

  test('a controller that is stopped while it launches them leaves none', async () => {
    const running = await start(['python', 'node'], 512, 256);
    await stop(running);
  });
});

function median(values: readonly number[] = []): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
