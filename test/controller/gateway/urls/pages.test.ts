/** Who may use a function URL: pages in browsers, and holders of keys. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { corsHeaders, preflightHeaders } from '../../../../src/controller/gateway/urls/cors.ts';
import { corsProblem } from '../../../../src/protocol/cors.ts';
import type { CorsRecord } from '../../../../src/registry/records.ts';
import { authenticator, KEY, signed } from '../../../auth/requests.ts';
import { RawClient, type RawResponse } from '../http-client.ts';
import { answering, CORS, telling, withUrls } from './bench.ts';

async function ask(port: number, host: string, head: string, headers: readonly string[] = []): Promise<RawResponse> {
  const client = await RawClient.open(port);
  const lines = [`${head} HTTP/1.1`, `host: ${host}`, ...headers, '', ''].join('\r\n');
  const response = await client.send(lines).response();
  client.socket.destroy();
  return response;
}

const PAGE = 'origin: https://example.com';
const STRANGER = 'origin: https://evil.example';

test('urls: pages of all origins may send requests to an open URL, and the gateway stays closed to them', async () => {
  await withUrls({ submit: answering({ statusCode: 200, body: 'x' }) }, async ({ port, hostOf }) => {
    for (const [host, target] of [
      [hostOf('open'), '/'],
      ['localhost', '/url/open/'],
    ] as const) {
      const open = await ask(port, host, `POST ${target}`, [
        STRANGER,
        'sec-fetch-site: cross-site',
        'content-length: 0',
      ]);
      assert.deepEqual([open.status, open.headers.get('access-control-allow-origin')], [200, undefined]);
      assert.equal((await ask(port, host, `GET ${target}`, ['sec-fetch-site: cross-site'])).status, 200);
    }
    for (const origin of ['https://evil.example', `http://${hostOf('open')}`, 'null']) {
      for (const head of ['GET /status', 'POST /', 'GET /2015-03-31/functions']) {
        assert.equal((await ask(port, `127.0.0.1:${port}`, head, [`origin: ${origin}`])).status, 403, origin + head);
      }
    }
  });
});

test('urls: a page that comes by the path gets an origin of its own, whatever the function says', async () => {
  const headers = { 'content-security-policy': "default-src 'self'", 'content-type': 'text/html' };
  await withUrls({ submit: answering({ statusCode: 200, headers, body: '<p>' }) }, async ({ port, hostOf }) => {
    const client = await RawClient.open(port);
    await client.send('GET /url/open/ HTTP/1.1\r\nhost: localhost\r\n\r\n').response();
    client.socket.destroy();
    const byPath = await ask(port, 'localhost', 'GET /url/open/');
    assert.match(byPath.headers.get('content-security-policy') ?? '', /^sandbox .*allow-scripts/);
    assert.doesNotMatch(byPath.headers.get('content-security-policy') ?? '', /allow-same-origin/);
    assert.equal(
      (await ask(port, hostOf('open'), 'GET /')).headers.get('content-security-policy'),
      "default-src 'self'",
    );
  });
});

test('urls: preflights are answered without the function where CORS is configured, else by it', async () => {
  const events: unknown[] = [];
  await withUrls({ submit: telling(events) }, async ({ port, hostOf }) => {
    const preflight = ['access-control-request-method: PUT', 'access-control-request-headers: x-one'];
    const answer = await ask(port, hostOf('paged'), 'OPTIONS /a', [PAGE, ...preflight]);
    assert.deepEqual([answer.status, events.length], [200, 0]);
    assert.deepEqual(
      [...answer.headers].filter(([name]) => name.startsWith('access-control-') || name === 'vary'),
      [
        ['access-control-allow-origin', 'https://example.com'],
        ['vary', 'Origin'],
        ['access-control-expose-headers', 'x-two'],
        ['access-control-allow-methods', 'GET,PUT'],
        ['access-control-allow-headers', 'x-one,content-type'],
        ['access-control-max-age', '60'],
      ],
    );
    const strange = await ask(port, hostOf('paged'), 'OPTIONS /a', [STRANGER, ...preflight]);
    assert.deepEqual([strange.status, strange.headers.get('access-control-allow-origin')], [200, undefined]);
    assert.equal(events.length, 0);
    assert.equal((await ask(port, hostOf('paged'), 'OPTIONS /a', [PAGE])).status, 200);
    assert.equal(events.length, 1, 'what is no preflight is for the function');
    await ask(port, hostOf('open'), 'OPTIONS /a', [PAGE, ...preflight]);
    assert.equal(events.length, 2);
  });
});

test("urls: with CORS configured the function's own headers of it are not sent", async () => {
  const value = {
    statusCode: 200,
    headers: { 'Access-Control-Allow-Origin': '*', 'access-control-x': 'y' },
    body: 'x',
  };
  await withUrls({ submit: answering(value) }, async ({ port, hostOf }) => {
    const ours = await ask(port, hostOf('paged'), 'GET /', [PAGE]);
    assert.equal(ours.headers.get('access-control-allow-origin'), 'https://example.com');
    assert.equal(ours.headers.get('access-control-x'), undefined);
    assert.equal(
      (await ask(port, hostOf('paged'), 'GET /', [STRANGER])).headers.get('access-control-allow-origin'),
      undefined,
    );
    assert.equal(
      (await ask(port, hostOf('open'), 'GET /', [STRANGER])).headers.get('access-control-allow-origin'),
      '*',
    );
  });
  await withUrls({ submit: answering({ statusCode: 99 }) }, async ({ port, hostOf }) => {
    const bad = await ask(port, hostOf('paged'), 'GET /', [PAGE]);
    assert.deepEqual([bad.status, bad.headers.get('access-control-allow-origin')], [502, 'https://example.com']);
  });
});

const NOTHING: CorsRecord = {
  ...{ allowCredentials: null, allowHeaders: null, allowMethods: null },
  ...{ allowOrigins: null, exposeHeaders: null, maxAgeS: null },
};

/** What is allowed, an origin that asks, and the origin that is told. */
const ORIGINS: readonly (readonly [
  allowed: readonly string[],
  credentials: boolean,
  origin: string,
  told: string | null,
])[] = [
  [['*'], false, 'https://a.example', '*'],
  [['*'], true, 'https://a.example', 'https://a.example'],
  [['https://a.example'], false, 'https://a.example', 'https://a.example'],
  [['https://A.example'], false, 'https://a.example', 'https://a.example'],
  [['https://a.example'], false, 'http://a.example', null],
  [['https://a.example'], false, 'https://a.example:8443', null],
  [['https://*.example'], false, 'https://a.b.example', 'https://a.b.example'],
  [['https://*.example'], false, 'https://example', null],
  [['https://*.example'], false, 'https://a.example.evil', null],
  [['https://*'], false, 'http://a.example', null],
  [['http://localhost:*'], false, 'http://localhost:3000', 'http://localhost:3000'],
  [['null'], false, 'null', 'null'],
  [[], false, 'https://a.example', null],
];

