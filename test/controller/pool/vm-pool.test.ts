import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { createOrder } from '../../../src/controller/pool/eviction-orders.ts';
import { FairShare } from '../../../src/controller/pool/fair-share.ts';
import type { FunctionVms } from '../../../src/controller/pool/function-vms.ts';
import { Ledger } from '../../../src/controller/pool/ledger.ts';
import type { StartKind } from '../../../src/controller/task.ts';
import type { Vm } from '../../../src/controller/pool/vm.ts';
import { SnapfaasError } from '../../../src/protocol/errors.ts';
import type { FunctionVersion } from '../../../src/registry/function-version.ts';
import { functionConfig, patientClock, ScriptedGuests, TestPool, withVm } from '../../support/scripted-guests.ts';

const never = new AbortController().signal;

interface Bench {
  readonly pool: TestPool;
  readonly ledger: Ledger;
  readonly guests: ScriptedGuests;
  readonly policy: FairShare<Vm>;
  /** VMs that were taken for requests. */
  readonly taken: readonly Vm[];
  readonly drained: readonly FunctionVms[];
  call(name: string, event?: string, signal?: AbortSignal): Promise<StartKind>;
}

const open: Bench[] = [];
after(async () => {
  for (const bench of open) {
    await bench.pool.close(new SnapfaasError('shutting_down', 'the test is over'));
    bench.guests.close();
  }
});

function createPool(memoryMib: number, functions: readonly FunctionVersion[], taps = 0): Bench {
  const guests = new ScriptedGuests();
  const now = patientClock();
  const ledger = new Ledger(memoryMib, taps);
  const policy = new FairShare<Vm>(now, createOrder('lru'));
  const taken: Vm[] = [];
  const drained: FunctionVms[] = [];
  const pool: TestPool = new TestPool({
    functions,
    ledger,
    policy,
    createVm: (fn, isAhead) => guests.createVm(fn, { onLost: (vm) => pool.onLost(vm) }, isAhead),
    startVm: (vm) => void guests.start(vm),
    now,
    onTaken: (_fn, vm) => taken.push(vm),
    onDrained: (fn) => drained.push(fn),
  });
  const call = async (name: string, event = '1', signal = never): Promise<StartKind> => {
    return withVm(pool, pool.fn(name), signal, async (vm, start) => {
      const { result } = await vm.invoke('id', { payload: Buffer.from(event) }, signal);
      assert.equal(result.toString(), event);
      return start;
    });
  };
  const bench = { pool, ledger, guests, policy, taken, drained, call };
  open.push(bench);
  return bench;
}

const gate = (): { promise: Promise<void>; open: () => void } => {
  let open: () => void = () => undefined;
  const promise = new Promise<void>((resolve) => (open = resolve));
  return { promise, open };
};
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('VM pool: the first request of a function is a cold start, the next finds its VM', async () => {
  const { call, ledger } = createPool(1024, [functionConfig('f')]);
  assert.equal(await call('f'), 'cold');
  assert.equal(await call('f'), 'warm');
  assert.equal(ledger.reservedMib, 128);
});

test('VM pool: a busy VM is not given to a second request', async () => {
  const { call, ledger } = createPool(1024, [functionConfig('f')]);
  assert.deepEqual(await Promise.all([call('f'), call('f')]), ['cold', 'cold']);
  assert.equal(ledger.reservedMib, 256);
});

test('VM pool: a VM that breaks with its answer is not idle afterwards', async () => {
  const { call, pool, ledger, guests } = createPool(1024, [functionConfig('f')]);
  assert.equal(await call('f', '"answer twice"'), 'cold');
  assert.equal(ledger.reservedMib, 0);
  assert.equal(await call('f', '"answer twice"'), 'cold');
  while (guests.alive > 0) await turn();
  assert.deepEqual(Object.keys(pool.counts()), []);
});

