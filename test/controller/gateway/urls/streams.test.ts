/** Streamed answers by a function URL: their beginning, their pace and their end. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { APPLICATION_TYPE, MAX_HEAD_BYTES, METADATA_TYPE } from '../../../../src/controller/gateway/urls/result.ts';
import { SnapfaasError } from '../../../../src/protocol/errors.ts';
import type { StreamSink } from '../../../../src/protocol/function-channel.ts';
import type { Task } from '../../../../src/controller/task.ts';
import { Held, RawClient } from '../http-client.ts';
import { withUrls } from './bench.ts';

const END = Buffer.alloc(8);
const metadata = (value: unknown): Buffer => Buffer.concat([Buffer.from(JSON.stringify(value)), END]);

interface Streaming {
  readonly client: RawClient;
  readonly task: Task;
  readonly sink: StreamSink;
  readonly log: readonly string[];
  /** Ends the stream well. */
  readonly end: () => void;
  /** Resolves when this has come. */
  readonly until: (text: string) => Promise<void>;
}

async function streaming(use: (stream: Streaming) => Promise<void>, method = 'GET'): Promise<void> {
  const held = new Held();
  await withUrls({ submit: held.submit }, async ({ port, hostOf, log }) => {
    const client = await RawClient.open(port);
    client.send(`${method} / HTTP/1.1\r\nhost: ${hostOf('streaming')}\r\n\r\n`);
    await held.until(1);
    const task = held.task(0);
    const sink = task.request.lambda?.sink ?? assert.fail('no sink');
    const until = async (text: string): Promise<void> => {
      while (!client.received.includes(text)) await once(client.socket, 'data');
    };
    const end = (): void => task.reply({ status: 'ok', result: Buffer.alloc(0), start: 'warm' });
    await use({ client, task, sink, log, end, until });
    client.socket.destroy();
  });
}

const failed = { status: 'error', error: new SnapfaasError('vm_lost', 'gone'), start: 'warm' } as const;

test('urls: metadata becomes status and headers as soon as it is whole, however it is cut', async () => {
  const whole = Buffer.concat([
    metadata({ statusCode: 201, headers: { 'X-A': 'b' }, cookies: ['c=d'] }),
    Buffer.from('first'),
  ]);
  for (const size of [1, 7, whole.length]) {
    await streaming(async ({ client, sink, end, until }) => {
      for (let at = 0; at < whole.length; at += size) {
        sink.write(whole.subarray(at, at + size), at === 0 ? METADATA_TYPE : null);
      }
      await until('t\r\n');
      assert.match(client.received, /^HTTP\/1\.1 201 Created\r\n/);
      assert.match(client.received, /\r\nx-a: b\r\n.*set-cookie: c=d\r\n/s);
      assert.match(client.received, /\r\ncontent-type: application\/octet-stream\r\n/);
      sink.write(Buffer.from('second'));
      await until('6\r\nsecond\r\n');
      end();
      await until('0\r\n\r\n');
    });
  }
});

test('urls: the head of a stream goes out before its body, and zero bytes of a body are bytes', async () => {
  await streaming(async ({ client, sink, end, until }) => {
    sink.write(metadata({ statusCode: 200, headers: { 'content-type': 'text/event-stream' } }), METADATA_TYPE);
    await until('\r\n\r\n');
    assert.match(client.received, /text\/event-stream/);
    sink.write(END);
    await until(`8\r\n${END.toString()}\r\n`);
    end();
    await until('0\r\n\r\n');
  });
});

test('urls: a stream without metadata is 200, of the type that was told', async () => {
  for (const [type, told] of [
    ['text/css', 'text/css'],
    [null, 'application/octet-stream'],
    ['a\r\nb: c', 'application/octet-stream'],
  ] as const) {
    await streaming(async ({ client, sink, end, until }) => {
      sink.write(Buffer.from('{"statusCode":404}\0\0\0\0\0\0\0\0'), type);
      end();
      await until('0\r\n\r\n');
      assert.match(client.received, /^HTTP\/1\.1 200 /);
      assert.ok(client.received.includes(`\r\ncontent-type: ${told}\r\n`));
    });
  }
});

