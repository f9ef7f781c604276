/** VMs that are restored from snapshots, from the client's side: hooks, memory, pauses, the books. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { source } from '../support/functions.ts';
import { startProgram } from '../support/program.ts';
import {
  assertNothingLeft,
  createWorkspace,
  SNAPCTR,
  startController,
  type RunningController,
  type TestFunction,
  type Workspace,
} from '../support/snapctr.ts';
import { layerOf, layersIn, logged, startOf, unfinishedIn } from '../support/snapshots.ts';
import { until, vmmsOf } from './processes.ts';

/** Largest difference to the host's clock, in ms. */
const CLOCK_TOLERANCE_MS = 100;
/** How long a VM stays paused before its clock is looked at, in ms. */
const LONG_PAUSE_MS = 3000;
/** An idle VM is paused within this time, in ms. */
const PAUSE_PATIENCE_MS = 2000;

const PYTHON = `
import os, time
from snapshot_restore_py import register_before_snapshot, register_after_restore

print('printed at import')
events = ['import']
calls = 0
connection = open('/tmp/connection', 'w')

@register_before_snapshot
def close_connection():
    connection.close()
    events.append('before, registered first')
    print('printed before the snapshot')

@register_before_snapshot
def write_file():
    with open('/tmp/left', 'w') as file:
        file.write('left in /tmp')
    events.append('before, registered second, open' if not connection.closed else 'closed too early')

@register_after_restore
def reopen():
    global connection
    connection = open('/tmp/connection', 'a')
    events.append('after, registered first')
    print('printed after the restore')

def note(text):
    events.append(text)

register_after_restore(note, text='after, registered second')

def handle(request):
    global calls
    if request == 'exit':
        os._exit(0)
    calls += 1
    connection.write('x')
    connection.flush()
    time.sleep((request or {}).get('ms', 0) / 1000)
    return {
        'events': events,
        'calls': calls,
        'left': open('/tmp/left').read(),
        'written': os.path.getsize('/tmp/connection'),
        'clock': time.time() * 1000,
    }
`;

const NODE = `
const fs = require('node:fs');
const { registerBeforeSnapshot, registerAfterRestore } = require('snapfaas');

console.log('printed at import');
const events = ['import'];
let calls = 0;
let connection = fs.openSync('/tmp/connection', 'w');

registerBeforeSnapshot(() => {
  fs.closeSync(connection);
  connection = null;
  events.push('before, registered first');
  console.log('printed before the snapshot');
});
registerBeforeSnapshot(async () => {
  await new Promise((resolve) => setTimeout(resolve, 5));
  fs.writeFileSync('/tmp/left', 'left in /tmp');
  events.push(connection === null ? 'closed too early' : 'before, registered second, open');
});
registerAfterRestore(async () => {
  await new Promise((resolve) => setTimeout(resolve, 5));
  connection = fs.openSync('/tmp/connection', 'a');
  events.push('after, registered first');
  console.log('printed after the restore');
});
registerAfterRestore(() => void events.push('after, registered second'));

exports.handle = async (request) => {
  if (request === 'exit') process.exit(0);
  calls += 1;
  fs.writeSync(connection, 'x');
  await new Promise((resolve) => setTimeout(resolve, request?.ms ?? 0));
  return {
    events,
    calls,
    left: fs.readFileSync('/tmp/left', 'utf8'),
    written: fs.statSync('/tmp/connection').size,
    clock: Date.now(),
  };
};
`;

const EVENTS = [
  'import',
  'before, registered second, open',
  'before, registered first',
  'after, registered first',
  'after, registered second',
];

interface Told {
  readonly events: readonly string[];
  readonly calls: number;
  readonly left: string;
  readonly written: number;
  readonly clock: number;
}

const FUNCTIONS: readonly TestFunction[] = [source('python3', 'python3', PYTHON), source('nodejs', 'nodejs', NODE)];

