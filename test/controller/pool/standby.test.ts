import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import type { FunctionVersion } from '../../../src/registry/function-version.ts';
import { HOST_CLOCK } from '../../../src/controller/pool/clock.ts';
import { FunctionUse } from '../../../src/controller/pool/function-use.ts';
import { FunctionVms } from '../../../src/controller/pool/function-vms.ts';
import { FairShare } from '../../../src/controller/pool/fair-share.ts';
import { createLogger } from '../../../src/controller/log.ts';
import { Ledger } from '../../../src/controller/pool/ledger.ts';
import { Standby } from '../../../src/controller/pool/standby.ts';
import type { StartKind } from '../../../src/controller/task.ts';
import type { Vm } from '../../../src/controller/pool/vm.ts';
import { SnapfaasError } from '../../../src/protocol/errors.ts';
import { functionConfig, patientClock, ScriptedGuests, TestPool, withVm } from '../../support/scripted-guests.ts';

const QUIET_MS = 50;

interface Bench {
  readonly standby: Standby;
  readonly pool: TestPool;
  readonly ledger: Ledger;
  readonly guests: ScriptedGuests;
  /** Functions for which a VM was launched ahead, in order. */
  readonly ahead: readonly string[];
  /** The functions can be restored from now on. */
  add(...names: string[]): void;
  /** A request that is answered at once. */
  call(name: string): Promise<StartKind>;
  /** A request that keeps its VM busy until the test is over; resolves when it has the VM. */
  occupy(name: string): Promise<StartKind>;
  /** Lets time pass until no more VMs are launched ahead. */
  settle(): Promise<void>;
  /** Functions with an idle VM, one mention for each. */
  idle(): string[];
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A standby in front of a pool whose guests are sockets; the clock is the test's. */
function createBench(
  t: TestContext,
  {
    memoryMib = 4096,
    budgetMib,
    taps = 0,
  }: { readonly memoryMib?: number; readonly budgetMib: number; readonly taps?: number },
  functions: readonly (string | FunctionVersion)[],
): Bench {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const guests = new ScriptedGuests();
  const now = patientClock();
  guests.launchKind = 'restored';
  const ledger = new Ledger(memoryMib, taps);
  const ahead: string[] = [];
  const configs = functions.map((fn) => (typeof fn === 'string' ? functionConfig(fn) : fn));
  const pool: TestPool = new TestPool({
    functions: configs,
    ledger,
    policy: new FairShare<Vm>(now),
    createVm: (fn, isAhead) => {
      if (isAhead) ahead.push(fn.config.name);
      return guests.createVm(fn, { onLost: (vm) => pool.onLost(vm) }, isAhead);
    },
    startVm: (vm) => void guests.start(vm),
    now,
    onTaken: (fn, vm) => standby.onTaken(fn, vm),
    onGone: (vm) => standby.onGone(vm),
  });
  const standby: Standby = new Standby({
    budgetMib,
    launchAhead: (fn) => pool.launchAhead(fn),
    freeMib: () => ledger.freeMib,
    dismiss: (vm) => pool.dismiss(vm),
    isBusy: () => pool.launching > 0,
    clock: { ...HOST_CLOCK, now: () => Date.now() },
    logger: createLogger('silent'),
  });
  const over = new AbortController();
  t.after(async () => {
    standby.close();
    over.abort();
    await pool.close(new SnapfaasError('shutting_down', 'the test is over'));
    guests.close();
  });
  const invoke = (name: string, event: string, onStart: (start: StartKind) => void = () => undefined) =>
    withVm(pool, pool.fn(name), over.signal, async (vm, start) => {
      onStart(start);
      await vm.invoke('id', { payload: Buffer.from(event) }, over.signal);
      return start;
    });
  const isMoving = (): boolean =>
    ledger.dyingMib > 0 || Object.values(pool.counts()).some((states) => states.launching !== undefined);
  return {
    ...{ standby, pool, ledger, guests, ahead },
    add: (...names) => {
      for (const name of names) standby.addCandidate(pool.fn(name));
    },
    call: (name) => invoke(name, '1'),
    occupy: (name) =>
      new Promise((resolve, reject) => {
        invoke(name, '"hang"', resolve).catch(reject);
      }),
    settle: async () => {
      for (let before = -1; before !== ahead.length;) {
        before = ahead.length;
        t.mock.timers.tick(QUIET_MS);
        do await turn();
        while (isMoving());
      }
    },
    idle: () =>
      Object.entries(pool.counts()).flatMap(([name, { idle = 0 }]) => Array.from({ length: idle }, () => name)),
  };
}

test('standby: each function that can be restored gets one VM, in the order in which it became so', async (t) => {
  const { standby, guests, ahead, add, settle, idle, call } = createBench(t, { budgetMib: 1024 }, ['a', 'b', 'c', 'd']);
  add('c', 'a', 'b', 'a');
  await settle();
  assert.deepEqual(ahead, ['c', 'a', 'b']);
  assert.deepEqual(idle(), ['c', 'a', 'b']);
  assert.deepEqual([standby.size, guests.rehearsals], [3, 9]);
  assert.equal(await call('a'), 'restored');
});

test('standby: a function without a tap is passed over until one is free again', async (t) => {
  const { pool, ahead, add, settle, idle, call, guests } = createBench(t, { budgetMib: 1024, taps: 1 }, [
    functionConfig('a', { network: true }),
    functionConfig('b', { network: true }),
    'plain',
  ]);
  add('a', 'b', 'plain');
  await settle();
  assert.deepEqual(ahead, ['a']);
  await settle();
  assert.deepEqual(ahead, ['a', 'plain']);
  // A request takes the tap by right, and its VM's end frees it for the function used last.
  await call('b');
  await settle();
  assert.deepEqual(idle().sort(), ['b', 'plain']);
  assert.deepEqual(ahead, ['a', 'plain']);
  const vm = await withVm(pool, pool.fn('b'), new AbortController().signal, (taken) => Promise.resolve(taken));
  await guests.end(vm, 'killed from outside');
  await settle();
  assert.deepEqual(ahead.slice(2), ['b']);
  assert.equal(pool.counters.evictions, 1);
});

test('standby: its VMs stay within the budget', async (t) => {
  const { standby, ledger, ahead, add, settle } = createBench(t, { budgetMib: 300 }, [
    functionConfig('huge', { memoryMib: 512 }),
    functionConfig('large', { memoryMib: 256 }),
    'a',
    'b',
    'c',
  ]);
  add('huge', 'a', 'large', 'b', 'c');
  await settle();
  assert.deepEqual(ahead, ['a', 'b'], 'those that do not fit are left out');
  assert.deepEqual([standby.size, ledger.reservedMib], [2, 256]);
});

test('standby: with a budget of 0 nothing is launched', async (t) => {
  const { standby, ahead, add, settle, call } = createBench(t, { budgetMib: 0 }, ['a', 'b']);
  add('a', 'b');
  await call('a');
  await settle();
  assert.deepEqual([ahead, standby.size], [[], 0]);
});

test('standby: functions used last come first, also those used before they could be restored', async (t) => {
  const { standby, ahead, add, settle, occupy } = createBench(t, { budgetMib: 384 }, ['a', 'b', 'c', 'd', 'e']);
  await occupy('d');
  await occupy('b');
  add('a', 'b', 'c', 'd', 'e');
  await settle();
  assert.deepEqual(ahead, ['b', 'd', 'a']);
  assert.equal(standby.size, 3);
});

test('standby: a function with an idle VM needs none', async (t) => {
  const { standby, ahead, add, settle, call, occupy } = createBench(t, { budgetMib: 1024 }, ['a']);
  await call('a');
  add('a');
  await settle();
  assert.deepEqual([ahead, standby.size], [[], 0]);
  assert.equal(await occupy('a'), 'warm');
  await settle();
  assert.deepEqual([ahead, standby.size], [['a'], 1]);
});

test('standby: a function that runs at its limit needs none', async (t) => {
  const limited = functionConfig('limited', { concurrencyLimit: 1 });
  const { ahead, add, settle, occupy } = createBench(t, { budgetMib: 1024 }, [limited, 'a']);
  await occupy('limited');
  add('limited', 'a');
  await settle();
  assert.deepEqual(ahead, ['a']);
});

test('standby: a VM that was taken is replaced after a quiet moment', async (t) => {
  const { standby, ahead, add, settle, occupy } = createBench(t, { budgetMib: 128 }, ['a']);
  add('a');
  await settle();
  assert.equal(await occupy('a'), 'restored');
  assert.equal(standby.size, 0);
  t.mock.timers.tick(QUIET_MS - 1);
  assert.deepEqual(ahead, ['a']);
  t.mock.timers.tick(1);
  assert.deepEqual(ahead, ['a', 'a']);
  await settle();
  assert.equal(standby.size, 1);
});

test('standby: a VM that was taken just now is not replaced because of another one taken before', async (t) => {
  const { ahead, add, settle, occupy } = createBench(t, { budgetMib: 512 }, ['a', 'b']);
  add('a', 'b');
  await settle();
  await occupy('a');
  t.mock.timers.tick(QUIET_MS - 1);
  // It may be idle again in a moment.
  await occupy('b');
  t.mock.timers.tick(1);
  await turn();
  assert.deepEqual(ahead, ['a', 'b', 'a']);
  // Until that one is up; then comes the other's turn.
  await settle();
  await settle();
  assert.deepEqual(ahead, ['a', 'b', 'a', 'b']);
});

test('standby: a VM that was taken while it was launched does not count, and is replaced', async (t) => {
  const { standby, guests, ahead, add, settle, occupy } = createBench(t, { budgetMib: 128 }, ['a']);
  let open: () => void = () => undefined;
  guests.launchGate = new Promise((resolve) => (open = resolve));
  add('a');
  t.mock.timers.tick(QUIET_MS);
  const request = occupy('a');
  open();
  assert.equal(await request, 'restored');
  assert.deepEqual([ahead, standby.size], [['a'], 0]);
  await settle();
  assert.deepEqual([ahead, standby.size], [['a', 'a'], 1]);
});

test('standby: a VM that dies before its first request is replaced', async (t) => {
  const { standby, pool, guests, ahead, add, settle } = createBench(t, { budgetMib: 128 }, ['a']);
  const created = t.mock.method(guests, 'createVm');
  add('a');
  await settle();
  const vm = created.mock.calls[0]?.result;
  assert.ok(vm !== undefined);
  await guests.end(vm, 'killed from outside');
  await settle();
  assert.deepEqual([ahead, standby.size, { ...pool.counts() }], [['a', 'a'], 1, { a: { idle: 1 } }]);
});

test('standby: a function that had several requests at once gets as many VMs', async (t) => {
  const { pool, guests, ahead, add, settle, occupy } = createBench(t, { budgetMib: 1024 }, ['a']);
  const created = t.mock.method(guests, 'createVm');
  for (let request = 0; request < 3; request += 1) await occupy('a');
  for (const { result } of created.mock.calls) {
    assert.ok(result !== undefined);
    await guests.end(result, 'killed from outside');
  }
  add('a');
  await settle();
  assert.deepEqual([ahead, { ...pool.counts() }], [['a', 'a', 'a'], { a: { idle: 3 } }]);
});

test('standby: where memory is short, one with a VM in use gets another only if it has needed two', async (t) => {
  const { ahead, add, settle, occupy } = createBench(t, { memoryMib: 384, budgetMib: 384 }, ['a', 'b', 'c']);
  add('a', 'b');
  await settle();
  await occupy('a');
  await settle();
  assert.deepEqual(ahead, ['a', 'b']);
  add('c');
  await settle();
  assert.deepEqual(ahead, ['a', 'b', 'c']);
});

test('standby: the VM of a function used less recently makes room for one used more recently', async (t) => {
  const { standby, ledger, ahead, add, settle, idle, occupy } = createBench(t, { budgetMib: 256 }, [
    'a',
    'b',
    'c',
    'd',
  ]);
  await occupy('b');
  add('a', 'b', 'c', 'd');
  await settle();
  assert.deepEqual(idle(), ['b', 'a']);
  await occupy('d');
  await settle();
  assert.deepEqual(
    [idle(), ahead],
    [
      ['b', 'd'],
      ['b', 'a', 'd'],
    ],
  );
  await occupy('c');
  await settle();
  assert.deepEqual(
    [idle(), ahead],
    [
      ['d', 'c'],
      ['b', 'a', 'd', 'c'],
    ],
  );
  assert.equal(standby.size, 2);
  assert.equal(ledger.reservedMib, 3 * 128 + 2 * 128);
});

test('standby: no more VMs make room than are needed, and none if it would not be enough', async (t) => {
  const { add, settle, idle, occupy } = createBench(t, { budgetMib: 512 }, [
    functionConfig('large', { memoryMib: 256 }),
    functionConfig('huge', { memoryMib: 640 }),
    ...['a', 'b', 'c', 'd'],
  ]);
  add('a', 'b', 'c', 'd', 'large', 'huge');
  await settle();
  assert.deepEqual(idle(), ['a', 'b', 'c', 'd']);
  await occupy('large');
  await settle();
  assert.deepEqual(idle(), ['a', 'b', 'large']);
  await occupy('huge');
  await settle();
  assert.deepEqual(idle(), ['a', 'b', 'large']);
});

test('standby: nothing is launched while a request waits for a launch', async (t) => {
  const { guests, ahead, add, settle, call } = createBench(t, { budgetMib: 1024 }, ['a', 'b']);
  let open: () => void = () => undefined;
  guests.launchGate = new Promise((resolve) => (open = resolve));
  const request = call('b');
  add('a', 'b');
  for (let i = 0; i < 5; i += 1) {
    t.mock.timers.tick(QUIET_MS);
    await turn();
  }
  assert.deepEqual(ahead, []);
  open();
  await request;
  await settle();
  assert.deepEqual(ahead, ['a']);
});

test('standby: one VM is launched after the other', async (t) => {
  const { guests, ahead, add, settle } = createBench(t, { budgetMib: 1024 }, ['a', 'b']);
  let open: () => void = () => undefined;
  guests.launchGate = new Promise((resolve) => (open = resolve));
  add('a', 'b');
  for (let i = 0; i < 5; i += 1) {
    t.mock.timers.tick(QUIET_MS);
    await turn();
  }
  assert.deepEqual(ahead, ['a']);
  open();
  await settle();
  await settle();
  assert.deepEqual(ahead, ['a', 'b']);
});

test('standby: a launch that fails is not repeated until the function is asked for, and the others have theirs', async (t) => {
  const { standby, guests, ahead, add, settle, occupy } = createBench(t, { budgetMib: 1024 }, ['a', 'b', 'c']);
  guests.launchFailure = 'no kernel';
  add('a', 'b');
  await settle();
  assert.deepEqual(ahead, ['a', 'b']);
  guests.launchFailure = null;
  add('c');
  await settle();
  assert.deepEqual(ahead, ['a', 'b', 'c']);
  await occupy('a');
  await settle();
  assert.deepEqual(ahead, ['a', 'b', 'c', 'a']);
  assert.equal(standby.size, 2);
});

test('standby: a launch that failed is repeated when the function has a new snapshot', async (t) => {
  const { guests, ahead, add, settle } = createBench(t, { budgetMib: 1024 }, ['a']);
  guests.launchFailure = 'no kernel';
  add('a');
  await settle();
  guests.launchFailure = null;
  add('a');
  await settle();
  assert.deepEqual(ahead, ['a', 'a']);
});

test('standby: takes free memory only, and fills up when some is given back', async (t) => {
  const { pool, guests, ahead, add, settle, call, idle } = createBench(t, { memoryMib: 256, budgetMib: 256 }, [
    ...['a', 'b', 'c'],
  ]);
  const created = t.mock.method(guests, 'createVm');
  await call('a');
  await call('b');
  add('a', 'b', 'c');
  await settle();
  assert.deepEqual([ahead, pool.counters.evictions], [[], 0]);
  const vm = created.mock.calls[0]?.result;
  assert.ok(vm !== undefined);
  await guests.end(vm, 'killed from outside');
  await settle();
  assert.deepEqual([ahead, idle()], [['a'], ['b', 'a']]);
});

test('standby: after it was closed nothing is launched', async (t) => {
  const { standby, ahead, add, settle, occupy } = createBench(t, { budgetMib: 1024 }, ['a', 'b', 'c']);
  add('a', 'b');
  t.mock.timers.tick(QUIET_MS);
  // The launch of the first is under way.
  standby.close();
  await settle();
  add('c');
  await occupy('a');
  await settle();
  assert.deepEqual(ahead, ['a']);
});

/** Tells how many functions were looked at. */
class WatchedFunction extends FunctionVms {
  static looks = 0;