test('VM pool: evicts the longest idle VMs of other functions, and no more than needed', async () => {
  const { call, pool, ledger } = createPool(384, [
    ...['a', 'b', 'c'].map((name) => functionConfig(name)),
    functionConfig('big', { memoryMib: 256 }),
  ]);
  for (const name of ['a', 'b', 'c', 'a']) await call(name);
  assert.equal(await call('big'), 'cold');
  assert.deepEqual(Object.keys(pool.counts()).sort(), ['a', 'big']);
  assert.equal(pool.counters.evictions, 2);
  assert.equal(ledger.reservedMib, 384);
});

test('VM pool: evicts nobody when it would not be enough, and fails at once', async () => {
  const { call, pool } = createPool(256, [
    functionConfig('a'),
    functionConfig('b'),
    functionConfig('big', { memoryMib: 256 }),
  ]);
  await call('a');
  const hang = new AbortController();
  const busy = call('b', '"hang"', hang.signal).catch((error: unknown) => error);
  await turn();
  await assert.rejects(call('big'), { code: 'resource_exhausted' });
  assert.equal(pool.counters.evictions, 0);
  hang.abort();
  assert.ok((await busy) instanceof SnapfaasError);
});

test('VM pool: a function with a network takes the tap of the longest idle VM that has one', async () => {
  const { call, pool } = createPool(
    1024,
    [functionConfig('plain'), ...['a', 'b', 'c'].map((name) => functionConfig(name, { network: true }))],
    2,
  );
  for (const name of ['plain', 'a', 'b', 'c']) await call(name);
  assert.deepEqual(Object.keys(pool.counts()).sort(), ['b', 'c', 'plain']);
  assert.equal(pool.counters.evictions, 1);
  assert.equal(await call('c'), 'warm');
});

test('VM pool: a tap and memory may come from different VMs', async () => {
  const { call, pool, ledger } = createPool(
    512,
    [
      functionConfig('plain'),
      functionConfig('other'),
      functionConfig('net', { network: true }),
      functionConfig('big', { network: true, memoryMib: 384 }),
    ],
    1,
  );
  for (const name of ['plain', 'net', 'other']) await call(name);
  assert.equal(await call('big'), 'cold');
  assert.deepEqual(Object.keys(pool.counts()).sort(), ['big', 'other']);
  assert.equal(ledger.reservedMib, 512);
});

test('VM pool: without a tap that an idle VM could give up, nobody is evicted', async () => {
  const networked = ['net', 'other'].map((name) => functionConfig(name, { network: true }));
  const { call, pool } = createPool(1024, [functionConfig('plain'), ...networked], 1);
  await call('plain');
  const hang = new AbortController();
  const busy = call('other', '"hang"', hang.signal).catch((error: unknown) => error);
  while (pool.launching > 0) await turn();
  await assert.rejects(call('net'), { code: 'resource_exhausted', message: /the only tap is in use/ });
  assert.equal(pool.counters.evictions, 0);
  assert.equal(await pool.launchAhead(pool.fn('net')), null);
  hang.abort();
  assert.ok((await busy) instanceof SnapfaasError);
  // The killed VM gives its tap back.
  assert.equal(await call('net'), 'cold');
});

test('VM pool: a new VM waits until the process of an evicted one has ended', async () => {
  const { call, guests } = createPool(128, [functionConfig('a'), functionConfig('b')]);
  await call('a');
  const ended = gate();
  guests.exitGate = ended.promise;
  const second = call('b');
  for (let i = 0; i < 5; i += 1) await turn();
  assert.equal(guests.mostAlive, 1);
  ended.open();
  assert.equal(await second, 'cold');
  assert.equal(guests.mostAlive, 1);
});

test('VM pool: the concurrency limit of a function is held', async () => {
  const { call } = createPool(1024, [functionConfig('f', { concurrencyLimit: 1 })]);
  const [first, second] = await Promise.allSettled([call('f'), call('f')]);
  assert.equal(first.status, 'fulfilled');
  assert.equal(second.status === 'rejected' && (second.reason as SnapfaasError).code, 'resource_exhausted');
  assert.equal(await call('f'), 'warm');
});

