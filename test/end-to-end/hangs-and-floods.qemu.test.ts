/** A firerunner that hangs, a function that floods, a client that closes its half: on real VMs. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  assertNothingLeft,
  createWorkspace,
  errorOf,
  startController,
  type RunningController,
  type TestFunction,
  type Workspace,
} from '../support/snapctr.ts';

const ECHO: TestFunction = {
  name: 'echo',
  runtime: 'nodejs',
  files: { 'workload.js': 'exports.handle = (event) => event;\n' },
  keys: { timeout: 3 },
};

/** Prints for the time it is told to; after each 200 KiB it tells init that an invocation is over, which it is not. */
const FLOOD: TestFunction = {
  name: 'flood',
  runtime: 'nodejs',
  files: {
    'workload.js': `
const fs = require('node:fs');
const DONE = Buffer.from([0, 0, 0, 3, 20, 0, 0]);
const write = (fd, bytes) => {
  for (let at = 0; at < bytes.length; ) {
    try { at += fs.writeSync(fd, bytes, at); } catch (error) { if (error.code !== 'EAGAIN') throw error; }
  }
};
exports.handle = ({ ms }) => {
  const end = Date.now() + ms;
  const text = Buffer.from(('x'.repeat(99) + '\\n').repeat(2000));
  let written = 0;
  for (; Date.now() < end; written += text.length) { write(1, text); write(4, DONE); }
  return written;
};
`,
  },
  keys: { timeout: 60 },
};

describe('hangs and floods, on QEMU', { timeout: 300_000 }, () => {
  let workspace: Workspace;
  let controller: RunningController;

  before(async () => {
    workspace = createWorkspace([ECHO, FLOOD]);
    controller = await startController(workspace, { vmm: 'qemu' });
  });

  after(async () => {
    controller.kill('SIGKILL');
    await controller.exited;
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  test('a function that floods its log, and lies about its invocations, costs itself alone', async () => {
    assert.equal((await controller.invoke('echo', 1)).status, 200);
    const { runner_pid: runner } = await controller.status();
    assert.equal((await controller.invoke('flood', { ms: 1 })).status, 200);
    const flood = controller.invoke('flood', { ms: 15_000 });
    const rssMib = (): number =>
      Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${runner}/status`, 'utf8'))?.[1]) / 1024;
    const before = rssMib();
    let most = before;
    let slowest = 0;
    for (let n = 0; n < 50; n += 1) {
      const asked = performance.now();
      assert.equal((await controller.invoke('echo', n)).status, 200);
      slowest = Math.max(slowest, performance.now() - asked);
      most = Math.max(most, rssMib());
      await sleep(100);
    }
    await flood;
    assert.ok(most - before < 64, `firerunner took ${most - before} MB`);
    assert.ok(slowest < 2000, `${slowest} ms`);
    const logged = controller.log.filter((line) => line.includes('"function":"flood"')).join('').length;
    assert.ok(logged < 1024 * 1024, `${logged} bytes of the flood are in the log`);
  });

  test('a paused VM whose firerunner is stopped is lost, not timed out; the next request is served', async () => {
    assert.equal((await controller.invoke('echo', 1)).status, 200);
    // Longer than it takes until an idle VM is paused.
    await sleep(1000);
    const { runner_pid: stopped } = await controller.status();
    process.kill(stopped ?? 0, 'SIGSTOP');
    const answer = await controller.invoke('echo', 2);
    assert.equal(errorOf(answer)?.code, 'vm_lost');
    assert.match(errorOf(answer)?.message ?? '', /it was paused, and was not resumed/);
    await controller.until(({ runner_pid: pid }) => pid !== null && pid !== stopped, 30_000);
    assert.equal((await controller.invoke('echo', 3)).body, 3);
  });

  test('a client that closes its half gets its answer, and its VM goes on', async () => {
    assert.equal((await controller.invoke('echo', 1)).status, 200);
    const { counters } = await controller.status();
    for (let n = 0; n < 5; n += 1) {
      const socket = connect({ port: Number(new URL(controller.url).port), host: '127.0.0.1', allowHalfOpen: true });
      const body = `{"function":"echo","payload":${n}}`;
      socket.end(`POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
      assert.match(await text(socket), new RegExp(`^HTTP/1.1 200 OK\r\n[^]*\r\n\r\n${n}$`));
    }
    assert.equal((await controller.status()).counters.launches, counters.launches);
  });
});
