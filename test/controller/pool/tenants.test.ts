import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { FunctionUse } from '../../../src/controller/pool/function-use.ts';
import { FairShare } from '../../../src/controller/pool/fair-share.ts';
import { Ledger } from '../../../src/controller/pool/ledger.ts';
import type { Vm } from '../../../src/controller/pool/vm.ts';
import { SnapfaasError } from '../../../src/protocol/errors.ts';
import type { StartKind } from '../../../src/controller/task.ts';
import { functionConfig, patientClock, ScriptedGuests, TestPool, withVm } from '../../support/scripted-guests.ts';

const never = new AbortController().signal;
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

interface Bench {
  readonly pool: TestPool;
  readonly guests: ScriptedGuests;
  readonly ledger: Ledger;
  /** Which tenants each VM has served. */
  readonly served: ReadonlyMap<Vm, ReadonlySet<string>>;
  call(tenant: string, event?: string, signal?: AbortSignal): Promise<StartKind>;
}

const open: Bench[] = [];
after(async () => {
  for (const { pool, guests } of open) {
    await pool.close(new SnapfaasError('shutting_down', 'the test is over'));
    guests.close();
  }
});

/** A pool with the function `f`, which keeps its tenants apart, and `plain`, which has none. */
function createPool(memoryMib: number, now = patientClock(), timeoutMs = 60_000): Bench {
  const guests = new ScriptedGuests();
  const ledger = new Ledger(memoryMib);
  const served = new Map<Vm, Set<string>>();
  const pool: TestPool = new TestPool({
    functions: [functionConfig('f', { isolatesTenants: true, timeoutMs }), functionConfig('plain')],
    ledger,
    policy: new FairShare<Vm>(now),
    createVm: (fn, isAhead) => guests.createVm(fn, { onLost: (vm) => pool.onLost(vm) }, isAhead),
    startVm: (vm) => void guests.start(vm),
    now,
  });
  const call = (tenant: string, event = '1', signal = never): Promise<StartKind> =>
    withVm(
      pool,
      pool.fn('f'),
      signal,
      async (vm, start) => {
        const tenants = served.get(vm) ?? new Set();
        served.set(vm, tenants.add(tenant));
        await vm.invoke('id', { payload: Buffer.from(event) }, signal);
        return start;
      },
      tenant,
    );
  const bench = { pool, guests, ledger, served, call };
  open.push(bench);
  return bench;
}

test('tenants: each has VMs of its own, and finds them again', async () => {
  const { call, served, pool } = createPool(1024);
  assert.deepEqual(
    [await call('a'), await call('b'), await call('a'), await call('b')],
    ['cold', 'cold', 'warm', 'warm'],
  );
  assert.deepEqual([...served.values()], [new Set(['a']), new Set(['b'])]);
  assert.equal(pool.fn('f').tenantCount, 2);
});

test("tenants: a VM that has served nobody is anybody's, and the first one's from then on", async () => {
  const { call, pool, served } = createPool(1024);
  await pool.launchAhead(pool.fn('f'));
  assert.equal(pool.fn('f').hasIdle, true);
  await call('a');
  assert.equal(pool.fn('f').hasIdle, false, 'no other tenant could use it');
  await call('b');
  assert.deepEqual([served.size, pool.counters.launches], [2, 2]);
});

test('tenants: a request that waits for a launch gets no VM of another tenant that is free before', async () => {
  const { call, guests, served } = createPool(1024);
  await call('a');
  const busy = call('a', '2');
  let openGate: () => void = () => undefined;
  guests.launchGate = new Promise((resolve) => (openGate = resolve));
  const other = call('b');
  await busy;
  for (let i = 0; i < 5; i += 1) await turn();
  assert.equal(served.size, 1);
  openGate();
  assert.equal(await other, 'cold');
  assert.deepEqual([...served.values()], [new Set(['a']), new Set(['b'])]);
});

