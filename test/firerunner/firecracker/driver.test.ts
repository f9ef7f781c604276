/** The firecracker driver against a stand-in that is stricter than Firecracker: lives, faults at each step, and leaks. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { until } from '../../end-to-end/processes.ts';
import type { Fault } from '../../support/firecracker/faults.ts';
import { Host } from './hosts.ts';

/** What goes wrong, and what is said of it, also by a process that is started anew for each launch. */
interface FaultCase {
  readonly title: string;
  readonly fault: Fault;
  readonly message: RegExp;
  /** `HostError`: the snapshot is not to blame. Default: not compared. */
  readonly name?: 'HostError' | 'LaunchError';
  readonly bootTimeoutMs?: number;
}

const AT_LOAD = 'PUT /snapshot/load';

const WHILE_STARTING: readonly FaultCase[] = [
  {
    title: 'it ends at once',
    fault: { at: 'start', do: 'exit', status: 153 },
    message: /exited with status 153 \(bad arguments\)/,
  },
  { title: 'it is killed', fault: { at: 'listen', do: 'signal', signal: 'SIGKILL' }, message: /was killed by SIGKILL/ },
  {
    title: 'its API answers, but refuses',
    fault: { at: 'GET /', do: 'refuse', text: 'not ready' },
    message: /^Firecracker refused GET \/ \(400\): not ready$/,
  },
  {
    title: 'its API refuses with something that is no JSON',
    fault: { at: 'GET /', do: 'garbage', text: 'a\nb' },
    message: /^Firecracker refused GET \/ \(400\): .*a\nb/,
  },
  {
    title: 'it never listens',
    fault: { at: 'listen', do: 'hang' },
    bootTimeoutMs: 700,
    message: /did not come up within 700 ms/,
  },
];

const WHILE_LOADING: readonly FaultCase[] = [
  {
    title: 'the load is refused',
    fault: { at: AT_LOAD, do: 'refuse', text: 'no such CPU' },
    message: /refused PUT \/snapshot\/load \(400\): no such CPU/,
  },
  {
    title: 'the load is refused with something that is no JSON',
    fault: { at: AT_LOAD, do: 'garbage', text: '{"error": "a\nb"}' },
    message: /refused PUT \/snapshot\/load \(400\): .*error.*a\nb/,
  },
  {
    title: 'it ends before it loads',
    fault: { at: AT_LOAD, do: 'exit', status: 148 },
    message: /exited with status 148 \(a system call that its seccomp filter does not allow\)/,
  },
  {
    title: 'it ends after it loaded',
    fault: { at: AT_LOAD, when: 'after', do: 'exit', status: 1 },
    message: /status 1/,
  },
  {
    title: 'it is killed from outside while it loads',
    fault: { at: AT_LOAD, do: 'signal', signal: 'SIGKILL' },
    name: 'HostError',
    message: /was killed by SIGKILL/,
  },
  {
    title: 'it is killed from outside after it loaded',
    fault: { at: AT_LOAD, when: 'after', do: 'signal', signal: 'SIGTERM' },
    name: 'HostError',
    message: /was killed by SIGTERM/,
  },
  {
    title: 'what it loads makes it crash',
    fault: { at: AT_LOAD, do: 'signal', signal: 'SIGSEGV' },
    name: 'LaunchError',
    message: /exited with status 150 \(SIGSEGV\)/,
  },
  {
    title: 'the load hangs',
    fault: { at: AT_LOAD, do: 'hang' },
    bootTimeoutMs: 700,
    message: /did not come up within 700 ms/,
  },
  {
    title: 'the guest never listens',
    fault: { at: 'vsock', do: 'eof' },
    bootTimeoutMs: 700,
    message: /did not come up within 700 ms/,
  },
];