test("urls: what a function says of a stream's length or of its connection is not sent", async () => {
  await streaming(async ({ client, sink, end, until }) => {
    const headers = { 'Content-Length': '2', connection: 'close', 'transfer-encoding': 'gzip' };
    sink.write(metadata({ statusCode: 200, headers }), METADATA_TYPE);
    sink.write(Buffer.from('HTTP/1.1 200 smuggled'));
    end();
    await until('0\r\n\r\n');
    assert.doesNotMatch(client.received, /content-length|gzip|connection: close/i);
  });
});

const SIX = metadata({ statusCode: 200, headers: { 'content-length': '6' } });

test('urls: a stream of an application on a port has the length that it says, and nothing is added', async () => {
  await streaming(async ({ client, sink, end, log }) => {
    sink.write(SIX, APPLICATION_TYPE);
    sink.write(Buffer.from('abc'));
    sink.write(Buffer.from('def'));
    end();
    const { headers, body } = await client.response();
    assert.deepEqual([body, headers.get('content-length'), headers.get('content-type')], ['abcdef', '6', undefined]);
    assert.deepEqual([headers.get('transfer-encoding'), log.length, client.received], [undefined, 0, '']);
  });
  await streaming(async ({ client, sink, end, until }) => {
    sink.write(SIX, APPLICATION_TYPE);
    end();
    await until('\r\n\r\n');
    assert.match(client.received, /\r\ncontent-length: 6\r\n/);
    client.send('GET /nothing HTTP/1.1\r\nhost: localhost\r\n\r\n');
    // The connection goes on.
    await until('HTTP/1.1 400');
  }, 'HEAD');
});

test('urls: a stream that is not as long as its application said is cut off, and nothing follows it', async () => {
  for (const [parts, sent, why] of [
    [['abc'], 'abc', /ends 3 bytes before/],
    [['abc', 'defg'], 'abc', /longer than/],
    [['abcdef', 'HTTP/1.1 200 smuggled'], 'abcdef', /longer than/],
  ] as const) {
    await streaming(async ({ client, sink, end, log }) => {
      sink.write(SIX, APPLICATION_TYPE);
      for (const part of parts) sink.write(Buffer.from(part));
      end();
      await client.ended();
      assert.equal(client.received.slice(client.received.indexOf('\r\n\r\n') + 4), sent);
      assert.match(log[0] ?? '', why);
    });
  }
  await streaming(async ({ client, sink, end }) => {
    sink.write(Buffer.concat([SIX, Buffer.from('abcdefg')]), APPLICATION_TYPE);
    end();
    assert.equal((await client.response()).status, 502);
  });
});

test('urls: a stream with a status that has no body sends none', async () => {
  for (const statusCode of [204, 205, 304]) {
    await streaming(async ({ client, sink, end, until }) => {
      sink.write(metadata({ statusCode }), METADATA_TYPE);
      sink.write(Buffer.from('HTTP/1.1 200 smuggled'));
      end();
      await until('\r\n\r\n');
      client.send('GET /nothing HTTP/1.1\r\nhost: localhost\r\n\r\n');
      await until('HTTP/1.1 400');
      assert.doesNotMatch(client.received, /smuggled|transfer-encoding/);
    });
  }
});

/** Metadata that cannot be used, and what the log says. */
const BAD: readonly (readonly [parts: readonly Buffer[], why: RegExp])[] = [
  [[metadata({ statusCode: 99 })], /`statusCode` must be/],
  [[metadata({ statusCode: 200, headers: { a: 'b\r\nc: d' } })], /characters that no header can have/],
  [[metadata([])], /its metadata is no object/],
  [[Buffer.from('{"a'), END], /it is not JSON/],
  [[Buffer.from('{"statusCode":200}')], /does not end with eight zero bytes/],
  [[Buffer.alloc(MAX_HEAD_BYTES + 100, ' ')], /more than 65536 bytes/],
];

test('urls: metadata that cannot be used is 502, and what follows it is not sent', async () => {
  for (const [parts, why] of BAD) {
    await streaming(async ({ client, sink, log, end }) => {
      for (const [at, part] of parts.entries()) assert.equal(sink.write(part, at === 0 ? METADATA_TYPE : null), true);
      end();
      const { status, body } = await client.response();
      assert.deepEqual([status, body], [502, 'Internal Server Error'], why.source);
      assert.match(log[0] ?? '', why);
    });
  }
});

