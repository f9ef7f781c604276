import assert from 'node:assert/strict';
import { request as httpRequest } from 'node:http';
import { once } from 'node:events';
import { test } from 'node:test';
import { SnapfaasError } from '../../../src/protocol/errors.ts';
import type { Task } from '../../../src/controller/task.ts';
import { echo, errorOf, MIB, post, RawClient, withGateway } from './http-client.ts';

const REQUEST = '{"function":"echo","payload":{"n": 1.0}}';

test('http: a request becomes a task, and its result the answer, byte for byte', async () => {
  const tasks: Task[] = [];
  const submit = (task: Task): void => {
    tasks.push(task);
    task.reply({ status: 'ok', result: Buffer.from('{ "sum":\n 1.00 }'), start: 'cold' });
  };
  await withGateway({ submit }, async (_gateway, port) => {
    const response = await fetch(`http://127.0.0.1:${port}/`, {
      method: 'POST',
      headers: { 'content-type': 'application/json; charset=utf-8' },
      body: '{"time": 5, "user_id": 6, "function": "echo", "payload": {"n": 1.0}}',
    });
    assert.equal(response.status, 200);
    assert.equal(await response.text(), '{ "sum":\n 1.00 }');
    assert.equal(response.headers.get('content-type'), 'application/json');
    assert.equal(response.headers.get('content-length'), '16');
    assert.equal(response.headers.get('x-snapfaas-start'), 'cold');
    assert.equal(response.headers.get('x-snapfaas-request-id'), tasks[0]?.id);
  });
  assert.equal(tasks.length, 1);
  const { payload, ...rest } = tasks[0]?.request ?? assert.fail();
  assert.equal(payload.toString(), '{"n": 1.0}');
  assert.deepEqual(rest, { function: 'echo', time: 5, userId: 6 });
});

test('http: 6 MiB go through in both directions', async () => {
  await withGateway({}, async (_gateway, port) => {
    const frame = '{"function":"echo","payload":""}';
    const text = 'ü'.repeat((6 * MIB - frame.length) / 2);
    const body = `{"function":"echo","payload":"${text}"}`;
    const response = await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body, headers: jsonType });
    assert.equal(response.status, 200);
    assert.equal(await response.json(), text);
  });
});

const jsonType = { 'content-type': 'application/json' };

test('http: the failure of a task is its code, status and details', async () => {
  const failures: readonly [SnapfaasError, number, string | null][] = [
    [new SnapfaasError('function_error', 'it threw', { details: { type: 'ValueError', stack: ['a'] } }), 502, null],
    [new SnapfaasError('resource_exhausted', 'no memory'), 429, '1'],
    [new SnapfaasError('vm_launch_failed', 'no VM'), 503, '1'],
    [new SnapfaasError('function_timeout', 'too slow'), 504, null],
    [new SnapfaasError('internal', 'cyclic', { details: { n: 1n } }), 500, null],
  ];
  for (const [error, status, retryAfter] of failures) {
    const submit = (task: Task): void => task.reply({ status: 'error', error, start: 'warm' });
    await withGateway({ submit }, async (_gateway, port) => {
      const response = await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body: REQUEST, headers: jsonType });
      assert.equal(response.status, status);
      assert.equal(response.headers.get('retry-after'), retryAfter);
      assert.equal(response.headers.get('x-snapfaas-start'), 'warm');
      assert.match(response.headers.get('x-snapfaas-request-id') ?? '', /^[0-9a-f-]{36}$/);
      const body = (await response.json()) as { error: Record<string, unknown> };
      assert.equal(body.error['code'], error.code);
      assert.equal(body.error['message'], error.message);
      if (error.code === 'function_error') assert.deepEqual(body.error['stack'], ['a']);
    });
  }
});

test('http: a task that is not taken is answered with the reason; a thrown bug is internal', async () => {
  let thrown: Error = new SnapfaasError('queue_full', 'full');
  const submit = (): void => {
    throw thrown;
  };
  await withGateway({ submit }, async (_gateway, port) => {
    const client = await RawClient.open(port);
    const full = await client.send(post(REQUEST)).response();
    assert.deepEqual([full.status, errorOf(full).code, full.headers.get('retry-after')], [429, 'queue_full', '1']);
    thrown = new Error('oops');
    const bug = await client.send(post(REQUEST)).response();
    assert.deepEqual([bug.status, errorOf(bug).code], [500, 'internal']);
    client.socket.destroy();
  });
});

