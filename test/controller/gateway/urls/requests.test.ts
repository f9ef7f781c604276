/** What a function is told of a request, and which requests are taken. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Held, RawClient } from '../http-client.ts';
import { functionUrl } from '../../../support/scripted-guests.ts';
import { answering, telling, withUrls } from './bench.ts';

interface Event {
  readonly rawPath: string;
  readonly rawQueryString: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly cookies?: readonly string[];
  readonly body?: string;
  readonly isBase64Encoded: boolean;
  readonly queryStringParameters?: Readonly<Record<string, string>>;
  readonly requestContext: Readonly<Record<string, unknown>> & { readonly http: Readonly<Record<string, string>> };
}

async function eventOf(host: string, port: number, events: unknown[], request: string): Promise<Event> {
  const client = await RawClient.open(port);
  const text = request.replace('\r\n', `\r\nhost: ${host}\r\n`);
  const { status } = await client.send(Buffer.from(text, 'latin1')).response();
  client.socket.destroy();
  assert.equal(status, 200);
  return events.pop() as Event;
}

test('urls: the event has the members of the payload format 2.0', async () => {
  const events: unknown[] = [];
  await withUrls({ submit: telling(events) }, async ({ port, hostOf }) => {
    const host = hostOf('open');
    const before = Date.now();
    const event = await eventOf(
      host,
      port,
      events,
      'POST /my/path?parameter1=value1&parameter1=value2&parameter2=value HTTP/1.1\r\n' +
        'Header1: value1\r\nHeader2: value1\r\nheader2: value2\r\nCookie: cookie1; cookie2\r\nuser-agent: agent\r\n' +
        'content-type: text/plain\r\ncontent-length: 18\r\n\r\nHello from client!',
    );
    const id = host.slice(0, 32);
    const { requestContext, ...rest } = event;
    const { requestId, time, timeEpoch, ...context } = requestContext;
    assert.deepEqual(rest, {
      version: '2.0',
      routeKey: '$default',
      rawPath: '/my/path',
      rawQueryString: 'parameter1=value1&parameter1=value2&parameter2=value',
      cookies: ['cookie1', 'cookie2'],
      headers: {
        host,
        header1: 'value1',
        header2: 'value1,value2',
        'user-agent': 'agent',
        'content-type': 'text/plain',
        'content-length': '18',
        'x-forwarded-for': '127.0.0.1',
        'x-forwarded-proto': 'http',
        'x-forwarded-port': String(port),
      },
      queryStringParameters: { parameter1: 'value1,value2', parameter2: 'value' },
      body: 'Hello from client!',
      isBase64Encoded: false,
    });
    assert.deepEqual(context, {
      accountId: 'anonymous',
      apiId: id,
      domainName: `${id}.lambda-url.us-east-1.localhost`,
      domainPrefix: id,
      http: { method: 'POST', path: '/my/path', protocol: 'HTTP/1.1', sourceIp: '127.0.0.1', userAgent: 'agent' },
      routeKey: '$default',
      stage: '$default',
    });
    assert.match(String(requestId), /^[0-9a-f-]{36}$/);
    assert.ok(Number(timeEpoch) >= before && Number(timeEpoch) <= Date.now());
    assert.match(String(time), /^\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d \+0000$/);
    assert.equal(
      Date.parse(String(time).replace(/^(\d\d)\/(...)\/(\d{4}):/, '$1 $2 $3 ')),
      Number(timeEpoch) - (Number(timeEpoch) % 1000),
    );
  });
});

/** Targets behind the address, as they come and as the function is told them. */
const TARGETS: readonly (readonly [target: string, rawPath: string, rawQuery: string])[] = [
  ['/', '/', ''],
  ['//', '//', ''],
  ['/a//b/../c/./d', '/a//b/../c/./d', ''],
  ['/%', '/%', ''],
  ['/%zz%C3%28?%', '/%zz%C3%28', '%'],
  ['/a%2Fb', '/a%2Fb', ''],
  ['/?', '/', ''],
  ['/?a=b?c=d', '/', 'a=b?c=d'],
  ['/2015-03-31/functions', '/2015-03-31/functions', ''],
  ['/status', '/status', ''],
  ['/url/open/x', '/url/open/x', ''],
];

