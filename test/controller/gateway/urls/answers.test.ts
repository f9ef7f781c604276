/** What becomes of the answers of functions, good and bad. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { APPLICATION_TYPE, METADATA_TYPE, MAX_HEAD_BYTES } from '../../../../src/controller/gateway/urls/result.ts';
import { SnapfaasError, type ErrorCode } from '../../../../src/protocol/errors.ts';
import { FunctionError } from '../../../../src/protocol/invoker.ts';
import { Held, RawClient, type RawResponse } from '../http-client.ts';
import { answering, withUrls } from './bench.ts';

interface LoggedResponse extends RawResponse {
  readonly log: readonly string[];
  /** All before the body. */
  readonly head: string;
}

async function answerTo(value: unknown, contentType: string | null = null, method = 'GET'): Promise<LoggedResponse> {
  const answers: LoggedResponse[] = [];
  await withUrls({ submit: answering(value, contentType) }, async ({ port, hostOf, log }) => {
    const client = await RawClient.open(port);
    client.send(`${method} / HTTP/1.1\r\nhost: ${hostOf('open')}\r\n\r\n`);
    while (!client.received.includes('\r\n\r\n')) await once(client.socket, 'data');
    const head = client.received.slice(0, client.received.indexOf('\r\n\r\n'));
    const hasBody = method !== 'HEAD' && head.includes('content-length: ');
    const bare = { status: Number(head.split(' ')[1]), headers: new Map<string, string>(), body: '' };
    answers.push({ ...(hasBody ? await client.response() : bare), log: [...log], head });
    client.socket.destroy();
  });
  return answers[0] ?? assert.fail();
}

/** The examples of AWS's documentation, and what is close to them. */
const GOOD: readonly (readonly [answer: unknown, status: number, body: string, type: string | undefined])[] = [
  ['Hello, world!', 200, '"Hello, world!"', 'application/json'],
  [{ message: 'Hello, world!' }, 200, '{"message":"Hello, world!"}', 'application/json'],
  [null, 200, 'null', 'application/json'],
  [[1, 2], 200, '[1,2]', 'application/json'],
  [Buffer.from('{"a": 9007199254740993}'), 200, '{"a": 9007199254740993}', 'application/json'],
  [{ statusCode: 201, headers: { 'Content-Type': 'text/html' }, body: '<p>' }, 201, '<p>', 'text/html'],
  [{ statusCode: 200 }, 200, '', 'application/json'],
  [{ statusCode: '404', body: 'no' }, 404, 'no', 'application/json'],
  [{ statusCode: 200, body: null, headers: null, cookies: null, isBase64Encoded: null }, 200, '', 'application/json'],
  [{ statusCode: 200, body: 'aGk=', isBase64Encoded: true, headers: { 'content-type': 'a/b' } }, 200, 'hi', 'a/b'],
  [{ statusCode: 200, body: 'aGk', isBase64Encoded: true }, 200, 'hi', 'application/json'],
  [{ statusCode: 200, body: 5, headers: { 'content-type': 'a/b', 'x-n': 1, 'x-b': true } }, 200, '5', 'a/b'],
  [{ statusCode: 599, body: 'é' }, 599, 'Ã©', 'application/json'],
];

test('urls: an answer is what its status, headers and body say, or its JSON', async () => {
  for (const [value, status, body, type] of GOOD) {
    const answer = await answerTo(value);
    assert.deepEqual([answer.status, answer.body, answer.headers.get('content-type')], [status, body, type], body);
    assert.deepEqual(answer.log, []);
    assert.match(answer.headers.get('x-amzn-requestid') ?? '', /^[0-9a-f-]{36}$/);
    assert.equal(answer.headers.get('x-snapfaas-start'), 'warm');
  }
});

test('urls: cookies are headers of their own, and those of the connection and of the gateway are not taken', async () => {
  const { head } = await answerTo({
    statusCode: 200,
    cookies: ['a=b; Max-Age=78000', 'c=d'],
    headers: {
      ...{
        'X-One': 'é',
        connection: 'close, x-private',
        'x-private': '1',
        'Transfer-Encoding': 'chunked',
        'keep-alive': '1',
      },
      ...{
        'content-length': '100000',
        Upgrade: 'h2c',
        'X-Snapfaas-Start': 'cold',
        'x-amzn-RequestId': 'mine',
        trailer: 'a',
      },
    },
    body: 'x',
  });
  const names = head
    .split('\r\n')
    .slice(1)
    .map((line) => line.replace(/:.*/, '').toLowerCase());
  assert.deepEqual(names.filter((name) => name === 'set-cookie').length, 2);
  const own = ['content-type', 'x-one', 'set-cookie', 'set-cookie', 'content-length'];
  const ours = ['x-amzn-requestid', 'x-snapfaas-request-id', 'x-snapfaas-start', 'date', 'connection', 'keep-alive'];
  assert.deepEqual(names, [...own, ...ours]);
  assert.match(head, /content-length: 1\r\n/);
  assert.doesNotMatch(head, /mine|cold|close/);
});

