/** The guest's channels over vsock, in a real VM without virtio-serial. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { encodeFrame, type Frame } from '../../src/protocol/frame.ts';
import {
  CONTROL_VSOCK_PORT,
  ENTROPY_BYTES,
  FrameType,
  FUNCTION_VSOCK_PORT,
  GUEST_PROTOCOL_VERSION,
  MAX_PAYLOAD_BYTES,
  type LoadRequest,
} from '../../src/protocol/guest.ts';
import { source } from '../support/functions.ts';
import {
  assertNothingLeft,
  createWorkspace,
  run,
  SNAPCTR,
  type TestFunction,
  type Workspace,
} from '../support/snapctr.ts';
import { soon, vhostDeviceIsMissing, VsockGuest, type Line } from '../support/vsock-guest.ts';

/** Time in which something that must not happen would have happened, in ms. */
const QUIET_MS = 1000;
/** Longer than init's buffer for the control channel, so that it passes in pieces. */
const LARGE_VARIABLE = 'v'.repeat(200_000);

const PYTHON = `
import os, stat, threading
calls = 0
def flood():
    sockets = [fd for fd in range(3, 256) if is_socket(fd)]
    while True:
        for fd in sockets:
            os.write(fd, bytes(100000))
def is_socket(fd):
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False
def handle(request):
    global calls
    calls += 1
    if 'print' in request:
        print('x' * request['print'])
    if 'close' in request:
        os.closerange(0, 256)
    if 'flood' in request:
        threading.Thread(target=flood, daemon=True).start()
    hoard = []
    while 'hoard' in request:
        hoard.append(bytearray(b'x' * (1 << 20)))
    return {'calls': calls, 'got': request.get('send'), 'variable': len(os.environ['LARGE'])}
`;
const NODE = `
const { Worker } = require('worker_threads');
const FLOOD = "for (const fs = require('fs');;) try { fs.writeSync(3, Buffer.alloc(100000)); } catch {}";
let calls = 0;
exports.handle = async (request) => {
  calls += 1;
  if ('print' in request) console.log('x'.repeat(request.print));
  if ('close' in request) for (let fd = 0; fd < 256; fd += 1) { try { require('fs').closeSync(fd); } catch {} }
  if ('flood' in request) new Worker(FLOOD, { eval: true });
  for (const hoard = []; 'hoard' in request; ) hoard.push(Buffer.alloc(1 << 20, 1));
  return { calls, got: request.send ?? null, variable: process.env.LARGE.length };
};
`;

const LANGUAGES: readonly TestFunction[] = [source('in-python', 'python3', PYTHON), source('in-node', 'nodejs', NODE)];

interface Told {
  readonly calls: number;
  readonly got: unknown;
  readonly variable: number;
}

function sync(line: Line): void {
  const payload = Buffer.alloc(8 + ENTROPY_BYTES);
  payload.writeBigUInt64BE(BigInt(Date.now()) * 1_000_000n);
  randomBytes(ENTROPY_BYTES).copy(payload, 8);
  line.send(FrameType.sync, undefined, payload);
}

const LOAD_REQUEST: LoadRequest = {
  function: 'under-test',
  root: '/srv',
  handler: null,
  environment: { LARGE: LARGE_VARIABLE },
  memory_mib: 128,
  max_result_bytes: MAX_PAYLOAD_BYTES,
  output: 'pipes',
  style: 'original',
  initialization: 'on-demand',
  version: '$LATEST',
  arn: 'arn:aws:lambda:us-east-1:000000000000:function:under-test',
  log_group: '/aws/lambda/under-test',
};
const LOAD = Buffer.from(JSON.stringify(LOAD_REQUEST));

function request(event: unknown): Buffer {
  const header = { id: 'request-1', deadline_ms: Date.now() + 60_000 };
  return encodeFrame(FrameType.invoke, header, Buffer.from(JSON.stringify(event)));
}

function told(frame: Frame): Told {
  assert.equal(frame.type, FrameType.result, frame.payload.toString('utf8').slice(0, 500));
  return JSON.parse(frame.payload.toString('utf8')) as Told;
}

async function invoke(line: Line, event: unknown): Promise<Told> {
  line.socket.write(request(event));
  return told(await line.next());
}

/** The bytes that an invocation printed, and its LOG_END; without a number that of the next one that comes. */
async function outputOf(line: Line, number?: number): Promise<{ bytes: number; end: Frame }> {
  for (let bytes = 0; ;) {
    const frame = await line.next();
    if (number !== undefined && frame.header['request'] !== number) continue;
    if (frame.type === FrameType.logEnd) return { bytes, end: frame };
    assert.equal(frame.type, FrameType.log);
    bytes += frame.payload.length;
  }
}