test('urls: paths and queries are handed on as they came, by either address', async () => {
  const events: unknown[] = [];
  await withUrls({ submit: telling(events) }, async ({ port, hostOf }) => {
    for (const [target, rawPath, rawQuery] of TARGETS) {
      for (const [host, before] of [
        [hostOf('open'), ''],
        ['localhost', '/url/open'],
      ] as const) {
        const event = await eventOf(host, port, events, `GET ${before}${target} HTTP/1.1\r\n\r\n`);
        const told = [event.rawPath, event.requestContext.http['path'], event.rawQueryString];
        assert.deepEqual(told, [rawPath, rawPath, rawQuery], `${before}${target}`);
      }
    }
    assert.equal((await eventOf('localhost', port, events, 'GET /url/open HTTP/1.1\r\n\r\n')).rawPath, '/');
    assert.equal(
      (await eventOf('localhost', port, events, 'GET /url/open?a=b HTTP/1.1\r\n\r\n')).rawQueryString,
      'a=b',
    );
    const absolute = `GET http://${hostOf('open')}/a%?b HTTP/1.1\r\n\r\n`;
    assert.equal((await eventOf(hostOf('open'), port, events, absolute)).rawPath, '/a%');
    const upper = hostOf('open').toUpperCase();
    assert.equal((await eventOf(upper, port, events, 'GET /x HTTP/1.1\r\n\r\n')).rawPath, '/x');
  });
});

/** A content type, a body in latin1, and what the event has of it. */
const BODIES: readonly (readonly [type: string | null, body: string, told: string, isBase64: boolean])[] = [
  ['text/plain', 'a', 'a', false],
  ['text/html; charset=utf-8', '\xc3\xa9', 'é', false],
  ['text/plain', '\xff', '/w==', true],
  ['application/json', '{"a":"\xc3\xbc"}', '{"a":"ü"}', false],
  ['Application/JSON;charset=utf-8', '1', '1', false],
  ['application/vnd.api+json', '1', '1', false],
  ['image/svg+xml', '<a/>', '<a/>', false],
  ['application/javascript', 'a', 'a', false],
  ['application/x-www-form-urlencoded', 'a=b', 'YT1i', true],
  ['application/jsonish', 'a', 'YQ==', true],
  ['application/octet-stream', '\0\xff', 'AP8=', true],
  [null, 'a', 'YQ==', true],
];

test('urls: a body is told as text where it is, and in base64 where it is not', async () => {
  const events: unknown[] = [];
  await withUrls({ submit: telling(events) }, async ({ port, hostOf }) => {
    const send = (headers: string, body: string): Promise<Event> =>
      eventOf(hostOf('open'), port, events, `PUT / HTTP/1.1\r\n${headers}\r\n\r\n${body}`);
    for (const [type, body, told, isBase64] of BODIES) {
      const typed = type === null ? '' : `content-type: ${type}\r\n`;
      const event = await send(`${typed}content-length: ${body.length}`, body);
      assert.deepEqual([event.body, event.isBase64Encoded], [told, isBase64], String(type));
    }
    const none = await send('content-type: text/plain\r\ncontent-length: 0', '');
    assert.deepEqual([none.body, none.isBase64Encoded], [undefined, false]);
    const packed = await send('content-type: text/plain\r\ncontent-encoding: gzip\r\ncontent-length: 1', 'a');
    assert.deepEqual([packed.body, packed.isBase64Encoded], ['YQ==', true]);
    const inChunks = await send(
      'content-type: text/plain\r\ntransfer-encoding: chunked',
      '2\r\nab\r\n1\r\nc\r\n0\r\n\r\n',
    );
    assert.equal(inChunks.body, 'abc');
    assert.equal(inChunks.headers['content-length'], '3');
    assert.equal(inChunks.headers['transfer-encoding'], undefined);
    const client = await RawClient.open(port);
    const head = `PUT / HTTP/1.1\r\nhost: ${hostOf('open')}\r\ntransfer-encoding: gzip, chunked\r\n\r\n`;
    const { status, body } = await client.send(`${head}0\r\n\r\n`).response();
    assert.deepEqual([status, events.length], [400, 0]);
    assert.match(body, /may only say \\"chunked\\"/);
    client.socket.destroy();
  });
});

test('urls: headers are told by their small names, but for those of the connection', async () => {
  const events: unknown[] = [];
  await withUrls({ submit: telling(events) }, async ({ port, hostOf }) => {
    const { headers, cookies } = await eventOf(
      hostOf('open'),
      port,
      events,
      'GET / HTTP/1.1\r\nconnection: keep-alive\r\nkeep-alive: 1\r\nte: trailers\r\nX-A: \xe9\r\n__proto__: p\r\n' +
        'authorization: Bearer of the application\r\nx-forwarded-for: 10.0.0.1\r\ncookie: a=b;c;;\r\ncookie: d="e f"\r\n\r\n',
    );
    assert.deepEqual(cookies, ['a=b', 'c', 'd="e f"']);
    assert.deepEqual(Object.keys(headers).sort(), [
      '__proto__',
      'authorization',
      'host',
      'x-a',
      'x-forwarded-for',
      'x-forwarded-port',
      'x-forwarded-proto',
    ]);
    assert.equal(headers['x-a'], 'é');
    assert.equal(headers['x-forwarded-for'], '10.0.0.1, 127.0.0.1');
    const long = 'y'.repeat(15 * 1024);
    assert.equal(
      (await eventOf(hostOf('open'), port, events, `GET / HTTP/1.1\r\nx-long: ${long}\r\n\r\n`)).headers['x-long'],
      long,
    );
    const client = await RawClient.open(port);
    const { status } = await client
      .send(`GET / HTTP/1.1\r\nhost: ${hostOf('open')}\r\nx: ${long}${long}\r\n\r\n`)
      .response();
    assert.equal(status, 400);
    client.socket.destroy();
  });
});

