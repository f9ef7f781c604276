import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CONTROL_VSOCK_PORT, FUNCTION_VSOCK_PORT, FrameType, SYNC_BYTES } from '../../../src/protocol/guest.ts';
import { isRunning, until } from '../../end-to-end/processes.ts';
import {
  BenchOfMachines,
  boot,
  configure,
  invoke,
  LOAD_PAYLOAD,
  loadFunction,
  startFunction,
} from './bench-of-machines.ts';
import { dial, type FakeProcess } from './fake-process.ts';

let bench: BenchOfMachines;
before(async () => {
  bench = await BenchOfMachines.make();
});
after(() => bench.remove());

/** What comes until the other side closes. */
async function readAll(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', (bytes: Buffer) => (text += bytes.toString('latin1')));
  await once(socket, 'close');
  return text;
}

/** Fails if anything comes, or the connection ends, within some time. */
async function isSilent(socket: Socket): Promise<void> {
  const spoke = once(socket, 'data').then(() => 'data');
  const ended = once(socket, 'close').then(() => 'close');
  const calm = new Promise((resolve) => setTimeout(resolve, 150, 'silence'));
  assert.equal(await Promise.race([spoke, ended, calm]), 'silence');
}

async function booted(fault?: unknown): Promise<FakeProcess> {
  const env = fault === undefined ? {} : { FAKE_FIRECRACKER_FAULT: JSON.stringify(fault) };
  const fake = await bench.start(bench.makeDirectory(), env);
  await boot(fake);
  return fake;
}