test('urls: of names that differ in capitals alone the last one counts, but for cookies', async () => {
  const { head } = await answerTo({
    statusCode: 200,
    headers: {
      'Content-Type': 'a/b',
      'X-List': 'a, b',
      'content-type': 'c/d',
      'Set-Cookie': 'a=1',
      'set-cookie': 'b=2',
    },
    cookies: ['c=3'],
  });
  const lines = head.split('\r\n').filter((line) => /^(?:content-type|x-list|set-cookie):/i.test(line));
  const cookies = ['set-cookie: a=1', 'set-cookie: b=2', 'set-cookie: c=3'];
  assert.deepEqual(lines, ['content-type: c/d', 'x-list: a, b', ...cookies]);
});

const BAD: readonly (readonly [answer: unknown, why: RegExp])[] = [
  ...[99, 100, 101, 199, 600, 1000, 200.5, -1, 'x', '20', null, {}, true].map(
    (statusCode) => [{ statusCode }, /`statusCode` must be a number from 200 to 599/] as const,
  ),
  [{ statusCode: 200, headers: { a: ['b'] } }, /header "a" must be a string, not \["b"\]/],
  [{ statusCode: 200, headers: { a: {} } }, /must be a string/],
  [{ statusCode: 200, headers: { a: null } }, /must be a string, not null/],
  [{ statusCode: 200, headers: 'a: b' }, /`headers` must be an object/],
  [{ statusCode: 200, headers: ['a'] }, /`headers` must be an object/],
  [{ statusCode: 200, headers: { 'a b': 'c' } }, /"a b" is no name of a header/],
  [{ statusCode: 200, headers: { '': 'c' } }, /"" is no name/],
  [{ statusCode: 200, headers: { 'a\r\nset-cookie': 'c' } }, /is no name/],
  [{ statusCode: 200, headers: { a: 'b\r\nset-cookie: c' } }, /"a" has characters that no header can have/],
  [{ statusCode: 200, headers: { a: 'b\nc' } }, /has characters/],
  [{ statusCode: 200, headers: { a: '\0' } }, /has characters/],
  [{ statusCode: 200, headers: { a: '漢' } }, /has characters/],
  [{ statusCode: 200, cookies: 'a=b' }, /`cookies` must be a list/],
  [{ statusCode: 200, cookies: [1] }, /a cookie must be a string/],
  [{ statusCode: 200, cookies: ['a=b\r\nx: y'] }, /a cookie must be/],
  [{ statusCode: 200, body: { a: 1 } }, /`body` must be a string, not \{"a":1\}/],
  [{ statusCode: 200, body: ['a'] }, /`body` must be a string/],
  [{ statusCode: 200, body: 'a', isBase64Encoded: true }, /`body` is no base64/],
  [{ statusCode: 200, body: 'a*b=', isBase64Encoded: true }, /`body` is no base64/],
  [{ statusCode: 200, body: 'aGk=aGk=', isBase64Encoded: true }, /`body` is no base64/],
  [{ statusCode: 200, body: 'aGk=', isBase64Encoded: 'yes' }, /`isBase64Encoded` must be true or false/],
  [{ statusCode: 200, headers: { a: 'b'.repeat(MAX_HEAD_BYTES) } }, /headers have \d+ bytes/],
  [Buffer.from('{"a"'), /it is not JSON/],
  [Buffer.alloc(0), /it is not JSON/],
];

test('urls: an answer that cannot be one over HTTP is 502, and the log says why', async () => {
  for (const [value, why] of BAD) {
    const { status, body, head, log } = await answerTo(value);
    assert.deepEqual([status, body], [502, 'Internal Server Error'], why.source);
    assert.doesNotMatch(head, /set-cookie|x: y/i);
    assert.equal(log.length, 1);
    assert.match(log[0] ?? '', why);
    assert.match(log[0] ?? '', /"function":"open"/);
  }
});

test('urls: HEAD, 204 and 304 have no body, and none is announced', async () => {
  const head = await answerTo({ statusCode: 200, body: 'abc' }, null, 'HEAD');
  assert.match(head.head, /^HTTP\/1\.1 200 /);
  assert.doesNotMatch(head.head, /content-length|transfer-encoding/i);
  for (const statusCode of [204, 304]) {
    const { head: bare } = await answerTo({ statusCode, body: 'abc', headers: { etag: '"a"' } });
    assert.match(bare, new RegExp(`^HTTP/1\\.1 ${statusCode} `));
    assert.match(bare, /etag: "a"/);
    assert.doesNotMatch(bare, /content-length|content-type|transfer-encoding/i);
  }
});

