/** The server of the Runtime API under sanitizers, between the two peers of a runtime and a bootstrap. */
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { encodeFrame, type Frame } from '../../src/protocol/frame.ts';
import { FrameType } from '../../src/protocol/guest.ts';
import { compiledBootstrap, noCompiler } from '../support/bootstrap.ts';
import { failureOf, GuestProcess, runningGuests } from '../support/guest-process.ts';
import { SanitizedRuntimeApi } from '../support/sanitized-runtime-api.ts';

const doing = (what: string, more: object = {}): string => JSON.stringify({ do: what, ...more });
const text = (frame: Frame): string => frame.payload.toString('utf8');

describe('the server of the Runtime API', { skip: noCompiler }, () => {
  let api: SanitizedRuntimeApi;

  before(() => {
    api = new SanitizedRuntimeApi();
  });

  after(() => {
    assert.equal(runningGuests(), 0);
    api.remove();
  });

  const start = (): Promise<GuestProcess> => api.start({ bootstrap: compiledBootstrap() });

  async function withServer(work: (guest: GuestProcess) => Promise<void>): Promise<void> {
    const guest = await start();
    assert.equal((await guest.load({ handler: 'bootstrap', style: 'lambda' })).type, FrameType.loaded);
    await work(guest);
    assert.deepEqual(await guest.stop(), { status: 0, signal: null });
  }

  test('answers, failures and refusals follow each other on one connection', () =>
    withServer(async (guest) => {
      assert.equal(text(await guest.invoke(doing('echo', { n: 1 }))), '{"do":"echo","n":1}');
      const failed = await guest.invoke(doing('throw'));
      assert.equal(failed.type, FrameType.failure);
      const { type, message, stack, posted } = failureOf(failed);
      assert.deepEqual([type, message, stack], ['Custom.Error', 'as asked', ['at main']]);
      assert.match(posted ?? '', /"extra":1\.0\}$/, 'verbatim');
      const expected = { twice: '1', 'unknown id': '400', 'ask without an answer': '403', 'no HTTP': '400' };
      for (const [what, answer] of Object.entries(expected))
        assert.equal(text(await guest.invoke(doing(what))), answer);
      assert.equal(text(await guest.invoke(doing('break off'))), '"whole"');
    }));

  test('the largest event comes back whole, and one byte more is too much', () =>
    withServer(async (guest) => {
      const around = doing('echo', { text: '' }).length;
      const event = doing('echo', { text: 'x'.repeat(6 * 1024 * 1024 - around) });
      assert.equal(text(await guest.invoke(event)), event);
      const large = await guest.invoke(doing('large result'));
      assert.equal(failureOf(large).type, 'Function.ResponseSizeTooLarge');
      assert.equal(text(await guest.invoke(doing('count'))), '1');
    }));

  test('a stream goes on in parts where they are taken, and is one result elsewhere', () =>
    withServer(async (guest) => {
      const whole = await guest.invoke(doing('stream'));
      assert.deepEqual([whole.type, text(whole)], [FrameType.result, 'hello world']);
      guest.send(doing('stream'), { stream: true });
      const frames = [
        await guest.nextFunctionFrame(),
        await guest.nextFunctionFrame(),
        await guest.nextFunctionFrame(),
      ];
      assert.deepEqual(
        frames.map((frame) => [frame.type, frame.header, text(frame)]),
        [
          [FrameType.chunk, { content_type: 'text/plain' }, 'hello'],
          [FrameType.chunk, {}, ' world'],
          [FrameType.result, {}, ''],
        ],
      );
      guest.send(doing('stream with an error'), { stream: true });
      assert.equal(text(await guest.nextFunctionFrame()), 'hello');
      assert.equal(failureOf(await guest.nextFunctionFrame()).type, 'Late');
    }));

  test('a caller that needs JSON gets nothing else', () =>
    withServer(async (guest) => {
      assert.equal(text(await guest.invoke(doing('not json'))), '{"a":}');
      const refused = await guest.invoke(doing('not json'), { strict: true });
      assert.equal(failureOf(refused).type, 'Runtime.MarshalError');
      assert.equal(text(await guest.invoke(doing('nothing'))), '');
      assert.equal(text(await guest.invoke(doing('nothing'), { strict: true })), 'null');
    }));

  test('all headers of an event, with characters that no header may have', () =>
    withServer(async (guest) => {
      const answer = await guest.invoke(doing('headers'), {
        id: 'an-id',
        deadline_ms: 1234,
        arn: 'arn:aws:lambda:x:1:function:f:live',
        trace: 'Root=1\r\nX-Forged: yes',
        client_context: '{"custom":{"a":"ä💙\\n"},\n"b":1}',
        cognito_identity: '{"cognitoIdentityId":"i"}',
        tenant_id: 'blue',
      });
      const lines = (JSON.parse(text(answer)) as string).split('\r\n');
      assert.deepEqual(lines.slice(2, -3), [
        'Lambda-Runtime-Aws-Request-Id: an-id',
        'Lambda-Runtime-Deadline-Ms: 1234',
        'Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:x:1:function:f:live',
        'Lambda-Runtime-Trace-Id: Root=1  X-Forged: yes',
        'Lambda-Runtime-Client-Context: {"custom":{"a":"\\u00e4\\ud83d\\udc99\\n"}, "b":1}',
        'Lambda-Runtime-Cognito-Identity: {"cognitoIdentityId":"i"}',
        'Lambda-Runtime-Aws-Tenant-Id: blue',
      ]);
    }));

  test('a rehearsal comes back, and is not counted', () =>
    withServer(async (guest) => {
      guest.rehearse('[1]');
      guest.send(doing('count'), { log_end: true });
      assert.equal(text(await guest.nextFunctionFrame()), '[1]');
      assert.equal(text(await guest.nextFunctionFrame()), '1');
      assert.equal(text(await guest.invoke(doing('count'))), '2');
      assert.deepEqual(guest.doneHeaders, [{ log_end: true, request: 1 }]);
    }));

  test('connections, heads and trailers have bounds', () =>
    withServer(async (guest) => {
      // Between its answer and its next question the bootstrap's connection asks for nothing, and must not make room all the same.
      const address = await guest.invoke(doing('variable', { name: 'AWS_LAMBDA_RUNTIME_API', rest_ms: 300 }));
      const port = Number((JSON.parse(text(address)) as string).split(':')[1]);
      const opened: Socket[] = [];
      /** Resolves with all that comes until the server closes the connection, or has said what was wanted. */
      const say = (bytes: string, wanted?: string): Promise<string> =>
        new Promise((resolve, reject) => {
          const socket = connect(port, '127.0.0.1');
          opened.push(socket);
          let heard = '';
          socket.setEncoding('latin1').on('data', (part: string) => {
            heard += part;
            if (wanted !== undefined && heard.includes(wanted)) resolve(heard);
          });
          socket.on('end', () => resolve(heard)).on('error', reject);
          socket.write(bytes);
        });
      const ping = 'GET /2018-06-01/ping HTTP/1.1\r\nHost: x\r\n\r\n';
      const long = `GET / HTTP/1.1\r\nx: ${'x'.repeat(16 * 1024)}`;
      assert.match(await say(long, '\r\n'), /^HTTP\/1\.1 431 /);
      const chunked = 'POST /2018-06-01/runtime/init/error HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n';
      const trailers = `x: ${'y'.repeat(1020)}\r\n`.repeat(129);
      assert.match(await say(chunked + trailers, '\r\n'), /^HTTP\/1\.1 400 /);
      // The oldest one that asks for nothing makes room for the newest.
      for (let n = 0; n < 40; n += 1) assert.match(await say(ping, 'pong'), /^HTTP\/1\.1 200 /);
      const isOpen = await Promise.all(
        opened.slice(-40).map(
          (socket) =>
            new Promise<boolean>((resolve) => {
              socket.once('close', () => resolve(false)).once('data', () => resolve(true));
              if (socket.destroyed || !socket.writable) resolve(false);
              else socket.write(ping);
            }),
        ),
      );
      // One of the 32 is the bootstrap's.
      assert.ok(isOpen.filter(Boolean).length <= 31, JSON.stringify(isOpen));
      assert.equal(isOpen.at(-1), true);
      for (const socket of opened) socket.destroy();
      assert.equal(text(await guest.invoke(doing('count'))), '1');
    }));

  test('what is printed until the next question belongs to the invocation', () =>
    withServer(async (guest) => {
      await guest.invoke(doing('say', { text: 'one' }));
      await guest.invoke(doing('say', { text: 'two' }));
      assert.equal((await guest.printedBy(1)).stdout, 'one\none afterwards\n');
    }));

  test('the process that asks is named when a snapshot is to be taken', async () => {
    const guest = await start();
    assert.equal((await guest.import({ handler: 'restores' })).type, FrameType.loaded);
    const sealed = await guest.command(FrameType.seal, { step: 'generators' });
    assert.equal(sealed.type, FrameType.sealed);
    assert.ok(Number(sealed.header['pid']) > 1);
    assert.equal((await guest.command(FrameType.start, { restored: true })).type, FrameType.started);
    assert.equal((await guest.printedBy(0)).stdout, 'started as restores\nrestored\n');
    assert.equal(text(await guest.invoke(doing('count'))), '1');
    assert.deepEqual(await guest.stop(), { status: 0, signal: null });
  });

  test('a restore that fails is a hook that fails', async () => {
    const guest = await start();
    await guest.import({ handler: 'restores badly' });
    const failed = await guest.command(FrameType.start, { restored: true });
    assert.equal(failed.type, FrameType.hookFailed);
    assert.deepEqual(
      [failureOf(failed).type, failureOf(failed).message],
      ['Runtime.AfterRestoreError', 'cannot go on'],
    );
    assert.deepEqual(await guest.remove(), { status: 1, signal: null });
  });

  test('an initialisation that fails says why', async () => {
    const guest = await start();
    const failed = await guest.import({ handler: 'fails' });
    assert.equal(failed.type, FrameType.loadFailed);
    assert.equal(failureOf(failed).type, 'Init.Error');
    assert.deepEqual(await guest.remove(), { status: 1, signal: null });
  });

  for (const [handler, what, exit] of [
    ['exits', null, { status: 7, signal: null }],
    ['bootstrap', 'exit', { status: 3, signal: null }],
    ['bootstrap', 'crash', { status: null, signal: 'SIGSEGV' }],
  ] as const) {
    test(`it ends as the bootstrap ends: ${handler}, ${what ?? 'at once'}`, async () => {
      const guest = await start();
      if (what === null) {
        await assert.rejects(guest.import({ handler }));
      } else {
        await guest.load({ handler });
        await assert.rejects(guest.invoke(doing(what)));
      }
      assert.deepEqual(await guest.remove(), exit);
    });
  }

  test('a host that has gone takes it with it, in the middle of an invocation as well', async () => {
    const guest = await start();
    await guest.load({ handler: 'bootstrap' });
    guest.send(doing('hang'));
    await guest.hasPrinted(/hanging/);
    assert.deepEqual(await guest.stop(), { status: 0, signal: null });
  });

  test('a frame that is none ends it', async () => {
    const guest = await start();
    await guest.load({ handler: 'bootstrap' });
    guest.functionChannel.write(encodeFrame(FrameType.drained, undefined));
    assert.deepEqual(await guest.remove(), { status: 1, signal: null });
  });
});
