import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventStreamCodec } from '@smithy/core/event-streams';
import { EventEncoder } from '../../../src/controller/gateway/event-stream.ts';

const codec = new EventStreamCodec(
  (input) => Buffer.from(typeof input === 'string' ? input : new Uint8Array(input)).toString('utf8'),
  (input) => new Uint8Array(Buffer.from(input)),
);

for (const [what, payload] of [
  ['an empty payload', Buffer.alloc(0)],
  ['a few bytes', Buffer.from('{"ü":1}')],
  ['every byte there is', Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))],
  ['64 KiB', Buffer.alloc(64 * 1024, 0xa5)],
] as const) {
  test(`event stream: the SDK's decoder takes ${what}, checksums included`, () => {
    const { headers, body } = codec.decode(
      new EventEncoder('PayloadChunk', 'application/octet-stream').encode(payload),
    );
    assert.deepEqual(Buffer.from(body), payload);
    const values = Object.entries(headers).map(([name, { value }]) => [name, value]);
    assert.deepEqual(values, [
      [':message-type', 'event'],
      [':event-type', 'PayloadChunk'],
      [':content-type', 'application/octet-stream'],
    ]);
  });
}

test('event stream: an error that ends a stream is told as one', () => {
  const { headers } = codec.decode(new EventEncoder('Late', 'application/json', 'exception').encode(Buffer.from('{}')));
  assert.deepEqual([headers[':message-type']?.value, headers[':exception-type']?.value], ['exception', 'Late']);
});

test('event stream: a message is laid out as its diagram says', () => {
  const message = new EventEncoder('InvokeComplete', 'application/json').encode(Buffer.from('{}'));
  assert.equal(message.readUInt32BE(0), message.length);
  assert.equal(message.readUInt32BE(4), message.length - 12 - 2 - 4);
  assert.equal(message.subarray(-6, -4).toString(), '{}');
});
