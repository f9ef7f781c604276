/** What ends firerunner, or a launch, when nothing else does, on a clock that the test moves. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { after, test, type TestContext } from 'node:test';
import type { Driver } from '../../src/firerunner/machine.ts';
import { serve } from '../../src/firerunner/serve.ts';
import type { LaunchSpec, RunnerCommand, RunnerEvent } from '../../src/protocol/runner.ts';

const directory = mkdtempSync(join(tmpdir(), 'snapfaas-serve-'));
after(() => rmSync(directory, { recursive: true }));

const SPEC: LaunchSpec = {
  machine: {
    memoryMib: 128,
    vcpus: 1,
    kernelPath: '',
    initrdPath: '',
    rootfsPath: '',
    appfsPath: null,
    kernelArgs: '',
    runtime: 'python3',
    network: false,
  },
  function: { name: 'f', version: '$LATEST', handler: null, environment: {}, arn: '' },
  bootTimeoutMs: 1_000_000_000,
  snapshots: null,
};

/** Machines that never come up. */
const DRIVER: Driver = {
  name: 'process',
  notice: null,
  snapshots: null,
  boot: (_spec, { signal }) =>
    new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    }),
  close: () => Promise.resolve(),
};

const RUN_DIRECTORY = {
  path: directory,
  create(vm: string) {
    mkdirSync(join(directory, vm));
    return Promise.resolve(join(directory, vm));
  },
  remove(vm: string) {
    rmSync(join(directory, vm), { recursive: true, force: true });
    return Promise.resolve();
  },
  close: () => undefined,
};

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** firerunner, its events, and whether it has ended. */
function serving(t: TestContext) {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const stdin = new PassThrough();
  const stdout = new PassThrough();
  const events: RunnerEvent[] = [];
  stdout.on('data', (lines: Buffer) => {
    for (const line of lines.toString().trimEnd().split('\n')) events.push(JSON.parse(line) as RunnerEvent);
  });
  const served = { hasEnded: false };
  const ended = serve({ driver: DRIVER, reason: '' }, RUN_DIRECTORY, null, { stdin, stdout });
  void ended.then(() => (served.hasEnded = true));
  const say = async (command: RunnerCommand): Promise<void> => {
    stdin.write(`${JSON.stringify(command)}\n`);
    await settled();
  };
  const settled = async (): Promise<void> => {
    for (let turns = 0; turns < 20; turns += 1) await turn();
  };
  /** The clock goes on second by second: what comes due meanwhile is done. */
  const pass = async (seconds: number): Promise<void> => {
    for (let second = 0; second < seconds; second += 1) t.mock.timers.tick(1000);
    await settled();
  };
  const of = (vm: string): string[] => events.filter((one) => 'vm' in one && one.vm === vm).map(({ event }) => event);
  return { events, served, ended, say, pass, of };
}

test('serve: ends with its VMs when a snapctr that asked has been silent for 60 s', { timeout: 10_000 }, async (t) => {
  const { served, ended, say, pass, of } = serving(t);
  await say({ op: 'launch', vm: 'vm-1', spec: SPEC });
  await say({ op: 'ping' });
  await pass(59);
  await say({ op: 'ping' });
  await pass(59);
  assert.equal(served.hasEnded, false);
  assert.deepEqual(of('vm-1'), ['launching']);
  await pass(1);
  await ended;
  assert.deepEqual(of('vm-1'), ['launching', 'failed']);
});

test('serve: one that has never asked may be silent for as long as it likes', { timeout: 10_000 }, async (t) => {
  const { served, ended, say, pass } = serving(t);
  await say({ op: 'launch', vm: 'vm-1', spec: SPEC });
  await pass(1000);
  assert.equal(served.hasEnded, false);
  await say({ op: 'ping' });
  await pass(60);
  await ended;
});

test(
  'serve: a launch waits for its turn for 300 s, and is told that others are why',
  { timeout: 10_000 },
  async (t) => {
    const { events, ended, say, pass, of } = serving(t);
    const running = Array.from({ length: availableParallelism() }, (_, index) => `vm-${index}`);
    for (const vm of running) await say({ op: 'launch', vm, spec: SPEC });
    await say({ op: 'launch', vm: 'late', spec: SPEC });
    await pass(299);
    assert.deepEqual(of('late'), []);
    await pass(1);
    assert.deepEqual(events.at(-1), {
      event: 'failed',
      vm: 'late',
      failure: {
        kind: 'vmm',
        message: 'the launch has waited for 300 s: too many others are under way',
        console: [],
      },
    });
    for (const vm of running) assert.deepEqual(of(vm), ['launching']);
    // The turn that is free next goes to the next one.
    await say({ op: 'launch', vm: 'next', spec: SPEC });
    await say({ op: 'kill', vm: 'vm-0' });
    assert.deepEqual(of('next'), ['launching']);
    await say({ op: 'ping' });
    await pass(60);
    await ended;
  },
);
