import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LeastRecentlyUsed, type IdleVm } from '../../../src/controller/pool/keep-alive.ts';

class Idle implements IdleVm<Idle> {
  previous: Idle | null = null;
  next: Idle | null = null;
  readonly name: string;
  readonly memoryMib: number;
  readonly hasTap: boolean;

  constructor(name: string, memoryMib: number, hasTap = false) {
    this.name = name;
    this.memoryMib = memoryMib;
    this.hasTap = hasTap;
  }
}

const names = (vms: readonly Idle[]): string[] => vms.map((vm) => vm.name);

test('least recently used: the VM that has been idle for longest goes first', () => {
  const policy = new LeastRecentlyUsed<Idle>();
  const [a, b, c] = [new Idle('a', 128), new Idle('b', 128), new Idle('c', 128)];
  for (const vm of [a, b, c]) policy.add(vm);
  policy.remove(a);
  policy.add(a);
  assert.deepEqual(names(policy.victims({ memoryMib: 128, tap: false })), ['b']);
  assert.deepEqual(names(policy.victims({ memoryMib: 129, tap: false })), ['b', 'c']);
});

test('least recently used: only as many are named as are needed', () => {
  const policy = new LeastRecentlyUsed<Idle>();
  policy.add(new Idle('large', 512));
  policy.add(new Idle('small', 128));
  assert.deepEqual(names(policy.victims({ memoryMib: 256, tap: false })), ['large']);
});

test('least recently used: nobody is named if all together are not enough', () => {
  const policy = new LeastRecentlyUsed<Idle>();
  policy.add(new Idle('a', 128));
  policy.add(new Idle('b', 128));
  assert.deepEqual(policy.victims({ memoryMib: 257, tap: false }), []);
  assert.equal(policy.idleMib, 256);
});

test('least recently used: where a tap is needed, it comes from the VM with one that has been idle for longest', () => {
  const policy = new LeastRecentlyUsed<Idle>();
  const vms = [new Idle('old', 128), new Idle('tap', 128, true), new Idle('tap too', 128, true)];
  for (const vm of vms) policy.add(vm);
  assert.deepEqual(names(policy.victims({ memoryMib: 0, tap: true })), ['tap']);
  assert.deepEqual(names(policy.victims({ memoryMib: 256, tap: true })), ['tap', 'old']);
  assert.deepEqual(policy.victims({ memoryMib: 512, tap: true }), []);
  for (const vm of vms.slice(1)) policy.remove(vm);
  assert.deepEqual(policy.victims({ memoryMib: 0, tap: true }), []);
});
