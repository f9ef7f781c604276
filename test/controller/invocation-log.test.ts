import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RecentInvocations } from '../../src/controller/invocation-log.ts';
import { MAX_LOG_BYTES_PER_REQUEST } from '../../src/protocol/guest.ts';

const PIECE = 'x'.repeat(16 * 1024);
/** Pieces of one invocation that are kept whole. */
const PIECES = MAX_LOG_BYTES_PER_REQUEST / PIECE.length;

/** Prints so many pieces under each of these numbers. @returns the characters that are kept. */
function print(invocations: RecentInvocations, numbers: readonly number[], pieces: number): number {
  let kept = 0;
  for (const number of numbers) {
    for (let i = 0; i < pieces; i += 1) kept += invocations.add(number, PIECE)?.text.length ?? 0;
  }
  return kept;
}

test('invocation log: what an invocation may print is kept whole, the rest is cut once', () => {
  const invocations = new RecentInvocations();
  invocations.begin('a', null);
  assert.equal(print(invocations, [1], PIECES), MAX_LOG_BYTES_PER_REQUEST);
  assert.deepEqual(invocations.add(1, PIECE), { id: 'a', text: PIECE.slice(0, 256), isCut: true });
  assert.equal(invocations.add(1, PIECE), null);
  invocations.begin('b', null);
  assert.deepEqual(invocations.add(2, 'y'), { id: 'b', text: 'y', isCut: false });
});

test('invocation log: invocations that never were are worth no more than the next one', () => {
  const invocations = new RecentInvocations();
  invocations.begin('a', null);
  const forged = Array.from({ length: 1000 }, (_, i) => i + 2);
  const kept = print(invocations, [1, ...forged, -1, NaN, 1e9], 2 * PIECES);
  assert.ok(kept <= 2 * (MAX_LOG_BYTES_PER_REQUEST + 256), `${kept}`);
  invocations.begin('b', null);
  assert.equal(print(invocations, [2], 1), 0, 'it has been used up');
});

test('invocation log: what is printed between two invocations belongs to the next one', () => {
  const invocations = new RecentInvocations();
  invocations.begin('a', null);
  assert.deepEqual(invocations.add(2, 'early'), { id: null, text: 'early', isCut: false });
  invocations.begin('b', null);
  assert.deepEqual(invocations.add(2, 'late'), { id: 'b', text: 'late', isCut: false });
});
