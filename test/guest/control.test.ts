/** init's control channel as a process of the host, with unix sockets for vsock: what a line's end does to frames. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { encodeFrame, FrameReader, type Frame } from '../../src/protocol/frame.ts';
import { FrameType, SYNC_BYTES, SYNCED_BYTES } from '../../src/protocol/guest.ts';
import { until } from '../end-to-end/processes.ts';
import { InitPart, noCompiler, QUIET_MS, type End } from '../support/init-on-host.ts';

const MAX_BYTES = 1024 * 1024;
const LOAD = encodeFrame(FrameType.load, undefined, Buffer.alloc(1000, 'l'));
const LARGE_LOAD = encodeFrame(FrameType.load, undefined, Buffer.alloc(200_000, 'l'));
const SEAL = encodeFrame(FrameType.seal, { step: 'hooks' });

function sync(first: number): Buffer {
  return encodeFrame(FrameType.sync, undefined, Buffer.alloc(SYNC_BYTES, first));
}

/** Waits for so many whole frames. */
async function frames(host: End, count: number): Promise<Frame[]> {
  const reader = new FrameReader(MAX_BYTES);
  const found: Frame[] = [];
  await until(`${count} frames`, () => {
    found.push(...reader.push(host.takeAll()));
    return found.length >= count;
  });
  assert.equal(found.length, count);
  return found;
}

function numbers(of: readonly Frame[]): unknown[] {
  return of.map((frame) => frame.header['request']);
}

describe('the control channel of init, dialled', { timeout: 60_000, skip: noCompiler }, () => {
  let control: InitPart;

  before(() => {
    control = new InitPart('control-on-host', ['control.c', 'host.c', 'vsock.c']);
  });
  after(() => control.remove());
  beforeEach(() => control.start());

  /** A line that init has taken: one that ends before that is not looked at. */
  const accepted = async (): Promise<End> => {
    const host = await control.dial();
    control.stdin.write('.');
    await frames(host, 1);
    return host;
  };

  describe('in a life', () => {
    afterEach(() => control.stop());

    test('frames wait for the first line, and each is said once', async () => {
      control.stdin.write('..');
      await control.isIdle();
      const first = await control.dial();
      assert.deepEqual(numbers(await frames(first, 2)), [1, 2]);
      first.stream.destroy();
      control.stdin.write('.');
      assert.deepEqual(numbers(await frames(await control.dial(), 1)), [3]);
      await control.isIdle();
    });

    test('a frame that was cut is said again whole, and none before it', async () => {
      const first = await control.dial();
      first.stream.pause();
      // 60 frames of 16 KiB are more than all buffers on the way.
      control.stdin.write('.'.repeat(60));
      await sleep(QUIET_MS);
      // What is written of a full queue ends within a frame; the last that found an empty one may be whole.
      first.stream.once('data', () => first.stream.pause());
      first.stream.resume();
      await sleep(QUIET_MS);
      await control.isIdle();
      const second = await control.dial();
      first.stream.resume();
      await first.isClosed();
      const bytes = first.takeAll();
      const reader = new FrameReader(MAX_BYTES);
      const whole = reader.push(bytes).length;
      assert.ok(reader.pendingBytes > 0, 'a frame was cut');
      const rest = Array.from({ length: 60 - whole }, (_, index) => whole + 1 + index);
      assert.deepEqual(numbers(await frames(second, 60 - whole)), rest);
    });

    test('the newest line counts, and the one before it is closed', async () => {
      const first = await control.dial();
      const second = await control.dial();
      await first.isClosed();
      control.stdin.write('.');
      assert.deepEqual(numbers(await frames(second, 1)), [1]);
    });

    test('half a frame of a line that ended is dropped, and whole ones before it are obeyed', async () => {
      const first = await accepted();
      first.stream.end(Buffer.concat([LOAD, SEAL, SEAL.subarray(0, -1)]));
      assert.deepEqual(await control.runtime.take(LOAD.length + SEAL.length), Buffer.concat([LOAD, SEAL]));
      await first.isClosed();
      const obeyed = once(control.stdout, 'data');
      (await control.dial()).stream.write(Buffer.concat([SEAL, sync(7)]));
      assert.deepEqual(await control.runtime.take(SEAL.length), SEAL);
      assert.match(String(await obeyed), /^SYNC 7$/m);
    });

    test('each SYNC is answered by what was told, and by the clock', async () => {
      const host = await control.dial();
      host.stream.write(Buffer.concat([sync(1), sync(2)]));
      const answers = await frames(host, 2);
      assert.deepEqual(
        answers.map(({ type, payload }) => [type, payload.toString('hex')]),
        [1, 2].map((first) => [FrameType.synced, `0${first}`.repeat(SYNCED_BYTES)]),
      );
    });

    test('a runtime that does not read stops the host, and gets all frames once it does', async () => {
      control.runtime.stream.pause();
      const host = await control.dial();
      const steps = Array.from({ length: 30_000 }, () => SEAL);
      const all = Buffer.concat([LARGE_LOAD, ...steps]);
      host.stream.write(all);
      await sleep(QUIET_MS);
      assert.ok(host.stream.writableLength > 0);
      await control.isIdle();
      control.runtime.stream.resume();
      assert.equal((await control.runtime.take(all.length)).equals(all), true);
    });
  });

  describe('at its end', () => {
    test('a large LOAD that is cut ends init, which tells the next line', async () => {
      const first = await accepted();
      first.stream.end(LARGE_LOAD.subarray(0, -10));
      await control.runtime.take(LARGE_LOAD.length - 10);
      const second = await control.dial();
      second.stream.write(sync(1));
      const [words] = await frames(second, 1);
      assert.equal(words?.type, FrameType.initFailed);
      assert.match(words.payload.toString('utf8'), /went away in the middle of a frame, of which 10 bytes are missing/);
    });

    test('last words come behind a frame that was begun, if the queue is full and the host slow', async () => {
      const host = await control.dial();
      host.stream.pause();
      control.stdin.write('.'.repeat(60));
      await sleep(QUIET_MS);
      host.stream.write(encodeFrame(99, undefined));
      await sleep(QUIET_MS);
      host.stream.resume();
      await host.isClosed();
      const reader = new FrameReader(MAX_BYTES);
      const said = reader.push(host.takeAll());
      assert.equal(reader.pendingBytes, 0);
      assert.equal(said.at(-1)?.type, FrameType.initFailed);
      assert.match(said.at(-1)?.payload.toString('utf8') ?? '', /unknown type 99/);
    });
  });
});
