import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Channel } from '../../../src/controller/channel.ts';
import { HOST_CLOCK } from '../../../src/controller/pool/clock.ts';
import { FairShare } from '../../../src/controller/pool/fair-share.ts';
import { Ledger } from '../../../src/controller/pool/ledger.ts';
import type { Vm } from '../../../src/controller/pool/vm.ts';
import type { Lease } from '../../../src/controller/pool/vm-pool.ts';
import { ofDone, ofRefused, type InvocationSummary } from '../../../src/controller/telemetry/invocation-summary.ts';
import { QueueWait } from '../../../src/controller/waits.ts';
import { startWorkers, type Job } from '../../../src/controller/worker-pool.ts';
import { SnapfaasError } from '../../../src/protocol/errors.ts';
import { functionConfig, patientClock, ScriptedGuests, TestPool } from '../../support/scripted-guests.ts';

const never = new AbortController().signal;
const closing: (() => Promise<void>)[] = [];
after(async () => {
  for (const close of closing) await close();
});

/** Functions on real workers and guests that are scripted; each call gives what is kept of it. */
function bench(memoryMib: number, ...names: readonly string[]) {
  const guests = new ScriptedGuests();
  const now = patientClock();
  const pool: TestPool = new TestPool({
    functions: names.map((name) => functionConfig(name)),
    ledger: new Ledger(memoryMib),
    policy: new FairShare<Vm>(now),
    createVm: (fn, isAhead) => guests.createVm(fn, { onLost: (vm) => pool.onLost(vm) }, isAhead),
    startVm: (vm) => void guests.start(vm),
    onRoom: (vm) => channel.serve(vm.fn.use),
    whyNotAhead: () => 'off',
    now,
  });
  const channel = new Channel<Job, Lease>({
    capacity: 100,
    maxWaitMs: 500,
    maxAgeMs: 300_000,
    flowOf: ({ use }) => use,
    grant: (job, waitedMs) => {
      const lease = job.fn === null ? null : pool.acquire(job.fn, waitedMs);
      if (lease !== null || job.fn === null) return lease;
      job.wait ??= new QueueWait(job.submittedAt);
      job.wait.lacked(job.fn.lacking, performance.now());
      return null;
    },
    onDropped: () => undefined,
    clock: HOST_CLOCK,
  });
  const told = new Map<string, (summary: InvocationSummary) => void>();
  const workers = startWorkers(8, channel, pool, {
    onDone: (done) => told.get(done.job.task.id)?.(ofDone(done)),
  });
  closing.push(async () => {
    channel.close();
    await pool.close(new SnapfaasError('shutting_down', 'the test is over'));
    await workers.finished;
    guests.close();
  });
  let count = 0;
  const call = (name: string, event = '1'): Promise<InvocationSummary> =>
    new Promise((resolve) => {
      const id = `request-${(count += 1)}`;
      told.set(id, resolve);
      const task = {
        id,
        request: { function: name, payload: Buffer.from(event) },
        signal: never,
        reply: () => undefined,
      };
      const fn = pool.fn(name);
      channel.send({ task, use: fn.use, fn, signal: never, submittedAt: performance.now() });
    });
  return { call, pool };
}

test('summary: a first start has its launch, a warm request nothing but its times', async () => {
  const { call } = bench(1024, 'f');
  const cold = await call('f');
  assert.equal(cold.outcome, 'ok');
  assert.equal(cold.start, 'cold');
  assert.equal(cold.launch?.timings?.kind, 'cold');
  assert.deepEqual(cold.launch.cause, { busyVms: 0, lastEnd: null, notAhead: 'off', evicted: [] });
  assert.ok(cold.endedAt - cold.submittedAt >= cold.queueMs + cold.launch.waitMs + cold.durationMs - 1);
  const warm = await call('f');
  assert.deepEqual([warm.start, warm.launch, warm.waits, warm.wakeMs], ['warm', null, null, null]);
  assert.equal(warm.vm, cold.vm);
  assert.ok(warm.durationMs > 0 && Math.abs(warm.submittedAt - Date.now()) < 60_000);
});

test('summary: names the VMs that were evicted for it, and by whom its own was', async () => {
  const { call } = bench(128, 'f', 'g');
  const first = await call('f');
  const second = await call('g');
  assert.deepEqual(second.launch?.cause?.evicted, [{ vm: first.vm, function: 'f', version: '$LATEST' }]);
  const third = await call('f');
  const { lastEnd } = third.launch?.cause ?? {};
  assert.deepEqual([lastEnd?.reason, lastEnd?.isEvicted], ['g', true]);
});

test('summary: tells what a request waited for', async () => {
  const { call } = bench(128, 'f', 'g');
  await call('f');
  const [busy, waiting] = await Promise.all([call('f', '{"sleep": 80}'), call('g')]);
  assert.equal(busy.outcome, 'ok');
  assert.ok((waiting.waits?.memory ?? 0) > 0, JSON.stringify(waiting));
  const sum = Object.values(waiting.waits ?? {}).reduce((all, ms) => all + ms, 0);
  assert.ok(Math.abs(sum - waiting.queueMs) < 5, JSON.stringify(waiting));
});

test('summary: of what a client sends only the first characters are kept', () => {
  const request = { function: 'n'.repeat(100_000), payload: Buffer.alloc(0) };
  const task = { id: 'id', request, signal: never, reply: () => undefined };
  const { function: name, message } = ofRefused(task, new SnapfaasError('function_not_found', 'm'.repeat(100_000)));
  assert.deepEqual([name.length, message?.length], [141, 501]);
});
