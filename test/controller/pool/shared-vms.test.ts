/** VMs that several requests share: who gets a slot, and what becomes of the others when one of them goes wrong. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { createOrder } from '../../../src/controller/pool/eviction-orders.ts';
import { FairShare } from '../../../src/controller/pool/fair-share.ts';
import { Ledger } from '../../../src/controller/pool/ledger.ts';
import type { Vm } from '../../../src/controller/pool/vm.ts';
import type { StartKind } from '../../../src/controller/task.ts';
import { SnapfaasError } from '../../../src/protocol/errors.ts';
import { NotBegunError } from '../../../src/protocol/invoker.ts';
import type { FunctionVersion } from '../../../src/registry/function-version.ts';
import { functionConfig, patientClock, ScriptedGuests, TestPool, withVm } from '../../support/scripted-guests.ts';

const never = new AbortController().signal;
const SLOTS = 3;

interface Bench {
  readonly pool: TestPool;
  readonly ledger: Ledger;
  readonly guests: ScriptedGuests;
  /** VMs in the order of the requests that got them. */
  readonly used: readonly Vm[];
  /** The most requests that one VM had at once. */
  readonly mostAtOnce: () => number;
  /** How often there was room for another request. */
  readonly rooms: () => number;
  call(event?: string, options?: { signal?: AbortSignal; name?: string; tenant?: string }): Promise<StartKind>;
}

const open: Bench[] = [];
after(async () => {
  for (const bench of open) {
    await bench.pool.close(new SnapfaasError('shutting_down', 'the test is over'));
    bench.guests.close();
  }
});

/** A function `f` of which a VM takes three requests at once, and `other`, of which one takes one. */
function createPool(memoryMib: number, keys: Partial<FunctionVersion> = {}): Bench {
  const guests = new ScriptedGuests();
  const now = patientClock();
  const ledger = new Ledger(memoryMib);
  const used: Vm[] = [];
  const running = new Map<Vm, number>();
  let most = 0;
  let rooms = 0;
  const pool: TestPool = new TestPool({
    functions: [functionConfig('f', { web: { port: 3000, maxConcurrency: SLOTS }, ...keys }), functionConfig('other')],
    ledger,
    policy: new FairShare<Vm>(now, createOrder('lru')),
    createVm: (fn, isAhead) => guests.createVm(fn, { onLost: (vm) => pool.onLost(vm) }, isAhead),
    startVm: (vm) => void guests.start(vm),
    onRoom: () => (rooms += 1),
    now,
  });
  let requests = 0;
  const call: Bench['call'] = async (event = '1', { signal = never, name = 'f', tenant } = {}) => {
    const id = `request-${(requests += 1)}`;
    const use = async (vm: Vm, start: StartKind): Promise<StartKind> => {
      used.push(vm);
      running.set(vm, (running.get(vm) ?? 0) + 1);
      most = Math.max(most, running.get(vm) ?? 0);
      try {
        await vm.invoke(id, { payload: Buffer.from(event) }, signal);
        return start;
      } finally {
        running.set(vm, (running.get(vm) ?? 0) - 1);
      }
    };
    return withVm(pool, pool.fn(name), signal, use, tenant ?? null);
  };
  const bench = { pool, ledger, guests, used, mostAtOnce: () => most, rooms: () => rooms, call };
  open.push(bench);
  return bench;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!condition()) {
    assert.ok(Date.now() < deadline, String(condition));
    await turn();
  }
}

const many = (count: number, call: () => Promise<StartKind>): Promise<readonly StartKind[]> =>
  Promise.all(Array.from({ length: count }, call));

test('shared VMs: as many requests as there are slots wait for one launch, and one more has another', async () => {
  const { call, pool, guests, used } = createPool(1024);
  const all = many(SLOTS + 1, () => call('"hold"'));
  await until(() => guests.heldCount === SLOTS + 1);
  assert.deepEqual([pool.counters.launches, new Set(used).size], [2, 2]);
  assert.deepEqual(pool.counts()['f'], { busy: 2 });
  assert.equal(pool.fn('f').use.inUse, SLOTS + 1);
  guests.release();
  // Each of them has waited for the launch.
  assert.deepEqual(new Set(await all), new Set(['cold']));
  assert.deepEqual(pool.counts()['f'], { idle: 2 });
  assert.deepEqual(await many(SLOTS, () => call()), ['warm', 'warm', 'warm']);
  assert.deepEqual([pool.counters.launches, pool.fn('f').use.inUse], [2, 0]);
});