test('urls: which origins are told that they may read', () => {
  for (const [allowOrigins, allowCredentials, origin, told] of ORIGINS) {
    const headers = corsHeaders({ ...NOTHING, allowOrigins, allowCredentials }, origin);
    const at = headers.indexOf('access-control-allow-origin');
    assert.equal(at === -1 ? null : headers[at + 1], told, `${allowOrigins.join()} ${origin}`);
    assert.equal(headers.includes('access-control-allow-credentials'), allowCredentials && told !== null);
    assert.equal(headers.includes('vary'), told !== '*');
  }
  const asked = { origin: 'https://a.example', 'access-control-request-method': 'PURGE' };
  const all = { ...NOTHING, allowOrigins: ['*'], allowMethods: ['*'], allowHeaders: ['*'] };
  const wanted = {
    ...asked,
    'access-control-request-headers': 'authorization,x-a',
    'access-control-request-private-network': 'true',
  };
  assert.deepEqual(preflightHeaders(all, wanted).slice(2), [
    ...['access-control-allow-methods', 'PURGE', 'access-control-allow-headers', 'authorization,x-a'],
    ...['access-control-allow-private-network', 'true'],
  ]);
  assert.deepEqual(preflightHeaders({ ...NOTHING, allowOrigins: ['*'] }, asked), ['access-control-allow-origin', '*']);
  assert.equal(corsProblem(CORS), null);
});

