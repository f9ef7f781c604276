import assert from 'node:assert/strict';
import { request } from 'node:http';
import { hostname } from 'node:os';
import { describe, test } from 'node:test';
import { ANYBODY } from '../../../src/auth/caller.ts';
import { createLogger } from '../../../src/controller/log.ts';
import type { Task } from '../../../src/controller/task.ts';
import type { HttpGatewayOptions } from '../../../src/controller/gateway/http.ts';
import { DEFAULT_ACCOUNT } from '../../../src/protocol/arn.ts';
import { functionConfig, registryOf } from '../../support/scripted-guests.ts';
import { parseOrigin } from '../../../src/controller/gateway/origin-policy.ts';
import { echo, withGateway } from './http-client.ts';

interface Asked {
  readonly status: number;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly body: string;
}
type Headers = Readonly<Record<string, string>>;

const INVOKE = '/2015-03-31/functions/echo/invocations';
const STREAM = '/2021-11-15/functions/echo/response-streaming-invocations';
/** Each kind of thing that is served. */
const ROUTES: readonly (readonly [method: string, path: string, body: string])[] = [
  ['POST', '/', '{"function":"echo","payload":1}'],
  ['POST', INVOKE, '1'],
  ['POST', STREAM, '1'],
  ['GET', '/2015-03-31/functions', ''],
  ['GET', '/2015-03-31/functions/echo', ''],
  ['GET', '/status', ''],
  ['GET', '/metrics', ''],
  ['HEAD', '/healthz', ''],
  ['GET', '/nowhere', ''],
  ['OPTIONS', '/', ''],
];

function ask(port: number, [method, path, body]: (typeof ROUTES)[number], headers: Headers): Promise<Asked> {
  return new Promise((resolve, reject) => {
    const asking = request({ host: '127.0.0.1', port, method, path, headers, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => (text += part));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }));
    });
    asking.on('error', reject);
    asking.end(body);
  });
}

