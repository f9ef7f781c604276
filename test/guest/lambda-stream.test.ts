import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Frame } from '../../src/protocol/frame.ts';
import { FrameType, type LoadRequest } from '../../src/protocol/guest.ts';
import { buildNodeRuntime, failureOf, GuestProcess, runningGuests } from '../support/guest-process.ts';
import { lambdaNode } from './lambda-functions-node.ts';

before(buildNodeRuntime);
after(() => assert.equal(runningGuests(), 0, 'every runtime that was started has ended'));

const METADATA_TYPE = 'application/vnd.awslambda.http-integration-response';

async function withStream(
  name: string,
  use: (guest: GuestProcess) => Promise<void>,
  load: Partial<LoadRequest> = {},
): Promise<void> {
  const guest = await GuestProcess.start('node', lambdaNode);
  try {
    const answer = await guest.load({ handler: `stream.${name}`, style: 'lambda', ...load });
    assert.equal(answer.type, FrameType.loaded, answer.payload.toString());
    await use(guest);
  } finally {
    await guest.stop();
  }
}

interface Streamed {
  readonly chunks: readonly Frame[];
  readonly body: string;
  /** RESULT or FAILURE. */
  readonly end: Frame;
}

async function restOfStream(guest: GuestProcess): Promise<Streamed> {
  const chunks: Frame[] = [];
  for (;;) {
    const frame = await guest.nextFunctionFrame();
    if (frame.type !== FrameType.chunk) {
      return { chunks, body: Buffer.concat(chunks.map(({ payload }) => payload)).toString('latin1'), end: frame };
    }
    assert.ok(frame.payload.length <= 32 * 1024, 'a chunk is no larger than a port takes at a time');
    chunks.push(frame);
  }
}

async function stream(guest: GuestProcess, event = '{}'): Promise<Streamed> {
  guest.send(event, { stream: true });
  return restOfStream(guest);
}

function assertEndsWell({ end }: Streamed): void {
  assert.equal(end.type, FrameType.result, end.payload.toString());
  assert.equal(end.payload.length, 0);
}

const WORDS = '{"words":["one ","two ","three"]}';

test('streams what is written in pieces, the first with its content type, twice', () =>
  withStream('words', async (guest) => {
    for (let round = 0; round < 2; round++) {
      const streamed = await stream(guest, WORDS);
      assertEndsWell(streamed);
      assert.equal(streamed.body, 'one two three');
      assert.equal(streamed.chunks.length, 3);
      assert.deepEqual(
        streamed.chunks.map(({ header }) => header),
        [{ content_type: 'text/plain' }, {}, {}],
      );
    }
  }));

test('sends the first piece before the handler goes on', () =>
  withStream('never', async (guest) => {
    guest.send('{}', { stream: true });
    const first = await guest.nextFunctionFrame();
    assert.equal(first.type, FrameType.chunk);
    assert.equal(first.payload.toString(), 'some');
    const end = await guest.nextFunctionFrame();
    assert.equal(failureOf(end).type, 'Runtime.NodeJsExit');
    assert.deepEqual(await guest.exited, { status: 13, signal: null });
  }));

test('gathers what is written where the host takes no pieces', () =>
  withStream('words', async (guest) => {
    const reply = await guest.invoke(WORDS);
    assert.equal(reply.type, FrameType.result);
    assert.equal(reply.payload.toString(), 'one two three');
    assert.deepEqual(reply.header, { content_type: 'text/plain' });
  }));

test('gathers no more than a result may have', () =>
  withStream(
    'much',
    async (guest) => {
      const fits = await guest.invoke('{"bytes":1000,"pieceBytes":100}');
      assert.equal(fits.payload.length, 1000);
      const reply = await guest.invoke('{"bytes":1100,"pieceBytes":100}');
      assert.equal(failureOf(reply).type, 'Function.ResponseSizeTooLarge');
      assert.equal(failureOf(reply).raw, true);
    },
    { max_result_bytes: 1000 },
  ));

for (const [name, body, contentType] of [
  ['piped', 'abc', undefined],
  ['ends_late', 'late', undefined],
  ['returns', 'x', undefined],
  ['object', '{"a":1}', undefined],
  ['http', `{"statusCode":201,"headers":{"x-a":"b"}}${'\0'.repeat(8)}body`, METADATA_TYPE],
  ['http_empty', `{"statusCode":204}${'\0'.repeat(8)}`, METADATA_TYPE],
] as const) {
  test(`streams what a handler writes (${name})`, () =>
    withStream(name, async (guest) => {
      const streamed = await stream(guest);
      assertEndsWell(streamed);
      assert.equal(streamed.body, body);
      assert.equal(streamed.chunks[0]?.header['content_type'], contentType);
      // The first bytes of the body do not come later than their metadata.
      if (contentType === METADATA_TYPE) assert.equal(streamed.chunks.length, 1);
      const gathered = await guest.invoke('{}');
      assert.equal(gathered.payload.toString('latin1'), body);
      assert.equal(gathered.header['content_type'], contentType);
    }));
}

