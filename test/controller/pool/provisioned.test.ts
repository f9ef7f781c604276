import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import fc from 'fast-check';
import { createLogger } from '../../../src/controller/log.ts';
import type { FunctionVms } from '../../../src/controller/pool/function-vms.ts';
import { FairShare } from '../../../src/controller/pool/fair-share.ts';
import { Ledger } from '../../../src/controller/pool/ledger.ts';
import { ProvisionedVms } from '../../../src/controller/pool/provisioned.ts';
import { VmPool } from '../../../src/controller/pool/vm-pool.ts';
import type { Vm } from '../../../src/controller/pool/vm.ts';
import { SnapfaasError } from '../../../src/protocol/errors.ts';
import { functionConfig, patientClock, ScriptedGuests, withVm } from '../../support/scripted-guests.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const never = new AbortController().signal;

interface Bench {
  readonly provisioned: ProvisionedVms;
  readonly pool: VmPool;
  readonly ledger: Ledger;
  readonly guests: ScriptedGuests;
  readonly launched: readonly Vm[];
  /** By its name: `f1` and `f2` are versions of `f`, others are functions of their own. */
  fn(name: string): FunctionVms;
  /** How many of each version are to be kept, by qualifier of `f`. */
  keep(qualifiers: Readonly<Record<string, Readonly<Record<string, number>>>>): void;
  call(name: string, event?: string): Promise<string>;
  /** Lets time pass, in steps of the clock, until nothing is launched or ends any more. */
  settle(ms?: number): Promise<void>;
  idle(name: string): number;
  state(qualifier: string): readonly [allocated: number, available: number, problem: string | null];
}

/** VMs that are guests of sockets, kept in front of a pool; the clock is the test's. */
function createBench(t: TestContext, memoryMib: number, names: readonly string[], budgetMib = memoryMib): Bench {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const guests = new ScriptedGuests();
  const ledger = new Ledger(memoryMib);
  const now = patientClock();
  const launched: Vm[] = [];
  const pool: VmPool = new VmPool({
    ledger,
    policy: new FairShare<Vm>(now),
    createVm: (fn, isAhead) => {
      const created = guests.createVm(fn, { onLost: (vm) => pool.onLost(vm) }, isAhead);
      launched.push(created);
      return created;
    },
    startVm: (vm) => void guests.start(vm),
    now,
    onLaunched: (vm) => provisioned.onLaunched(vm),
    onGone: () => provisioned.serve(),
    onRoom: () => provisioned.serve(),
    onShort: (vm) => provisioned.onShort(vm),
  });
  const fns = new Map<string, FunctionVms>();
  for (const key of names) {
    const [, name = key, version = '$LATEST'] = /^(f)(\d)$/.exec(key) ?? [];
    fns.set(key, pool.add(functionConfig(name, { version, timeoutMs: 1000 })));
  }
  const fnOf = (name: string): FunctionVms => fns.get(name) ?? assert.fail(name);
  const provisioned: ProvisionedVms = new ProvisionedVms({
    budgetMib,
    mayLaunch: () => true,
    launch: (fn) => pool.launchProvisioned(fn),
    now: () => Date.now(),
    logger: createLogger('silent'),
  });
  t.after(async () => {
    provisioned.close();
    await pool.close(new SnapfaasError('shutting_down', 'the test is over'));
    guests.close();
  });
  const isMoving = (): boolean =>
    ledger.dyingMib > 0 || Object.values(pool.counts()).some((states) => states.launching !== undefined);
  return {
    ...{ provisioned, pool, ledger, guests, launched, fn: fnOf },
    keep: (qualifiers) => {
      const provisions = Object.entries(qualifiers).map(([qualifier, shares]) => ({
        qualifier,
        shares: Object.entries(shares).map(([name, count]) => ({ fn: fnOf(name), count })),
        problem: null,
      }));
      provisioned.update('f', provisions);
    },
    call: (name, event = '1') =>
      withVm(pool, fnOf(name), never, async (vm, start) => {
        await vm.invoke('id', { payload: Buffer.from(event) }, never);
        return start;
      }),
    settle: async (ms = 250) => {
      for (let passed = 0; passed <= ms; passed += 250) {
        for (let before = -1; before !== launched.length;) {
          before = launched.length;
          do await turn();
          while (isMoving());
          for (let i = 0; i < 5; i += 1) await turn();
        }
        t.mock.timers.tick(250);
      }
    },
    idle: (name) => launched.filter((vm) => vm.fn === fnOf(name) && vm.state === 'idle').length,
    state: (qualifier) => {
      const { allocated, available, problem } = provisioned.stateOf('f', qualifier);
      return [allocated, available, problem];
    },
  };
}

