/**
 * A short run of every parser; `npm run fuzz -- --all --cases 10000000` is a long one. What long runs have found stands
 * here as a case of its own, or as a test beside the parser's others.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PARSER_TARGETS } from './targets.ts';
import { fuzz, repeat, type ParserTarget } from './target.ts';

const WISH = { cases: 20_000, seconds: 1, seed: 1 };

/** Texts that took more than linear time: each fails by the processor time that it takes. */
const SLOW: readonly (readonly [string, string])[] = [
  ['requirements', `a${' '.repeat(4000)}!`],
  ['alternatives', `for a in ${' ;'.repeat(20_000)}\u2028\n${'\n'.repeat(100)}`],
  ['config', `network: {taps: ${'2,'.repeat(50_000)}}\n---functions---[]\n`],
  ['config', `${manyKeys(16_000)}---functions---[]\n`],
  ['config', `---functions---\n- environment: {A: b${'}'.repeat(100_000)}\n`],
  ['config', `network: {taps: [${manyTaps(100)}], subnet: 10.0.0.0/16}\n---functions---[]\n`],
  ['alternatives', `a="1 2 3 4 5 6 7"\nfor b in $a; do\nc=${'$b'.repeat(8)}\n${'\n'.repeat(4000)}`],
];

/** What else did not hold once. */
const FOUND: readonly (readonly [string, string])[] = [
  ['origin', '\nn://\x1b\n'],
  ['requirements', '4; #\\'],
  ['layer-manifest', manifestWith({ sha256: 'a', bytes: 0 }, { bytes: 1 })],
];

function manyKeys(count: number): string {
  return Array.from({ length: count }, (_, i) => `key_${i}: 1\n`).join('');
}

function manyTaps(count: number): string {
  return Array.from({ length: count }, (_, i) => `'t${i}x{0..9999}'`).join(', ');
}

function manifestWith(part: object, another: object): string {
  const parts = { state: part, index: part, pages: part, another };
  return JSON.stringify({ format: 1, kind: 'base', stamp: {}, base: null, memory_bytes: 4096, parts, digest: '' });
}

describe('parsers, whatever they are given', { timeout: 300_000 }, () => {
  for (const target of PARSER_TARGETS) {
    test(target.name, async (t) => {
      const { cases, seconds } = await fuzz(target, WISH);
      t.diagnostic(`${cases} cases in ${seconds.toFixed(1)} s`);
    });
  }

  test('need no more than linear time for what was slow once', async () => {
    for (const [name, text] of SLOW) await repeat(find(name), Buffer.from(text));
  });

  test('hold what they did not hold once', async () => {
    for (const [name, text] of FOUND) await repeat(find(name), Buffer.from(text, 'latin1'));
  });
});

function find(name: string): ParserTarget {
  const target = PARSER_TARGETS.find((one) => one.name === name);
  assert.ok(target !== undefined, `there is no target ${name}`);
  return target;
}
