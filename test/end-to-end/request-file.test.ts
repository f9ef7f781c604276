import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { ControllerStatus } from '../../src/controller/controller.ts';
import type { StartKind } from '../../src/controller/task.ts';
import {
  assertNothingLeft,
  createWorkspace,
  run,
  SNAPCTR,
  type TestFunction,
  type TestVmm,
  type Workspace,
} from '../support/snapctr.ts';
import { patient } from './load.ts';
import { seeded } from '../../src/workload/random.ts';

interface Line {
  readonly time: number;
  readonly user_id: number;
  readonly function: string;
  readonly payload: { readonly id: string; readonly ms: number; readonly fail: boolean };
}

interface Result {
  readonly index: number;
  readonly time: number;
  readonly user_id: number;
  readonly function: string;
  readonly status: 'ok' | 'error';
  readonly response?: unknown;
  readonly error?: { readonly code: string; readonly message: string };
  readonly start: StartKind | null;
  readonly latency_ms: number;
}

interface FileRun {
  readonly exitStatus: number | string;
  readonly stderr: string;
  /** By index. */
  readonly results: readonly Result[];
  /** Just before and just after everything was closed. */
  readonly closing: ControllerStatus;
  readonly closed: ControllerStatus;
}

const workspaces: Workspace[] = [];
after(async () => {
  for (const workspace of workspaces) {
    await assertNothingLeft(workspace);
    workspace.remove();
  }
});

function workspaceWith(functions: readonly TestFunction[]): Workspace {
  // Whoever reads the results afterwards would rather wait.
  const workspace = createWorkspace(functions, ['queue_wait: 300']);
  workspaces.push(workspace);
  return workspace;
}

/** Functions of both languages in turn, one for each memory size given, in MB. */
function functionsOf(sizes: readonly number[]): TestFunction[] {
  return sizes.map((memory, i) => patient(`f${i}-${memory}`, i % 2 === 0 ? 'python3' : 'nodejs', { memory }));
}

/** @param gapMs longest time between two requests. */
function lines(count: number, functions: readonly TestFunction[], gapMs: number, failures: number): Line[] {
  const random = seeded(count);
  let time = 0;
  return Array.from({ length: count }, (_, i) => {
    time += Math.floor(random() * gapMs);
    const name = functions[Math.floor(random() * functions.length)]?.name ?? '';
    const payload = { id: `r${i}`, ms: Math.floor(random() * 30), fail: random() < failures };
    return { time, user_id: i % 7, function: name, payload };
  });
}

/**
 * After a load of which a slow machine refuses most: a request of a small function, two that find its VM (one of them
 * fails), and one of a function that needs all memory and so must evict.
 */
function calmEnd(after: number, small: string, whole: string): Line[] {
  const line = (delayMs: number, name: string, id: string, fail: boolean): Line => {
    return { time: after + delayMs, user_id: 0, function: name, payload: { id, ms: 1, fail } };
  };
  return [
    line(4000, small, 'calm-1', false),
    line(7000, small, 'calm-2', false),
    line(7500, small, 'calm-3', true),
    line(10_000, whole, 'calm-4', false),
  ];
}

async function runFile(
  workspace: Workspace,
  requests: readonly string[],
  options: { readonly vmm: TestVmm; readonly memoryMib: number },
): Promise<FileRun> {
  const file = join(workspace.directory, 'requests.jsonl');
  writeFileSync(file, `${requests.join('\n')}\n`);
  const finished = await run(
    SNAPCTR,
    [
      ...['--config', workspace.config, '--mem', String(options.memoryMib), '--requests_file', file],
      ...['--vmm', options.vmm, '--log-level', 'debug'],
    ],
    { workspace },
  );
  const { stdout, stderr } = finished;
  const results = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Result);
  return {
    exitStatus: finished.status,
    stderr,
    results: results.sort((a, b) => a.index - b.index),
    closing: loggedStatus(stderr, 'closing'),
    closed: loggedStatus(stderr, 'closed'),
  };
}

function loggedStatus(stderr: string, message: string): ControllerStatus {
  const line = stderr.split('\n').find((text) => text.includes(`"msg":"${message}"`));
  assert.ok(line !== undefined, stderr);
  return (JSON.parse(line) as { status: ControllerStatus }).status;
}

/** Each line has one result: its own. */
function assertAnswers(requests: readonly Line[], results: readonly Result[]): void {
  assert.equal(results.length, requests.length);
  for (const [i, result] of results.entries()) {
    const request = requests[i];
    assert.equal(result.index, i);
    assert.deepEqual(
      [result.time, result.user_id, result.function],
      [request?.time, request?.user_id, request?.function],
    );
    if (result.status === 'ok') assert.equal(result.response, request?.payload.id);
    else if (request?.payload.fail === true && result.start !== null)
      assert.equal(result.error?.message, request.payload.id);
    else assert.equal(result.error?.code, 'resource_exhausted', JSON.stringify(result));
  }
}