test('urls: what a request has for the next hop alone is not told', async () => {
  const events: unknown[] = [];
  await withUrls({ submit: telling(events) }, async ({ port, hostOf }) => {
    const { headers, cookies, body } = await eventOf(
      hostOf('open'),
      port,
      events,
      'POST / HTTP/1.1\r\nConnection: X-Priv,keep-alive\r\nx-priv: 1\r\nX-Other: 2\r\ncookie: a=b\r\nx-kept: 3\r\n' +
        'connection:\tx-other , host, content-length, cookie\r\ncontent-type: text/plain\r\ncontent-length: 1\r\n\r\nx',
    );
    assert.deepEqual([headers['x-priv'], headers['x-other'], cookies], [undefined, undefined, undefined]);
    assert.deepEqual([headers['x-kept'], headers['host'], headers['content-length']], ['3', hostOf('open'), '1']);
    assert.equal(body, 'x');
  });
});

test('urls: a function is told all headers that have room, however many', async () => {
  const events: unknown[] = [];
  await withUrls({ submit: telling(events) }, async ({ port, hostOf }) => {
    const many = 'a:1\r\n'.repeat(2100);
    const request = `GET / HTTP/1.1\r\n${many}x-last: z\r\ncookie: c=d\r\n\r\n`;
    const { headers, cookies } = await eventOf(hostOf('open'), port, events, request);
    assert.equal(headers['a'], Array.from({ length: 2100 }, () => '1').join(','));
    assert.deepEqual([headers['x-last'], cookies], ['z', ['c=d']]);
  });
});

