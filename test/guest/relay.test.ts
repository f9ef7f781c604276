/** init's loop as a process of the host, beside a runtime that is told each step: what the host learns when it ends. */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { encodeFrame, FrameReader, type Frame } from '../../src/protocol/frame.ts';
import { FrameType } from '../../src/protocol/guest.ts';
import { until } from '../end-to-end/processes.ts';
import { InitPart, noCompiler, QUIET_MS, type End } from '../support/init-on-host.ts';
import { setTimeout as sleep } from 'node:timers/promises';

const { hello, load, loaded, start, started, done, begun: told } = FrameType;

/** A step of the runtime: `fixtures/relay-on-host.c` has them. */
type Step = number | 'r' | 'h' | 'n' | 'c';

describe('init, when the runtime ends', { timeout: 60_000, skip: noCompiler }, () => {
  let relay: InitPart;
  let host: End;
  let reader: FrameReader;
  let received: Frame[];

  before(() => {
    relay = new InitPart('relay-on-host', ['control.c', 'host.c', 'output.c', 'vsock.c'], ['-pthread']);
  });
  after(() => relay.remove());
  beforeEach(async () => {
    await relay.start();
    host = await relay.dial();
    reader = new FrameReader(1024 * 1024);
    received = [];
  });
  afterEach(() => relay.stop());

  const next = async (type: number): Promise<Frame> => {
    await until(`frame ${type}`, () => {
      received.push(...reader.push(host.takeAll()));
      return received.length > 0;
    });
    const frame = received.shift();
    assert.equal(frame?.type, type);
    return frame;
  };

  const runtime = async (...steps: readonly Step[]): Promise<void> => {
    for (const step of steps) {
      relay.runtime.stream.write(typeof step === 'number' ? Buffer.from([step]) : step);
      await relay.runtime.take(1);
    }
  };

  const isLoaded = async (): Promise<void> => {
    await runtime(hello);
    await next(hello);
    host.stream.write(encodeFrame(load, undefined));
    await runtime('r', loaded);
    await next(loaded);
  };

  const isStarted = async (): Promise<void> => {
    await isLoaded();
    host.stream.write(encodeFrame(start, undefined));
    await runtime('r', started);
    await next(started);
  };

  test('before its function is started, it has begun nothing', async () => {
    await isLoaded();
    relay.runtime.stream.write('x');
    assert.deepEqual((await next(FrameType.runtimeExited)).header, { status: 3, begun: 0 });
  });

  for (const [what, steps, begun] of [
    ['at its first invocation, may have begun that', [], 1],
    ['after its first answer, has begun no other', [done], 1],
    ['with half a DRAINED read, has begun no other', [done, 'h'], 1],
    ['with DRAINED read, may have begun the next', [done, 'r'], 2],
    ['after its third answer, has begun no other', [done, 'r', done, 'r', done], 3],
    ['with the third DRAINED read, may have begun the fourth', [done, 'r', done, 'r', done, 'r'], 4],
    ['having forged an answer while its second ran, may have begun that', [done, 'r', done], 2],
    ['having forged two, may have begun the third for all that is known', [done, 'r', done, done], 3],
    ['having read the DRAINED of what it forged, may have begun one more', [done, 'r', done, 'r'], 3],
    ['having written nonsense, may have begun what it was at', [done, 'r', 'n'], 2],
    ['having closed its channel, may have begun what it was at', [done, 'r', 'c'], 2],
    ['with several under way, has begun those that it has told of', [told, told, told], 3],
    ['with several under way, having told of none, may have begun the first', [], 1],
    ['with one under way where there may be several, may have begun that', [told], 1],
  ] as const) {
    for (const end of ['x', 'k'] as const) {
      test(`${what} (${end === 'x' ? 'by exit' : 'by a signal'})`, async () => {
        await isStarted();
        await runtime(...steps);
        if (steps.at(-1) === done) await sleep(QUIET_MS);
        relay.runtime.stream.write(end);
        const { header } = await next(FrameType.runtimeExited);
        assert.deepEqual(header, { ...(end === 'x' ? { status: 3 } : { signal: 9 }), begun });
      });
    }
  }

  test('at once after an answer, has begun no other', async () => {
    for (let round = 0; round < 50; round += 1) {
      if (round > 0) {
        await relay.stop();
        await relay.start();
        host = await relay.dial();
        received = [];
      }
      await isStarted();
      relay.runtime.stream.write(Buffer.from([done, 'x'.charCodeAt(0)]));
      assert.deepEqual((await next(FrameType.runtimeExited)).header, { status: 3, begun: 1 });
      relay.runtime.takeAll();
    }
  });
});
