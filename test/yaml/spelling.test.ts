import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { nearest, Spelling } from '../../src/yaml/spelling.ts';

test('spelling: guesses come to an end, however many names are wrong', () => {
  const names = Array.from({ length: 100 }, (_, i) => `function-${i}`);
  const spelling = new Spelling(1000);
  const guesses = Array.from({ length: 50 }, () => spelling.nearest('fnction-7', names));
  assert.deepEqual(
    guesses.slice(0, 10),
    Array.from({ length: 10 }, () => 'function-7'),
  );
  assert.ok(guesses.slice(10).every((guess) => guess === null));
});

test('spelling: of names with one letter too many, too few or wrong the right one is found', () => {
  const letters = fc.stringMatching(/^[a-j]{6,30}$/);
  const slip = fc.constantFrom('insert', 'remove', 'change', 'swap');
  const property = fc.property(letters, slip, fc.nat(), (name, kind, place) => {
    const at = place % (name.length - 1);
    const rest = name.slice(at + 1);
    const wrong = {
      insert: `${name.slice(0, at)}z${name.slice(at)}`,
      remove: name.slice(0, at) + rest,
      change: `${name.slice(0, at)}z${rest}`,
      swap: name.slice(0, at) + rest.slice(0, 1) + name.slice(at, at + 1) + rest.slice(1),
    }[kind];
    assert.equal(nearest(wrong, ['zzzzzzzz', name, '']), name);
  });
  fc.assert(property);
});
