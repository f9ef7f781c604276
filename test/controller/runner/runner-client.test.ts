import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createLogger } from '../../../src/controller/log.ts';
import { RunnerClient, type VmEvents } from '../../../src/controller/runner/runner-client.ts';
import { HUNG_PINGS, SERVING_TIMES } from '../../../src/controller/serving-process.ts';
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
/** Gives a sign of life when it is asked for one. */
const ANSWERS = `${SERVING}
process.stdin.on('data', (bytes) => {
  for (const line of String(bytes).trim().split('\\n')) {
    if (JSON.parse(line).op === 'ping') console.log(JSON.stringify({ event: 'pong' }));
  }
});`;
const ENDS = `${SERVING} setTimeout(() => process.exit(9));`;

/** A heart that beats fast. */
const TIMES = { ...SERVING_TIMES, pingMs: 50 };

const SPEC: LaunchSpec = {
  machine: {
    ...{ memoryMib: 128, vcpus: 1, kernelPath: '', initrdPath: '', rootfsPath: '', appfsPath: null, kernelArgs: '' },
    runtime: 'nodejs',
    network: false,
  },
  function: { name: 'f', version: '$LATEST', handler: null, environment: {}, arn: '' },
  bootTimeoutMs: 1000,
  snapshots: null,
};

/** A client of a program that stands where firerunner would; nothing of it may be left after the test. */
async function withClient(script: string, use: (client: RunnerClient) => Promise<void>): Promise<void> {
  const client = new RunnerClient([process.execPath, '-e', script], createLogger('silent'), TIMES);
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
      onLaunching: () => undefined,
      onLaunchOverdue: () => reject(new Error('overdue')),
      onResumed: () => reject(new Error('resumed')),
      onRuntimeExited: () => reject(new Error('the runtime exited')),
      onGone: (reason, failure) => resolve([reason, failure]),
    };
    client.launch(vm, SPEC, events);
  });
}

describe('runner client', { timeout: 60_000 }, () => {
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
      const message = 'firerunner is not running; it is being started again';
      assert.equal(client.outage, message);
      assert.deepEqual(await launch(client, 'vm-2'), [message, { kind: 'vmm', message, console: [] }]);
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

  test('a firerunner that dies again and again is started again and again, after pauses that grow', async () => {
    await withClient(ENDS, async (client) => {
      const served = new Set<number>();
      client.onServing = () => served.add(client.pid ?? 0);
      await until('more than a few have served', () => served.size > 5);
      await until('the pause is told', () =>
        /^firerunner is not running; it is started again in \d+ s$/.test(client.outage ?? ''),
      );
    });
  });

  test('a firerunner that does not start again is tried until it does', async () => {
    const marker = join(mkdtempSync(join(tmpdir(), 'snapfaas-runner-')), 'serves');
    writeFileSync(marker, '');
    // Serves once and dies; then it cannot be started while the marker is away.
    const script = `if (!require('node:fs').existsSync(${JSON.stringify(marker)})) process.exit(3);
      ${OBEDIENT} process.stdin.on('data', (bytes) => { if (String(bytes).includes('launch')) process.exit(9); });`;
    await withClient(script, async (client) => {
      rmSync(marker);
      await launch(client, 'vm-1');
      await sleep(1000);
      assert.equal(client.pid, null);
      assert.match((await launch(client, 'vm-2'))[0], /^firerunner is not running; it is (being )?started again/);
      writeFileSync(marker, '');
      await until('it serves again', () => client.pid !== null);
      assert.equal(client.outage, null);
    });
    rmSync(dirname(marker), { recursive: true });
  });

  for (const [how, hang] of [
    ['is stopped', (pid: number) => process.kill(pid, 'SIGSTOP')],
    ['never answers', () => undefined],
  ] as const) {
    test(`a firerunner that ${how} is killed, its VMs are lost, and another one is started`, async () => {
      await withClient(how === 'is stopped' ? ANSWERS : OBEDIENT, async (client) => {
        const first = client.pid ?? 0;
        hang(first);
        const gone = launch(client, 'vm-1');
        await until('it is told', () => client.outage === 'firerunner does not answer');
        assert.match((await gone)[0], /^firerunner did not answer for 0\.35 s and was killed$/);
        await until('another one runs', () => client.pid !== null && client.pid !== first);
        assert.equal(isRunning(first), false);
      });
    });
  }

  test('a firerunner that answers lives, however long it says nothing else', async () => {
    await withClient(ANSWERS, async (client) => {
      const first = client.pid;
      await sleep(2 * HUNG_PINGS * TIMES.pingMs);
      assert.deepEqual([client.pid, client.outage], [first, null]);
    });
  });

  test('a line without an end costs firerunner its life, not our memory', async () => {
    const script = `${SERVING} setInterval(() => process.stdout.write('x'.repeat(1 << 20)), 1);`;
    await withClient(script, async (client) => {
      const first = client.pid;
      assert.match((await launch(client, 'vm-1'))[0], /^firerunner broke the protocol: a line is over the limit/);
      assert.notEqual(client.pid, first);
    });
  });

  test('one that never serves fails in time', async () => {
    const times = { ...TIMES, startLimitMs: 300 };
    const client = new RunnerClient(
      [process.execPath, '-e', 'setInterval(() => {}, 1000)'],
      createLogger('silent'),
      times,
    );
    await assert.rejects(client.start(), /^Error: firerunner did not start within 0\.3 s$/);
    await client.close();
  });

  test('closing ends a firerunner that is stopped, and its VMs are gone', async () => {
    await withClient(ANSWERS, async (client) => {
      const pid = client.pid ?? 0;
      process.kill(pid, 'SIGSTOP');
      const gone = launch(client, 'vm-1');
      const asked = performance.now();
      await client.close();
      await gone;
      assert.ok(performance.now() - asked < 8000);
      assert.equal(isRunning(pid), false);
    });
  });

  test('closing ends firerunner by the end of its stdin', async () => {
    await withClient(OBEDIENT, (client) => {
      assert.notEqual(client.pid, null);
      return Promise.resolve();
    });
  });
});