test("VM pool: a VM survives the function's own failure", async () => {
  const { call } = createPool(1024, [functionConfig('f')]);
  await assert.rejects(call('f', '"fail"'), { code: 'function_error', message: 'as asked' });
  assert.equal(await call('f'), 'warm');
});

for (const event of ['"garbage"', '"not json"']) {
  test(`VM pool: a VM that answers ${event} is killed and its memory given back`, async () => {
    const { call, ledger, pool } = createPool(128, [functionConfig('f')]);
    await assert.rejects(call('f', event), { code: 'vm_lost' });
    assert.equal(ledger.reservedMib, 0);
    assert.equal(await call('f'), 'cold');
    assert.equal(pool.counters.launches, 2);
  });
}

test('VM pool: a VM whose runtime is about to end gets no further request, and time to end', async () => {
  const { call, guests, ledger, pool, taken } = createPool(256, [functionConfig('f')]);
  await assert.rejects(call('f', '"fail and exit"'), { code: 'function_error', message: 'as asked' });
  assert.equal(ledger.reservedMib, 0);
  assert.equal(guests.alive, 1, 'it was killed before it had ended');
  taken[0]?.onRuntimeExited('the runtime ended with exit status 1', { status: 1 });
  await taken[0]?.gone;
  assert.equal(guests.alive, 0);
  assert.equal(await call('f'), 'cold');
  assert.equal(pool.counters.launches, 2);
});

test('VM pool: a function over its timeout loses its VM', async () => {
  const { call, ledger } = createPool(128, [functionConfig('f', { timeoutMs: 20 })]);
  await assert.rejects(call('f', '"hang"'), { code: 'function_timeout' });
  assert.equal(ledger.reservedMib, 0);
});

test('VM pool: a client that hangs up frees the VM', async () => {
  const { call, ledger } = createPool(128, [functionConfig('f')]);
  const client = new AbortController();
  const running = call('f', '"hang"', client.signal);
  await turn();
  client.abort();
  await assert.rejects(running);
  assert.equal(ledger.reservedMib, 0);
});

test('VM pool: a VM whose client hung up during the launch serves the next request', async () => {
  const { call, guests, policy } = createPool(128, [functionConfig('f')]);
  const launch = gate();
  guests.launchGate = launch.promise;
  const client = new AbortController();
  const gone = call('f', '1', client.signal);
  await turn();
  client.abort();
  await assert.rejects(gone);
  launch.open();
  while (policy.idleMib === 0) await turn();
  assert.equal(await call('f'), 'cold', 'nobody has used it yet');
  assert.equal(await call('f'), 'warm');
});

test('VM pool: a launch whose client hung up is taken over by the next request', async () => {
  const { call, guests, pool } = createPool(128, [functionConfig('f', { concurrencyLimit: 1 })]);
  const launch = gate();
  guests.launchGate = launch.promise;
  const client = new AbortController();
  const gone = call('f', '1', client.signal);
  await turn();
  client.abort();
  await assert.rejects(gone);
  const next = call('f');
  await assert.rejects(call('f'), { code: 'resource_exhausted' });
  launch.open();
  assert.equal(await next, 'cold');
  assert.equal(await call('f'), 'warm');
  assert.equal(pool.counters.launches, 1);
});

test('VM pool: a failed launch gives its memory back and tells why', async () => {
  const { call, guests, ledger } = createPool(128, [functionConfig('f')]);
  guests.launchFailure = 'no kernel';
  await assert.rejects(call('f'), { code: 'vm_launch_failed', message: 'no kernel' });
  guests.launchFailure = null;
  assert.equal(ledger.reservedMib, 0);
  assert.equal(await call('f'), 'cold');
});