describe('the firecracker driver', { timeout: 300_000 }, () => {
  let host: Host;
  before(async () => (host = await Host.open()));
  after(async () => {
    assert.deepEqual(host.vmms(), []);
    assert.deepEqual(host.directories(), []);
    await host.close();
  });
  afterEach(() => host.setFault(null));

  test('boots a machine that serves, and leaves nothing of it', async () => {
    const { vm, invoke } = await host.launch(null);
    assert.equal(vm.timings.kind, 'cold');
    assert.deepEqual(await invoke({ n: 1 }), { echo: { n: 1 }, calls: 1 });
    assert.deepEqual(await invoke({ n: 2 }), { echo: { n: 2 }, calls: 2 });
    assert.match((await vm.kill()).reason, /was killed by SIGKILL/);
    assert.deepEqual(host.directories(), []);
  });

  test('no name that a person gives a VM is that of a VMM’s directory', async () => {
    const { vm } = await host.launch(null);
    const directories = host.directories();
    assert.ok(
      directories.length > 0 && directories.every((name) => !/^[A-Za-z0-9_-]+$/.test(name)),
      directories.join(),
    );
    await vm.kill();
  });

  test('makes layers and restores many machines from them, each with its own state', async () => {
    const { restorable, close } = await host.prepare();
    try {
      assert.deepEqual(
        host.journal().flatMap(({ event, type }) => (event === 'snapshot' ? [type] : [])),
        ['Full', 'Diff'],
      );
      const vms = await Promise.all([1, 2, 3].map(() => host.launch(restorable)));
      for (const { vm, invoke } of vms) {
        assert.equal(vm.timings.kind, 'restored');
        assert.deepEqual(await invoke('a'), { echo: 'a', calls: 1 });
        assert.deepEqual(await invoke('b'), { echo: 'b', calls: 2 });
      }
      await Promise.all(vms.map(({ vm }) => vm.kill()));
    } finally {
      await close();
    }
  });

  test('sends nothing that is deprecated, and one request to load', async () => {
    const { restorable, close } = await host.prepare();
    try {
      const { vm } = await host.launch(restorable);
      const own = host.journal().filter(({ pid, event }) => pid === vm.machine.pid && event === 'request');
      assert.deepEqual(
        own.map(({ method, path, status }) => `${String(method)} ${String(path)} ${String(status)}`),
        ['GET / 200', 'PUT /snapshot/load 204'],
      );
      const deprecated = host.journal().flatMap((line) => (line['deprecated'] ?? []) as readonly string[]);
      assert.deepEqual(deprecated, []);
      await vm.kill();
    } finally {
      await close();
    }
  });

  test('the answer to CONNECT may come together with the guest’s first bytes', async () => {
    // Once: on the function channel the guest waits for us to begin.
    host.setFault({ at: 'vsock', do: 'together', times: 1 });
    const { vm, invoke } = await host.launch(null);
    assert.deepEqual(await invoke(1), { echo: 1, calls: 1 });
    await vm.kill();
  });

  for (const { title, fault, message, bootTimeoutMs } of WHILE_STARTING) {
    test(`while it starts: ${title}`, async () => {
      host.setFault(fault);
      await assert.rejects(host.launch(null, bootTimeoutMs === undefined ? {} : { bootTimeoutMs }), {
        message,
      });
      await assertNothingLeft(host);
    });
  }

  test('a boot request that is refused is named, with the reason', async () => {
    for (const path of ['/machine-config', '/drives/appfs', '/vsock', '/actions']) {
      host.setFault({ at: `PUT ${path}`, do: 'refuse', text: 'not today' });
      await assert.rejects(host.launch(null), { message: `Firecracker refused PUT ${path} (400): not today` });
      await assertNothingLeft(host);
    }
  });

  test('its last words are in the error', async () => {
    host.setFault({ at: 'PUT /actions', do: 'exit', status: 1 });
    const error = await host.launch(null).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof Error && 'console' in error);
    assert.match(error.message, /status 1 \(a general error\)/);
    await assertNothingLeft(host);
  });

  describe('while it loads', () => {
    let snapshot: Awaited<ReturnType<Host['prepare']>>;
    before(async () => (snapshot = await host.prepare()));
    after(() => snapshot.close());

    for (const { title, fault, message, name, bootTimeoutMs } of WHILE_LOADING) {
      test(title, async () => {
        host.setFault(fault);
        const options = bootTimeoutMs === undefined ? {} : { bootTimeoutMs };
        const expected = name === undefined ? { message } : { name, message };
        await assert.rejects(host.launch(snapshot.restorable, options), expected);
        await assertNothingLeft(host);
      });
    }

    test('the answer to CONNECT comes in pieces', async () => {
      host.setFault({ at: 'vsock', do: 'split' });
      const { vm, invoke } = await host.launch(snapshot.restorable);
      assert.deepEqual(await invoke(1), { echo: 1, calls: 1 });
      await vm.kill();
    });

    test('a guest that listens late is dialled again', async () => {
      host.setFault({ at: 'vsock', do: 'eof', times: 5 });
      const { vm, invoke } = await host.launch(snapshot.restorable);
      assert.deepEqual(await invoke(1), { echo: 1, calls: 1 });
      await vm.kill();
    });

    test('a connection that the restored guest resets is dialled again, and loses nothing', async () => {
      host.setFault({ at: 'vsock 1025', do: 'reset', times: 2 });
      const { vm, invoke } = await host.launch(snapshot.restorable);
      assert.deepEqual(await invoke(1), { echo: 1, calls: 1 });
      await vm.kill();
    });

    test('a guest that resets every connection is given up', async () => {
      host.setFault({ at: 'vsock 1025', do: 'reset' });
      await assert.rejects(host.launch(snapshot.restorable), { message: /the control channel was closed/ });
      await assertNothingLeft(host);
    });

    test('a flood of output is drained, and only its end is kept', async () => {
      host.setFault({ at: AT_LOAD, do: 'flood', bytes: 8 * 1024 * 1024 });
      const { vm } = await host.launch(snapshot.restorable);
      assert.ok(vm.machine.consoleTail().length <= 41);
      await vm.kill();
    });

    test('a launch that is called off leaves nothing', async () => {
      host.setFault({ at: AT_LOAD, do: 'hang' });
      const end = new AbortController();
      const launch = host.launch(snapshot.restorable, { signal: end.signal });
      await until('the load has come', () => host.journal().some(({ event }) => event === 'fault'));
      end.abort(new Error('nobody waits any more'));
      await assert.rejects(launch, { message: 'nobody waits any more' });
      await assertNothingLeft(host);
    });
  });

  test('a snapshot that cannot be written is an error, and no layer is left', async () => {
    host.setFault({ at: 'PUT /snapshot/create', do: 'refuse', text: 'disk full' });
    const broken = await Host.open();
    try {
      broken.setFault({ at: 'PUT /snapshot/create', do: 'refuse', text: 'disk full' });
      await assert.rejects(broken.prepare(), { message: /refused PUT \/snapshot\/create \(400\): disk full/ });
      await assertNothingLeft(broken);
    } finally {
      await broken.close();
    }
  });

  describe('with VMMs that wait', () => {
    let waiting: Host;
    let snapshot: Awaited<ReturnType<Host['prepare']>>;
    before(async () => {
      waiting = await Host.open({ prestarted: 2 });
      snapshot = await waiting.prepare();
    });
    after(async () => {
      await snapshot.close();
      await waiting.driver.close();
      assert.deepEqual([waiting.vmms(), waiting.directories()], [[], []], 'closing the driver ends them');
      await waiting.close();
    });

    test('a launch takes one that was there before, and another takes its place', async () => {
      await waiting.untilWaiting(2);
      const before = waiting.vmms();
      const { vm, invoke } = await waiting.launch(null);
      assert.ok(before.includes(vm.machine.pid ?? 0));
      assert.deepEqual(await invoke(1), { echo: 1, calls: 1 });
      await waiting.untilWaiting(2);
      assert.equal(waiting.vmms().length, 3);
      await vm.kill();
    });

    test('what a VMM waited before its launch is no part of the launch', async () => {
      for (const from of [null, snapshot.restorable]) {
        await waiting.untilWaiting(2);
        const began = performance.now();
        const { vm } = await waiting.launch(from);
        const tookMs = performance.now() - began;
        await vm.kill();
        const { kind, ...parts } = vm.timings;
        for (const [part, ms] of Object.entries(parts)) assert.ok(ms >= 0, `${kind}: ${part} is ${ms}`);
        const sumMs = Object.values(parts).reduce((sum, ms) => sum + ms, 0);
        assert.ok(sumMs <= tookMs, `${kind}: ${sumMs} ms of ${tookMs} ms`);
      }
    });

    test('one that ended while it waited is not handed out, and is replaced', async () => {
      await waiting.untilWaiting(2);
      const directories = waiting.directories().filter((name) => name.startsWith('fc.'));
      for (const pid of waiting.vmms()) process.kill(pid, 'SIGKILL');
      await until(
        'their directories are removed',
        () => !waiting.directories().some((name) => directories.includes(name)),
      );
      const { vm, invoke } = await waiting.launch(null);
      assert.deepEqual(await invoke(1), { echo: 1, calls: 1 });
      await vm.kill();
      await waiting.untilWaiting(2);
    });
  });

  test('a run directory too long for sockets is refused before anything starts', async () => {
    const runDirectory = join(host.directory, 'x'.repeat(80));
    await assert.rejects(Host.open({ runDirectory }), { name: 'RunDirectoryError', message: /is too long/ });
  });

  test('an older version is refused', async () => {
    await assert.rejects(Host.open({ version: '1.15.1' }), { message: /1\.16\.1 or newer is needed/ });
  });

  test('the stamp of a snapshot tells the version, the CPU and the host’s kernel', async () => {
    const newer = await Host.open({ version: '1.17.0' });
    try {
      const [stamp, other] = [await host.driver.snapshots?.stamp(), await newer.driver.snapshots?.stamp()];
      assert.equal(stamp?.['vmm'], 'Firecracker 1.16.1');
      assert.equal(other?.['vmm'], 'Firecracker 1.17.0');
      assert.ok((stamp['cpu'] ?? '').length > 20 && (stamp['hostKernel'] ?? '') !== '');
    } finally {
      await newer.close();
    }
  });
});

async function assertNothingLeft(host: Host): Promise<void> {
  await until('its process and directory are gone', () => host.vmms().length === 0 && host.directories().length === 0);
}
