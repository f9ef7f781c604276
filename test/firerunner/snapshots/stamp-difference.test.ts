import assert from 'node:assert/strict';
import fc from 'fast-check';
import { test } from 'node:test';
import { differenceOf } from '../../../src/firerunner/snapshots/stamp-difference.ts';

const machine = (changes: Record<string, unknown>): string =>
  JSON.stringify([
    { method: 'PUT', path: '/machine-config', body: { vcpu_count: 1, mem_size_mib: 128, ...changes } },
    { method: 'PUT', path: '/boot-source', body: { boot_args: 'a'.repeat(3000) } },
  ]);

test('plain values are named, long ones cut', () => {
  assert.equal(differenceOf(128, 256), '128, now 256');
  assert.equal(differenceOf('Firecracker 1.16.1', undefined), 'Firecracker 1.16.1, now nothing');
  assert.equal(differenceOf(null, 'eth0'), 'null, now eth0');
  assert.equal(differenceOf('x'.repeat(4000), 'y'), `${'x'.repeat(60)}…, now y`);
});

test('of values that are JSON the places are named that differ', () => {
  assert.equal(differenceOf(machine({}), machine({ smt: false })), '/0/body/smt: nothing, now false');
  const many = Object.fromEntries(Array.from({ length: 9 }, (_, index) => [`key${index}`, index]));
  assert.match(
    differenceOf(machine({}), machine(many)),
    /^\/0\/body\/key0: nothing, now 0; .*key1.*; .*key2: nothing, now 2, and 6 more$/,
  );
});

test('whatever differs, it is said in some hundred characters', () => {
  fc.assert(
    fc.property(fc.json(), fc.json(), (was, now) => {
      fc.pre(JSON.stringify(JSON.parse(was)) !== JSON.stringify(JSON.parse(now)));
      assert.ok(differenceOf(was, now).length < 3 * 400);
    }),
  );
});