test('VM pool: an idle VM that dies is forgotten', async () => {
  const { call, guests, ledger, policy, pool } = createPool(128, [functionConfig('f')]);
  const vm = await withVm(pool, pool.fn('f'), never, (taken) => Promise.resolve(taken));
  await guests.end(vm, 'killed from outside');
  while (ledger.dyingMib > 0) await turn();
  assert.equal(ledger.reservedMib, 0);
  assert.equal(policy.idleMib, 0);
  assert.equal(await call('f'), 'cold');
});

test('VM pool: of an idle VM that dies the log tells, of one that is evicted it does not', async () => {
  const { guests, pool, call, ledger } = createPool(
    256,
    ['f', 'g', 'h'].map((name) => functionConfig(name)),
  );
  const warnings: unknown[] = [];
  guests.logger = Object.assign(Object.create(guests.logger) as typeof guests.logger, {
    warn: (fields: unknown, text: unknown) => void warnings.push([fields, text]),
  });
  const vm = await withVm(pool, pool.fn('f'), never, (taken) => Promise.resolve(taken));
  await guests.end(vm, 'firecracker was killed by SIGKILL');
  while (ledger.dyingMib > 0) await turn();
  assert.equal(warnings.length, 1);
  const [[fields, text]] = warnings as [[{ vm: string; function: string; reason: string }, string]];
  assert.equal(text, 'idle VM lost');
  assert.deepEqual([fields.vm, fields.function], [vm.id, 'f']);
  assert.match(fields.reason, /killed by SIGKILL|closed by the guest/);
  for (const name of ['f', 'g', 'h']) await call(name);
  assert.equal(warnings.length, 1);
});

test('VM pool: a request waits for its function’s own VM first, and says so, before it evicts another one', async () => {
  const { call, pool } = createPool(256, [functionConfig('own'), functionConfig('other')]);
  await call('other');
  const own = pool.fn('own');
  const running = call('own', '"hang"');
  running.catch(() => undefined);
  await turn();
  assert.equal(pool.acquire(own, 0), null);
  assert.equal(own.lacking, 'own_vm');
  assert.equal(pool.counters.evictions, 0);
  const lease = pool.acquire(own, 250);
  assert.ok(lease !== null);
  assert.deepEqual(
    lease.cause?.evicted.map((vm) => vm.function),
    ['other'],
  );
  await pool.use(lease, never, () => Promise.resolve());
  // What has no VM evicts at once.
  assert.notEqual(pool.acquire(pool.fn('other'), 0), null);
});

test('VM pool: closing kills every VM, and what runs is told so', async () => {
  const { call, guests, ledger, pool } = createPool(512, [functionConfig('f')]);
  await call('f');
  const running = call('f', '"hang"');
  running.catch(() => undefined);
  await turn();
  await pool.close(new SnapfaasError('shutting_down', 'closing'));
  await assert.rejects(running, { code: 'shutting_down' });
  assert.equal(pool.acquire(pool.fn('f'), 0), null);
  assert.equal(guests.alive, 0);
  assert.equal(ledger.reservedMib + ledger.dyingMib, 0);
});

test('VM pool: a VM launched ahead has rehearsed, is idle, and its first request tells how it was launched', async () => {
  const { call, guests, ledger, policy, pool, taken } = createPool(512, [functionConfig('f')]);
  guests.launchKind = 'restored';
  const vm = await pool.launchAhead(pool.fn('f'));
  assert.ok(vm !== null);
  assert.deepEqual([vm.state, vm.isUnused, guests.rehearsals], ['idle', true, 3]);
  assert.deepEqual([ledger.reservedMib, policy.idleMib, pool.fn('f').use.inUse], [128, 128, 0]);
  assert.equal(vm.launchMs, 0, 'no request waited for it');
  assert.deepEqual([await call('f'), await call('f')], ['restored', 'warm']);
  assert.deepEqual(taken, [vm, vm]);
  assert.deepEqual(pool.counters, { launches: 1, evictions: 0, reuses: 2 });
});

test('VM pool: only VMs that are launched ahead rehearse', async () => {
  const { call, guests } = createPool(128, [functionConfig('f')]);
  await call('f');
  assert.equal(guests.rehearsals, 0);
});

