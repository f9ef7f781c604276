import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LeastRecentlyUsed, type IdleVm } from '../../src/controller/keep-alive.ts';

class Idle implements IdleVm<Idle> {
  previous: Idle | null = null;
  next: Idle | null = null;
  readonly name: string;
  readonly memoryMib: number;

  constructor(name: string, memoryMib: number) {
    this.name = name;
    this.memoryMib = memoryMib;
  }
}

const names = (vms: readonly Idle[]): string[] => vms.map((vm) => vm.name);

test('least recently used: the VM that has been idle for longest goes first', () => {
  const policy = new LeastRecentlyUsed<Idle>();
  const [a, b, c] = [new Idle('a', 128), new Idle('b', 128), new Idle('c', 128)];
  for (const vm of [a, b, c]) policy.add(vm);
  policy.remove(a);
  policy.add(a);
  assert.deepEqual(names(policy.victims(128)), ['b']);
  assert.deepEqual(names(policy.victims(129)), ['b', 'c']);
});

test('least recently used: only as many are named as are needed', () => {
  const policy = new LeastRecentlyUsed<Idle>();
  policy.add(new Idle('large', 512));
  policy.add(new Idle('small', 128));
  assert.deepEqual(names(policy.victims(256)), ['large']);
});

test('least recently used: nobody is named if all together are not enough', () => {
  const policy = new LeastRecentlyUsed<Idle>();
  policy.add(new Idle('a', 128));
  policy.add(new Idle('b', 128));
  assert.deepEqual(policy.victims(257), []);
  assert.equal(policy.idleMib, 256);
});