/** Requests as programs and browsers send them; PORT stands for the gateway's. */
const REQUESTS: readonly (readonly [
  what: string,
  headers: Headers,
  loopback: 'taken' | 'refused',
  /** Where others reach it without keys. */
  open?: 'taken' | 'refused',
])[] = [
  ['a program', {}, 'taken'],
  [
    'an AWS client',
    { host: 'localhost:PORT', authorization: 'AWS4-HMAC-SHA256 x', 'user-agent': 'aws-sdk-js/3' },
    'taken',
  ],
  ['a program that names the port', { host: '127.0.0.1:PORT' }, 'taken'],
  ['a program behind another port', { host: 'localhost:9999' }, 'taken'],
  ['a program that writes names large', { host: 'LocalHost' }, 'taken'],
  ['a program over IPv6', { host: '[::1]:PORT' }, 'taken'],
  ['another name', { host: 'evil.example' }, 'refused'],
  ['another name with the port', { host: 'evil.example:PORT' }, 'refused'],
  ['a name that begins like ours', { host: 'localhost.evil.example' }, 'refused'],
  ['a name that ends like ours', { host: 'evil-localhost' }, 'refused'],
  ['a name with a user', { host: 'localhost@evil.example' }, 'refused'],
  ['another address', { host: '192.168.0.7:PORT' }, 'refused', 'taken'],
  ['another address over IPv6', { host: '[fd00::7]:PORT' }, 'refused', 'taken'],
  ['what begins like an address', { host: '192.168.0.7.evil.example' }, 'refused'],
  ["the machine's name", { host: `${hostname().toUpperCase()}:PORT` }, 'refused', 'taken'],
  [
    'what a page of another name fetches from itself',
    { host: 'evil.example', 'sec-fetch-site': 'same-origin' },
    'refused',
  ],
  ['a page of another site', { origin: 'http://evil.example' }, 'refused'],
  [
    'a page of another site, after rebinding',
    { host: 'evil.example:PORT', origin: 'http://evil.example:PORT' },
    'refused',
  ],
  ['a page of another port', { host: 'localhost:PORT', origin: 'http://localhost:1' }, 'refused'],
  ['a page over https', { host: 'localhost:PORT', origin: 'https://localhost:PORT' }, 'refused'],
  ['a page by our other name', { host: '127.0.0.1:PORT', origin: 'http://localhost:PORT' }, 'refused'],
  ['a page of nowhere', { origin: 'null' }, 'refused'],
  ['a page of an extension', { origin: 'chrome-extension://abc' }, 'refused'],
  ['an empty origin', { origin: '' }, 'refused'],
  [
    'a page of ours',
    { host: 'localhost:PORT', origin: 'http://localhost:PORT', 'sec-fetch-site': 'same-origin' },
    'taken',
  ],
  ['a page of ours by address', { host: '127.0.0.1:PORT', origin: 'http://127.0.0.1:PORT' }, 'taken'],
  ['what a page of another site embeds', { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' }, 'refused'],
  ['what a page of another port embeds', { 'sec-fetch-site': 'same-site', 'sec-fetch-dest': 'image' }, 'refused'],
  [
    'a frame in another page',
    { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'iframe' },
    'refused',
  ],
  [
    'what a person types',
    { 'sec-fetch-site': 'none', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' },
    'taken',
  ],
];

describe('web pages', () => {
  let ran = 0;
  const submit = (task: Task): void => {
    ran += 1;
    echo(task);
  };
  const echoing = functionConfig('echo', { runtime: 'python3', timeoutMs: 1000, handler: 'app.handler' });
  const options: Partial<HttpGatewayOptions> = {
    submit,
    lambda: {
      account: DEFAULT_ACCOUNT,
      functions: registryOf([echoing]),
      plane: null,
      maxConcurrency: 8,
      interpreters: 'host',
      usesSnapshots: () => false,
      eventSources: null,
      audit: { add: () => Promise.resolve() },
      events: { accept: () => Promise.resolve() },
      logger: createLogger('silent'),
    },
  };

  for (const [what, headers, loopback, open = loopback] of REQUESTS) {
    test(`${what}: ${loopback} on loopback, ${open} on all addresses, by every route`, async () => {
      for (const [host, expected] of [
        ['127.0.0.1', loopback],
        ['0.0.0.0', open],
      ] as const) {
        await withGateway({ ...options, host }, async (_gateway, port) => {
          for (const route of ROUTES) {
            ran = 0;
            const sent = Object.fromEntries(
              Object.entries(headers).map(([name, value]) => [name, value.replace('PORT', String(port))]),
            );
            const { status, body, headers: got } = await ask(port, route, sent);
            const shown = `${host} ${route.join(' ')} ${JSON.stringify(sent)}: ${status} ${body}`;
            if (expected === 'taken') {
              assert.notEqual(status, 403, shown);
              continue;
            }
            assert.equal(status, 403, shown);
            assert.equal(ran, 0, shown);
            assert.equal(got['access-control-allow-origin'], undefined, shown);
            if (route[0] === 'HEAD') continue;
            const told = JSON.parse(body) as { error?: { code: string; message: string }; Message?: string };
            if (route[1].startsWith('/20')) {
              assert.equal(got['x-amzn-errortype'], 'AccessDeniedException');
              assert.match(told.Message ?? '', /--allow-origin/);
            } else {
              assert.equal(told.error?.code, 'forbidden');
              assert.match(told.error.message, /--allow-origin/);
            }
          }
        });
      }
    });
  }

  test('a link on another page leads to reports, and posts nothing', async () => {
    const link = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' };
    await withGateway(options, async (_gateway, port) => {
      assert.equal((await ask(port, ['GET', '/status', ''], link)).status, 200);
      assert.equal((await ask(port, ['POST', '/', ROUTES[0]?.[2] ?? ''], link)).status, 403);
    });
  });

  test('an allowed page may ask first, send requests by every route, and read the answers', async () => {
    const origin = 'https://ui.example:8443';
    const page = { origin, 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'cors' };
    await withGateway({ ...options, allowedOrigins: [origin] }, async (_gateway, port) => {
      const before = { 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type' };
      for (const [, path] of ROUTES) {
        const { status, headers } = await ask(port, ['OPTIONS', path, ''], { ...page, ...before });
        assert.equal(status, 204);
        assert.equal(headers['access-control-allow-origin'], origin);
        assert.equal(headers['access-control-allow-headers'], 'content-type');
        assert.match(String(headers['access-control-allow-methods']), /POST/);
      }
      for (const route of ROUTES) {
        const { status, headers } = await ask(port, route, page);
        assert.notEqual(status, 403, route.join(' '));
        assert.equal(headers['access-control-allow-origin'], origin, route.join(' '));
        assert.equal(headers['access-control-expose-headers'], '*');
        assert.equal(headers['vary'], 'origin');
      }
      const { status, body, headers } = await ask(port, ['POST', '/', '{"function":"echo","payload":7}'], page);
      assert.deepEqual([status, body, headers['content-type']], [200, '7', 'application/json']);
      assert.equal(
        (await ask(port, ['GET', '/status', ''], { host: 'ui.example:8443' })).status,
        200,
        'as a proxy has it',
      );
      for (const other of ['https://ui.example', 'http://ui.example:8443', 'https://ui.example:8443.evil.example']) {
        assert.equal((await ask(port, ['POST', '/', '{}'], { ...page, origin: other })).status, 403, other);
        const asked = await ask(port, ['OPTIONS', '/', ''], { ...page, ...before, origin: other });
        assert.equal(asked.status, 403, other);
        assert.equal(asked.headers['access-control-allow-origin'], undefined);
      }
    });
    await withGateway({ ...options, allowedOrigins: ['*'] }, async (_gateway, port) => {
      assert.notEqual((await ask(port, ['POST', '/', '{}'], page)).status, 403);
      assert.equal((await ask(port, ['GET', '/status', ''], { host: 'any.example' })).status, 200, 'by any name');
    });
  });

  test('where everybody needs a key, others may use any name: no page has one', async () => {
    let needsKeys = false;
    const access = {
      get needsKeys() {
        return needsKeys;
      },
      authenticate: () => ANYBODY,
    };
    const status = ['GET', '/status', ''] as const;
    const named = { host: 'snapctr.example' };
    await withGateway({ ...options, host: '0.0.0.0', access }, async (_gateway, port) => {
      assert.equal((await ask(port, status, named)).status, 403);
      needsKeys = true;
      assert.equal((await ask(port, status, named)).status, 200, 'from the first key on');
    });
    await withGateway({ ...options, access }, async (_gateway, port) => {
      assert.equal((await ask(port, status, named)).status, 403, 'on loopback nobody comes by another name');
    });
  });

  test('a gateway that listens by name is one of loopback if the name is', async () => {
    await withGateway({ ...options, host: 'localhost' }, async (gateway) => {
      const { port } = gateway.address;
      const response = await fetch(`http://localhost:${port}/status`, { headers: { origin: 'http://evil.example' } });
      assert.equal(response.status, 403);
      assert.equal((await fetch(`http://localhost:${port}/status`)).status, 200);
    });
  });

  test('origins are read as browsers write them', () => {
    const read: readonly (readonly [string, string | null])[] = [
      ['http://localhost:3000', 'http://localhost:3000'],
      ['http://localhost:3000/', 'http://localhost:3000'],
      ['HTTPS://UI.Example:443', 'https://ui.example'],
      ['chrome-extension://abc', 'chrome-extension://abc'],
      ['null', 'null'],
      ['*', '*'],
      ...[
        '',
        'localhost',
        'localhost:3000',
        'http://',
        'http://a/b',
        'http://a?b',
        'http://u@a',
        'http://a b',
        '//a',
        'http://a:x',
        'n://\x1b',
        'http://a\0',
        'http://\x7fa',
      ].map((text) => [text, null] as const),
    ];
    for (const [text, origin] of read) assert.equal(parseOrigin(text), origin, text);
  });
});