test('provisioned VMs: are launched ahead one by one, and told of as they come', async (t) => {
  const { keep, settle, launched, state, guests, call, provisioned } = createBench(t, 1024, ['f1']);
  let open: () => void = () => undefined;
  guests.launchGate = new Promise((resolve) => (open = resolve));
  keep({ live: { f1: 3 } });
  await turn();
  assert.deepEqual([launched.length, state('live')], [1, [1, 0, null]]);
  open();
  await settle();
  assert.deepEqual([launched.length, state('live'), guests.rehearsals], [3, [3, 3, null], 9]);
  assert.deepEqual(provisioned.counts, { requested: 3, available: 3 });
  guests.launchKind = 'restored';
  assert.equal(await call('f1'), 'cold', 'as it was launched');
  assert.equal(await call('f1'), 'warm');
  assert.equal(launched.length, 3);
});

test('provisioned VMs: nobody evicts them, and what else their version has is evicted as ever', async (t) => {
  const { keep, settle, call, idle, pool, fn } = createBench(t, 512, ['f1', 'other', 'third']);
  keep({ live: { f1: 2 } });
  await settle();
  await Promise.all([call('f1'), call('f1'), call('f1'), call('other')]);
  assert.deepEqual([idle('f1'), idle('other')], [3, 1]);
  for (const name of ['third', 'other', 'third', 'other', 'third', 'other']) await call(name);
  assert.equal(idle('f1'), 2);
  for (let i = 0; i < 2; i += 1) call('other', '"hang"').catch(() => undefined);
  for (let i = 0; i < 50; i += 1) await turn();
  assert.equal(idle('f1'), 2);
  await assert.rejects(call('third'), {
    code: 'resource_exhausted',
    message: /0 MB idle, beside 256 MB of provisioned concurrency/,
  });
  pool.dismiss(await withVm(pool, fn('f1'), never, (vm) => Promise.resolve(vm)));
  assert.equal(idle('f1'), 2, 'a standby cannot end them either');
});

test('provisioned VMs: idle VMs of others make room for them, and busy ones when they are done', async (t) => {
  const { keep, settle, call, idle, state, ledger } = createBench(t, 384, ['f1', 'a', 'b']);
  await call('a');
  const runs = call('b', '"hang"').catch(() => 'over');
  await turn();
  keep({ live: { f1: 3 } });
  await settle();
  assert.deepEqual([idle('a'), state('live')], [0, [2, 2, null]]);
  t.mock.timers.tick(1000);
  assert.equal(await runs, 'over');
  await settle();
  assert.deepEqual([state('live'), ledger.freeMib], [[3, 3, null], 0]);
});

test('provisioned VMs: what ends with snapctr has not failed', async (t) => {
  const { provisioned, guests, launched, keep, settle, state } = createBench(t, 1024, ['f1']);
  keep({ live: { f1: 1 } });
  await settle();
  const [vm = assert.fail('none was launched')] = launched;
  provisioned.close();
  await guests.end(vm, 'killed from outside');
  assert.equal(state('live')[2], null);
});

test('provisioned VMs: one that is lost, used up or killed is replaced; one that ends by itself after a pause', async (t) => {
  const { keep, settle, call, state, guests, launched, fn } = createBench(t, 1024, ['f1']);
  keep({ live: { f1: 1 } });
  await settle();
  await call('f1', '"garbage"').catch(() => undefined);
  await settle();
  assert.deepEqual([launched.length, state('live')], [2, [1, 1, null]]);
  // Nobody has used the one that is there now.
  const vm = fn('f1').firstIdle;
  assert.ok(vm !== null);
  await guests.end(vm, 'killed from outside');
  await turn();
  assert.equal(state('live')[0], 0);
  assert.match(state('live')[2] ?? '', /A VM of it failed.*ended by itself/);
  assert.equal(launched.length, 2);
  await settle(2000);
  assert.deepEqual([launched.length, state('live')], [3, [1, 1, null]]);
});

test('provisioned VMs: a launch that fails is tried again after pauses that grow, and says why', async (t) => {
  const { keep, settle, state, guests, launched } = createBench(t, 1024, ['f1', 'f2']);
  guests.launchFailure = 'no such image';
  keep({ live: { f1: 1 } });
  await settle(3500);
  assert.match(state('live')[2] ?? '', /no such image/);
  // At once, after 1 s, after 2 s more.
  assert.equal(launched.length, 3);
  guests.launchFailure = null;
  await settle(6000);
  assert.deepEqual(state('live'), [1, 1, null]);
});

