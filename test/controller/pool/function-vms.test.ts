import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { FunctionUse } from '../../../src/controller/pool/function-use.ts';
import { FunctionVms, type VmPlace } from '../../../src/controller/pool/function-vms.ts';
import type { Vm } from '../../../src/controller/pool/vm.ts';
import { functionConfig, ScriptedGuests } from '../../support/scripted-guests.ts';

const guests = new ScriptedGuests();
after(() => guests.close());

/** VMs of one function, and how often links between their places were read or written. */
function idleVms(count: number): { fn: FunctionVms; vms: readonly Vm[]; steps: () => number } {
  const fn = new FunctionVms(functionConfig('f'), new FunctionUse('f'));
  let steps = 0;
  const vms = Array.from({ length: count }, () => guests.createVm(fn, {}));
  for (const { place } of vms) {
    for (const link of ['previous', 'next'] as const) {
      let target: VmPlace | null = null;
      Object.defineProperty(place, link, {
        get: () => ((steps += 1), target),
        set: (value: VmPlace | null) => ((steps += 1), (target = value)),
      });
    }
  }
  return { fn, vms, steps: () => steps };
}

test('VMs of a function: each idle one comes and goes in as many steps among thousands as among few', () => {
  for (const [what, order] of [
    ['oldest first', (vms: readonly Vm[]) => vms],
    ['newest first', (vms: readonly Vm[]) => vms.toReversed()],
  ] as const) {
    const perVm = [10, 3000].map((count) => {
      const { fn, vms, steps } = idleVms(count);
      for (const vm of vms) fn.pushIdle(vm);
      for (const vm of order(vms)) fn.removeIdle(vm);
      assert.equal(fn.hasIdle, false);
      return steps() / count;
    });
    assert.ok((perVm[1] ?? 0) <= (perVm[0] ?? 0) + 1, `${what}: ${perVm.join(', ')} steps`);
  }
});

test('VMs of a function: one that is not idle cannot be taken from the idle ones', () => {
  const { fn, vms } = idleVms(2);
  const [idle, other] = vms;
  assert.ok(idle !== undefined && other !== undefined);
  fn.pushIdle(idle);
  assert.throws(() => fn.removeIdle(other), /in no list/);
  assert.equal(fn.popIdle(), idle);
  assert.equal(fn.popIdle(), null);
});

test('VMs of a function: how long requests take is told by VMs that had served, and guessed before', () => {
  const fn = new FunctionVms(functionConfig('f'), new FunctionUse('f'));
  fn.alive = 1;
  const servesInMs = (): number | undefined => fn.own(0, 0, null, 1)?.servesInMs;
  const ran = (tookMs: number, isFirst: boolean): void => fn.ran(1000, 1000 + tookMs, isFirst);
  fn.startMs = 50;
  assert.equal(servesInMs(), 0);
  ran(90, true);
  assert.equal(servesInMs(), 0, 'as long as it takes to run what was restored for the first time');
  ran(10_000, true);
  assert.equal(servesInMs(), 9900, 'slow by itself');
  ran(8, false);
  assert.equal(servesInMs(), 8);
  ran(10_000, true);
  assert.equal(servesInMs(), 8);
  ran(16, false);
  assert.equal(servesInMs(), 9);
});

test('VMs of a function: one that has served comes back before those that were launched ahead', () => {
  const step = fc.oneof(
    fc.record({ push: fc.boolean() }),
    fc.record({ remove: fc.nat() }),
    fc.constant('pop' as const),
  );
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const fn = new FunctionVms(functionConfig('f'), new FunctionUse('f'));
      const expected: Vm[] = [];
      for (const action of steps) {
        if (action === 'pop') {
          assert.equal(fn.popIdle(), expected.shift() ?? null);
        } else if ('push' in action) {
          const vm = guests.createVm(fn, {});
          Object.defineProperty(vm, 'isUnused', { value: action.push });
          fn.pushIdle(vm);
          if (action.push) expected.push(vm);
          else expected.unshift(vm);
        } else if (expected.length > 0) {
          const [vm] = expected.splice(action.remove % expected.length, 1);
          if (vm !== undefined) fn.removeIdle(vm);
        }
      }
      while (expected.length > 0) assert.equal(fn.popIdle(), expected.shift());
      assert.equal(fn.hasIdle, false);
    }),
  );
});
