import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isJsonText } from '../../src/protocol/json-scan.ts';

const parses = (text: string): boolean => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};
const assertAgrees = (text: string): void => {
  assert.equal(isJsonText(Buffer.from(text)), parses(text), JSON.stringify(text));
};

test('JSON scan: says of every kind of text what JSON.parse does', () => {
  const right = [
    '0',
    '-0',
    '1.50',
    '1e9',
    '-1.2E-07',
    '""',
    '"\\u00e9\\n\\/"',
    'true',
    ' null ',
    '[]',
    '{}',
    '[[],{}]',
  ];
  const nested = ['{"a":[1,{"b":"c"}],"d":false}', '\t[1 , 2\r\n]', '"\u007f ä 💙"'];
  const wrong = [
    '',
    ' ',
    '-',
    '01',
    '1.',
    '.5',
    '1e',
    '+1',
    'tru',
    'nul',
    'truefalse',
    '"',
    '"\\',
    '"\\x"',
    '"\\u12g4"',
  ];
  const broken = [
    '[',
    ']',
    '[1,]',
    '[,1]',
    '[1 2]',
    '{',
    '{"a"}',
    '{"a":}',
    '{a:1}',
    '{"a":1,}',
    '[}',
    '{]',
    '1 2',
    '[]]',
  ];
  const odd = ['"\n"', '"\u0000"', "'a'", '\ufeff1', '\u00a01', '1\u000b', 'NaN', '{"a":1 "b":2}', '[1}', '"a" "b"'];
  for (const text of [...right, ...nested]) assert.ok(parses(text), text);
  for (const text of [...right, ...nested, ...wrong, ...broken, ...odd]) assertAgrees(text);
});

test('JSON scan: agrees with JSON.parse on whatever JSON there is, and after any change of a few bytes', () => {
  const change = fc.record({ at: fc.nat(), bytes: fc.string({ maxLength: 3, unit: 'binary-ascii' }), cut: fc.nat(3) });
  fc.assert(
    fc.property(fc.json({ maxDepth: 6 }), fc.array(change, { maxLength: 2 }), (json, changes) => {
      assert.ok(isJsonText(Buffer.from(json)));
      let text = json;
      for (const { at, bytes, cut } of changes) {
        const place = at % (text.length + 1);
        text = text.slice(0, place) + bytes + text.slice(place + cut);
      }
      assertAgrees(text);
    }),
    { numRuns: 20_000 },
  );
});

test('JSON scan: agrees with JSON.parse on rows of its own signs', () => {
  const signs = fc.array(fc.constantFrom(...Array.from('{}[],:"\\0123456789+-.eEtruefalsn u\n')), { maxLength: 12 });
  fc.assert(
    fc.property(signs, (row) => assertAgrees(row.join(''))),
    { numRuns: 50_000 },
  );
});

test('JSON scan: no depth is too much', () => {
  const depth = 1_000_000;
  assert.ok(isJsonText(Buffer.from('['.repeat(depth) + ']'.repeat(depth))));
  assert.ok(!isJsonText(Buffer.from('['.repeat(depth) + ']'.repeat(depth - 1))));
});
