/** init's bridge as a process of the host, with unix sockets for vsock: what passes, and what the end of a connection means. */
import assert from 'node:assert/strict';
import { randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { encodeFrame } from '../../src/protocol/frame.ts';
import { FrameType } from '../../src/protocol/guest.ts';
import { InitPart, noCompiler, QUIET_MS, type End } from '../support/init-on-host.ts';

/** What all buffers between two ends hold at most, the kernel's included, in bytes. */
const BUFFERS_BYTES = 2 * 1024 * 1024;
const CHUNK_BYTES = 16 * 1024;

const REQUEST = encodeFrame(FrameType.invoke, { id: 'r' }, Buffer.from('"in"'));
const ANSWER = encodeFrame(FrameType.result, undefined, Buffer.from('"out"'));

describe('the bridge of init', { timeout: 60_000, skip: noCompiler }, () => {
  let bridge: InitPart;
  let runtime: End;

  before(() => {
    bridge = new InitPart('bridge-on-host', ['bridge.c', 'vsock.c'], ['-Wl,--wrap=socketpair']);
  });
  after(() => bridge.remove());
  beforeEach(async () => {
    await bridge.start();
    runtime = bridge.runtime;
  });
  afterEach(() => bridge.stop());

  /** Both ways once, on whichever connection. */
  const exchange = async (host: End): Promise<void> => {
    host.stream.write(REQUEST);
    assert.deepEqual(await runtime.take(REQUEST.length), REQUEST);
    runtime.stream.write(ANSWER);
    assert.deepEqual(await host.take(ANSWER.length), ANSWER);
  };

  /** Writes until nothing more is taken; returns the number of bytes that were. */
  const flood = async (end: End, bytes: Buffer): Promise<number> => {
    let taken = 0;
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
      end.stream.write(bytes.subarray(at, at + CHUNK_BYTES), () => (taken += CHUNK_BYTES));
    }
    for (let before = -1; before !== taken;) {
      before = taken;
      await sleep(QUIET_MS);
    }
    return taken;
  };

  test('a streamed answer is one answer, however many pieces it has', async () => {
    const piece = encodeFrame(FrameType.chunk, undefined, Buffer.from('piece'));
    const first = await bridge.dial();
    first.stream.write(REQUEST);
    assert.deepEqual(await runtime.take(REQUEST.length), REQUEST);
    const answer = Buffer.concat([piece, piece, piece, ANSWER]);
    runtime.stream.write(answer);
    assert.deepEqual(await first.take(answer.length), answer);
    first.stream.destroy();
    await exchange(await bridge.dial());
  });

  test('several requests are under way until each has its answer, whatever is said of them', async () => {
    const piece = encodeFrame(FrameType.chunk, { slot: 1 }, Buffer.from('piece'));
    const said = [FrameType.taken, FrameType.cancel].map((type) => encodeFrame(type, { slot: 1 }));
    for (const [answers, isOver] of [
      [3, true],
      [2, false],
    ] as const) {
      const first = await bridge.dial();
      const requests = Buffer.concat([REQUEST, ...said, REQUEST, ...said, REQUEST]);
      first.stream.write(requests);
      assert.deepEqual(await runtime.take(requests.length), requests);
      const answer = Buffer.concat([piece, ...Array.from({ length: answers }, () => ANSWER), piece]);
      runtime.stream.write(answer);
      assert.deepEqual(await first.take(answer.length), answer);
      first.stream.destroy();
      if (!isOver) return runtime.isClosed();
      const next = await bridge.dial();
      await exchange(next);
      next.stream.destroy();
    }
  });

  test('passes frames of all sizes, in whatever pieces they come', async () => {
    const host = await bridge.dial();
    for (const bytes of [0, 1, 4, 100, 65_529, 65_536, 65_537, 1 << 20, 6 << 20]) {
      const request = encodeFrame(FrameType.invoke, undefined, randomBytes(bytes));
      for (let at = 0; at < request.length;) {
        const next = at + randomInt(1, 1 + Math.max(5, request.length >> 4));
        host.stream.write(request.subarray(at, next));
        at = next;
      }
      assert.equal((await runtime.take(request.length)).equals(request), true);
      runtime.stream.write(request);
      assert.equal((await host.take(request.length)).equals(request), true);
    }
    await bridge.isIdle();
  });

  test('connections that come and go without a byte, or after an exchange, are nothing to the runtime', async () => {
    await bridge.isIdle();
    for (let round = 0; round < 5; round += 1) (await bridge.dial()).stream.destroy();
    for (let round = 0; round < 5; round += 1) {
      const host = await bridge.dial();
      await exchange(host);
      host.stream.destroy();
    }
    await exchange(await bridge.dial());
    assert.equal(runtime.closed, false);
  });

  const fatalEnds: readonly (readonly [string, Buffer, Buffer])[] = [
    ['in the middle of a length', REQUEST.subarray(0, 3), Buffer.alloc(0)],
    ['in the middle of a request', REQUEST.subarray(0, -1), Buffer.alloc(0)],
    ['before the answer', REQUEST, Buffer.alloc(0)],
    ['in the middle of the answer', REQUEST, ANSWER.subarray(0, -1)],
  ];
  for (const [when, request, answer] of fatalEnds) {
    test(`a host that goes away ${when} ends the runtime's socket, and the next is refused`, async () => {
      const first = await bridge.dial();
      await exchange(first);
      first.stream.write(request);
      await runtime.take(request.length);
      runtime.stream.write(answer);
      await first.take(answer.length);
      first.stream.destroy();
      await runtime.isClosed();
      await bridge.refuses();
      await bridge.isIdle();
    });
  }

  test('what the runtime said before it closed its descriptor arrives before the end', async () => {
    const host = await bridge.dial();
    host.stream.write(REQUEST);
    await runtime.take(REQUEST.length);
    const answer = encodeFrame(FrameType.result, undefined, randomBytes(1 << 20));
    runtime.stream.end(answer);
    assert.equal((await host.take(answer.length)).equals(answer), true);
    await host.isClosed();
    await bridge.refuses();
    await bridge.isIdle();
  });

  test('a host that does not read stops the runtime, and gets everything once it does', async () => {
    const host = await bridge.dial();
    host.stream.write(REQUEST);
    await runtime.take(REQUEST.length);
    host.stream.pause();
    const answer = encodeFrame(FrameType.result, undefined, randomBytes(6 << 20));
    assert.ok((await flood(runtime, answer)) < BUFFERS_BYTES);
    await bridge.isIdle();
    host.stream.resume();
    assert.equal((await host.take(answer.length)).equals(answer), true);
  });

  test('a runtime that does not read stops the host, and gets everything once it does', async () => {
    const host = await bridge.dial();
    runtime.stream.pause();
    const request = encodeFrame(FrameType.invoke, undefined, randomBytes(6 << 20));
    assert.ok((await flood(host, request)) < BUFFERS_BYTES);
    await bridge.isIdle();
    runtime.stream.resume();
    assert.equal((await runtime.take(request.length)).equals(request), true);
  });

  test('a runtime that says something while nobody is connected waits', async () => {
    assert.ok((await flood(runtime, randomBytes(6 << 20))) < BUFFERS_BYTES);
    await bridge.isIdle();
  });

  test('a second connection waits until the first has ended', async () => {
    const [first, second] = [await bridge.dial(), await bridge.dial()];
    second.stream.write(REQUEST);
    await exchange(first);
    await sleep(QUIET_MS);
    assert.equal(runtime.pendingBytes, 0);
    await bridge.isIdle();
    first.stream.destroy();
    await runtime.take(REQUEST.length);
    runtime.stream.write(ANSWER);
    await second.take(ANSWER.length);
  });

  test('what was said on a connection that was given up while it waited is not done', async () => {
    const [first, second] = [await bridge.dial(), await bridge.dial()];
    await exchange(first);
    second.stream.end(REQUEST);
    await once(second.stream, 'finish');
    first.stream.destroy();
    await exchange(await bridge.dial());
  });
});
