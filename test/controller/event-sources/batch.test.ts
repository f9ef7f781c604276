import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { eventOf, intoBatches, messageId, type StreamMessage } from '../../../src/controller/event-sources/batch.ts';
import { failedItems } from '../../../src/controller/event-sources/batch-result.ts';
import { pauseMs, retryPauseMs } from '../../../src/controller/event-sources/pauses.ts';
import { Room, MAX_HELD_BYTES } from '../../../src/controller/event-sources/room.ts';
import { DEFAULT_ACCOUNT } from '../../../src/protocol/arn.ts';
import { eventSourceIdOf, isSubject } from '../../../src/registry/event-source-id.ts';
import { eventSource } from '../../registry/records.ts';

const SOURCE = { id: 'u', function: 'f', ...eventSource({ batchSize: 8 }) };
const SIX_MIB = 6 * 1024 * 1024;

function message(seq: number, keys: Partial<StreamMessage> = {}): StreamMessage {
  const nothing = (): void => undefined;
  return {
    subject: 'orders.new',
    data: new Uint8Array(0),
    seq,
    time: new Date(0),
    deliveryCount: 1,
    ack: nothing,
    nak: nothing,
    working: nothing,
    ...keys,
  };
}

function sizes(
  messages: readonly StreamMessage[],
  keys: Partial<typeof SOURCE> = {},
  most = SIX_MIB,
): readonly number[] {
  return intoBatches(messages, { ...SOURCE, ...keys }, DEFAULT_ACCOUNT, most).batches.map((one) => one.messages.length);
}

test('batches: what has room in an event is one batch; what fits into none is left out', () => {
  const large = message(7, { data: new Uint8Array(3000) });
  const { batches, tooLarge } = intoBatches([message(1), large, message(2)], SOURCE, DEFAULT_ACCOUNT, 2000);
  assert.deepEqual([batches.length, tooLarge], [1, [large]]);
  fc.assert(
    fc.property(fc.array(fc.nat(900), { maxLength: 20 }), (lengths) => {
      const messages = lengths.map((length, at) => message(at, { data: new Uint8Array(length) }));
      const all = intoBatches(messages, SOURCE, DEFAULT_ACCOUNT, 2000).batches;
      assert.deepEqual(
        all.flatMap((one) => one.messages),
        messages,
      );
      for (const { payload, messages: its } of all) {
        assert.ok(payload.length <= 2000 && its.length <= 8);
        const { Records } = JSON.parse(payload.toString()) as { Records: { messageId: string }[] };
        assert.deepEqual(
          Records.map((one) => one.messageId),
          its.map(messageId),
        );
      }
    }),
  );
});

test('batches: whatever bytes a message has, they come through, and its headers with all their values', () => {
  const data = Uint8Array.from({ length: 256 }, (_, byte) => byte).subarray(3);
  const values: Record<string, string[]> = { Trace: ['a', 'b'], __proto__x: ['"'] };
  const headers = { keys: () => Object.keys(values), values: (name: string) => values[name] ?? [] };
  const event = JSON.parse(eventOf(message(5, { data, headers }), SOURCE, DEFAULT_ACCOUNT).toString()) as {
    Records: { data: string; headers: unknown }[];
  };
  const [record] = event.Records;
  assert.deepEqual(new Uint8Array(Buffer.from(record?.data ?? '', 'base64')), data);
  assert.deepEqual(record?.headers, values);
});

test('batches: bisected, what comes again is among fewer and fewer others, until it is alone', () => {
  const again = (count: number, deliveryCount: number): readonly StreamMessage[] =>
    Array.from({ length: count }, (_, at) => message(at, { deliveryCount }));
  assert.deepEqual(sizes(again(8, 3)), [8]);
  const bisected = (deliveryCount: number): readonly number[] =>
    sizes(again(8, deliveryCount), { bisectsBatches: true });
  assert.deepEqual([1, 2, 3, 4, 5000].map(bisected), [[8], [4, 4], [2, 2, 2, 2], Array(8).fill(1), Array(8).fill(1)]);
});

const answers: readonly (readonly [answer: string, failed: readonly string[]])[] = [
  ['', []],
  ['null', []],
  ['{}', []],
  ['{"batchItemFailures": null}', []],
  ['{"batchItemFailures": []}', []],
  ['{"batchItemFailures": [{"itemIdentifier": "2"}, {"itemIdentifier": "2"}]}', ['2']],
  ['{"batchItemFailures": [{"itemIdentifier": "3"}]}', ['1', '2']],
  ['{"batchItemFailures": [{"itemIdentifier": ""}]}', ['1', '2']],
  ['{"batchItemFailures": [{"itemIdentifier": null}]}', ['1', '2']],
  ['{"batchItemFailures": [{"item": "1"}]}', ['1', '2']],
  ['{"batchItemFailures": {}}', ['1', '2']],
  ['"done"', ['1', '2']],
  ['{"batch', ['1', '2']],
];
for (const [answer, failed] of answers) {
  test(`failed items of the answer ${answer || 'that is empty'}: ${failed.join(' and ') || 'none'}`, () => {
    assert.deepEqual([...failedItems(Buffer.from(answer), ['1', '2'])], failed);
  });
}

test('pauses grow to their bounds', () => {
  assert.deepEqual([0, 1, 4, 5, 1e9].map(pauseMs), [1000, 2000, 16_000, 30_000, 30_000]);
  assert.deepEqual([1, 2, 9, 10, Infinity].map(retryPauseMs), [1000, 2000, 256_000, 300_000, 300_000]);
});

test('room: none while too much is held; whoever waits is told once there is some', () => {
  let told = 0;
  const room = new Room(
    () => 1000,
    () => (told += 1),
  );
  room.take(MAX_HELD_BYTES);
  assert.equal(room.hasRoom, false);
  room.give(1);
  room.give(1);
  assert.deepEqual([room.hasRoom, told, room.bytesOfBatch], [true, 1, 1024 * 1024]);
});

test('subjects and UUIDs of event sources', () => {
  for (const subject of ['a', 'a.b', '>', 'a.>', '*.b.*', '$X.y']) assert.ok(isSubject(subject), subject);
  for (const subject of ['', '.', 'a.', 'a..b', '>.a', 'a*', 'a b', 'é', 'a'.repeat(256)]) {
    assert.equal(isSubject(subject), false, subject);
  }
  const id = eventSourceIdOf('arn', 'S', null);
  assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.notEqual(id, eventSourceIdOf('arn', 'S', 'a'));
});