for (const fn of LANGUAGES) {
  describe(`a guest over vsock: ${fn.runtime}`, { timeout: 300_000, skip: vhostDeviceIsMissing }, () => {
    let workspace: Workspace;
    let image: string;
    let guest: VsockGuest;
    let control: Line;
    const lines: Line[] = [];

    const dialFunction = async (): Promise<Line> => {
      const line = await guest.dial(FUNCTION_VSOCK_PORT);
      lines.push(line);
      return line;
    };

    const start = async (): Promise<void> => {
      guest = await VsockGuest.start(workspace.directory, fn.runtime, image);
      control = await guest.dial(CONTROL_VSOCK_PORT);
    };

    const startFunction = async (): Promise<void> => {
      await control.nextOf(FrameType.hello);
      sync(control);
      control.send(FrameType.load, undefined, LOAD);
      await control.nextOf(FrameType.loaded);
      sync(control);
      control.send(FrameType.start, { restored: false });
      await control.nextOf(FrameType.started);
    };

    before(async () => {
      workspace = createWorkspace([fn]);
      image = join(workspace.directory, 'app.ext4');
      const args = ['images', 'app', join(workspace.directory, 'apps', fn.name), '--out', image];
      const built = await run(SNAPCTR, args, { workspace });
      assert.equal(built.status, 0, built.stderr);
    });
    after(async () => {
      await assertNothingLeft(workspace);
      workspace.remove();
    });

    describe('in one life', () => {
      before(start);
      after(() => guest.stop());
      afterEach(async () => {
        await Promise.all(lines.splice(0).map((line) => line.close()));
      });

      test('HELLO comes to the host that dialled; what it began to say and did not end is forgotten', async () => {
        const hello = await control.next();
        assert.equal(hello.type, FrameType.hello);
        assert.equal(hello.header['protocol'], GUEST_PROTOCOL_VERSION);
        control.socket.write(encodeFrame(FrameType.load, undefined, LOAD).subarray(0, 40));
        control.socket.end();
        await control.closed;
        control = await guest.dial(CONTROL_VSOCK_PORT);
        control.socket.write(encodeFrame(FrameType.sync, undefined, Buffer.alloc(8 + ENTROPY_BYTES)).subarray(0, 5));
      });

      test('connections to the function channel that come and go without a byte are harmless', async () => {
        for (let round = 0; round < 10; round += 1) await (await dialFunction()).close();
      });

      test('a LOAD of 200 kB and START are answered on a line that was dialled again', async () => {
        control = await guest.dial(CONTROL_VSOCK_PORT);
        sync(control);
        control.send(FrameType.load, undefined, LOAD);
        assert.equal((await control.next()).type, FrameType.loaded);
        sync(control);
        control.send(FrameType.start, { restored: false });
        assert.equal((await control.next()).type, FrameType.started);
      });

      test('invocations are answered, and connections that end between them are harmless', async () => {
        for (let calls = 1; calls <= 3; calls += 1) {
          const line = await dialFunction();
          assert.deepEqual(await invoke(line, { send: calls }), {
            calls,
            got: calls,
            variable: LARGE_VARIABLE.length,
          });
          await line.close();
        }
      });

      test('6 MiB pass in both directions as they are', async () => {
        const line = await dialFunction();
        const largest = randomBytes((MAX_PAYLOAD_BYTES - 1024) / 2).toString('hex');
        assert.equal((await invoke(line, { send: largest })).got === largest, true);
        assert.equal((await invoke(line, { send: largest })).got === largest, true);
      });

      test('a second connection waits until the first has ended', async () => {
        const first = await dialFunction();
        await invoke(first, {});
        const second = await dialFunction();
        second.socket.write(request({ send: 'second' }));
        await sleep(QUIET_MS);
        assert.equal(second.waiting.length, 0);
        assert.equal((await invoke(first, { send: 'first' })).got, 'first');
        await first.close();
        assert.equal(told(await second.next()).got, 'second');
      });

      test('a connection that was given up while it waited is not answered, nor what was said on it', async () => {
        const first = await dialFunction();
        const { calls } = await invoke(first, {});
        const second = await dialFunction();
        second.socket.end(request({}));
        await sleep(QUIET_MS);
        await first.close();
        assert.equal((await invoke(await dialFunction(), {})).calls, calls + 1);
      });

      test('a host that does not read stops the runtime, and the control channel goes on', async () => {
        const line = await dialFunction();
        line.socket.pause();
        const largest = 'x'.repeat(MAX_PAYLOAD_BYTES - 1024);
        line.socket.write(request({ send: largest, print: 10 }));
        const printed = await control.nextOf(FrameType.log);
        await sleep(QUIET_MS);
        // DONE comes behind the answer, and LOG_END behind DONE.
        assert.equal(control.waiting.length, 0, 'the runtime has not got rid of its answer');
        line.socket.resume();
        assert.equal(told(await line.next()).got === largest, true);
        assert.deepEqual((await outputOf(control)).end.header['request'], printed.header['request']);
      });

      test('output waits for a host that is not there, and comes whole to the next line', async () => {
        const line = await dialFunction();
        await control.close();
        await invoke(line, { print: 1000 });
        await invoke(line, { print: 2000 });
        control = await guest.dial(CONTROL_VSOCK_PORT);
        assert.deepEqual((await outputOf(control)).bytes, 1001);
        assert.deepEqual((await outputOf(control)).bytes, 2001);
      });

      test('a line that ends in the middle of a frame is followed by one that begins with this frame', async () => {
        const line = await dialFunction();
        const { calls } = await invoke(line, {});
        control.socket.pause();
        // More than all buffers on the way hold: the last of it is stuck between a frame's beginning and its end.
        const prints = [250_000, 250_001, 250_002];
        line.socket.write(Buffer.concat(prints.map((print) => request({ print }))));
        await sleep(QUIET_MS);
        await control.close();
        control = await guest.dial(CONTROL_VSOCK_PORT);
        const last = await outputOf(control, calls + prints.length);
        assert.deepEqual([last.end.header['bytes'], last.bytes], [250_003, 250_003]);
        for (const offset of [1, 2, 3]) assert.equal(told(await line.next()).calls, calls + offset);
      });

      test('the newest line counts: the one before it is closed', async () => {
        const older = control;
        control = await guest.dial(CONTROL_VSOCK_PORT);
        await soon('the end of the older line', older.closed);
        sync(control);
        await invoke(await dialFunction(), { print: 5 });
        assert.equal((await outputOf(control)).bytes, 6);
      });

      test('a reset of all connections, as by a restore, is harmless between two exchanges', async () => {
        const line = await dialFunction();
        const { calls } = await invoke(line, {});
        await guest.replaceDevice();
        control = await guest.dial(CONTROL_VSOCK_PORT);
        assert.equal((await invoke(await dialFunction(), { print: 7 })).calls, calls + 1);
        assert.equal((await outputOf(control)).bytes, 8);
      });

      test('a host that goes away in the middle of a request ends the runtime', async () => {
        const line = await dialFunction();
        // So that it is surely taken: one that ends while it waits is not looked at.
        await invoke(line, {});
        line.socket.end(request({ send: 'x'.repeat(100_000) }).subarray(0, 50_000));
        const exited = await control.nextOf(FrameType.runtimeExited);
        assert.deepEqual(exited.header, { status: 0 });
        assert.equal(await guest.dialOnce(FUNCTION_VSOCK_PORT), null, 'the function channel is refused');
      });
    });

    describe('at its end', () => {
      const restart = async (): Promise<void> => {
        await guest.stop();
        await start();
      };
      before(start);
      after(() => guest.stop());

      test('a function that closes its channels loses its host, which hears of the runtime as well', async () => {
        await startFunction();
        const line = await guest.dial(FUNCTION_VSOCK_PORT);
        line.socket.write(request({ close: true }));
        await soon('the end of the function channel', line.closed);
        const exited = await control.nextOf(FrameType.runtimeExited);
        assert.notEqual(exited.header['status'], 0);
      });

      test('a function that takes all memory is killed, and the host hears of it', async () => {
        await restart();
        await startFunction();
        const line = await guest.dial(FUNCTION_VSOCK_PORT);
        line.socket.pause();
        line.socket.write(request({ flood: true, hoard: true }));
        const exited = await control.nextOf(FrameType.runtimeExited);
        assert.deepEqual(exited.header, { signal: 9 });
        line.socket.resume();
        await soon('the end of the function channel', line.closed);
      });

      test('last words of init reach the host, and the machine stops', async () => {
        await restart();
        await startFunction();
        control.send(FrameType.load, undefined, LOAD);
        const words = await control.nextOf(FrameType.initFailed);
        assert.match(words.payload.toString('utf8'), /^the host sent a second LOAD$/);
        await soon('the end of the machine', guest.ended);
      });
    });
  });
}
