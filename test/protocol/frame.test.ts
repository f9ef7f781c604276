import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { encodeFrame, encodeFrameHead, FrameError, FrameReader, type Frame } from '../../src/protocol/frame.ts';

const LIMIT = 64 * 1024;

const frames = fc.array(
  fc.record({
    type: fc.integer({ min: 0, max: 255 }),
    header: fc.dictionary(fc.string(), fc.jsonValue(), { maxKeys: 3 }),
    payload: fc.uint8Array({ maxLength: 300 }),
  }),
  { maxLength: 8 },
);

test('frames: any frames cut into any pieces come out as they went in', () => {
  fc.assert(
    fc.property(frames, fc.array(fc.integer({ min: 1, max: 64 }), { minLength: 1 }), (sent, pieceSizes) => {
      const bytes = Buffer.concat(sent.map((frame) => encodeFrame(frame.type, frame.header, frame.payload)));
      const reader = new FrameReader(LIMIT);
      const received: Frame[] = [];
      for (let at = 0, i = 0; at < bytes.length; i += 1) {
        const size = pieceSizes[i % pieceSizes.length] ?? 1;
        received.push(...reader.push(bytes.subarray(at, at + size)));
        at += size;
      }
      assert.equal(received.length, sent.length);
      for (const [i, frame] of received.entries()) {
        assert.equal(frame.type, sent[i]?.type);
        assert.equal(JSON.stringify(frame.header), JSON.stringify(sent[i]?.header));
        assert.deepEqual(frame.payload, Buffer.from(sent[i]?.payload ?? []));
      }
      assert.equal(reader.pendingBytes, 0);
    }),
  );
});

for (const pieceBytes of [7, 64 * 1024, 300_001, 5_000_000]) {
  test(`frames: large ones between small ones come out whole, in pieces of ${pieceBytes} bytes`, () => {
    const small = Buffer.from('small');
    const payloads = [small, Buffer.alloc(300_000, 1), small, Buffer.alloc(1_000_000, 2), Buffer.alloc(400_000, 3)];
    const bytes = Buffer.concat(payloads.map((payload) => encodeFrame(2, { n: payload.length }, payload)));
    const reader = new FrameReader(2_000_000);
    const received: Frame[] = [];
    for (let at = 0; at < bytes.length; at += pieceBytes)
      received.push(...reader.push(bytes.subarray(at, at + pieceBytes)));
    assert.deepEqual(
      received.map(({ payload, header }) => [payload, header]),
      payloads.map((payload) => [payload, { n: payload.length }]),
    );
    assert.equal(reader.pendingBytes, 0);
  });
}

test('frames: a head and its payload are the frame', () => {
  const payload = Buffer.from('xy');
  const parts = [encodeFrameHead(0x16, { a: 1 }, payload.length), payload];
  assert.deepEqual(Buffer.concat(parts), encodeFrame(0x16, { a: 1 }, payload));
});

test('frames: the bytes are the ones of the diagram', () => {
  const frame = encodeFrame(0x16, { a: 1 }, Buffer.from('xy'));
  assert.equal(frame.toString('latin1'), '\x00\x00\x00\x0c\x16\x00\x07{"a":1}xy');
});

test('frames: a length over the limit is refused before its bytes come', () => {
  const prefix = Buffer.alloc(4);
  prefix.writeUInt32BE(LIMIT + 1);
  assert.throws(() => new FrameReader(LIMIT).push(prefix), { name: 'FrameError', tooLarge: true });
});

test('frames: a length that is shorter than the prefix is refused', () => {
  assert.throws(() => new FrameReader(LIMIT).push(Buffer.from([0, 0, 0, 2])), FrameError);
});

test('frames: a header longer than its frame is refused', () => {
  assert.throws(() => new FrameReader(LIMIT).push(Buffer.from([0, 0, 0, 3, 1, 0, 9])), /longer than its frame/);
});

for (const header of ['nonsense', '[1]', 'null']) {
  test(`frames: the header ${header} is refused`, () => {
    const bytes = Buffer.from(`\0\0\0\0\x01\0${String.fromCharCode(header.length)}${header}`, 'latin1');
    bytes.writeUInt32BE(3 + header.length, 0);
    assert.throws(() => new FrameReader(LIMIT).push(bytes), /header is not/);
  });
}

test('frames: random bytes never do worse than a FrameError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        new FrameReader(LIMIT).push(Buffer.from(bytes));
      } catch (error) {
        assert.ok(error instanceof FrameError);
      }
    }),
  );
});
