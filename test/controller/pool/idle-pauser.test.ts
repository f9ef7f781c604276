import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { IdlePauser, type Pausable } from '../../../src/controller/pool/idle-pauser.ts';

const TICK_MS = 200;

class Idle implements Pausable {
  readonly said: string[] = [];

  pause(): void {
    this.said.push('pause');
  }

  resume(): void {
    this.said.push('resume');
  }
}

function createPauser(t: TestContext): IdlePauser<Idle> {
  t.mock.timers.enable({ apis: ['setInterval'] });
  return new IdlePauser<Idle>();
}

test('idle pauser: a VM is paused between one and two ticks after it became idle', (t) => {
  const pauser = createPauser(t);
  const [early, late] = [new Idle(), new Idle()];
  pauser.add(early);
  t.mock.timers.tick(TICK_MS - 1);
  pauser.add(late);
  t.mock.timers.tick(TICK_MS);
  assert.deepEqual([early.said, late.said, pauser.paused], [[], [], 0], 'after one tick neither is');
  t.mock.timers.tick(1);
  assert.deepEqual([early.said, late.said, pauser.paused], [['pause'], ['pause'], 2]);
  t.mock.timers.tick(10 * TICK_MS);
  assert.deepEqual(early.said, ['pause'], 'it is paused once');
});

test('idle pauser: a VM that is taken in time is left alone, however often', (t) => {
  const pauser = createPauser(t);
  const vm = new Idle();
  for (let i = 0; i < 10; i += 1) {
    pauser.add(vm);
    t.mock.timers.tick(TICK_MS);
    pauser.take(vm);
  }
  t.mock.timers.tick(10 * TICK_MS);
  assert.deepEqual(vm.said, []);
});

test('idle pauser: a paused VM runs again when it is taken, and is paused again when it stays idle', (t) => {
  const pauser = createPauser(t);
  const vm = new Idle();
  pauser.add(vm);
  t.mock.timers.tick(2 * TICK_MS);
  pauser.take(vm);
  assert.deepEqual([vm.said, pauser.paused], [['pause', 'resume'], 0]);
  pauser.add(vm);
  t.mock.timers.tick(2 * TICK_MS);
  assert.deepEqual([vm.said, pauser.paused], [['pause', 'resume', 'pause'], 1]);
});

test('idle pauser: a VM that is about to end is not resumed, and not paused any more', (t) => {
  const pauser = createPauser(t);
  const [young, old, paused] = [new Idle(), new Idle(), new Idle()];
  pauser.add(paused);
  t.mock.timers.tick(TICK_MS);
  pauser.add(old);
  t.mock.timers.tick(TICK_MS);
  pauser.add(young);
  for (const vm of [young, old, paused]) pauser.forget(vm);
  t.mock.timers.tick(10 * TICK_MS);
  assert.deepEqual([young.said, old.said, paused.said, pauser.paused], [[], [], ['pause'], 0]);
});

test('idle pauser: its timer runs only while a VM waits to be paused', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const set = t.mock.method(globalThis, 'setInterval');
  const clear = t.mock.method(globalThis, 'clearInterval');
  const running = (): number => set.mock.callCount() - clear.mock.callCount();
  const pauser = new IdlePauser<Idle>();
  const [first, second] = [new Idle(), new Idle()];
  assert.equal(running(), 0);
  pauser.add(first);
  pauser.add(second);
  assert.equal(running(), 1);
  t.mock.timers.tick(2 * TICK_MS);
  assert.deepEqual([running(), pauser.paused], [0, 2], 'all are paused');
  pauser.take(first);
  assert.equal(running(), 0);
  pauser.add(first);
  assert.equal(running(), 1);
  pauser.take(first);
  t.mock.timers.tick(TICK_MS);
  assert.equal(running(), 0, 'nobody is idle any more');
});
