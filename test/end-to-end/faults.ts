/** What has to hold when a process is killed in the middle of its work; once for each VMM (`faults.*.test.ts`). */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import {
  assertNothingLeft,
  createWorkspace,
  errorOf,
  startController,
  type Answer,
  type RunningController,
  type TestVmm,
  type Workspace,
} from '../support/snapctr.ts';
import { Load, patient, type Ending } from './load.ts';
import { isRunning, until, vmmsOf } from './processes.ts';

const NAMES = ['python-a', 'python-b', 'node-a', 'node-big'];
/** How long a load may take to get going: the first answers wait for cold boots side by side, in ms. */
const WARM_UP_MS = 60_000;

/** @param controllerKeys further lines of the controller's file. */
export function faults(vmm: TestVmm, controllerKeys: readonly string[] = []): void {
  describe(`${vmm}, when a process is killed`, { timeout: 600_000 }, () => {
    let workspace: Workspace;
    let controller: RunningController;

    beforeEach(async () => {
      workspace = createWorkspace(
        [
          patient('python-a', 'python3'),
          patient('python-b', 'python3'),
          patient('node-a', 'nodejs'),
          patient('node-big', 'nodejs', { memory: 256 }),
        ],
        controllerKeys,
      );
      controller = await startController(workspace, { vmm, memoryMib: 512, args: ['--log-level', 'debug'] });
    });

    afterEach(async () => {
      controller.kill('SIGKILL');
      await controller.exited;
      await assertNothingLeft(workspace);
      workspace.remove();
    });

    test('snapctr under load: nothing is left five seconds later, no request is answered or run twice', async () => {
      const load = await startLoad(controller);
      const firerunner = (await controller.status()).runner_pid;
      assert.ok(firerunner !== null && vmmsOf(firerunner).length > 0);
      controller.kill('SIGKILL');
      assert.equal(await controller.exited, 'SIGKILL');
      await assertNothingLeft(workspace, 5000);
      await load.finish();
      assertEndings(load, ['ok', 'failed as asked', 'resource_exhausted', 'no answer']);
    });

    test('firerunner under load: its requests are lost, another one takes over and serves', async () => {
      const load = await startLoad(controller);
      const killed = await killFirerunner(controller);
      await controller.until(({ runner_pid: pid }) => pid !== null && pid !== killed);
      const before = load.count('ok');
      await until('requests are served again', () => load.count('ok') > before + 2, WARM_UP_MS);
      await load.finish();
      assert.ok(load.count('vm_lost') + load.count('vm_launch_failed') > 0, format(load));
      const lost: Ending[] = ['vm_lost', 'vm_launch_failed'];
      assertEndings(load, ['ok', 'failed as asked', 'resource_exhausted', ...lost]);
      const directories = readdirSync(workspace.runDirectory);
      assert.deepEqual(
        directories.filter((name) => name.startsWith(`${killed}-`)),
        [],
      );
      await assertBooks(controller);
      await assertCleanStop(controller, workspace);
    });

    test('firerunner without a request: the next request finds a new one', async () => {
      await ask(controller, 'python-a');
      const killed = await killFirerunner(controller);
      const status = await controller.until(({ runner_pid: pid }) => pid !== null && pid !== killed);
      assert.deepEqual(status.memory, { total_mib: 512, reserved_mib: 0, free_mib: 512, idle_mib: 0 });
      assert.equal((await ask(controller, 'python-a')).headers.get('x-snapfaas-start'), 'cold');
      await assertBooks(controller);
      await assertCleanStop(controller, workspace);
    });

    test('a VMM that is busy: its request is lost, the next one is a cold start', async () => {
      await ask(controller, 'python-a');
      const running = controller.invoke('python-a', { id: 'x', ms: 60_000, fail: false });
      // A request that its VM has not begun is done by another one.
      await until('it has begun', () => controller.log.some((line) => line.includes('ran x')), WARM_UP_MS);
      await killOnlyVmm(controller);
      const answer = await running;
      assert.equal(answer.status, 502);
      // Without a VM around it the runtime's end is the function's own.
      assert.equal(errorOf(answer)?.code, vmm === 'process' ? 'function_error' : 'vm_lost', answer.text);
      assert.match(errorOf(answer)?.message ?? '', /SIGKILL|signal 9/);
      assert.equal((await ask(controller, 'python-a')).headers.get('x-snapfaas-start'), 'cold');
      await assertBooks(controller);
      await assertCleanStop(controller, workspace);
    });

    test('a VMM that is idle: it is forgotten, the next request is a cold start', async () => {
      await ask(controller, 'node-big');
      assert.equal((await controller.status()).memory.idle_mib, 256);
      await killOnlyVmm(controller);
      const status = await controller.until((now) => now.vms['node-big'] === undefined);
      assert.deepEqual(status.memory, { total_mib: 512, reserved_mib: 0, free_mib: 512, idle_mib: 0 });
      assert.equal((await ask(controller, 'node-big')).headers.get('x-snapfaas-start'), 'cold');
      assert.equal((await assertBooks(controller)).memory.idle_mib, 256);
      await assertCleanStop(controller, workspace);
    });

    test('VMMs under load, one after the other: every other request is served', async () => {
      const load = await startLoad(controller);
      const firerunner = (await controller.status()).runner_pid ?? 0;
      for (let round = 0; round < 2; round += 1) {
        const before = load.count('ok');
        await until('a VMM runs', () => vmmsOf(firerunner).length > 0, WARM_UP_MS);
        for (const pid of vmmsOf(firerunner)) kill(pid);
        await until('requests are served again', () => load.count('ok') > before + 2, WARM_UP_MS);
      }
      await load.finish();
      const lost: Ending[] = ['vm_lost', 'vm_launch_failed', ...(vmm === 'process' ? ['function_error'] : [])];
      assertEndings(load, ['ok', 'failed as asked', 'resource_exhausted', ...lost]);
      assert.equal((await controller.status()).runner_pid, firerunner);
      await assertBooks(controller);
      await assertCleanStop(controller, workspace);
    });

    test('the whole host: what a firerunner of before left behind is removed at the next start', async () => {
      assert.equal(await controller.stop(), 0);
      // Process ids come back, so the start time in the name decides: this process runs, but began at another time.
      for (const name of ['snapfaas-4194305-17', `snapfaas-${process.pid}-1`]) {
        const vm = join(workspace.runDirectory, name, 'vm-1');
        mkdirSync(vm, { recursive: true });
        writeFileSync(join(vm, 'control.sock'), '');
      }
      controller = await startController(workspace, { vmm });
      const { runner_pid: pid } = await controller.status();
      const names = readdirSync(workspace.runDirectory);
      assert.equal(names.length, 1);
      assert.ok(names[0]?.startsWith(`snapfaas-${pid ?? ''}-`), names.join());
      await assertCleanStop(controller, workspace);
    });
  });
}

