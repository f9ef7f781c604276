/** init's bridge as a process of the host, with unix sockets for vsock: what passes, and what the end of a connection means. */
import assert from 'node:assert/strict';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { encodeFrame } from '../../src/protocol/frame.ts';
import { FrameType } from '../../src/protocol/guest.ts';
import { isRunning, until } from '../end-to-end/processes.ts';

const INIT = fileURLToPath(new URL('../../guest/init/', import.meta.url));
const FIXTURE = fileURLToPath(new URL('fixtures/bridge-on-host.c', import.meta.url));
const noCompiler = spawnSync('gcc', ['--version']).error === undefined ? false : 'gcc is not installed';

/** Time in which something that must not happen would have happened, in ms. */
const QUIET_MS = 300;
/** What all buffers between two ends hold at most, the kernel's included, in bytes. */
const BUFFERS_BYTES = 2 * 1024 * 1024;
const CHUNK_BYTES = 16 * 1024;

const REQUEST = encodeFrame(FrameType.invoke, { id: 'r' }, Buffer.from('"in"'));
const ANSWER = encodeFrame(FrameType.result, undefined, Buffer.from('"out"'));

/** One end: what came, and whether it was closed. */
class End {
  readonly stream: Duplex;
  closed = false;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(stream: Duplex) {
    this.stream = stream;
    stream.on('error', () => undefined);
    stream.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#bytes += chunk.length;
    });
    stream.on('end', () => (this.closed = true));
    stream.on('close', () => (this.closed = true));
  }

  /** Waits for so many bytes and takes them; no more may have come. */
  async take(bytes: number): Promise<Buffer> {
    await until(`${bytes} bytes`, () => this.#bytes >= bytes);
    assert.equal(this.#bytes, bytes);
    this.#bytes = 0;
    return Buffer.concat(this.#chunks.splice(0));
  }

  get pendingBytes(): number {
    return this.#bytes;
  }

  async isClosed(): Promise<void> {
    await until('the end of a stream', () => this.closed);
  }
}

describe('the bridge of init', { timeout: 60_000, skip: noCompiler }, () => {
  let directory: string;
  let program: string;
  let bridge: ChildProcess;
  let runtime: End;
  const hosts: Socket[] = [];
  let number = 0;

  const path = (): string => join(directory, `${number}.sock`);

  const dial = async (): Promise<End> => {
    const socket = connect(path());
    hosts.push(socket);
    await once(socket, 'connect');
    return new End(socket);
  };

  /** Both ways once, on whichever connection. */
  const exchange = async (host: End): Promise<void> => {
    host.stream.write(REQUEST);
    assert.deepEqual(await runtime.take(REQUEST.length), REQUEST);
    runtime.stream.write(ANSWER);
    assert.deepEqual(await host.take(ANSWER.length), ANSWER);
  };

  const isRefused = async (): Promise<void> => {
    await assert.rejects(dial(), { code: 'ECONNREFUSED' });
  };

  /** Processor time that the bridge has taken, in clock ticks of 10 ms. */
  const ticks = (): number => {
    const fields = readFileSync(`/proc/${bridge.pid ?? 0}/stat`, 'utf8').split(' ');
    return Number(fields[13]) + Number(fields[14]);
  };

  const isIdle = async (): Promise<void> => {
    const begun = ticks();
    await sleep(QUIET_MS);
    assert.ok(ticks() - begun <= 2, `${ticks() - begun} ticks of processor time within ${QUIET_MS} ms`);
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

  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'snapfaas-bridge-'));
    program = join(directory, 'bridge');
    const sources = [FIXTURE, join(INIT, 'bridge.c'), join(INIT, 'vsock.c')];
    const flags = [
      '-O1',
      '-g',
      '-fsanitize=undefined',
      '-Wall',
      '-Wextra',
      '-Werror',
      '-Wl,--wrap=socketpair',
      '-I',
      INIT,
    ];
    const compiled = spawnSync('gcc', [...flags, '-o', program, ...sources], { encoding: 'utf8' });
    assert.equal(compiled.status, 0, compiled.stderr);
  });
  after(() => rmSync(directory, { recursive: true }));

  beforeEach(async () => {
    number += 1;
    bridge = spawn(program, [path()], { stdio: ['pipe', 'pipe', 'inherit', 'pipe'] });
    runtime = new End(bridge.stdio[3] as Duplex);
    await once(bridge.stdout as Duplex, 'data');
  });
  afterEach(async () => {
    for (const socket of hosts.splice(0)) socket.destroy();
    const ended = once(bridge, 'exit');
    bridge.stdin?.end();
    assert.deepEqual(await ended, [0, null]);
    assert.equal(isRunning(bridge.pid ?? 0), false);
  });

  test('passes frames of all sizes, in whatever pieces they come', async () => {
    const host = await dial();
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
    await isIdle();
  });

  test('connections that come and go without a byte, or after an exchange, are nothing to the runtime', async () => {
    await isIdle();
    for (let round = 0; round < 5; round += 1) (await dial()).stream.destroy();
    for (let round = 0; round < 5; round += 1) {
      const host = await dial();
      await exchange(host);
      host.stream.destroy();
    }
    await exchange(await dial());
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
      const first = await dial();
      await exchange(first);
      first.stream.write(request);
      await runtime.take(request.length);
      runtime.stream.write(answer);
      await first.take(answer.length);
      first.stream.destroy();
      await runtime.isClosed();
      await isRefused();
      await isIdle();
    });
  }

  test('what the runtime said before it closed its descriptor arrives before the end', async () => {
    const host = await dial();
    host.stream.write(REQUEST);
    await runtime.take(REQUEST.length);
    const answer = encodeFrame(FrameType.result, undefined, randomBytes(1 << 20));
    runtime.stream.end(answer);
    assert.equal((await host.take(answer.length)).equals(answer), true);
    await host.isClosed();
    await isRefused();
    await isIdle();
  });

  test('a host that does not read stops the runtime, and gets everything once it does', async () => {
    const host = await dial();
    host.stream.write(REQUEST);
    await runtime.take(REQUEST.length);
    host.stream.pause();
    const answer = encodeFrame(FrameType.result, undefined, randomBytes(6 << 20));
    assert.ok((await flood(runtime, answer)) < BUFFERS_BYTES);
    await isIdle();
    host.stream.resume();
    assert.equal((await host.take(answer.length)).equals(answer), true);
  });

  test('a runtime that does not read stops the host, and gets everything once it does', async () => {
    const host = await dial();
    runtime.stream.pause();
    const request = encodeFrame(FrameType.invoke, undefined, randomBytes(6 << 20));
    assert.ok((await flood(host, request)) < BUFFERS_BYTES);
    await isIdle();
    runtime.stream.resume();
    assert.equal((await runtime.take(request.length)).equals(request), true);
  });

  test('a runtime that says something while nobody is connected waits', async () => {
    assert.ok((await flood(runtime, randomBytes(6 << 20))) < BUFFERS_BYTES);
    await isIdle();
  });

  test('a second connection waits until the first has ended', async () => {
    const [first, second] = [await dial(), await dial()];
    second.stream.write(REQUEST);
    await exchange(first);
    await sleep(QUIET_MS);
    assert.equal(runtime.pendingBytes, 0);
    await isIdle();
    first.stream.destroy();
    await runtime.take(REQUEST.length);
    runtime.stream.write(ANSWER);
    await second.take(ANSWER.length);
  });

  test('what was said on a connection that was given up while it waited is not done', async () => {
    const [first, second] = [await dial(), await dial()];
    await exchange(first);
    second.stream.end(REQUEST);
    await once(second.stream, 'finish');
    first.stream.destroy();
    await exchange(await dial());
  });
});
