import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Hues } from '../../src/ui/hues.ts';

const name = (at: number): string => `function-${at}`;

test('hues: the first functions have hues that are far apart, sixteen have one each, and none is red', () => {
  const hues = new Hues();
  const taken = Array.from({ length: 16 }, (_, at) => hues.take(name(at)));
  assert.equal(new Set(taken).size, 16);
  const few = taken.slice(0, 5).sort((a, b) => a - b);
  for (const [at, hue] of few.entries()) assert.ok(at === 0 || hue - (few[at - 1] ?? 0) >= 50, few.join());
  for (const hue of taken) assert.ok(hue >= 70 && hue <= 340, String(hue));
});

test('hues: of more functions each hue has as many', () => {
  const hues = new Hues();
  const counts = new Map<number, number>();
  for (let at = 0; at < 48; at += 1) {
    const hue = hues.take(name(at));
    counts.set(hue, (counts.get(hue) ?? 0) + 1);
  }
  assert.deepEqual(
    [...counts.values()],
    Array.from({ length: 16 }, () => 3),
  );
});

test('hues: a function keeps its hue while it is shown, whoever comes and goes, and gives it back', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 30 })), (steps) => {
      const hues = new Hues();
      const shown = new Map<string, number>();
      for (const step of steps) {
        if (shown.delete(name(step))) hues.release(name(step));
        else shown.set(name(step), hues.take(name(step)));
        for (const [one, hue] of shown) {
          assert.equal(hues.take(one), hue);
          hues.release(one);
        }
      }
      for (const one of shown.keys()) hues.release(one);
      assert.deepEqual(
        [hues.take('a'), hues.take('b')],
        (() => {
          const fresh = new Hues();
          return [fresh.take('a'), fresh.take('b')];
        })(),
      );
    }),
  );
});