/** A load whose first requests have been answered. */
async function startLoad(controller: RunningController): Promise<Load> {
  const load = new Load(controller, NAMES);
  await until('the load is under way', () => load.count('ok') >= 4, WARM_UP_MS);
  return load;
}

/** Returns the process id of the killed one. */
async function killFirerunner(controller: RunningController): Promise<number> {
  const { runner_pid: pid } = await controller.status();
  assert.ok(pid !== null);
  const vmms = vmmsOf(pid);
  assert.ok(vmms.length > 0);
  kill(pid);
  await until('firerunner and its VMMs end', () => ![pid, ...vmms].some(isRunning), 5000);
  return pid;
}

async function killOnlyVmm(controller: RunningController): Promise<void> {
  const { runner_pid: firerunner } = await controller.status();
  assert.ok(firerunner !== null);
  const [pid, ...others] = vmmsOf(firerunner);
  assert.ok(pid !== undefined && others.length === 0);
  kill(pid);
}

/** A process that may just have ended by itself. */
function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has.
  }
}

async function ask(controller: RunningController, name: string): Promise<Answer> {
  const answer = await controller.invoke(name, { id: 'an id', ms: 0, fail: false });
  assert.equal(answer.body, 'an id');
  return answer;
}

/** Nothing runs any more, so all that is reserved is idle, and every idle VM is one that firerunner runs. */
async function assertBooks(controller: RunningController): ReturnType<RunningController['status']> {
  // A launch whose request was lost goes on, which takes as long as a cold boot among others.
  const status = await controller.until(
    ({ vms }) => Object.values(vms).every((states) => Object.keys(states).every((state) => state === 'idle')),
    WARM_UP_MS,
  );
  assert.equal(status.memory.reserved_mib, status.memory.idle_mib);
  assert.equal(status.memory.free_mib, status.memory.total_mib - status.memory.reserved_mib);
  const idle = Object.values(status.vms).reduce((sum, states) => sum + (states.idle ?? 0), 0);
  assert.equal(vmmsOf(status.runner_pid ?? 0).length, idle);
  return status;
}

async function assertCleanStop(controller: RunningController, workspace: Workspace): Promise<void> {
  assert.equal(await controller.stop(), 0);
  await assertNothingLeft(workspace);
  assert.ok(!existsSync(workspace.runDirectory) || readdirSync(workspace.runDirectory).length === 0);
  const closed = controller.log.find((line) => line.includes('"msg":"closed"'));
  if (closed === undefined) return;
  const { memory, vms } = (JSON.parse(closed) as { status: Awaited<ReturnType<RunningController['status']>> }).status;
  assert.deepEqual([memory.reserved_mib, memory.idle_mib, vms], [0, 0, {}]);
}

function assertEndings(load: Load, expected: readonly Ending[]): void {
  const others = [...load.endings.keys()].filter((ending) => !expected.includes(ending));
  assert.deepEqual(others, [], format(load));
}

function format(load: Load): string {
  return JSON.stringify(Object.fromEntries(load.endings));
}