describe('fake vsock: the handshake', () => {
  test('numbers host ports from 2^30', async () => {
    const fake = await booted();
    assert.equal((await fake.dialGuest(CONTROL_VSOCK_PORT)).greeting, 'OK 1073741824');
    assert.equal((await fake.dialGuest(FUNCTION_VSOCK_PORT)).greeting, 'OK 1073741825');
  });

  test('closes without an answer where nobody listens, and what is no CONNECT', async () => {
    const fake = await booted();
    for (const line of [
      'CONNECT 1026\n',
      'connect 1025\n',
      'CONNECT 1025',
      'CONNECT x\n',
      `CONNECT ${'1'.repeat(30)}\n`,
    ]) {
      const socket = await dial(join(fake.directory, 'v.sock'));
      socket.write(line);
      assert.equal(await readAll(socket), '', JSON.stringify(line));
    }
  });

  test('is silent before the start and while paused, and answers then', async () => {
    const fake = await bench.start();
    await configure(fake);
    const early = await dial(join(fake.directory, 'v.sock'));
    early.write(`CONNECT ${CONTROL_VSOCK_PORT}\n`);
    await isSilent(early);
    const late = once(early, 'data');
    await fake.ok('PUT', '/actions', { action_type: 'InstanceStart' });
    assert.match(String((await late)[0]), /^OK \d+\n/);
    await fake.ok('PATCH', '/vm', { state: 'Paused' });
    const paused = await dial(join(fake.directory, 'v.sock'));
    paused.write(`CONNECT ${FUNCTION_VSOCK_PORT}\n`);
    await isSilent(paused);
    await fake.ok('PATCH', '/vm', { state: 'Resumed' });
    await isSilent(paused);
    // A pause alone leaves it deaf; a snapshot, and what follows, mends that.
    await fake.ok('PATCH', '/vm', { state: 'Paused' });
    await fake.ok('PUT', '/snapshot/create', { snapshot_path: 'state', mem_file_path: 'memory' });
    const resumed = once(paused, 'data');
    await fake.ok('PATCH', '/vm', { state: 'Resumed' });
    assert.match(String((await resumed)[0]), /^OK \d+\n/);
  });

  test('faults: EOF before OK for the first tries', async () => {
    const fake = await booted({ at: 'vsock', do: 'eof', times: 2 });
    await assert.rejects(fake.dialGuest(CONTROL_VSOCK_PORT), /closed after ""/);
    await assert.rejects(fake.dialGuest(CONTROL_VSOCK_PORT), /closed after ""/);
    assert.equal((await (await fake.dialGuest(CONTROL_VSOCK_PORT)).next()).type, FrameType.hello);
  });

  test('faults: one try that is never answered, at one port', async () => {
    const fake = await booted({ at: `vsock ${CONTROL_VSOCK_PORT}`, do: 'hang', times: 1 });
    await fake.dialGuest(FUNCTION_VSOCK_PORT);
    const first = await dial(join(fake.directory, 'v.sock'));
    first.write(`CONNECT ${CONTROL_VSOCK_PORT}\n`);
    await isSilent(first);
    assert.equal((await (await fake.dialGuest(CONTROL_VSOCK_PORT)).next()).type, FrameType.hello);
  });

  test('faults: a connection that is reset behind its OK', async () => {
    const fake = await booted({ at: 'vsock', do: 'reset', times: 1 });
    const first = await fake.dialGuest(CONTROL_VSOCK_PORT);
    await first.closed;
    assert.equal((await (await fake.dialGuest(CONTROL_VSOCK_PORT)).next()).type, FrameType.hello);
  });

  test('faults: OK in pieces, and OK together with what the guest says', async () => {
    const slow = await booted({ at: 'vsock', do: 'split' });
    assert.equal((await (await slow.dialGuest(CONTROL_VSOCK_PORT)).next()).type, FrameType.hello);
    const joined = await booted({ at: 'vsock', do: 'together' });
    const socket = await dial(join(joined.directory, 'v.sock'));
    const first = once(socket, 'data');
    socket.write(`CONNECT ${CONTROL_VSOCK_PORT}\n`);
    assert.match(String((await first)[0]), /^OK \d+\n.{7}\{"protocol"/s);
  });
});

describe('fake vsock: what is behind it', () => {
  for (const language of ['python3', 'nodejs'] as const) {
    test(`${language}: boots, loads, answers and prints by invocation`, async () => {
      const fake = await bench.start(bench.makeDirectory(language));
      await boot(fake);
      const control = await fake.dialGuest(CONTROL_VSOCK_PORT);
      const hello = await control.next();
      assert.deepEqual([hello.type, hello.header['runtime']], [FrameType.hello, language]);
      await loadFunction(control);
      await startFunction(control, false);
      const port = await fake.dialGuest(FUNCTION_VSOCK_PORT);
      for (const n of [1, 2, 3]) {
        assert.deepEqual(await invoke(port, { n }), { n, event: { n } });
        const log = await control.next(FrameType.log);
        assert.deepEqual(log.header, { request: n, stream: 'stdout' });
        assert.equal(log.payload.toString('utf8'), `call ${n}\n`);
        assert.deepEqual((await control.next()).header, { request: n, bytes: 7, cut: 0 });
      }
    });
  }

  test('connections come and go without the runtime noticing', async () => {
    const fake = await booted();
    let control = await fake.dialGuest(CONTROL_VSOCK_PORT);
    await control.next(FrameType.hello);
    await control.close();
    control = await fake.dialGuest(CONTROL_VSOCK_PORT);
    await loadFunction(control);
    const newer = await fake.dialGuest(CONTROL_VSOCK_PORT);
    await control.closed;
    await startFunction(newer, false);
    for (const n of [1, 2]) {
      const port = await fake.dialGuest(FUNCTION_VSOCK_PORT);
      assert.deepEqual(await invoke(port, null), { n, event: null });
      await port.close();
    }
  });

  test('a second connection to the function port waits for the end of the first', async () => {
    const fake = await booted();
    const control = await fake.dialGuest(CONTROL_VSOCK_PORT);
    await loadFunction(control);
    await startFunction(control, false);
    const first = await fake.dialGuest(FUNCTION_VSOCK_PORT);
    const second = await fake.dialGuest(FUNCTION_VSOCK_PORT);
    const answer = invoke(second, 'second');
    assert.deepEqual(await invoke(first, 'first'), { n: 1, event: 'first' });
    await first.close();
    assert.deepEqual(await answer, { n: 2, event: 'second' });
  });

  test('passes large events and results', async () => {
    const fake = await booted();
    const control = await fake.dialGuest(CONTROL_VSOCK_PORT);
    await loadFunction(control);
    await startFunction(control, false);
    const port = await fake.dialGuest(FUNCTION_VSOCK_PORT);
    const event = 'x'.repeat(1024 * 1024 - 100);
    assert.deepEqual(await invoke(port, event), { n: 1, event });
  });

  test('moves paths below /srv to where the files of the second disk are', async () => {
    const fake = await booted();
    const control = await fake.dialGuest(CONTROL_VSOCK_PORT);
    await loadFunction(control);
    await startFunction(control, false);
    const place = await invoke(await fake.dialGuest(FUNCTION_VSOCK_PORT), 'place');
    assert.match(String(place), /\/fake-firecracker-[^/]+\/srv\/data$/);
  });

  test('the end of the fake takes along what a function left running', async () => {
    const fake = await booted();
    const control = await fake.dialGuest(CONTROL_VSOCK_PORT);
    await loadFunction(control);
    await startFunction(control, false);
    const pid = await invoke(await fake.dialGuest(FUNCTION_VSOCK_PORT), 'spawn');
    // It may be between its fork and its own program.
    await until('the child of the function runs', () => isRunning(Number(pid)));
    await fake.kill();
    await until('the child of the function has ended', () => !isRunning(Number(pid)));
  });

  test('a connection that ends within an exchange ends the runtime; then dials are refused', async () => {
    const fake = await booted();
    const control = await fake.dialGuest(CONTROL_VSOCK_PORT);
    await loadFunction(control);
    await startFunction(control, false);
    const port = await fake.dialGuest(FUNCTION_VSOCK_PORT);
    port.socket.write(Buffer.from('000000', 'hex'));
    await port.close();
    await control.next(FrameType.runtimeExited);
    await assert.rejects(fake.dialGuest(FUNCTION_VSOCK_PORT), /closed after ""/);
  });

  test('four connections wait at the function port, no more', async () => {
    const fake = await booted();
    await (await fake.dialGuest(CONTROL_VSOCK_PORT)).next(FrameType.hello);
    for (let count = 0; count < 5; count++) await fake.dialGuest(FUNCTION_VSOCK_PORT);
    await assert.rejects(fake.dialGuest(FUNCTION_VSOCK_PORT), /closed after ""/);
  });

  test("reports the runtime's end, and stays", async () => {
    const fake = await booted();
    const control = await fake.dialGuest(CONTROL_VSOCK_PORT);
    await control.next(FrameType.hello);
    const port = await fake.dialGuest(FUNCTION_VSOCK_PORT);
    // Nonsense on its channel ends a runtime.
    control.send(FrameType.sync, undefined, Buffer.alloc(SYNC_BYTES));
    await loadFunction(control);
    await startFunction(control, false);
    port.socket.write(Buffer.from('0000000300000000', 'hex'));
    const { header } = await control.next(FrameType.runtimeExited);
    assert.notEqual(header['status'], 0);
    await port.closed;
    assert.equal((await fake.request('GET', '/')).status, 200);
  });

  test('a blank second disk is no file system, and no error', async () => {
    const fake = await bench.start(bench.makeDirectory('python3', 'blank'));
    await boot(fake);
    const control = await fake.dialGuest(CONTROL_VSOCK_PORT);
    control.send(FrameType.load, undefined, LOAD_PAYLOAD);
    const { payload } = await control.next(FrameType.loadFailed);
    assert.match(payload.toString('utf8'), /workload/);
  });

  test('init ends the machine for what no host of its version would say', async () => {
    for (const [type, payload, reason] of [
      [FrameType.result, Buffer.alloc(0), /unknown type 2/],
      [FrameType.sync, Buffer.alloc(8), /type 26 with 8 bytes; 41 are expected/],
      [FrameType.start, Buffer.alloc(0), /before LOAD/],
      [FrameType.load, Buffer.from('{"root":"/srv","output":"frames"}'), /a VM has pipes/],
    ] as const) {
      const fake = await booted();
      const control = await fake.dialGuest(CONTROL_VSOCK_PORT);
      control.send(type, undefined, payload);
      assert.match((await control.next(FrameType.initFailed)).payload.toString('utf8'), reason);
      assert.equal((await fake.exited).status, 0);
    }
  });
});