test('urls: a body over the limit is 413, also one that is over it only in base64', async () => {
  await withUrls({ submit: answering({}), maxPayloadBytes: 100_000 }, async ({ port, hostOf }) => {
    const send = async (bytes: number, type: string, headers = ''): Promise<number> => {
      const client = await RawClient.open(port);
      client.send(
        `POST / HTTP/1.1\r\nhost: ${hostOf('open')}\r\ncontent-type: ${type}\r\n${headers}content-length: ${bytes}\r\n\r\n`,
      );
      const { status, body } = await client.send(Buffer.alloc(bytes, 'a')).response();
      client.socket.destroy();
      if (status === 413) assert.match(body, /^\{"Message":"The event/);
      return status;
    };
    assert.equal(await send(90_000, 'text/plain'), 200);
    assert.equal(await send(90_000, 'image/png'), 413);
    assert.equal(await send(70_000, 'image/png'), 200);
    assert.equal(await send(100_001, 'text/plain'), 413);
    assert.equal(await send(100_001, 'text/plain', 'expect: 100-continue\r\n'), 413);
  });
});

/** Bodies that never become whole. */
const CUT_OFF: readonly (readonly [headers: string, body: string])[] = [
  ['content-length: 10', ''],
  ['content-length: 10', 'half'],
  ['transfer-encoding: chunked', ''],
  ['transfer-encoding: chunked', '4\r\nha'],
  ['transfer-encoding: chunked', '4\r\nhalf\r\n'],
  ['transfer-encoding: chunked', '4\r\nhalf\r\n0\r\n'],
];

test('urls: a body that is cut off runs nothing, however its client ends', async () => {
  const held = new Held();
  await withUrls({ submit: held.submit, requestTimeoutMs: 400 }, async ({ port, hostOf }) => {
    for (const name of ['open', 'streaming', 'paged'] as const) {
      for (const [headers, body] of CUT_OFF) {
        const send = async (): Promise<RawClient> => {
          const client = await RawClient.open(port);
          return client.send(`POST / HTTP/1.1\r\nhost: ${hostOf(name)}\r\n${headers}\r\n\r\n${body}`);
        };
        const closing = await send();
        closing.socket.end();
        assert.equal((await closing.response()).status, 400, `${headers} ${body}`);
        await closing.ended();
        (await send()).socket.resetAndDestroy();
      }
      const silent = await RawClient.open(port);
      silent.send(`POST / HTTP/1.1\r\nhost: ${hostOf(name)}\r\ncontent-length: 10\r\n\r\nhalf`);
      assert.equal((await silent.response()).status, 400);
      await silent.ended();
    }
    assert.equal(held.tasks.length, 0);
  });
});

test('urls: a client that waits for 100 Continue gets it, and one on which nothing waits keeps its connection', async () => {
  const events: unknown[] = [];
  await withUrls({ submit: telling(events) }, async ({ port, hostOf }) => {
    const client = await RawClient.open(port);
    client.send(`POST / HTTP/1.1\r\nhost: ${hostOf('open')}\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n`);
    assert.equal((await client.response()).status, 100);
    assert.equal((await client.send('a').response()).status, 200);
    assert.equal((await client.send(`GET /second HTTP/1.1\r\nhost: ${hostOf('open')}\r\n\r\n`).response()).status, 200);
    assert.equal((events[1] as Event).rawPath, '/second');
    const odd = await client.send(`GET / HTTP/1.1\r\nhost: ${hostOf('open')}\r\nexpect: cake\r\n\r\n`).response();
    assert.equal(odd.status, 400);
    client.socket.destroy();
  });
});

test('urls: an address without a function is 404, and one that leads nowhere known is refused', async () => {
  await withUrls({ submit: answering({}) }, async ({ port, hostOf }) => {
    const ask = async (host: string, target: string): Promise<readonly [number, string]> => {
      const client = await RawClient.open(port);
      const { status, body } = await client.send(`GET ${target} HTTP/1.1\r\nhost: ${host}\r\n\r\n`).response();
      client.socket.destroy();
      return [status, body];
    };
    const missing = [404, '{"Message":"There is no function URL at this address."}'];
    assert.deepEqual(await ask(`${'0'.repeat(32)}.lambda-url.us-east-1.localhost`, '/status'), missing);
    assert.deepEqual(await ask(hostOf('open').replace('us-east-1', 'eu-west-1'), '/'), missing);
    assert.deepEqual(await ask('localhost', '/url/nobody/'), missing);
    assert.deepEqual(await ask('localhost', '/url/open:live/'), missing);
    assert.deepEqual(await ask('localhost', '/url/__proto__/'), missing);
    // A page could have its own name lead here.
    assert.equal((await ask(hostOf('open').replace('localhost', 'example.com'), '/'))[0], 403);
    assert.equal((await ask('example.com', '/url/open/'))[0], 403);
    // What is no address of a function is the gateway's own.
    assert.equal((await ask('localhost', '/url/'))[0], 400);
    assert.equal((await ask('localhost', '/url/a%62c/'))[0], 400);
  });
});

test('urls: a proxy that was allowed may keep the host of a function', async () => {
  await withUrls({ submit: answering({}), allowedOrigins: ['https://example.com'] }, async ({ port, hostOf }) => {
    const client = await RawClient.open(port);
    const host = hostOf('open').replace(/localhost.*/, 'example.com');
    assert.equal((await client.send(`GET / HTTP/1.1\r\nhost: ${host}\r\n\r\n`).response()).status, 200);
    client.socket.destroy();
  });
});

test('urls: a buffered function outlives its client, a streaming one ends with it', async () => {
  const held = new Held();
  await withUrls({ submit: held.submit }, async ({ port, hostOf }) => {
    for (const [index, name] of (['open', 'streaming'] as const).entries()) {
      const client = await RawClient.open(port);
      client.send(`GET / HTTP/1.1\r\nhost: ${hostOf(name)}\r\n\r\n`);
      await held.until(index + 1);
      const { signal } = held.task(index);
      const gone = new Promise((resolve) => signal.addEventListener('abort', resolve));
      client.socket.destroy();
      if (name === 'streaming') await gone;
      assert.equal(signal.aborted, name === 'streaming');
      held.task(index).reply({ status: 'ok', result: Buffer.from('{}'), start: 'warm' });
    }
  });
});

test('urls: an alias is the qualifier of the invocation, and the ARN says so', async () => {
  const held = new Held();
  const url = functionUrl('open', { qualifier: 'live' });
  await withUrls(
    { submit: held.submit },
    async ({ port }) => {
      const client = await RawClient.open(port);
      client.send('GET /url/open:live/ HTTP/1.1\r\nhost: localhost\r\nx-amzn-trace-id: Root=1-a\r\n\r\n');
      await held.until(1);
      const { function: name, qualifier, lambda } = held.task(0).request;
      assert.deepEqual([name, qualifier], ['open', 'live']);
      assert.deepEqual(lambda?.header, {
        arn: 'arn:aws:lambda:us-east-1:000000000000:function:open:live',
        http: true,
        trace: 'Root=1-a',
      });
      held.task(0).reply({ status: 'ok', result: Buffer.from('{}'), start: 'warm' });
      client.socket.destroy();
    },
    [url],
  );
});