test('provisioned VMs: where an alias moves, each new VM lets an old one go', async (t) => {
  const { keep, settle, call, fn, guests, idle, state } = createBench(t, 1024, ['f1', 'f2', 'other']);
  keep({ live: { f1: 3 } });
  await settle();
  let open: () => void = () => undefined;
  guests.launchGate = new Promise((resolve) => (open = resolve));
  keep({ live: { f2: 3 } });
  await turn();
  assert.deepEqual([fn('f1').provisioned, state('live')], [3, [1, 0, null]]);
  open();
  const kept: number[] = [];
  const whenLaunched = fn('f2');
  for (let before = -1; kept.at(-1) !== 0;) {
    await turn();
    if (whenLaunched.ready === before) continue;
    before = whenLaunched.ready;
    kept.push(fn('f1').provisioned);
    assert.equal(fn('f1').provisioned + whenLaunched.ready, 3);
  }
  assert.deepEqual(kept, [3, 2, 1, 0]);
  await settle();
  assert.deepEqual([state('live'), idle('f1')], [[3, 3, null], 3]);
  // What was let go makes room like any other.
  for (let i = 0; i < 5; i += 1) void call('other', '"hang"').catch(() => undefined);
  await settle(0);
  assert.deepEqual([idle('f1'), idle('f2')], [0, 3]);
});

test('provisioned VMs: where there is no room for old and new ones, they change places one by one', async (t) => {
  const { keep, settle, idle, state, ledger } = createBench(t, 384, ['f1', 'f2']);
  keep({ live: { f1: 3 } });
  await settle();
  assert.equal(ledger.freeMib, 0);
  keep({ live: { f2: 3 } });
  await settle(2000);
  assert.deepEqual([state('live'), idle('f1'), idle('f2')], [[3, 3, null], 0, 3]);
});

test('provisioned VMs: what is more than may be kept is refused with numbers, until others are given up', async (t) => {
  const { keep, settle, state, idle } = createBench(t, 1024, ['f1', 'f2'], 512);
  keep({ one: { f1: 3 }, two: { f2: 2 } });
  await settle();
  assert.deepEqual([state('one'), idle('f2')], [[3, 3, null], 0]);
  assert.match(state('two')[2] ?? '', /Its VMs take 256 MB, and 128 MB may be provisioned beside the others/);
  keep({ two: { f2: 2 } });
  await settle();
  assert.deepEqual(state('two'), [2, 2, null]);
});

test('provisioned VMs: qualifiers that lead to one version have theirs beside each other', async (t) => {
  const { keep, settle, state, idle } = createBench(t, 1024, ['f1']);
  keep({ one: { f1: 2 }, two: { f1: 1 } });
  await settle();
  assert.deepEqual([idle('f1'), state('one'), state('two')], [3, [2, 2, null], [1, 1, null]]);
  keep({ two: { f1: 1 } });
  assert.deepEqual(state('two'), [1, 1, null]);
});

test('provisioned VMs: under any load of others as many are there as were granted, once it is quiet', async (t) => {
  const events = fc.constantFrom('1', '"fail"', '"garbage"', 'keep');
  const loads = fc.array(fc.tuple(fc.constantFrom('f1', 'f2', 'other'), events, fc.nat({ max: 3 })), { maxLength: 25 });
  let bench: Bench | null = null;
  await fc.assert(
    fc.asyncProperty(loads, async (load) => {
      bench ??= createBench(t, 640, ['f1', 'f2', 'other'], 512);
      const { keep, call, settle, fn, ledger } = bench;
      const works: Promise<unknown>[] = [];
      const wanted: Record<string, number> = {};
      for (const [name, event, count] of load) {
        if (event !== 'keep')
          works.push(call(name, event).catch((error: unknown) => assert.ok(error instanceof SnapfaasError)));
        else if (name !== 'other') {
          wanted[name] = Math.max(1, count);
          keep({ live: wanted });
        }
        await turn();
        assert.ok(ledger.freeMib >= 0);
      }
      await Promise.all(works);
      await settle(1000);
      const isGranted = 128 * Object.values(wanted).reduce((sum, count) => sum + count, 0) <= 512;
      for (const [name, count] of Object.entries(wanted)) if (isGranted) assert.ok(fn(name).ready >= count);
      keep({});
      assert.deepEqual([fn('f1').provisioned, fn('f2').provisioned], [0, 0]);
    }),
    { numRuns: 25 },
  );
});