test('tenants: a launch whose client hung up is for whoever comes next', async () => {
  const { call, guests, served, pool } = createPool(1024);
  let openGate: () => void = () => undefined;
  guests.launchGate = new Promise((resolve) => (openGate = resolve));
  const hangUp = new AbortController();
  const left = call('a', '1', hangUp.signal).catch(() => 'left');
  await turn();
  hangUp.abort();
  assert.equal(await left, 'left');
  const taken = call('b');
  openGate();
  assert.equal(await taken, 'cold');
  assert.deepEqual([[...served.values()], pool.counters.launches], [[new Set(['b'])], 1]);
});

test("tenants: one without a VM takes an idle one's place of another tenant, after the time of a start", async () => {
  let time = 0;
  const { call, served, pool } = createPool(256, () => time);
  await Promise.all([call('a'), call('a')]);
  time += 5;
  for (let i = 0; i < 20; i += 1) await call('a');
  assert.equal(pool.acquire(pool.fn('f'), 0, 'b'), null, 'it has not waited');
  assert.equal(await call('b'), 'cold');
  assert.deepEqual([...served.values()].at(-1), new Set(['b']));
  assert.equal(pool.counters.evictions, 1);
});

test('tenants: a request with a tenant where there are none, or without one where there are, gets no VM', () => {
  const { pool } = createPool(1024);
  assert.throws(() => pool.acquire(pool.fn('f'), 0), /bug: tenant null of f/);
  assert.throws(() => pool.acquire(pool.fn('plain'), 0, 'a'), /bug: tenant a of plain/);
});

test('tenants: one that has no VM and no request is forgotten', async () => {
  const { call, pool } = createPool(256);
  for (let i = 0; i < 300; i += 1) await call(`tenant-${i}`);
  assert.ok(pool.fn('f').tenantCount <= 2);
  const use = new FunctionUse('f');
  const turns = ['a', 'b', 'a'].map((tenant) => use.enter(tenant));
  assert.equal(turns[0], turns[2], 'they share a turn');
  assert.deepEqual([use.turns.length, use.turnOf('a')?.requests], [2, 2]);
  for (const one of turns) use.leave(one);
  assert.deepEqual([use.turns.length, use.turnOf('a'), use.tenantRequests], [0, null, 0]);
});

test('tenants: under any load no VM serves two of them, and nothing is left over', async () => {
  const tenants = fc.constantFrom('a', 'b', 'c', 'd', 'e');
  const events = fc.constantFrom('1', '1', '1', 'ahead', 'replace', 'hang up', '"fail"', '"garbage"', '"hang"');
  const loads = fc.array(fc.tuple(tenants, events, fc.nat({ max: 3 })), { maxLength: 50 });
  await fc.assert(
    fc.asyncProperty(loads, async (load) => {
      const { call, pool, ledger, served, guests } = createPool(512, patientClock(), 30);
      const works: Promise<unknown>[] = [];
      const expected = (error: unknown): void => assert.ok(error instanceof SnapfaasError, String(error));
      for (const [tenant, event, pause] of load) {
        if (event === 'replace') pool.replace('f');
        else if (event === 'ahead') works.push(pool.launchAhead(pool.fn('f')).catch(expected));
        else if (event === 'hang up') {
          const hangUp = new AbortController();
          works.push(call(tenant, '1', hangUp.signal).catch(() => undefined));
          for (let i = 0; i < pause; i += 1) await turn();
          hangUp.abort();
        } else works.push(call(tenant, event).catch(expected));
        for (let i = 0; i < pause; i += 1) await turn();
      }
      await Promise.all(works);
      for (const ofVm of served.values()) assert.equal(ofVm.size, 1);
      assert.ok(pool.fn('f').tenantCount <= 4, 'no more than there are VMs');
      await pool.close(new SnapfaasError('shutting_down', 'closing'));
      assert.deepEqual([ledger.reservedMib, ledger.dyingMib, guests.alive, pool.fn('f').tenantCount], [0, 0, 0, 0]);
    }),
    { numRuns: 40 },
  );
});