test('shared VMs: one that is busy is filled up before an idle one is taken', async () => {
  const { call, pool, guests, used } = createPool(1024);
  const both = many(SLOTS + 1, () => call('"hold"'));
  await until(() => guests.heldCount === SLOTS + 1);
  guests.release();
  await both;
  const held = call('"hold"');
  await until(() => guests.heldCount === 1);
  const busy = used.at(-1);
  for (let round = 0; round < 5; round += 1) {
    await many(SLOTS - 1, () => call());
    assert.deepEqual(new Set(used.slice(1 - SLOTS)), new Set([busy]));
  }
  assert.deepEqual(pool.counts()['f'], { busy: 1, idle: 1 });
  guests.release();
  await held;
});

test('shared VMs: a request gets the slot that is free first, not the launch that it waits for', async () => {
  const { call, pool, guests, used } = createPool(1024);
  const first = many(SLOTS, () => call('"hold"'));
  await until(() => guests.heldCount === SLOTS);
  let openGate: () => void = () => undefined;
  guests.launchGate = new Promise((resolve) => (openGate = resolve));
  const next = call();
  await turn();
  assert.equal(pool.counters.launches, 2);
  guests.release(1);
  assert.equal(await next, 'warm');
  assert.equal(new Set(used).size, 1);
  // The launch is for whoever comes next, who has to wait for nobody.
  guests.release();
  await first;
  openGate();
  await until(() => pool.counts()['f']?.idle === 2);
  assert.equal(pool.fn('f').use.inUse, 0);
});

test('shared VMs: there is room as soon as a slot is free, and none before', async () => {
  const { call, pool, guests, rooms } = createPool(128);
  const all = many(SLOTS, () => call('"hold"'));
  await until(() => guests.heldCount === SLOTS);
  assert.equal(pool.acquire(pool.fn('f'), 0), null);
  const before = rooms();
  guests.release(1);
  await until(() => rooms() > before);
  const lease = pool.acquire(pool.fn('f'), 0);
  assert.ok(lease !== null);
  assert.equal(pool.acquire(pool.fn('f'), 0), null);
  await pool.use(lease, never, (vm) => Promise.resolve(assert.equal(vm.taken, SLOTS)));
  guests.release();
  await all;
});

test('shared VMs: a concurrency limit counts requests', async () => {
  const { call, pool, guests } = createPool(1024, { concurrencyLimit: 2 });
  await call();
  const both = many(2, () => call('"hold"'));
  await until(() => guests.heldCount === 2);
  await assert.rejects(call(), { code: 'resource_exhausted' });
  assert.equal(pool.acquire(pool.fn('f'), 0), null);
  assert.equal(pool.counters.launches, 1);
  guests.release();
  await both;
  assert.equal(await call(), 'warm');
});

test('shared VMs: none is evicted that has a request, and it is when it has none', async () => {
  const { call, pool, guests } = createPool(128);
  const all = many(SLOTS, () => call('"hold"'));
  await until(() => guests.heldCount === SLOTS);
  for (let left = SLOTS; left > 0; left -= 1) {
    await assert.rejects(call('1', { name: 'other' }), { code: 'resource_exhausted' });
    guests.release(1);
    await until(() => pool.fn('f').use.inUse === left - 1);
  }
  await all;
  assert.equal(pool.counters.evictions, 0);
  assert.equal(await call('1', { name: 'other' }), 'cold');
  assert.equal(pool.counters.evictions, 1);
});

test('shared VMs: one that runs over its time ends the use of the VM, when the others have their answers', async () => {
  const { call, pool, guests, used, ledger } = createPool(256, { timeoutMs: 3000 });
  await call();
  const late = call('"hang"');
  await new Promise((resolve) => setTimeout(resolve, 1500));
  const other = call('"hold"');
  await assert.rejects(late, { code: 'function_timeout', message: /its VM gets no further requests/ });
  const [vm] = used;
  assert.equal(vm?.state, 'busy');
  // There is a free slot, but not for others.
  assert.equal(await call(), 'cold');
  assert.notEqual(used.at(-1), vm);
  guests.release();
  assert.equal(await other, 'warm');
  assert.equal(used[2], vm);
  await until(() => vm.state === 'dead' && ledger.reservedMib === 128);
  assert.deepEqual(pool.counts()['f'], { idle: 1 });
});

test('shared VMs: the end of one is told to each request on it, once, and it is given back once', async () => {
  const { call, pool, guests, used, ledger } = createPool(256);
  const all = Array.from({ length: SLOTS }, () => call('"hold"'));
  await until(() => guests.heldCount === SLOTS);
  const [vm] = used;
  assert.ok(vm !== undefined);
  void guests.end(vm, 'it was killed');
  for (const one of all) await assert.rejects(one, { code: 'vm_lost', message: /it was killed|was closed/ });
  await until(() => ledger.reservedMib === 0 && ledger.dyingMib === 0);
  assert.deepEqual([pool.fn('f').use.inUse, pool.fn('f').vms], [0, 0]);
  assert.equal(await call(), 'cold');
});