test('http: the second reply to a task is a bug that throws', async () => {
  let second: unknown;
  const submit = (task: Task): void => {
    echo(task);
    try {
      echo(task);
    } catch (error) {
      second = error;
    }
  };
  await withGateway({ submit }, async (_gateway, port) => {
    const client = await RawClient.open(port);
    assert.equal((await client.send(post(REQUEST)).response()).status, 200);
    assert.match(String(second), /answered twice/);
    assert.equal((await client.send(post(REQUEST)).response()).status, 200);
    client.socket.destroy();
  });
});

interface BadCase {
  readonly title: string;
  readonly bytes: Buffer | string;
  readonly status?: number;
  readonly code?: string;
  readonly message: RegExp;
  readonly headers?: Readonly<Record<string, string>>;
}

const large = 7 * MIB;
const badCases: readonly BadCase[] = [
  { title: 'an empty body', bytes: post(''), message: /empty; send a JSON object/ },
  {
    title: 'no body at all',
    bytes: 'POST / HTTP/1.1\r\nhost: localhost\r\n\r\n',
    message: /empty; send a JSON object/,
  },
  { title: 'text that is not JSON', bytes: post('hello'), message: /not valid JSON/ },
  { title: 'bad UTF-8', bytes: post(Buffer.from([0x22, 0xc3, 0x28, 0x22])), message: /UTF-8/ },
  { title: 'duplicate keys', bytes: post('{"function":"a","function":"b","payload":1}'), message: /twice/ },
  {
    title: '__proto__',
    bytes: post('{"__proto__":{},"function":"a","payload":1}'),
    message: /unknown key "__proto__"/,
  },
  {
    title: 'another content type',
    bytes: post(REQUEST, 'content-type: text/plain\r\n'),
    message: /"text\/plain".*application\/json/,
  },
  {
    title: 'a compressed body',
    bytes: post(REQUEST, 'content-encoding: gzip\r\n'),
    message: /"gzip".*without compression/,
  },
  {
    title: 'another path',
    bytes: post(REQUEST).toString().replace('POST /', 'POST /x'),
    message: /nothing at "\/x".*POST \//,
  },
  {
    title: 'GET /',
    bytes: 'GET / HTTP/1.1\r\nhost: localhost\r\n\r\n',
    message: /GET \/ is not served; send POST \//,
    headers: { allow: 'POST' },
  },
  {
    title: 'POST /status',
    bytes: post(REQUEST).toString().replace('POST /', 'POST /status'),
    message: /send GET \/status/,
    headers: { allow: 'GET, HEAD' },
  },
  { title: 'another expectation', bytes: post(REQUEST, 'expect: magic\r\n'), message: /"expect"/ },
  { title: 'no host', bytes: 'POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n', message: /"host" is missing/ },
  { title: 'CONNECT', bytes: 'CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n', message: /CONNECT is not served/ },
  {
    title: 'bytes that are no HTTP',
    bytes: '\x00\x00\x00\x00\x00\x00\x00\x05hello',
    message: /not a valid HTTP\/1\.1 request/,
  },
  { title: 'headers without end', bytes: `GET / HTTP/1.1\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`, message: /16 KiB/ },
  {
    title: 'a broken chunk',
    bytes: 'POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n',
    message: /not a valid HTTP\/1\.1 request/,
  },
  {
    title: '7 MiB with a content length',
    bytes: post(Buffer.alloc(large, 0x20)),
    status: 413,
    code: 'payload_too_large',
    message: /7340032 bytes is over the limit of 6291456/,
    headers: { connection: 'close' },
  },
  {
    title: '7 MiB in chunks',
    bytes: Buffer.concat([
      Buffer.from(`POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n${large.toString(16)}\r\n`),
      Buffer.alloc(large, 0x20),
      Buffer.from('\r\n0\r\n\r\n'),
    ]),
    status: 413,
    code: 'payload_too_large',
    message: /over the limit of 6291456/,
    headers: { connection: 'close' },
  },
];

