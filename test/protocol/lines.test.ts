import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LineError, LineReader } from '../../src/protocol/lines.ts';

const LIMIT = 1000;

/** Everything that comes of bytes in pieces of these sizes, in turn. */
function read(bytes: Buffer, pieceSizes: readonly number[]): string[] {
  const reader = new LineReader(LIMIT);
  const lines: string[] = [];
  for (let at = 0, i = 0; at < bytes.length; i += 1) {
    const size = pieceSizes[i % pieceSizes.length] ?? 1;
    lines.push(...reader.push(bytes.subarray(at, at + size)));
    at += size;
  }
  assert.equal(reader.pendingBytes, 0);
  return lines;
}

test('lines: any text cut into any pieces comes out as it went in', () => {
  const line = fc.string({ unit: 'grapheme', maxLength: 60 }).map((text) => text.replaceAll('\n', ''));
  const pieces = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 });
  fc.assert(
    fc.property(fc.array(line), pieces, (lines, pieceSizes) => {
      const bytes = Buffer.from(lines.map((text) => `${text}\n`).join(''));
      assert.deepEqual(read(bytes, pieceSizes), lines);
    }),
  );
});

for (const pieceBytes of [1, 7, LIMIT + 1, 4096]) {
  test(`lines: one over the limit is refused, in pieces of ${pieceBytes} bytes`, () => {
    assert.deepEqual(read(Buffer.from(`${'x'.repeat(LIMIT)}\n`), [pieceBytes]), ['x'.repeat(LIMIT)]);
    for (const end of ['\n', '']) {
      const bytes = Buffer.from(`${'x'.repeat(LIMIT + 1)}${end}`);
      assert.throws(() => read(bytes, [pieceBytes]), LineError);
    }
  });
}

test('lines: what has come of a line is not looked at again', () => {
  const reader = new LineReader(64 * 1024 * 1024);
  const piece = Buffer.alloc(4, 'x');
  const started = performance.now();
  // Looked at again with each piece, these would be 8 TB.
  for (let i = 0; i < 2_000_000; i += 1) reader.push(piece);
  assert.equal(reader.push(Buffer.from('\n'))[0]?.length, 8_000_000);
  assert.ok(performance.now() - started < 20_000);
});
