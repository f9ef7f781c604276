import assert from 'node:assert/strict';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { obedient } from '../support/functions.ts';
import {
  assertNothingLeft,
  createWorkspace,
  errorOf,
  SNAPCTR,
  startController,
  type Answer,
  type RunningController,
  type Workspace,
} from '../support/snapctr.ts';
import { startProgram } from '../support/program.ts';
import { held, hold, release } from './held.ts';
import { childrenOf, commandOf, isRunning, until } from './processes.ts';

/** "At once" for programs that share two cores with other tests, in ms. */
const AT_ONCE_MS = 10_000;

describe('stopping snapctr', { timeout: 240_000 }, () => {
  let workspace: Workspace;
  let controller: RunningController;

  beforeEach(() => {
    workspace = createWorkspace([held('held'), obedient('obedient', 'nodejs')]);
  });

  afterEach(async () => {
    controller.kill('SIGKILL');
    await controller.exited;
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  const start = async (...args: string[]): Promise<void> => {
    controller = await startController(workspace, { vmm: 'process', args });
  };
  /** A request that runs until it is released; its answer is in an object, so that awaiting this does not await it. */
  const startHeld = async (): Promise<{ readonly answer: Promise<Answer> }> => {
    const answer = controller.invoke('held', hold(workspace));
    answer.catch(() => undefined);
    await controller.until((status) => status.vms['held']?.busy === 1);
    return { answer };
  };
  test('SIGINT while firerunner is still starting ends both', async () => {
    // As long as nobody asks Firecracker for its version in vain.
    const slow = join(workspace.directory, 'firecracker');
    writeFileSync(slow, '#!/bin/sh\nsleep 6\n', { mode: 0o755 });
    appendFileSync(workspace.config, `firecracker: {path: ${slow}}\n`);
    const args = ['--config', workspace.config, '--mem', '256', '--port', '0', '--vmm', 'firecracker'];
    const program = startProgram(SNAPCTR, args, { workspace });
    // The functions' files are made ready before, by other children.
    const isRunner = (pid: number): boolean => commandOf(pid).includes('--serve');
    const asking = (): number[] => childrenOf(program.pid).filter((pid) => isRunner(pid) && childrenOf(pid).length > 0);
    await until('firerunner asks', () => asking().length > 0, 30_000);
    const runners = asking();
    program.kill('SIGINT');
    assert.equal((await program.finished).status, 0);
    await until('firerunner is gone', () => !runners.some(isRunning));
    await start();
  });

  const isReady = async (): Promise<boolean> => (await fetch(`${controller.url}/readyz`)).status === 200;

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    test(`${signal} lets the running request finish and refuses new ones`, async () => {
      await start();
      assert.equal(await isReady(), true);
      const running = await startHeld();
      controller.kill(signal);
      await until('it is not ready any more', async () => !(await isReady()));
      assert.equal((await controller.status()).state, 'draining');
      const refused = await controller.invoke('obedient', { do: 'echo' });
      assert.equal(refused.status, 503);
      assert.equal(errorOf(refused)?.code, 'shutting_down');
      release(workspace);
      const finished = await running.answer;
      assert.equal(finished.status, 200);
      assert.equal(finished.body, 'released');
      assert.equal(await controller.exited, 0);
      await assertNothingLeft(workspace);
    });
  }

  test('a request that outlasts --drain-timeout is answered shutting_down, and the exit status is 1', async () => {
    await start('--drain-timeout', '0.2');
    const running = await startHeld();
    controller.kill('SIGTERM');
    await assertEndsNow(running.answer);
  });

  test('a second signal ends at once what the first one waits for', async () => {
    await start('--drain-timeout', '600');
    const running = await startHeld();
    controller.kill('SIGTERM');
    await until('it drains', async () => (await controller.status()).state === 'draining');
    controller.kill('SIGINT');
    await assertEndsNow(running.answer);
  });

  test('a request that waits for a worker is answered too when draining takes too long', async () => {
    controller = await startController(workspace, { vmm: 'process', memoryMib: 128, args: ['--drain-timeout', '0.2'] });
    const running = await startHeld();
    const waiting = controller.invoke('obedient', { do: 'echo' });
    await controller.until((status) => status.queue.length === 1);
    controller.kill('SIGTERM');
    await assertEndsNow(running.answer);
    assert.equal(errorOf(await waiting)?.code, 'shutting_down');
  });

  describe('while firerunner is stopped', () => {
    const stopRunner = async (): Promise<void> => {
      process.kill((await controller.status()).runner_pid ?? 0, 'SIGSTOP');
    };
    const assertStopsIn10s = async (): Promise<void> => {
      const asked = Date.now();
      controller.kill('SIGTERM');
      await controller.exited;
      assert.ok(Date.now() - asked < 10_000, `it took ${Date.now() - asked} ms`);
      await assertNothingLeft(workspace);
    };

    test('snapctr stops with an idle VM', async () => {
      await start();
      await controller.invoke('obedient', { do: 'echo' });
      await stopRunner();
      await assertStopsIn10s();
    });

    test('snapctr stops with a request that waits for a launch, and answers it', async () => {
      await start();
      await stopRunner();
      const launching = controller.invoke('obedient', { do: 'echo' });
      await controller.until((status) => status.vms['obedient']?.launching === 1);
      await assertStopsIn10s();
      assert.equal(errorOf(await launching)?.code, 'vm_launch_failed');
    });

    test('it is not ready, launches end, and another firerunner serves the next request', async () => {
      await start();
      const { runner_pid: stopped } = await controller.status();
      await stopRunner();
      const launching = controller.invoke('obedient', { do: 'echo' });
      await until('it is not ready', async () => !(await isReady()));
      assert.match(await (await fetch(`${controller.url}/readyz`)).text(), /firerunner does not answer/);
      assert.equal(errorOf(await launching)?.code, 'vm_launch_failed');
      await controller.until(({ runner_pid: pid }) => pid !== null && pid !== stopped);
      assert.equal((await controller.invoke('obedient', { do: 'echo' })).status, 200);
      assert.equal(await controller.stop(), 0);
    });
  });

  test('without a request under way a signal ends it at once, idle VMs and all', async () => {
    await start();
    await Promise.all([1, 2, 3].map(() => controller.invoke('obedient', { do: 'sleep', ms: 50 })));
    const asked = Date.now();
    assert.equal(await controller.stop(), 0);
    assert.ok(Date.now() - asked < AT_ONCE_MS);
    await assertNothingLeft(workspace);
  });

  test('a signal in the middle of a request file: what was sent is answered, the rest is left', async () => {
    await start();
    await controller.stop();
    const requests = join(workspace.directory, 'requests.jsonl');
    const output = join(workspace.directory, 'results.jsonl');
    const line = (time: number, payload: unknown): string => JSON.stringify({ time, function: 'held', payload });
    writeFileSync(requests, `${line(0, hold(workspace))}\n${line(600_000, hold(workspace))}\n`);
    const args = ['-c', workspace.config, '--mem', '256', '--requests_file', requests, '--output', output];
    let ended = false;
    const program = startProgram(SNAPCTR, [...args, '--vmm', 'process', '--log-level', 'debug'], { workspace });
    void program.finished.then(() => (ended = true));
    try {
      await until('the first request runs', () => ended || program.stderr.includes('VM launched'));
      program.kill('SIGTERM');
      await until('it drains', () => ended || program.stderr.includes('draining'));
      release(workspace);
      await until('it ends', () => ended);
    } finally {
      program.kill('SIGKILL');
    }
    const { status, stderr } = await program.finished;
    // Not every line of the file was answered.
    assert.equal(status, 1, stderr);
    const results = readFileSync(output, 'utf8').trimEnd().split('\n');
    assert.equal(results.length, 1);
    assert.match(results[0] ?? '', /"response":"released"/);
    assert.match(stderr, /1 requests in .*: 1 ok, 0 failed/);
    assert.match(stderr, /ended before the end of the request file/);
  });

  /** The running request is called off, and snapctr is gone soon after with exit status 1. */
  async function assertEndsNow(running: Promise<Answer>): Promise<void> {
    const asked = Date.now();
    const answer = await running;
    assert.equal(answer.status, 503, answer.text);
    assert.equal(errorOf(answer)?.code, 'shutting_down');
    assert.equal(await controller.exited, 1);
    assert.ok(Date.now() - asked < AT_ONCE_MS);
    await assertNothingLeft(workspace);
  }
});