test('urls: a stream that fails before it begins is an error, and one that fails later is cut off behind what was written', async () => {
  await streaming(async ({ client, task }) => {
    task.reply(failed);
    assert.equal((await client.response()).status, 502);
  });
  await streaming(async ({ client, sink, task, log, until }) => {
    sink.write(Buffer.alloc(300_000, 'x'), 'text/plain');
    task.reply(failed);
    await client.ended();
    assert.deepEqual([partBytes(client), client.error], [300_000, null]);
    assert.equal(client.received.endsWith('0\r\n\r\n'), false);
    assert.match(log[0] ?? '', /cut off: gone/);
    await until('HTTP/1.1 200');
  });
});

test('urls: a client of HTTP/1.0, for which a stream ends with its connection, sees a reset where it is cut off', async () => {
  for (const [outcome, error] of [
    [failed, 'ECONNRESET'],
    [{ status: 'ok', result: Buffer.alloc(0), start: 'warm' }, null],
  ] as const) {
    const held = new Held();
    await withUrls({ submit: held.submit }, async ({ port, hostOf }) => {
      const client = await RawClient.open(port);
      client.send(`GET / HTTP/1.0\r\nhost: ${hostOf('streaming')}\r\n\r\n`);
      await held.until(1);
      held.task(0).request.lambda?.sink?.write(Buffer.from('half'), 'text/plain');
      while (!client.received.endsWith('half')) await once(client.socket, 'data');
      held.task(0).reply(outcome);
      await client.ended();
      assert.deepEqual([client.error, client.received.slice(-8)], [error, '\r\n\r\nhalf']);
      client.socket.destroy();
    });
  }
});

test('urls: a client that is slow to read what was written of a stream that is cut off gets all of it', async () => {
  const bytes = 20_000_000;
  await streaming(async ({ client, sink, task }) => {
    client.socket.pause();
    sink.write(Buffer.alloc(bytes, 'x'), 'text/plain');
    task.reply(failed);
    await setTimeout(1500);
    client.socket.resume();
    await client.ended();
    assert.deepEqual([partBytes(client), client.error], [bytes, null]);
  });
});

/** How many bytes have come of the first part. */
function partBytes({ received }: RawClient): number {
  const start = received.indexOf('\r\n', received.indexOf('\r\n\r\n') + 4) + 2;
  return received.slice(start).lastIndexOf('x') + 1;
}

test('urls: a stream in which nothing was written is empty, and a result in one piece is an answer', async () => {
  await streaming(async ({ client, end }) => {
    end();
    const { status, body, headers } = await client.response();
    assert.deepEqual([status, body, headers.get('content-type')], [200, '', 'application/octet-stream']);
  });
  await streaming(async ({ client, task }) => {
    task.reply({ status: 'ok', result: Buffer.from('{"statusCode":203,"body":"b"}'), start: 'warm' });
    const { status, body } = await client.response();
    assert.deepEqual([status, body], [203, 'b']);
  });
});

test('urls: a client that does not read makes the function wait, and one that is gone ends it', async () => {
  await streaming(async ({ client, sink, task }) => {
    client.socket.pause();
    const part = Buffer.alloc(64 * 1024, 'x');
    let parts = 1;
    while (sink.write(part, 'text/plain') && parts < 1000) parts += 1;
    assert.ok(parts < 1000, 'it took 64 MB without a reader');
    const drained = new Promise<void>((resolve) => (sink.onDrain = resolve));
    client.socket.resume();
    await drained;
    const gone = once(task.signal, 'abort');
    client.socket.destroy();
    await gone;
    task.reply(failed);
  });
});

test('urls: of a stream HEAD gets the head', async () => {
  await streaming(async ({ client, sink, end, until }) => {
    sink.write(metadata({ statusCode: 206, headers: { a: 'b' } }), METADATA_TYPE);
    sink.write(Buffer.from('body'));
    end();
    await until('\r\n\r\n');
    assert.match(client.received, /^HTTP\/1\.1 206 .*\r\na: b\r\n/s);
    assert.doesNotMatch(client.received, /body|transfer-encoding/);
  }, 'HEAD');
});