for (const { title, bytes, message, ...wanted } of badCases) {
  test(`http: refuses ${title}`, async () => {
    let submitted = 0;
    await withGateway({ submit: () => (submitted += 1) }, async (_gateway, port) => {
      const client = await RawClient.open(port);
      const response = await client.send(bytes).response();
      assert.equal(response.status, wanted.status ?? 400);
      assert.equal(response.headers.get('content-type'), 'application/json');
      assert.equal(errorOf(response).code, wanted.code ?? 'bad_request');
      assert.match(errorOf(response).message, message);
      for (const [name, value] of Object.entries(wanted.headers ?? {})) assert.equal(response.headers.get(name), value);
      if (response.headers.get('connection') === 'close') await client.ended();
      assert.equal(client.received, '');
      client.socket.destroy();
    });
    assert.equal(submitted, 0);
  });
}

test('http: a body over the limit is refused before it is sent', async () => {
  await withGateway({}, async (_gateway, port) => {
    const client = await RawClient.open(port);
    const response = await client
      .send(`POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${10 ** 12}\r\n\r\n`)
      .response();
    assert.equal(response.status, 413);
    client.socket.destroy();
  });
});

test('http: a client library that sends 7 MiB still reads the answer', async () => {
  await withGateway({}, async (_gateway, port) => {
    const request = httpRequest({ port, method: 'POST', headers: { 'content-length': large } });
    request.end(Buffer.alloc(large, 0x20));
    const [response] = (await once(request, 'response')) as [{ statusCode: number; resume(): void }];
    assert.equal(response.statusCode, 413);
    response.resume();
    await once(request, 'close');
  });
});

test('http: "Expect: 100-continue" is asked on, unless the request is refused anyway', async () => {
  await withGateway({}, async (_gateway, port) => {
    const client = await RawClient.open(port);
    const head = (bytes: number): string =>
      `POST / HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: ${bytes}\r\n\r\n`;
    assert.equal((await client.send(head(REQUEST.length)).response()).status, 100);
    assert.equal((await client.send(REQUEST).response()).status, 200);
    assert.equal((await client.send(head(7 * MIB)).response()).status, 413);
    await client.ended();
    client.socket.destroy();
  });
});

for (const method of ['GET', 'HEAD']) {
  test(`http: ${method} on the reports`, async () => {
    await withGateway({}, async (_gateway, port) => {
      const wanted = {
        '/healthz': '{"status":"ok"}',
        '/readyz': '{"ready":true}',
        '/status?pretty': '{"state":"running"}',
        '/metrics': 'up 1\n',
      };
      for (const [path, body] of Object.entries(wanted)) {
        const response = await fetch(`http://127.0.0.1:${port}${path}`, { method });
        assert.equal(response.status, 200);
        assert.equal(response.headers.get('content-length'), String(body.length));
        assert.equal(await response.text(), method === 'GET' ? body : '');
      }
      const metrics = await fetch(`http://127.0.0.1:${port}/metrics`);
      assert.equal(metrics.headers.get('content-type'), 'text/plain; version=0.0.4');
    });
  });
}

test('http: not ready is 503 with the reason; a report that fails is internal', async () => {
  const readiness = (): { ready: boolean; reason: string } => ({ ready: false, reason: 'starting' });
  const metrics = (): Promise<never> => Promise.reject(new Error('no metrics'));
  await withGateway({ readiness, metrics }, async (_gateway, port) => {
    const ready = await fetch(`http://127.0.0.1:${port}/readyz`);
    assert.deepEqual([ready.status, await ready.json()], [503, { ready: false, reason: 'starting' }]);
    assert.equal((await fetch(`http://127.0.0.1:${port}/metrics`)).status, 500);
  });
});

test('http: the target may be a whole URL, as sent through a proxy', async () => {
  await withGateway({}, async (_gateway, port) => {
    const client = await RawClient.open(port);
    const absolute = post(REQUEST).toString().replace('POST / ', 'POST http://example.test ');
    assert.equal((await client.send(absolute).response()).status, 200);
    client.socket.destroy();
  });
});
