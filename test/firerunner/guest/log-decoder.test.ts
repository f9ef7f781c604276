import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LogDecoder } from '../../../src/firerunner/guest/log-decoder.ts';
import { FrameType, type LogHeader } from '../../../src/protocol/guest.ts';

interface Emitted extends LogHeader {
  readonly text: string;
}

function createDecoder(): { decoder: LogDecoder; emitted: Emitted[] } {
  const emitted: Emitted[] = [];
  return { decoder: new LogDecoder((header, text) => emitted.push({ ...header, text })), emitted };
}

const log = (request: number, stream: string, payload: Buffer): Parameters<LogDecoder['push']>[0] => ({
  type: FrameType.log,
  header: { request, stream },
  payload,
});
const logEnd = (request: number): Parameters<LogDecoder['push']>[0] => ({
  type: FrameType.logEnd,
  header: { request, bytes: 0, cut: 0 },
  payload: Buffer.alloc(0),
});

test('log decoder: text comes out whole, wherever its bytes were cut', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), fc.array(fc.nat({ max: 5 })), (text, cuts) => {
      const { decoder, emitted } = createDecoder();
      let rest = Buffer.from(text);
      for (const cut of cuts) {
        decoder.push(log(1, 'stdout', rest.subarray(0, cut)));
        rest = rest.subarray(cut);
      }
      decoder.push(log(1, 'stdout', rest));
      decoder.push(logEnd(1));
      assert.equal(emitted.map((piece) => piece.text).join(''), Buffer.from(text).toString());
      assert.ok(
        emitted.every(({ request, stream, text: piece }) => request === 1 && stream === 'stdout' && piece !== ''),
      );
    }),
  );
});

test('log decoder: characters cut on both streams do not mix', () => {
  const { decoder, emitted } = createDecoder();
  const [first, second] = [Buffer.from('ä').subarray(0, 1), Buffer.from('ä').subarray(1)];
  decoder.push(log(3, 'stdout', first));
  decoder.push(log(3, 'stderr', first));
  decoder.push(log(3, 'stderr', Buffer.concat([second, Buffer.from('!')])));
  decoder.push(log(3, 'stdout', second));
  assert.deepEqual(emitted, [
    { request: 3, stream: 'stderr', text: 'ä!' },
    { request: 3, stream: 'stdout', text: 'ä' },
  ]);
});

test('log decoder: half a character at the end of a request is shown, and does not reach the next one', () => {
  const { decoder, emitted } = createDecoder();
  decoder.push(log(1, 'stdout', Buffer.from([0xc3])));
  decoder.push(logEnd(1));
  decoder.push(log(2, 'stdout', Buffer.from('next')));
  assert.deepEqual(emitted, [
    { request: 1, stream: 'stdout', text: '\ufffd' },
    { request: 2, stream: 'stdout', text: 'next' },
  ]);
});