describe('restored VMs', { timeout: 180_000 }, () => {
  let workspace: Workspace;
  let controller: RunningController;

  before(async () => {
    workspace = createWorkspace(FUNCTIONS);
    controller = await startController(workspace, { vmm: 'qemu', memoryMib: 512, snapshots: true });
  });

  after(async () => {
    assert.equal(await controller.stop(), 0);
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  test('the status counts functions whose snapshots are ready', async () => {
    assert.deepEqual((await controller.status()).snapshots, { preparing: 0, ready: 2, failed: 0 });
  });

  for (const { name } of FUNCTIONS) {
    test(`${name}: two clones at once have run the hooks in order, and share neither variables nor files`, async () => {
      const answers = await Promise.all([controller.invoke(name, { ms: 800 }), controller.invoke(name, { ms: 800 })]);
      assert.deepEqual(answers.map(startOf), ['restored', 'restored'], answers[0].text);
      for (const { body } of answers) {
        const { events, calls, left, written } = body as Told;
        assert.deepEqual(
          { events, calls, left, written },
          { events: EVENTS, calls: 1, left: 'left in /tmp', written: 1 },
        );
      }
      const next = (await controller.invoke(name, {})).body as Told;
      assert.deepEqual([next.calls, next.written, next.events.length], [2, 2, EVENTS.length]);
    });

    test(`${name}: what hooks after the restore print is in the log, once for each VM`, () => {
      const output = logged(controller, 'function output').filter((record) => record['function'] === name);
      const printed = (vm: unknown): string =>
        output.flatMap((record) => (record['vm'] === vm ? [String(record['text'])] : [])).join('');
      const vms = new Set(output.map((record) => record['vm']).filter((vm) => vm !== undefined));
      assert.equal(vms.size, 2);
      for (const vm of vms) assert.equal(printed(vm), 'printed after the restore\n');
    });
  }

  test('a VMM maps memory that nobody can reach by name, copy-on-write', async () => {
    const { runner_pid: firerunner } = await controller.status();
    const vmms = vmmsOf(firerunner ?? 0);
    assert.equal(vmms.length, 4);
    for (const pid of vmms) {
      const [line, ...others] = readFileSync(`/proc/${pid}/maps`, 'utf8')
        .split('\n')
        .filter((text) => text.includes('.snapfaas-private-'));
      assert.deepEqual(others, []);
      assert.match(line ?? '', /^\S+ rw-p .* \(deleted\)$/);
      const [from = 0, to = 0] = (line?.split(' ')[0] ?? '').split('-').map((address) => Number.parseInt(address, 16));
      assert.equal(to - from, 128 * 1024 * 1024);
    }
  });

  test('idle VMs are stopped, and answer the next request with the right clock', async () => {
    const { runner_pid: firerunner } = await controller.status();
    const isStopped = (pid: number): boolean => /^\d+ \(.*\) T/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
    await until('all are stopped', () => vmmsOf(firerunner ?? 0).every(isStopped), PAUSE_PATIENCE_MS);
    const stoppedAt = Date.now();
    await until('they have been for long', () => Date.now() - stoppedAt > LONG_PAUSE_MS);
    assert.ok(vmmsOf(firerunner ?? 0).every(isStopped));
    for (const { name } of FUNCTIONS) {
      const sent = Date.now();
      const answer = await controller.invoke(name, {});
      const received = Date.now();
      assert.equal(startOf(answer), 'warm');
      const { clock, calls } = answer.body as Told;
      assert.ok(calls >= 2);
      const off = Math.max(sent - clock, clock - received);
      assert.ok(off < CLOCK_TOLERANCE_MS, `${name}: the clock is ${off} ms off`);
    }
  });

  test('the parts of a restore are in the metrics and in the log', async () => {
    const metrics = await (await fetch(`${controller.url}/metrics`)).text();
    const counts = new Map(
      [...metrics.matchAll(/^snapfaas_start_seconds_count\{(.*)\} (\d+)$/gm)].map(([, labels, count]) => [
        labels,
        count,
      ]),
    );
    for (const phase of ['queue', 'spawn', 'load', 'resume', 'first_response']) {
      const key = [`start="restored",phase="${phase}"`, `phase="${phase}",start="restored"`].find((k) => counts.has(k));
      assert.equal(counts.get(key), '4', `${phase}:\n${metrics}`);
    }
    assert.equal(
      [...counts.keys()].some((labels) => labels?.includes('boot')),
      false,
      metrics,
    );
    const launched = logged(controller, 'VM launched');
    const first = logged(controller, 'first request');
    assert.deepEqual([launched.length, first.length], [4, 4]);
    for (const { kind, spawnMs, bootMs, loadMs, resumeMs } of launched) {
      assert.deepEqual([kind, bootMs], ['restored', 0]);
      for (const part of [spawnMs, loadMs, resumeMs]) assert.ok(typeof part === 'number' && part > 0);
    }
    for (const { start, queueMs, firstResponseMs } of first) {
      assert.equal(start, 'restored');
      assert.ok(typeof queueMs === 'number' && queueMs >= 0);
      assert.ok(typeof firstResponseMs === 'number' && firstResponseMs > 0);
    }
  });

  test('result lines of a request file say that the VM was restored', async () => {
    const requests = join(workspace.directory, 'requests');
    // A pipe, so that the requests come when the snapshots are ready.
    execFileSync('mkfifo', [requests]);
    const args = ['-c', workspace.config, '--mem', '256', '--vmm', 'qemu', '--requests_file', requests];
    const program = startProgram(SNAPCTR, args, { workspace });
    let ended = false;
    void program.finished.then(() => (ended = true));
    const isReady = (): boolean => program.stderr.split('snapshot ready').length > FUNCTIONS.length;
    // Open for reading as well: for writing alone it waits until somebody reads.
    const pipe = openSync(requests, 'r+');
    try {
      await until('its snapshots are ready', () => ended || isReady(), 60_000);
      for (const { name } of FUNCTIONS)
        writeSync(pipe, `${JSON.stringify({ time: 0, function: name, payload: {} })}\n`);
      await until('the requests have been read', () => ended || program.stdout.split('\n').length > FUNCTIONS.length);
    } finally {
      closeSync(pipe);
    }
    await until('it ends', () => ended).finally(() => program.kill('SIGKILL'));
    const { status, stdout, stderr } = await program.finished;
    assert.equal(status, 0, stderr);
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { readonly start: string });
    assert.deepEqual(
      lines.map((line) => line.start),
      ['restored', 'restored'],
      stdout,
    );
  });
});

describe('the layers of a function', { timeout: 120_000 }, () => {
  let workspace: Workspace;
  let store: string;
  /** Ended at the end, whatever came of the test that started it. */
  const started: RunningController[] = [];
  const start = async (snapshots: true | 'being made' = true): Promise<RunningController> => {
    const controller = await startController(workspace, { vmm: 'qemu', memoryMib: 256, snapshots });
    started.push(controller);
    return controller;
  };
  const stop = async (controller: RunningController): Promise<void> => {
    assert.equal(await controller.stop(), 0);
    await assertNothingLeft(workspace);
  };

  before(() => {
    workspace = createWorkspace([source('edited', 'python3', version(1))], ['snapshot_dir: store']);
    store = join(workspace.directory, 'store');
  });
  after(async () => {
    for (const controller of started) controller.kill('SIGKILL');
    await Promise.all(started.map(({ exited }) => exited));
    workspace.remove();
  });

  let first: string;

  test('are made by the first controller, with the output of import and hooks in its log', async () => {
    const controller = await start();
    assert.match(logged(controller, 'snapshot ready')[0]?.msg ?? '', /built in/);
    const output = logged(controller, 'function output');
    assert.equal(output.map(({ text }) => String(text)).join(''), 'version 1 is imported\nversion 1 is sealed\n');
    first = layerOf(controller, 'edited');
    assert.deepEqual([layersIn(store, 'base').length, layersIn(store, 'function')], [1, [first]]);
    assert.deepEqual(unfinishedIn(store), []);
    const answer = await controller.invoke('edited', null);
    assert.deepEqual([answer.body, startOf(answer)], [1, 'restored']);
    // What the request touched is recorded when its VM falls idle.
    await until('the working set is there', () => existsSync(join(store, first, 'working-set')));
    await stop(controller);
  });

  test('are there for the next one, which reads the working set', async () => {
    const controller = await start();
    assert.match(logged(controller, 'snapshot ready')[0]?.msg ?? '', /was there/);
    assert.equal(layerOf(controller, 'edited'), first);
    const answer = await controller.invoke('edited', null);
    assert.deepEqual([answer.body, startOf(answer)], [1, 'restored']);
    await stop(controller);
  });

  test('are what the first request after a start gets, however soon it comes', async () => {
    const controller = await start('being made');
    const answer = await controller.invoke('edited', null);
    assert.deepEqual([answer.body, startOf(answer)], [1, 'restored']);
    await stop(controller);
  });

  test('do not depend on the working set', async () => {
    writeFileSync(join(store, first, 'working-set'), 'garbage');
    const controller = await start();
    assert.equal(startOf(await controller.invoke('edited', null)), 'restored');
    await stop(controller);
  });

  test('after an edit of its files there is another one beside the old one, and the new code answers', async () => {
    writeFileSync(join(workspace.directory, 'apps/edited/workload.py'), version(2));
    const controller = await start();
    const second = layerOf(controller, 'edited');
    assert.notEqual(second, first);
    const answer = await controller.invoke('edited', null);
    assert.deepEqual([answer.body, startOf(answer)], [2, 'restored']);
    assert.deepEqual([layersIn(store, 'base').length, layersIn(store, 'function')], [1, [first, second].sort()]);
    await stop(controller);
  });
});

function version(number: number): string {
  return `
from snapshot_restore_py import register_before_snapshot
print('version ${number} is imported')
register_before_snapshot(print, 'version ${number} is sealed')
def handle(request):
    return ${number}
`;
}