test('urls: a result of another type is its body, and one with metadata what that says', async () => {
  const png = await answerTo(Buffer.from('\0\xff', 'latin1'), 'image/png');
  assert.deepEqual([png.status, png.body, png.headers.get('content-type')], [200, '\0\xff', 'image/png']);
  const metadata = Buffer.concat([
    Buffer.from('{"statusCode":418,"headers":{"a":"b"},"cookies":["c"]}'),
    Buffer.alloc(8),
    Buffer.from('tea'),
  ]);
  const whole = await answerTo(metadata, METADATA_TYPE);
  assert.deepEqual(
    [whole.status, whole.body, whole.headers.get('a'), whole.headers.get('set-cookie')],
    [418, 'tea', 'b', 'c'],
  );
  const cut = await answerTo(metadata.subarray(0, 40), METADATA_TYPE);
  assert.equal(cut.status, 502);
  assert.match(cut.log[0] ?? '', /eight zero bytes/);
  assert.equal((await answerTo(Buffer.from('a'), 'a\r\nb: c')).headers.get('content-type'), 'application/octet-stream');
});

/** What an application on a port answered, in one piece. */
function answered(statusCode: number, headers: Readonly<Record<string, string>>, body = ''): Buffer {
  return Buffer.concat([Buffer.from(JSON.stringify({ statusCode, headers })), Buffer.alloc(8), Buffer.from(body)]);
}

test('urls: to the answer of an application on a port nothing is added, and its length is what it says', async () => {
  const plain = await answerTo(answered(200, { etag: '"a"' }, 'abc'), APPLICATION_TYPE);
  assert.deepEqual([plain.status, plain.body, plain.headers.get('content-type')], [200, 'abc', undefined]);
  const sized = await answerTo(answered(200, { 'content-length': '3' }, 'abc'), APPLICATION_TYPE);
  assert.deepEqual([sized.body, sized.head.match(/content-length/gi)?.length], ['abc', 1]);
  const head = await answerTo(answered(200, { 'content-length': '1234' }), APPLICATION_TYPE, 'HEAD');
  assert.match(head.head, /\r\ncontent-length: 1234\r\n/);
  const unknown = await answerTo(answered(200, {}), APPLICATION_TYPE, 'HEAD');
  assert.doesNotMatch(unknown.head, /content-length|transfer-encoding/i);
  const same = await answerTo(answered(304, { 'content-length': '12', etag: '"a"' }, 'abc'), APPLICATION_TYPE, 'HEAD');
  assert.doesNotMatch(same.head, /transfer-encoding/i);
  const none = await answerTo(answered(204, { 'content-length': '3' }, 'abc'), APPLICATION_TYPE);
  assert.doesNotMatch(none.head, /content-length|transfer-encoding/i);
  const reset = await answerTo(answered(205, { 'content-length': '3' }, 'abc'), APPLICATION_TYPE);
  assert.deepEqual([reset.body, reset.headers.get('content-length')], ['', '0']);
  for (const length of ['2', '4', '3, 3', '-1', '1e1', '0x3', ' ']) {
    const bad = await answerTo(answered(200, { 'content-length': length }, 'abc'), APPLICATION_TYPE);
    assert.deepEqual([bad.status, bad.log.length], [502, 1], length);
    assert.match(bad.log[0] ?? '', /its content-length/);
  }
});

const FAILURES: readonly (readonly [code: ErrorCode, hasRun: boolean, status: number, body: RegExp])[] = [
  ['function_timeout', true, 504, /^Gateway Timeout$/],
  ['vm_lost', true, 502, /^Internal Server Error$/],
  ['response_too_large', true, 502, /^Internal Server Error$/],
  ['queue_full', false, 429, /^\{"Message":/],
  ['resource_exhausted', false, 429, /^\{"Message":/],
  ['vm_launch_failed', false, 503, /^\{"Message":"Service Unavailable"\}$/],
  ['internal', false, 500, /^\{"Message":"Internal Server Error"\}$/],
  ['shutting_down', false, 503, /^\{"Message":/],
  ['function_not_found', false, 404, /^\{"Message":/],
];

test('urls: what goes wrong around an answer has its status, and tells nothing of the function', async () => {
  for (const [code, hasRun, status, body] of FAILURES) {
    const held = new Held();
    await withUrls({ submit: held.submit }, async ({ port, hostOf }) => {
      const client = await RawClient.open(port);
      client.send(`GET / HTTP/1.1\r\nhost: ${hostOf('open')}\r\n\r\n`);
      await held.until(1);
      const error = new SnapfaasError(code, 'as it is');
      held.task(0).reply({ status: 'error', error, start: hasRun ? 'warm' : null });
      const answer = await client.response();
      assert.equal(answer.status, status, code);
      assert.match(answer.body, body);
      assert.equal(answer.headers.get('x-snapfaas-start'), hasRun ? 'warm' : undefined);
      client.socket.destroy();
    });
  }
  const held = new Held();
  await withUrls({ submit: held.submit }, async ({ port, hostOf }) => {
    const client = await RawClient.open(port);
    client.send(`GET / HTTP/1.1\r\nhost: ${hostOf('open')}\r\n\r\n`);
    await held.until(1);
    const failure = { type: 'TypeError', message: 'the secret', stack: ['at secret'] };
    held.task(0).reply({ status: 'error', error: new FunctionError(failure), start: 'warm' });
    const answer = await client.response();
    assert.deepEqual([answer.status, answer.body], [502, 'Internal Server Error']);
    client.socket.destroy();
  });
});