for (const name of ['words', 'http', 'nothing', 'not_utf8']) {
  test(`refuses what is not JSON where the host needs that (${name}), and goes on`, () =>
    withStream(name, async (guest) => {
      for (let round = 1; round <= 2; round++) {
        const reply = await guest.invoke(WORDS, { strict: true });
        assert.equal(reply.type, FrameType.failure, reply.payload.toString());
        assert.deepEqual(failureOf(reply), {
          type: 'Runtime.MarshalError',
          message: 'Unable to marshal response: what the handler wrote is not JSON',
          stack: [],
        });
        assert.match((await guest.printedBy(round)).stdout, /\tERROR\tInvoke Error \t.*Runtime\.MarshalError/);
      }
      assert.equal((await guest.invoke(WORDS)).type, FrameType.result);
    }));
}

test('hands on a stream that is JSON where the host needs that', () =>
  withStream('object', async (guest) => {
    const reply = await guest.invoke('{}', { strict: true });
    assert.equal(reply.type, FrameType.result, reply.payload.toString());
    assert.equal(reply.payload.toString(), '{"a":1}');
  }));

test('streams nothing at all', () =>
  withStream('nothing', async (guest) => {
    const streamed = await stream(guest);
    assertEndsWell(streamed);
    assert.equal(streamed.chunks.length, 0);
    assert.equal((await guest.invoke('{}')).payload.length, 0);
  }));

for (const [name, body, type, message] of [
  ['throws_first', '', 'RangeError', 'before a byte'],
  ['throws_midway', 'some', 'RangeError', 'midway'],
  ['unfinished', 'some', 'Error', 'Response stream is not finished.'],
  ['destroyed', 'some', 'RangeError', 'destroyed'],
  ['not_async', 'x', 'string', 'Streaming does not support non-async handlers.'],
  ['late_type', 'x', 'Runtime.InvalidStreamingOperation', 'Cannot set content-type, too late.'],
] as const) {
  test(`ends a stream with the failure, behind what was written (${name}), and goes on`, () =>
    withStream(name, async (guest) => {
      for (let round = 0; round < 2; round++) {
        const { body: found, end } = await stream(guest);
        assert.equal(found, body);
        assert.equal(end.type, FrameType.failure);
        const failure = failureOf(end);
        assert.deepEqual([failure.type, failure.message], [type, message]);
        assert.equal(failureOf(await guest.invoke('{}')).type, type, 'also where it is gathered');
      }
    }));
}

test('answers an error that nobody caught during a stream, then ends', async () => {
  const guest = await GuestProcess.start('node', lambdaNode);
  assert.equal((await guest.load({ handler: 'stream.uncaught', style: 'lambda' })).type, FrameType.loaded);
  const { body, end } = await stream(guest);
  assert.equal(body, 'some');
  assert.equal(failureOf(end).type, 'RangeError');
  assert.deepEqual(await guest.remove(), { status: 129, signal: null });
});

test('streams 32 MiB in the right order', () =>
  withStream('much', async (guest) => {
    const bytes = 32 * 1024 * 1024;
    guest.send(JSON.stringify({ bytes, pieceBytes: 1024 * 1024 }), { stream: true });
    let received = 0;
    for (;;) {
      const frame = await guest.nextFunctionFrame();
      if (frame.type !== FrameType.chunk) {
        assert.equal(frame.type, FrameType.result);
        break;
      }
      received += frame.payload.length;
    }
    assert.equal(received, bytes);
    assert.match((await guest.printedBy(1)).stdout, /waited true/);
  }));

test('makes a handler wait for a host that does not read, while its timers go on', () =>
  withStream('blocked', async (guest) => {
    guest.functionChannel.pause();
    guest.send('{}', { stream: true });
    await guest.hasPrinted(/(.*tick\n){5}/);
    guest.functionChannel.resume();
    const { chunks, end } = await restOfStream(guest);
    assert.equal(end.type, FrameType.result);
    assert.equal(
      chunks.reduce((sum, { payload }) => sum + payload.length, 0),
      64 * 65536,
    );
  }));

test('answers a stream that was asked of a handler that does not stream with its whole result', async () => {
  const guest = await GuestProcess.start('node', lambdaNode);
  await guest.load({ handler: 'app.echo', style: 'lambda' });
  const { chunks, end } = await stream(guest, '{"a":1}');
  assert.equal(chunks.length, 0);
  assert.equal(end.payload.toString(), '{"a":1}');
  await guest.stop();
});

test('rehearses a handler that streams, for a snapshot and in a VM', () =>
  withStream('words', async (guest) => {
    assertEndsWell(await stream(guest, WORDS));
  }).then(async () => {
    const guest = await GuestProcess.start('node', lambdaNode);
    await guest.import({ handler: 'stream.words', style: 'lambda' });
    assert.equal((await guest.command(FrameType.seal, { step: 'hooks' })).type, FrameType.sealed);
    assert.equal((await guest.command(FrameType.start, { restored: true })).type, FrameType.started);
    guest.rehearse('{"a":[1]}');
    const reply = await guest.nextFunctionFrame();
    assert.equal(reply.type, FrameType.result);
    assert.equal(reply.payload.toString(), '{"a":[1]}');
    assert.equal((await stream(guest, WORDS)).body, 'one two three');
    await guest.stop();
  }));