test('VM pool: a launch ahead is taken over by a request that comes meanwhile', async () => {
  const { call, guests, pool, taken } = createPool(512, [functionConfig('f')]);
  guests.launchKind = 'restored';
  const launch = gate();
  guests.launchGate = launch.promise;
  const ahead = pool.launchAhead(pool.fn('f'));
  const request = call('f');
  await turn();
  assert.deepEqual([pool.fn('f').unclaimed.size, pool.fn('f').use.inUse, pool.launching], [0, 1, 0]);
  launch.open();
  assert.equal(await request, 'restored');
  assert.deepEqual(taken, [await ahead]);
  assert.equal(pool.counters.launches, 1);
  assert.equal(pool.fn('f').use.inUse, 0);
});

test('VM pool: a launch ahead that waits for memory to be free can be taken over already', async () => {
  const { call, guests, pool } = createPool(128, [functionConfig('a'), functionConfig('b')]);
  await call('a');
  const ended = gate();
  guests.exitGate = ended.promise;
  await assert.rejects(call('a', '"garbage"'));
  const ahead = pool.launchAhead(pool.fn('b'));
  const request = call('b');
  await turn();
  assert.equal(guests.alive, 1, 'the process of the VM before has not ended');
  ended.open();
  assert.equal(await request, 'cold');
  assert.ok((await ahead) !== null);
  assert.deepEqual([pool.counters.launches, guests.mostAlive], [2, 1]);
});

test('VM pool: a request that hangs up leaves a launch ahead to the next one', async () => {
  const { call, guests, pool } = createPool(512, [functionConfig('f')]);
  const launch = gate();
  guests.launchGate = launch.promise;
  const ahead = pool.launchAhead(pool.fn('f'));
  const client = new AbortController();
  const gone = call('f', '1', client.signal);
  await turn();
  client.abort();
  await assert.rejects(gone);
  launch.open();
  assert.equal((await ahead)?.state, 'idle');
  assert.equal(await call('f'), 'cold', 'nobody has used it yet');
  assert.equal(pool.counters.launches, 1);
});

test('VM pool: nothing is launched ahead without free memory, and nobody is evicted for it', async () => {
  const { call, pool, policy } = createPool(256, [functionConfig('a'), functionConfig('big', { memoryMib: 256 })]);
  await call('a');
  assert.equal(await pool.launchAhead(pool.fn('big')), null);
  assert.deepEqual(pool.counters, { launches: 1, evictions: 0, reuses: 0 });
  assert.equal(policy.idleMib, 128);
});

test('VM pool: nothing is launched ahead for a function that runs at its limit already', async () => {
  const { call, pool, taken } = createPool(512, [functionConfig('f', { concurrencyLimit: 1 })]);
  const client = new AbortController();
  const running = call('f', '"hang"', client.signal);
  while (taken.length === 0) await turn();
  assert.equal(await pool.launchAhead(pool.fn('f')), null);
  await assert.rejects(call('f'), { code: 'resource_exhausted' });
  client.abort();
  await assert.rejects(running);
  assert.ok((await pool.launchAhead(pool.fn('f'))) !== null);
  assert.equal(await call('f'), 'cold');
});

test('VM pool: a launch ahead that fails tells why and gives its memory back', async () => {
  const { guests, ledger, pool } = createPool(128, [functionConfig('f')]);
  guests.launchFailure = 'no kernel';
  await assert.rejects(pool.launchAhead(pool.fn('f')), { code: 'vm_launch_failed', message: 'no kernel' });
  assert.deepEqual([ledger.reservedMib, ledger.dyingMib, pool.fn('f').use.inUse], [0, 0, 0]);
});

