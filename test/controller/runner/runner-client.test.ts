import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createLogger } from '../../../src/controller/log.ts';
import { RunnerClient, type VmEvents } from '../../../src/controller/runner/runner-client.ts';
import type { LaunchFailure, LaunchSpec } from '../../../src/protocol/runner.ts';
import { isRunning, until } from '../../end-to-end/processes.ts';

const SERVING = `console.log(JSON.stringify({ event: 'serving', vmm: 'process', reason: 'a test', notice: null }));`;
/** Ends as a firerunner has to: with its stdin. */
const OBEDIENT = `${SERVING} process.stdin.resume();`;
/** Killed in the middle of an event as soon as it gets a launch. */
const BREAKS_OFF = `${SERVING}
process.stdin.on('data', () => {
  process.stdout.write('{"event":"log","vm":"vm-1","te', () => process.kill(process.pid, 'SIGKILL'));
});`;
const ENDS = `${SERVING} setTimeout(() => process.exit(9));`;

const SPEC: LaunchSpec = {
  machine: {
    ...{ memoryMib: 128, vcpus: 1, kernelPath: '', initrdPath: '', rootfsPath: '', appfsPath: null, kernelArgs: '' },
    runtime: 'nodejs',
    network: false,
  },
  function: { name: 'f', handler: null, environment: {}, arn: '' },
  bootTimeoutMs: 1000,
  snapshots: null,
};

/** A client of a program that stands where firerunner would; nothing of it may be left after the test. */
async function withClient(script: string, use: (client: RunnerClient) => Promise<void>): Promise<void> {
  const client = new RunnerClient([process.execPath, '-e', script], createLogger('silent'));
  await client.start();
  try {
    await use(client);
  } finally {
    const pid = client.pid;
    await client.close();
    if (pid !== null) assert.equal(isRunning(pid), false);
  }
}

/** Launches a VM; resolves with what `onGone` says, and fails if anything else is said. */
function launch(client: RunnerClient, vm: string): Promise<readonly [reason: string, failure: LaunchFailure | null]> {
  return new Promise((resolve, reject) => {
    const events: VmEvents = {
      onChannel: () => reject(new Error('a channel')),
      onReady: () => reject(new Error('ready')),
      onLog: () => reject(new Error('a log')),
      onLogEnd: () => reject(new Error('the end of a log')),
      onRuntimeExited: () => reject(new Error('the runtime exited')),
      onGone: (reason, failure) => resolve([reason, failure]),
    };
    client.launch(vm, SPEC, events);
  });
}

describe('runner client', { timeout: 20_000 }, () => {
  test('a firerunner that does not start fails with its own words', async () => {
    const script = `console.error('no VMM here'); process.exit(4);`;
    const client = new RunnerClient([process.execPath, '-e', script], createLogger('silent'));
    await assert.rejects(client.start(), /^Error: firerunner ended with status 4\nno VMM here$/);
  });

  test('a program that is not there fails by its name', async () => {
    const client = new RunnerClient(['/nowhere/firerunner'], createLogger('silent'));
    await assert.rejects(client.start(), /could not be started: .*\/nowhere\/firerunner ENOENT/);
  });

  test('a firerunner killed in the middle of an event loses its VMs, and is started again', async () => {
    await withClient(BREAKS_OFF, async (client) => {
      const first = client.pid;
      const [reason, failure] = await launch(client, 'vm-1');
      assert.equal(reason, 'firerunner ended with SIGKILL');
      assert.deepEqual(failure, { kind: 'vmm', message: reason, console: [] });
      await until('another one runs', () => client.pid !== null && client.pid !== first);
    });
  });

  test('while there is no firerunner a launch fails at once', async () => {
    await withClient(BREAKS_OFF, async (client) => {
      await launch(client, 'vm-1');
      assert.equal(client.pid, null);
      assert.deepEqual(await launch(client, 'vm-2'), [
        'firerunner is not running; it is being started again',
        { kind: 'vmm', message: 'firerunner is not running; it is being started again', console: [] },
      ]);
    });
  });

  test('closing while firerunner is being started again leaves none behind', async () => {
    await withClient(BREAKS_OFF, async (client) => {
      await launch(client, 'vm-1');
      assert.equal(client.pid, null);
      await client.close();
      assert.equal(client.pid, null);
    });
  });

  test('a firerunner that dies again and again is given up, and launches are told so', async () => {
    await withClient(ENDS, async (client) => {
      await until('it is given up', async () => /died 6 times in 30 s/.test((await launch(client, 'vm-1'))[0]));
      assert.equal(client.pid, null);
    });
  });

  test('closing ends firerunner by the end of its stdin', async () => {
    await withClient(OBEDIENT, (client) => {
      assert.notEqual(client.pid, null);
      return Promise.resolve();
    });
  });
});