/**
 * The books agree with the answers: every VM is idle or was evicted, and had a first request, unless the one that it was
 * launched for found another VM that was free before.
 */
function assertBooks({ results, closing, closed }: FileRun): void {
  const { memory, counters, vms } = closing;
  const started = (start: StartKind): number => results.filter((result) => result.start === start).length;
  const answered = started('cold') + started('restored') + started('warm');
  assert.ok(counters.launches >= started('cold') + started('restored'));
  assert.ok(counters.reuses >= started('warm') && counters.launches + counters.reuses >= answered);
  assert.ok(counters.reuses <= answered);
  const launching = Object.entries(vms).reduce(
    (sum, [name, states]) => sum + (states.launching ?? 0) * Number(name.split('-')[1]),
    0,
  );
  assert.equal(memory.reserved_mib, memory.idle_mib + launching);
  assert.ok(memory.reserved_mib <= memory.total_mib);
  const idle = Object.entries(vms).flatMap(([name, states]) =>
    Array.from({ length: states.idle ?? 0 }, () => Number(name.split('-')[1])),
  );
  const alive = Object.values(vms).reduce((sum, { idle = 0, launching = 0 }) => sum + idle + launching, 0);
  assert.equal(counters.launches - counters.evictions, alive);
  assert.equal(
    idle.reduce((sum, mib) => sum + mib, 0),
    memory.idle_mib,
  );
  assert.deepEqual([closed.memory.reserved_mib, closed.memory.idle_mib, closed.vms], [0, 0, {}]);
}

describe('a request file', { timeout: 240_000 }, () => {
  test('with twelve functions in the memory of eight: all 200 requests are served, VMs are reused and evicted', async () => {
    const functions = functionsOf(Array.from({ length: 12 }, () => 128));
    const requests = lines(200, functions, 20, 0);
    const workspace = workspaceWith(functions);
    const file = await runFile(
      workspace,
      requests.map((line) => JSON.stringify(line)),
      { vmm: 'process', memoryMib: 1024 },
    );
    assertAnswers(requests, file.results);
    assertBooks(file);
    // One worker for each 128 MB, and no function needs more: no request can be without memory.
    assert.equal(file.exitStatus, 0, file.stderr);
    assert.match(file.stderr, /^200 requests in .* s: 200 ok, 0 failed$/m);
    assert.ok(file.closing.counters.evictions > 0 && file.closing.counters.reuses > 0);
  });

  test('with functions of all sizes: what has no room waits for it, what throws fails, the books are exact', async () => {
    const functions = functionsOf([128, 128, 128, 128, 256, 256, 256, 384, 384, 512, 512, 1024]);
    const load = lines(196, functions, 20, 0.1);
    const requests = [...load, ...calmEnd(load.at(-1)?.time ?? 0, 'f0-128', 'f11-1024')];
    const workspace = workspaceWith(functions);
    const file = await runFile(
      workspace,
      requests.map((line) => JSON.stringify(line)),
      { vmm: 'process', memoryMib: 1024 },
    );
    assertAnswers(requests, file.results);
    assertBooks(file);
    assert.equal(file.exitStatus, 1, file.stderr);
    const { evictions, reuses } = file.closing.counters;
    assert.ok(evictions > 0 && reuses > 0);
    assert.ok(file.results.some((result) => result.error?.code === 'function_error'));
  });

  test('bad lines are answered under their number and the rest is served, with exit status 1', async () => {
    const functions = functionsOf([128]);
    const workspace = workspaceWith(functions);
    const good = JSON.stringify(lines(1, functions, 1, 0)[0]);
    const requests = [good, '{', '', '{"function":"nobody","payload":1}', good];
    const file = await runFile(workspace, requests, { vmm: 'process', memoryMib: 256 });
    assert.deepEqual(
      file.results.map((result) => result.error?.code ?? result.start),
      ['cold', 'bad_request', 'bad_request', 'function_not_found', file.results[4]?.start],
    );
    assert.match(file.results[1]?.error?.message ?? '', /^line 2: /);
    assert.equal(file.exitStatus, 1);
  });

  test('with more functions than fit, in real VMs: all are served, VMs are reused and evicted', async () => {
    const functions = functionsOf([128, 128, 128, 128, 128]);
    const requests = lines(12, functions, 4000, 0);
    const workspace = workspaceWith(functions);
    const file = await runFile(
      workspace,
      requests.map((line) => JSON.stringify(line)),
      { vmm: 'qemu', memoryMib: 384 },
    );
    assertAnswers(requests, file.results);
    assertBooks(file);
    assert.equal(file.exitStatus, 0, file.stderr);
    assert.ok(file.closing.counters.evictions > 0);
  });
});