test('VM pool: only an idle VM can be dismissed', async () => {
  const { call, ledger, pool, policy, taken } = createPool(512, [functionConfig('f')]);
  const client = new AbortController();
  const running = call('f', '"hang"', client.signal);
  while (taken.length === 0) await turn();
  const [busy] = taken;
  assert.ok(busy !== undefined);
  pool.dismiss(busy);
  assert.deepEqual([busy.state, pool.counters.evictions], ['busy', 0]);
  client.abort();
  await assert.rejects(running);
  const idle = await pool.launchAhead(pool.fn('f'));
  assert.ok(idle !== null);
  pool.dismiss(idle);
  pool.dismiss(idle);
  assert.equal(idle.state, 'dead');
  assert.deepEqual([ledger.reservedMib, policy.idleMib, pool.counters.evictions], [0, 0, 1]);
  while (ledger.dyingMib > 0) await turn();
  assert.equal(await call('f'), 'cold');
});

test('VM pool: closing ends launches ahead too', async () => {
  const { guests, ledger, pool } = createPool(512, [functionConfig('f')]);
  const idle = await pool.launchAhead(pool.fn('f'));
  const launch = gate();
  guests.launchGate = launch.promise;
  const ahead = pool.launchAhead(pool.fn('f'));
  await turn();
  const closed = pool.close(new SnapfaasError('shutting_down', 'closing'));
  await assert.rejects(ahead, { code: 'shutting_down' });
  launch.open();
  await closed;
  assert.equal(idle?.state, 'dead');
  assert.equal(await pool.launchAhead(pool.fn('f')), null);
  assert.deepEqual([ledger.reservedMib, ledger.dyingMib, guests.alive], [0, 0, 0]);
});

test('VM pool: a VM whose runtime ends while it rehearses is given up', async () => {
  const { guests, ledger, pool } = createPool(128, [functionConfig('f')]);
  guests.answersRehearsals = false;
  const ahead = pool.launchAhead(pool.fn('f'));
  const [vm] = pool.fn('f').unclaimed;
  while (guests.rehearsals === 0) await turn();
  vm?.onRuntimeExited('the runtime ended with signal 9', { signal: 9 });
  await assert.rejects(ahead, { code: 'vm_launch_failed', message: 'the runtime ended with signal 9' });
  while (ledger.dyingMib > 0) await turn();
  assert.deepEqual([ledger.reservedMib, guests.alive], [0, 0]);
});

test('VM pool: a VM that does not answer while it rehearses is given up after a while', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { call, guests, ledger, pool } = createPool(128, [functionConfig('f', { concurrencyLimit: 1 })]);
  guests.answersRehearsals = false;
  const ahead = pool.launchAhead(pool.fn('f'));
  const request = call('f');
  while (guests.rehearsals === 0) await turn();
  t.mock.timers.tick(10_000);
  const why = { code: 'vm_lost', message: 'the VM of f was lost: it did not rehearse within 10 s' };
  await Promise.all([assert.rejects(ahead, why), assert.rejects(request, why)]);
  while (ledger.dyingMib > 0) await turn();
  assert.deepEqual([ledger.reservedMib, guests.alive, pool.fn('f').use.inUse], [0, 0, 0]);
});

test('VM pool: a VM that was paused while it was idle runs again for its next request', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const { call, pool, taken } = createPool(128, [functionConfig('f')]);
  pool.pauseIdleVms();
  await call('f');
  const [vm] = taken;
  assert.ok(vm !== undefined);
  const pause = t.mock.method(vm, 'pause');
  const resume = t.mock.method(vm, 'resume');
  t.mock.timers.tick(1000);
  assert.deepEqual([pause.mock.callCount(), resume.mock.callCount()], [1, 0]);
  assert.equal(await call('f'), 'warm');
  assert.deepEqual([pause.mock.callCount(), resume.mock.callCount()], [1, 1]);
});

test('VM pool: a version that is retired ends its idle VMs, and those that nobody waits for', async () => {
  const { call, guests, ledger, pool, drained } = createPool(1024, [functionConfig('f')]);
  await Promise.all([call('f'), call('f')]);
  const before = pool.fn('f');
  const opened = gate();
  guests.launchGate = opened.promise;
  const ahead = pool.launchAhead(before);
  assert.equal(pool.replace('f').hasIdle, false);
  opened.open();
  assert.equal((await ahead.catch((error: unknown) => error)) instanceof SnapfaasError, true);
  while (ledger.dyingMib > 0) await turn();
  assert.deepEqual([ledger.reservedMib, guests.alive, pool.find(before.config), drained], [0, 0, undefined, [before]]);
  assert.equal(await call('f'), 'cold');
});

