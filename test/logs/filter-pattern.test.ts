/** Which messages a filter pattern lets through, by the examples of CloudWatch's documentation and by what it refuses. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FilterPatternError, filterOf } from '../../src/logs/filter-pattern.ts';

const MESSAGES = [
  '[ERROR 400] BAD REQUEST',
  '[ERROR 401] UNAUTHORIZED REQUEST',
  '[ERROR 419] MISSING ARGUMENTS',
  '[ERROR 420] INVALID ARGUMENTS',
  'say "hi"',
];

const PATTERNS: readonly (readonly [pattern: string, matches: readonly number[]])[] = [
  ['', [0, 1, 2, 3, 4]],
  ['   ', [0, 1, 2, 3, 4]],
  ['ERROR', [0, 1, 2, 3]],
  ['error', []],
  ['ERROR ARGUMENTS', [2, 3]],
  ['ARGUMENTS ERROR', [2, 3]],
  ['?ERROR ?hi', [0, 1, 2, 3, 4]],
  ['?401 ?420', [1, 3]],
  ['ERROR -ARGUMENTS', [0, 1]],
  ['-ERROR', [4]],
  ['?hi ERROR', [0, 1, 2, 3]],
  ['"INVALID ARGUMENTS"', [3]],
  ['"400] BAD"', [0]],
  ['-"BAD REQUEST" ERROR', [1, 2, 3]],
  ['"say \\"hi\\""', [4]],
];

for (const [pattern, matches] of PATTERNS) {
  test(`filter patterns: ${pattern}`, () => {
    const found = MESSAGES.flatMap((message, index) => (filterOf(pattern)(message) ? [index] : []));
    assert.deepEqual(found, matches);
  });
}

for (const pattern of ['{ $.a = 1 }', '[ip, user]', '%a.*%', '"open', 'a"b', 'x'.repeat(1025)]) {
  test(`filter patterns: ${pattern.slice(0, 20)} is refused`, () => {
    assert.throws(() => filterOf(pattern), FilterPatternError);
  });
}