test('shared VMs: of one whose runtime ends, what was not begun is for another VM', async () => {
  const { call, guests, used } = createPool(256);
  const all = Array.from({ length: SLOTS }, () => call('"hold"'));
  await until(() => guests.heldCount === SLOTS);
  used[0]?.onRuntimeExited('the runtime ended with exit status 3', { status: 3, begun: 2 });
  await assert.rejects(all[0] ?? assert.fail(), { code: 'function_error', message: /exit status 3/ });
  await assert.rejects(all[1] ?? assert.fail(), { code: 'function_error', message: /exit status 3/ });
  await assert.rejects(all[2] ?? assert.fail(), (error) => error instanceof NotBegunError);
});

test('shared VMs: a client that hangs up leaves the VM to others, if the guest lets go of its request', async () => {
  const { call, guests, used, pool } = createPool(256);
  const held = call('"hold"');
  const away = new AbortController();
  const left = call('"hold"', { signal: away.signal });
  await until(() => guests.heldCount === 2);
  away.abort();
  await assert.rejects(left, { code: 'internal', message: /client is gone/ });
  assert.equal(guests.heldCount, 1);
  await many(SLOTS - 1, () => call());
  assert.equal(new Set(used).size, 1);
  const again = new AbortController();
  const stuck = call('"hold"', { signal: again.signal });
  await until(() => guests.heldCount === 2);
  guests.answersCancels = false;
  again.abort();
  await assert.rejects(stuck, { code: 'internal' });
  assert.equal(await call(), 'cold');
  guests.release();
  assert.equal(await held, 'cold');
  await until(() => used[0]?.state === 'dead');
  assert.deepEqual(pool.counts()['f'], { idle: 1 });
});

test('shared VMs: tenants share one with themselves alone', async () => {
  const { call, guests, used } = createPool(1024, { isolatesTenants: true });
  const first = call('"hold"', { tenant: 'a' });
  await until(() => guests.heldCount === 1);
  const all = ['a', 'a', 'b'].map((tenant) => call('"hold"', { tenant }));
  await until(() => guests.heldCount === 4);
  const [one, two, three, other] = used;
  assert.deepEqual([two, three], [one, one]);
  assert.notEqual(other, one);
  guests.release();
  await Promise.all([first, ...all]);
});

test('shared VMs: under any load none has more than it may, no tenant meets another, and nothing is left over', async () => {
  const events = [
    '1',
    '1',
    '1',
    '1',
    'hang up',
    'ahead',
    'replace',
    'end',
    '"fail"',
    '"garbage"',
    '"hang"',
    '"not json"',
  ];
  const step = fc.tuple(fc.constantFrom(...events), fc.constantFrom('a', 'b'), fc.nat({ max: 3 }));
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 60 }),
      fc.boolean(),
      fc.option(fc.integer({ min: 1, max: 5 })),
      async (steps, isolatesTenants, concurrencyLimit) => {
        const keys = { timeoutMs: 30, concurrencyLimit, ...(isolatesTenants ? { isolatesTenants } : {}) };
        const { call, pool, ledger, guests, used, mostAtOnce } = createPool(384, keys);
        const works: Promise<unknown>[] = [];
        const tenants = new Map<Vm, string>();
        const expected = (error: unknown): void => assert.ok(error instanceof SnapfaasError, String(error));
        const start = (event: string, tenant: string, signal: AbortSignal): void => {
          const at = isolatesTenants ? { tenant } : {};
          works.push(call(event, { signal, ...at }).catch(expected));
        };
        for (const [event, tenant, pause] of steps) {
          const away = new AbortController();
          if (event === 'replace') pool.replace('f');
          else if (event === 'ahead') works.push(pool.launchAhead(pool.fn('f')).catch(expected));
          else if (event === 'end') used.slice(-1).forEach((vm) => void guests.end(vm, 'it was killed'));
          else start(event === 'hang up' ? '"hold"' : event, tenant, away.signal);
          for (let i = 0; i < pause; i += 1) await turn();
          if (event === 'hang up') {
            away.abort();
            // Its launch counts by itself before the request has let go of it.
            await turn();
          }
          const { inUse } = pool.fn('f').use;
          assert.ok(concurrencyLimit === null || inUse <= concurrencyLimit, `${inUse} are in use`);
        }
        await Promise.all(works);
        assert.ok(mostAtOnce() <= SLOTS);
        for (const vm of used) {
          if (vm.tenant === null) continue;
          assert.equal(tenants.get(vm) ?? vm.tenant, vm.tenant);
          tenants.set(vm, vm.tenant);
        }
        // A launch whose client is gone goes on.
        await until(() => pool.fn('f').use.inUse === 0);
        await pool.close(new SnapfaasError('shutting_down', 'closing'));
        assert.deepEqual([ledger.reservedMib, ledger.dyingMib, guests.alive], [0, 0, 0]);
      },
    ),
    { numRuns: 40 },
  );
});
