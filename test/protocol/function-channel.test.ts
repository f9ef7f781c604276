import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { encodeFrame, FrameReader, type Frame } from '../../src/protocol/frame.ts';
import { FunctionChannel, FunctionChannelError, type StreamSink } from '../../src/protocol/function-channel.ts';
import { FrameType, MAX_FRAME_BYTES, STREAM_WINDOW_BYTES } from '../../src/protocol/guest.ts';

const HEADER = { id: 'request-1', deadline_ms: 0 };
const RESULT = encodeFrame(FrameType.result, undefined, Buffer.from('"fine"'));

describe('function channel', { timeout: 10_000 }, () => {
  let directory: string;
  let server: Server;
  let channel: FunctionChannel;
  /** The guest's end. */
  let guest: Socket;
  /** Frames that the guest received. */
  let invokes: { readonly header: unknown; readonly event: string }[];

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'snapfaas-channel-'));
    const path = join(directory, 'function.sock');
    server = createServer().listen(path);
    await once(server, 'listening');
    const connected = once(server, 'connection') as Promise<[Socket]>;
    channel = await FunctionChannel.connect({ socketPath: path, vsockPort: null });
    [guest] = await connected;
    invokes = [];
    const reader = new FrameReader(MAX_FRAME_BYTES);
    guest.on('data', (chunk: Buffer) => {
      for (const frame of reader.push(chunk)) invokes.push({ header: frame.header, event: frame.payload.toString() });
    });
    guest.on('error', () => undefined);
  });

  afterEach(async () => {
    channel.close();
    guest.destroy();
    server.close();
    await once(server, 'close');
    rmSync(directory, { recursive: true });
  });

  const broken = (): Promise<FunctionChannelError> => new Promise((resolve) => (channel.onBroken = resolve));
  const invoke = (event = '{}'): ReturnType<FunctionChannel['invoke']> => channel.invoke(HEADER, Buffer.from(event));

  test('nobody at the path is an error that says so', async () => {
    await assert.rejects(FunctionChannel.connect({ socketPath: join(directory, 'nobody.sock'), vsockPort: null }), {
      name: 'FunctionChannelError',
      message: /cannot be reached: .*ENOENT/,
    });
  });

  test('an event reaches the guest unchanged, its result and its failure come back', async () => {
    const event = '{"a" :\\u0000"ä💙"}';
    const first = invoke(event);
    guest.write(RESULT);
    const reply = await first;
    assert.ok(reply.ok);
    assert.equal(reply.result.toString(), '"fine"');
    const second = invoke('2');
    const failure = { type: 'ValueError', message: 'no', stack: ['here'] };
    guest.write(encodeFrame(FrameType.failure, undefined, Buffer.from(JSON.stringify(failure))));
    assert.deepEqual(await second, { ok: false, failure, isExiting: false });
    assert.deepEqual(invokes, [
      { header: HEADER, event },
      { header: HEADER, event: '2' },
    ]);
  });

  test('a result that comes byte by byte is one result', async () => {
    const answer = invoke();
    for (const byte of RESULT) guest.write(Buffer.from([byte]));
    const reply = await answer;
    assert.ok(reply.ok);
    assert.equal(reply.result.toString(), '"fine"');
  });

  test('a failure that is not in order is still a failure', async () => {
    const answer = invoke();
    guest.write(encodeFrame(FrameType.failure, undefined, Buffer.from('{"type":1,"stack":["a",2]}')));
    const failure = { type: 'Unknown', message: 'the runtime gave no reason', stack: ['a'] };
    assert.deepEqual(await answer, { ok: false, failure, isExiting: false });
  });

  test('an answer nobody asked for breaks the channel', async () => {
    const end = broken();
    guest.write(RESULT);
    assert.match((await end).message, /broke the protocol: it sent an answer nobody asked for/);
    await assert.rejects(invoke(), /an answer nobody asked for/);
  });

  test('a second answer to one request breaks the channel; the first one counts', async () => {
    const end = broken();
    const answer = invoke();
    guest.write(Buffer.concat([RESULT, RESULT]));
    assert.equal((await answer).ok, true);
    assert.match((await end).message, /an answer nobody asked for/);
  });

  for (const [what, bytes, words, tooLarge] of [
    ['a frame of unknown type', encodeFrame(99, undefined), /a frame of unknown type 99/, false],
    ['a frame of the control channel', encodeFrame(FrameType.loaded, undefined), /unknown type 18/, false],
    ['a length over the limit', Buffer.from([0xff, 0xff, 0xff, 0xff, 2]), /4294967295 bytes is over the limit/, true],
    ['a length too short for a frame', Buffer.from([0, 0, 0, 2, 2, 0]), /shorter than its own prefix/, false],
    ['a header longer than its frame', Buffer.from([0, 0, 0, 3, 2, 0, 9]), /header is longer than its frame/, false],
    ['a header that is not JSON', Buffer.from([0, 0, 0, 4, 2, 0, 1, 0x7b]), /header is not JSON/, false],
  ] as const) {
    test(`${what} fails the request under way and breaks the channel`, async () => {
      const end = broken();
      const answer = invoke();
      guest.write(bytes);
      await assert.rejects(answer, (error) => {
        assert.ok(error instanceof FunctionChannelError);
        assert.match(error.message, words);
        assert.equal(error.tooLarge, tooLarge);
        return true;
      });
      assert.match((await end).message, words);
      await once(guest, 'close');
    });
  }

  describe('whose guest', () => {
    /** A channel to a guest that reads nothing. */
    const toSilentGuest = async (): Promise<[FunctionChannel, Socket]> => {
      const path = join(directory, 'silent.sock');
      const silent = createServer({ pauseOnConnect: true }).listen(path);
      await once(silent, 'listening');
      const connected = once(silent, 'connection') as Promise<[Socket]>;
      const toIt = await FunctionChannel.connect({ socketPath: path, vsockPort: null });
      silent.close();
      return [toIt, (await connected)[0]];
    };

    test('ends without having read the request has not begun it', async () => {
      const [toIt, silent] = await toSilentGuest();
      const answer = toIt.invoke(HEADER, Buffer.from('{}'));
      await later();
      silent.destroy();
      await assert.rejects(answer, { name: 'FunctionChannelError', unread: true });
      assert.equal(toIt.broken?.unread, true);
    });

    test('has just ended when the request is sent has not begun it', async () => {
      const [toIt, silent] = await toSilentGuest();
      silent.destroy();
      await assert.rejects(toIt.invoke(HEADER, Buffer.from('{}')), { unread: true });
    });

    test('ends with the request half read has not begun it', async () => {
      // What a paused socket takes until it is full is less than the request.
      guest.pause();
      const answer = invoke(JSON.stringify('x'.repeat(4 * 1024 * 1024)));
      while (guest.readableLength === 0) await later();
      guest.destroy();
      await assert.rejects(answer, { unread: true });
    });

    test('ends having read the request may have begun it', async () => {
      const answer = invoke();
      while (invokes.length === 0) await later();
      guest.destroy();
      await assert.rejects(answer, { closed: true, unread: false });
    });

    test('ends having begun to answer has begun it, whatever it has left unread', async () => {
      const [toIt, silent] = await toSilentGuest();
      const sink = { write: () => true, onDrain: () => undefined };
      const answer = toIt.invoke({ ...HEADER, stream: true }, Buffer.from('{}'), sink);
      silent.write(encodeFrame(FrameType.chunk, undefined, Buffer.from('a')));
      while (!toIt.hasBegunAnswer(HEADER.id)) await later();
      silent.destroy();
      await assert.rejects(answer, { closed: true, unread: false });
    });
  });

  for (const [what, bytes] of [
    ['without a word', Buffer.alloc(0)],
    ['after half a length', RESULT.subarray(0, 2)],
    ['after half a frame', RESULT.subarray(0, 9)],
  ] as const) {
    test(`a guest that closes ${what} fails the request under way`, async () => {
      const answer = invoke();
      guest.end(bytes);
      await assert.rejects(answer, /the function channel was closed by the guest/);
      await assert.rejects(invoke(), /closed by the guest/);
    });
  }

  test('closing fails the request under way, and nobody is told that the channel broke', async () => {
    channel.onBroken = () => assert.fail('it was closed, not broken');
    const answer = invoke();
    channel.close();
    await assert.rejects(answer, /the function channel was closed$/);
    await once(guest, 'close');
  });

  test('a second request before the answer is a mistake of ours', async () => {
    const answer = invoke();
    assert.throws(() => invoke(), /one invocation at a time/);
    guest.write(RESULT);
    assert.equal((await answer).ok, true);
  });

  test('the parts of an answer reach their sink in order, then comes the result', async () => {
    const parts: string[] = [];
    const sink = { write: (part: Buffer) => parts.push(part.toString()) > 0, onDrain: () => undefined };
    const answer = channel.invoke({ ...HEADER, stream: true }, Buffer.from('{}'), sink);
    for (const part of ['a', '', 'b']) guest.write(encodeFrame(FrameType.chunk, undefined, Buffer.from(part)));
    guest.write(encodeFrame(FrameType.result, { content_type: 'text/plain' }));
    assert.deepEqual(await answer, { ok: true, result: Buffer.alloc(0), contentType: 'text/plain' });
    assert.deepEqual(parts, ['a', '', 'b']);
  });

  test('a part that nobody asked for breaks the channel', async () => {
    const answer = invoke();
    guest.write(encodeFrame(FrameType.chunk, undefined, Buffer.from('a')));
    await assert.rejects(answer, /a frame of unknown type 5/);
  });

  test('a guest is not read while the sink is full, and has to wait', async () => {
    let received = 0;
    let isFull = true;
    const sink = {
      write: (part: Buffer) => {
        received += part.length;
        return !isFull;
      },
      onDrain: () => undefined,
    };
    const answer = channel.invoke({ ...HEADER, stream: true }, Buffer.from('{}'), sink);
    const part = encodeFrame(FrameType.chunk, undefined, Buffer.alloc(64 * 1024));
    let sent = 0;
    // The kernel takes some for a socket that nobody reads, but not all.
    while (guest.write(part) || sent < 4) sent += 1;
    const total = 100;
    for (; sent < total; sent += 1) guest.write(part);
    guest.write(RESULT);
    const isOver = await Promise.race([answer.then(() => true), once(guest, 'drain').then(() => true), later()]);
    assert.equal(isOver, false);
    assert.ok(received < total * 64 * 1024, `${received} bytes were read`);
    isFull = false;
    sink.onDrain();
    assert.equal((await answer).ok, true);
  });

  test('a sink that stays full does not hold up the next request', async () => {
    const sink = { write: () => false, onDrain: () => undefined };
    const first = channel.invoke({ ...HEADER, stream: true }, Buffer.from('{}'), sink);
    guest.write(Buffer.concat([encodeFrame(FrameType.chunk, undefined, Buffer.from('a')), RESULT]));
    assert.equal((await first).ok, true);
    const second = invoke();
    guest.write(RESULT);
    assert.equal((await second).ok, true);
  });

  describe('of several invocations', () => {
    let shared: FunctionChannel;
    let far: Socket;
    let received: Frame[];

    beforeEach(async () => {
      const path = join(directory, 'shared.sock');
      const listener = createServer().listen(path);
      await once(listener, 'listening');
      const connected = once(listener, 'connection') as Promise<[Socket]>;
      shared = await FunctionChannel.connect({ socketPath: path, vsockPort: null }, 3);
      [far] = await connected;
      listener.close();
      received = [];
      const reader = new FrameReader(MAX_FRAME_BYTES);
      far.on('data', (chunk: Buffer) => received.push(...reader.push(chunk)));
      far.on('error', () => undefined);
    });

    afterEach(() => {
      shared.close();
      far.destroy();
    });

    const ask = (id: string, sink: StreamSink | null = null): ReturnType<FunctionChannel['invoke']> =>
      shared.invoke({ ...HEADER, id }, Buffer.from('{}'), sink);
    const answer = (slot: number, text: string): void =>
      void far.write(encodeFrame(FrameType.result, { slot }, Buffer.from(text)));
    const chunk = (slot: number, bytes: number): void =>
      void far.write(encodeFrame(FrameType.chunk, { slot }, Buffer.alloc(bytes, 'x')));
    const has = async (count: number): Promise<void> => {
      while (received.length < count) await later();
    };
    const textOf = async (reply: ReturnType<FunctionChannel['invoke']>): Promise<string> => {
      const { ok, ...rest } = await reply;
      return ok && 'result' in rest ? rest.result.toString() : assert.fail('it failed');
    };

    test('each has a slot, and its answer comes when it comes', async () => {
      const [first, second, third] = ['a', 'b', 'c'].map((id) => ask(id));
      assert.ok(first && second && third);
      assert.throws(() => ask('d'), /one invocation at a time in each slot/);
      await has(3);
      assert.deepEqual(
        received.map(({ header }) => [header['id'], header['slot']]),
        [
          ['a', undefined],
          ['b', 1],
          ['c', 2],
        ],
      );
      answer(1, 'for b');
      assert.equal(await textOf(second), 'for b');
      const fourth = ask('d');
      answer(2, 'for c');
      answer(1, 'for d');
      answer(0, 'for a');
      assert.deepEqual(await Promise.all([first, third, fourth].map(textOf)), ['for a', 'for c', 'for d']);
    });

    for (const slot of [1, 3, -1, 0.5]) {
      test(`an answer in a slot that is free, or that there is not, breaks it for all: ${slot}`, async () => {
        const both = [ask('a'), ask('b')];
        answer(1, 'for b');
        await both[1];
        const end = new Promise<FunctionChannelError>((resolve) => (shared.onBroken = resolve));
        answer(slot, 'for nobody');
        assert.match((await end).message, /an answer nobody asked for/);
        await assert.rejects(both[0] ?? assert.fail(), /an answer nobody asked for/);
      });
    }

    test('a sink that is full holds up its own answer alone, and is not told to be taken until it drains', async () => {
      let isFull = true;
      const sink = { write: () => !isFull, onDrain: () => undefined };
      const slow = ask('slow', sink);
      const fast = ask('fast');
      await has(2);
      chunk(0, STREAM_WINDOW_BYTES);
      answer(1, 'at once');
      assert.equal(await textOf(fast), 'at once');
      assert.equal(received.length, 2);
      isFull = false;
      sink.onDrain();
      await has(3);
      assert.deepEqual(
        [received[2]?.type, received[2]?.header],
        [FrameType.taken, { slot: 0, bytes: STREAM_WINDOW_BYTES }],
      );
      // What is taken at once is told in large steps.
      for (let part = 0; part < 8; part += 1) chunk(0, STREAM_WINDOW_BYTES / 8);
      await has(7);
      const told = received.slice(3).map(({ header }) => Number(header['bytes']));
      assert.equal(
        told.reduce((sum, bytes) => sum + bytes, 0),
        STREAM_WINDOW_BYTES,
      );
      answer(0, '');
      assert.equal(await textOf(slow), '');
    });

    test('a guest that sends more ahead than it may breaks it', async () => {
      const slow = ask('slow', { write: () => false, onDrain: () => undefined });
      chunk(0, STREAM_WINDOW_BYTES);
      chunk(0, STREAM_WINDOW_BYTES + 1);
      await assert.rejects(slow, /more of a streamed answer than was to be sent ahead/);
    });

    test('of one that is called off the guest is told, and nothing is passed on; its slot is free when it is answered', async () => {
      const parts: Buffer[] = [];
      const off = ask('off', { write: (part) => parts.push(part) > 0, onDrain: () => undefined });
      const other = ask('other');
      chunk(0, 1);
      await has(2);
      while (parts.length === 0) await later();
      shared.cancel('off');
      shared.cancel('off');
      shared.cancel('nobody');
      chunk(0, STREAM_WINDOW_BYTES);
      await has(3);
      assert.deepEqual([received[2]?.type, received[2]?.header], [FrameType.cancel, { slot: 0 }]);
      const third = ask('third');
      await has(4);
      assert.equal(received[3]?.header['slot'], 2);
      answer(0, 'late');
      assert.equal(await textOf(off), 'late');
      const fourth = ask('fourth');
      await has(5);
      assert.equal(received[4]?.header['slot'], undefined);
      for (const slot of [0, 1, 2]) answer(slot, 'fine');
      for (const one of [other, third, fourth]) assert.equal(await textOf(one), 'fine');
      assert.equal(parts.length, 1);
    });

    test('of a guest that ends, what has surely not been read is told', async () => {
      far.pause();
      const read = ask('small');
      const large = shared.invoke({ ...HEADER, id: 'large' }, Buffer.alloc(4 * 1024 * 1024, ' '));
      await later();
      far.destroy();
      await assert.rejects(large, { closed: true, unread: true });
      await assert.rejects(read, { closed: true, unread: false });
    });
  });
});

/** Long enough for what is on its way to arrive. */
async function later(): Promise<false> {
  for (let turn = 0; turn < 50; turn += 1) await new Promise(setImmediate);
  return false;
}
