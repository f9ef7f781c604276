import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Channel } from '../../src/controller/channel.ts';
import { HOST_CLOCK } from '../../src/controller/pool/clock.ts';
import { FairShare } from '../../src/controller/pool/fair-share.ts';
import { Ledger } from '../../src/controller/pool/ledger.ts';
import type { Vm } from '../../src/controller/pool/vm.ts';
import type { Lease } from '../../src/controller/pool/vm-pool.ts';
import type { Outcome } from '../../src/controller/task.ts';
import { startWorkers, type Job } from '../../src/controller/worker-pool.ts';
import { SnapfaasError } from '../../src/protocol/errors.ts';
import { functionConfig, patientClock, ScriptedGuests, TestPool } from '../support/scripted-guests.ts';

const never = new AbortController().signal;
const closing: (() => Promise<void>)[] = [];
after(async () => {
  for (const close of closing) await close();
});

interface Bench {
  readonly pool: TestPool;
  readonly guests: ScriptedGuests;
  readonly ledger: Ledger;
  call(name: string, event?: string): Promise<Outcome>;
}

/** Of those whose name begins with `shared` a VM takes three requests at once. */
function bench(memoryMib: number, ...names: readonly string[]): Bench {
  const guests = new ScriptedGuests();
  const ledger = new Ledger(memoryMib);
  const now = patientClock();
  const pool: TestPool = new TestPool({
    functions: names.map((name) =>
      functionConfig(name, name.startsWith('shared') ? { web: { port: 3000, maxConcurrency: 3 } } : {}),
    ),
    ledger,
    policy: new FairShare<Vm>(now),
    createVm: (fn, isAhead) => guests.createVm(fn, { onLost: (vm) => pool.onLost(vm) }, isAhead),
    startVm: (vm) => void guests.start(vm),
    onRoom: (use) => channel.serve(use),
    now,
  });
  const channel = new Channel<Job, Lease>({
    capacity: 100,
    maxWaitMs: 500,
    maxAgeMs: 300_000,
    flowOf: ({ use }) => use,
    grant: ({ fn }, waitedMs) => (fn === null ? null : pool.acquire(fn, waitedMs)),
    onDropped: () => undefined,
    clock: HOST_CLOCK,
  });
  const workers = startWorkers(memoryMib / 128, channel, pool, { onDone: () => undefined });
  closing.push(async () => {
    channel.close();
    await pool.close(new SnapfaasError('shutting_down', 'the test is over'));
    await workers.finished;
    guests.close();
  });
  const call = (name: string, event = '1'): Promise<Outcome> =>
    new Promise((reply) => {
      const request = { function: name, payload: Buffer.from(event) };
      const task = { id: 'id', request, signal: never, reply };
      const fn = pool.fn(name);
      channel.send({ task, use: fn.use, fn, signal: never, submittedAt: 0 });
    });
  return { pool, guests, ledger, call };
}

const starts = async (...calls: readonly Promise<Outcome>[]) => (await Promise.all(calls)).map(({ start }) => start);

test('workers: a request whose VM has ended before it began gets another one', async () => {
  const { call, guests, pool, ledger } = bench(1024, 'f');
  assert.deepEqual(await starts(call('f'), call('f')), ['cold', 'cold']);
  guests.endings = 2;
  assert.deepEqual(await starts(call('f')), ['cold']);
  assert.equal(pool.counters.launches, 3);
  assert.equal(ledger.reservedMib, 128);
  assert.deepEqual(await starts(call('f')), ['warm']);
});

test('workers: a VM that ends before its first request is not tried again', async () => {
  const { call, guests, pool } = bench(1024, 'f');
  guests.endings = 2;
  const outcome = await call('f');
  assert.ok(outcome.status === 'error');
  assert.equal(outcome.error.code, 'function_error');
  assert.match(outcome.error.message, /the runtime ended with signal 9 before it answered/);
  assert.equal(pool.counters.launches, 1);
});

test('workers: a request for which there is no room waits until there is', async () => {
  const { call, pool } = bench(256, 'a', 'b', 'c');
  assert.deepEqual(await starts(call('a'), call('b'), call('c'), call('a')), ['cold', 'cold', 'cold', 'cold']);
  assert.equal(pool.counters.evictions, 2);
});

test('workers: requests that share a VM may be more than there can be VMs, and one more waits for a slot', async () => {
  const { call, guests, pool } = bench(128, 'shared');
  const until = async (condition: () => boolean): Promise<void> => {
    const deadline = Date.now() + 10_000;
    while (!condition()) {
      assert.ok(Date.now() < deadline, String(condition));
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  for (let round = 0; round < 3; round += 1) {
    const all = Array.from({ length: 5 }, () => call('shared', '"hold"'));
    await until(() => guests.heldCount === 3);
    assert.equal(pool.fn('shared').use.inUse, 3);
    guests.release(1);
    await Promise.race(all);
    await until(() => guests.heldCount === 3);
    guests.release();
    await until(() => guests.heldCount === 1);
    guests.release();
    for (const { status } of await Promise.all(all)) assert.equal(status, 'ok');
  }
  assert.equal(pool.counters.launches, 1);
});

test('workers: what the runtime of a shared VM had not begun when it ended gets another one', async () => {
  const { call, guests, pool } = bench(1024, 'shared');
  assert.deepEqual(await starts(call('shared')), ['cold']);
  guests.endings = 1;
  assert.deepEqual(await starts(call('shared')), ['cold']);
  assert.equal(pool.counters.launches, 2);
});
