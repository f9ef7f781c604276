import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MemoryMap } from '../../src/ui/memory-map.ts';

test('memory map: a VM keeps its place while others come and go, and none lies on another', () => {
  const step = fc.record({ id: fc.integer({ min: 0, max: 20 }), mib: fc.constantFrom(128, 256, 512) });
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const map = new MemoryMap(4096, 2);
      const there = new Map<string, number>();
      for (const { id: number, mib } of steps) {
        const id = String(number);
        const before = new Map([...there.keys()].map((one) => [one, map.place(one)]));
        if (there.delete(id)) map.remove(id);
        else if (map.add(id, mib)) there.set(id, mib);
        for (const one of there.keys()) if (one !== id) assert.equal(map.place(one), before.get(one));
        const places = [...there.keys()].map((one) => map.place(one)).filter((one) => one !== undefined);
        for (const a of places) {
          assert.ok(a.at >= 0 && a.at + a.mib <= map.rowMib);
          for (const b of places) assert.ok(a === b || a.row !== b.row || a.at + a.mib <= b.at || b.at + b.mib <= a.at);
        }
      }
    }),
  );
});

test('memory map: what fits into no row as a whole is drawn closer together', () => {
  const map = new MemoryMap(1000, 2);
  assert.equal(map.add('a', 300) && map.add('b', 300), true);
  assert.equal(map.add('c', 400), false);
  map.pack([
    ['a', 300],
    ['b', 300],
    ['c', 400],
  ]);
  assert.deepEqual(map.place('c'), { row: 0, at: 0, mib: 400 });
  assert.deepEqual(map.place('b'), { row: 1, at: 300, mib: 300 });
  assert.equal(map.extent(0), 500);
  assert.equal(map.extent(1), 600);
});