test('VM pool: a request that has a VM of a retired version, or waits for its launch, finishes on it', async () => {
  const { call, guests, ledger, pool, drained } = createPool(1024, [functionConfig('f')]);
  const before = pool.fn('f');
  const opened = gate();
  guests.launchGate = opened.promise;
  const waits = call('f');
  guests.launchGate = Promise.resolve();
  const used = gate();
  const runs = withVm(pool, before, never, async (vm) => {
    await used.promise;
    return vm.fn;
  });
  await turn();
  pool.replace('f');
  assert.equal(pool.acquire(before, Infinity), null);
  assert.equal(await pool.launchAhead(before), null);
  opened.open();
  used.open();
  assert.equal(await waits, 'cold');
  assert.equal(await runs, before);
  while (ledger.dyingMib > 0) await turn();
  assert.deepEqual([ledger.reservedMib, guests.alive, drained], [0, 0, [before]]);
});

test('VM pool: all versions of a function share its limit', async () => {
  const { call, pool } = createPool(1024, [functionConfig('f', { concurrencyLimit: 1 })]);
  const used = gate();
  const runs = withVm(pool, pool.fn('f'), never, () => used.promise);
  pool.replace('f');
  await assert.rejects(call('f'), { code: 'resource_exhausted' });
  used.open();
  await runs;
  assert.equal(await call('f'), 'cold');
});

test('VM pool: under any load the memory books stay within the total and end exact', async () => {
  const names = ['a', 'b', 'c', 'big', 'limited'];
  const events = ['1', '1', '1', 'ahead', 'replace', '"fail"', '"fail and exit"', '"garbage"', '"hang"'];
  const loads = fc.array(fc.tuple(fc.constantFrom(...names), fc.constantFrom(...events), fc.nat({ max: 3 })), {
    maxLength: 40,
  });
  await fc.assert(
    fc.asyncProperty(loads, async (load) => {
      const retired = new Set<FunctionVms>();
      const { call, guests, ledger, policy, pool, drained } = createPool(640, [
        ...['a', 'b', 'c'].map((name) => functionConfig(name, { timeoutMs: 30 })),
        functionConfig('big', { memoryMib: 384, timeoutMs: 30 }),
        functionConfig('limited', { concurrencyLimit: 2, timeoutMs: 30 }),
      ]);
      const settled: Promise<unknown>[] = [];
      for (const [name, event, pause] of load) {
        if (event === 'replace') {
          retired.add(pool.fn(name));
          pool.replace(name);
          continue;
        }
        const work = event === 'ahead' ? pool.launchAhead(pool.fn(name)) : call(name, event);
        settled.push(work.catch((error: unknown) => assert.ok(error instanceof SnapfaasError)));
        for (let i = 0; i < pause; i += 1) await turn();
        assert.ok(ledger.reservedMib <= 640 && ledger.freeMib >= 0);
        assert.ok(pool.fn('limited').use.inUse <= 2);
      }
      await Promise.all(settled);
      while (ledger.dyingMib > 0) await turn();
      assert.equal(ledger.reservedMib, policy.idleMib);
      assert.deepEqual([new Set(drained), drained.length], [retired, retired.size]);
      assert.equal(
        guests.alive,
        Object.values(pool.counts()).reduce((sum, states) => sum + (states.idle ?? 0), 0),
      );
      await pool.close(new SnapfaasError('shutting_down', 'closing'));
      assert.deepEqual([ledger.reservedMib, ledger.dyingMib, policy.idleMib, guests.alive], [0, 0, 0, 0]);
    }),
    { numRuns: 30 },
  );
});