test('urls: with AWS_IAM a key is needed, of which the function learns the name and not the secret', async () => {
  const events: unknown[] = [];
  const now = Date.now();
  const keys = [
    KEY,
    { ...KEY, id: 'SFAKBBBBBBBBBBBBBBBB', name: 'other', role: 'invoke' as const, functions: ['else'] },
  ];
  await withUrls({ submit: telling(events), access: authenticator(keys, { now }) }, async ({ port, hostOf }) => {
    const host = hostOf('signed');
    const send = async (
      key: (typeof keys)[number],
      change: (header: string) => string = (one) => one,
    ): Promise<RawResponse> => {
      const { rawHeaders } = signed('GET', '/a?b=c', '', { key, at: now, headers: { host } });
      const lines = rawHeaders.flatMap((name, at) => (at % 2 === 0 ? [`${name}: ${rawHeaders[at + 1] ?? ''}`] : []));
      return ask(port, host, 'GET /a?b=c', lines.filter((line) => !line.startsWith('host:')).map(change));
    };
    assert.equal((await send(KEY)).status, 200);
    const { requestContext, headers } = events[0] as {
      requestContext: Record<string, unknown>;
      headers: Record<string, string>;
    };
    const userArn = 'arn:aws:iam::000000000000:user/test';
    const account = { accountId: '000000000000', cognitoIdentity: null, principalOrgId: null };
    const iam = { accessKey: KEY.id, callerId: KEY.id, userId: KEY.id, userArn, ...account };
    assert.deepEqual([requestContext['accountId'], requestContext['authorizer']], ['000000000000', { iam }]);
    assert.equal(headers['authorization'], undefined);
    const bearer = await ask(port, host, 'GET /', [`authorization: Bearer ${KEY.id}.${KEY.secret}`]);
    assert.deepEqual([bearer.status, JSON.stringify(events).includes(KEY.secret)], [200, false]);

    const refused = events.length;
    const forbidden = [403, '{"Message":"Forbidden"}', 'AccessDeniedException'];
    const told = ({ status, body, headers: all }: RawResponse): unknown => [status, body, all.get('x-amzn-errortype')];
    assert.deepEqual(told(await ask(port, host, 'GET /')), forbidden);
    assert.deepEqual(told(await send(keys[1] ?? KEY)), forbidden);
    const wrong = await send(KEY, (line) => line.replace(/Signature=./, 'Signature=x'));
    assert.equal(wrong.status, 403);
    assert.match(wrong.headers.get('x-amzn-errortype') ?? '', /^(Invalid|Incomplete)SignatureException$/);
    // Who may not is not told which functions are there.
    assert.deepEqual(told(await ask(port, 'localhost', 'GET /url/nobody/')), forbidden);
    assert.deepEqual(told(await ask(port, 'localhost', 'GET /url/signed/')), forbidden);
    assert.equal(events.length, refused);
    // An open one is open all the same, and the header is the application's.
    assert.equal((await ask(port, hostOf('open'), 'GET /', ['authorization: Basic YTpi'])).status, 200);
    assert.equal((events.at(-1) as { headers: Record<string, string> }).headers['authorization'], 'Basic YTpi');
  });
});

test('urls: with AWS_IAM and no keys any credentials do, but for pages', async () => {
  await withUrls({ submit: answering({}) }, async ({ port, hostOf }) => {
    const host = hostOf('signed');
    const credentials = 'authorization: AWS4-HMAC-SHA256 any';
    assert.equal((await ask(port, host, 'GET /')).status, 403);
    assert.equal((await ask(port, host, 'GET /', [credentials])).status, 200);
    assert.equal((await ask(port, host, 'GET /?X-Amz-Signature=a')).status, 200);
    for (const page of [STRANGER, 'sec-fetch-site: cross-site']) {
      assert.equal((await ask(port, host, 'GET /?X-Amz-Signature=a', [page])).status, 403, page);
    }
  });
});