  override get hasIdle(): boolean {
    WatchedFunction.looks += 1;
    return super.hasIdle;
  }
}

const CROWD = 2000;
const CROWDS: readonly (readonly [string, (index: number) => Partial<FunctionVersion>, number])[] = [
  ['of one size', () => ({}), 256],
  ['of many sizes', (i) => ({ memoryMib: 128 + 64 * ((i + 1) % 4) }), 256],
  ['too large for the budget, but for the last one', (i) => (i === CROWD - 1 ? {} : { memoryMib: 1024 }), 256],
  ['without a tap, but for the last one', (i) => ({ network: i < CROWD - 1 }), 1024],
];
for (const [what, keys, budgetMib] of CROWDS) {
  test(`standby: a request costs the same among ${CROWD} functions ${what}`, async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
    const functions = Array.from(
      { length: CROWD },
      (_, i) => new WatchedFunction(functionConfig(`function-${i}`, keys(i)), new FunctionUse(`function-${i}`)),
    );
    const guests = new ScriptedGuests();
    t.after(() => guests.close());
    const vmOf = (fn: FunctionVms): Vm => {
      const vm = guests.createVm(fn, {}, true);
      vm.setState('idle');
      return vm;
    };
    const launched: string[] = [];
    const standby = new Standby({
      budgetMib,
      launchAhead: (fn) => {
        launched.push(fn.config.name);
        return Promise.resolve(fn.share.hasTap ? null : vmOf(fn));
      },
      freeMib: () => 1 << 20,
      dismiss: () => undefined,
      isBusy: () => false,
      clock: { ...HOST_CLOCK, now: () => Date.now() },
      logger: createLogger('silent'),
    });
    t.after(() => standby.close());
    for (const fn of functions) standby.addCandidate(fn);
    const look = async (): Promise<number> => {
      WatchedFunction.looks = 0;
      t.mock.timers.tick(QUIET_MS);
      await turn();
      return WatchedFunction.looks;
    };
    for (let i = 0; i < 10; i += 1) await look();
    const [used] = functions.slice(-1);
    assert.ok(used !== undefined);
    for (let i = 0; i < 10; i += 1) {
      standby.onTaken(used, vmOf(used));
      const looks = await look();
      assert.ok(looks <= 12, `${looks} functions were looked at`);
    }
    assert.ok(launched.includes(used.config.name));
  });
}
