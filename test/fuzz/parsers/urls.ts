/** What functions answer to requests of their URLs: nothing of it may become more than one answer, with headers that can be sent. */
import assert from 'node:assert/strict';
import { validateHeaderName, validateHeaderValue } from 'node:http';
import type { StreamSink } from '../../../src/protocol/function-channel.ts';
import type { HeaderList } from '../../../src/controller/gateway/http-answer.ts';
import {
  APPLICATION_TYPE,
  BadAnswer,
  hasBody,
  MAX_HEAD_BYTES,
  METADATA_TYPE,
  readResult,
} from '../../../src/controller/gateway/urls/result.ts';
import { UrlSink } from '../../../src/controller/gateway/urls/stream.ts';
import type { Random } from '../random.ts';
import { chunksOf, jsonText, outcomeOf, parsedJson } from '../properties.ts';
import type { ParserTarget } from '../target.ts';

const OWN = ['content-length', 'connection', 'transfer-encoding', 'keep-alive', 'upgrade', 'trailer', 'te'];

function checkHeaders(status: number, headers: HeaderList): void {
  assert.ok(Number.isInteger(status) && status >= 200 && status <= 599);
  assert.equal(headers.length % 2, 0);
  let bytes = 0;
  for (let at = 0; at < headers.length; at += 2) {
    const [name = '', value = ''] = headers.slice(at, at + 2);
    validateHeaderName(name);
    validateHeaderValue(name, value);
    assert.equal(name, name.toLowerCase());
    bytes += name.length + value.length;
  }
  assert.ok(bytes <= MAX_HEAD_BYTES + 100);
  const names = headers.filter((name, at) => at % 2 === 0 && name !== 'set-cookie');
  assert.equal(new Set(names).size, names.length, 'a name twice');
}

function nameCount(headers: HeaderList, names: readonly string[]): number {
  return headers.filter((name, at) => at % 2 === 0 && names.includes(name)).length;
}

const generated = (random: Parameters<ParserTarget['generate']>[0]): string =>
  JSON.stringify({
    statusCode: random.pick([200, 204, 302, 404, '200']),
    headers: {
      'X-A': random.pick(['b', 'é', '']),
      [random.pick(['Content-Type', 'Connection', 'Content-Length'])]: random.pick(['1', '4']),
      [random.pick(['x-a', 'content-type', 'SET-COOKIE', 'set-cookie'])]: '2',
    },
    cookies: random.pick([[], ['a=b', 'c=d']]),
    body: random.pick(['', 'aGk=', 'text', '1']),
    isBase64Encoded: random.oneIn(8),
  });

const TOKENS = [
  '"statusCode":',
  '"headers":',
  '"cookies":',
  '"isBase64Encoded":true',
  '\\r\\n',
  '\\u0000',
  '99',
  '{}',
  '[]',
  'null',
];

const RESULT: ParserTarget = {
  name: 'url-answer',
  tokens: [...TOKENS, '\0\0\0\0\0\0\0\0'],
  generate: (random) => Buffer.from(random.oneIn(4) ? jsonText(random, 2) : generated(random)),
  check(input) {
    for (const type of [null, METADATA_TYPE, APPLICATION_TYPE, 'text/plain']) {
      const outcome = outcomeOf([BadAnswer], () => readResult(input, type));
      if ('error' in outcome) continue;
      const { status, headers, body } = outcome.value;
      checkHeaders(status, headers);
      // One length, ours, and it is that of the body.
      assert.ok(nameCount(headers, OWN) <= 1);
      const at = headers.indexOf('content-length');
      if (at !== -1 && status !== 304) assert.equal(headers[at + 1], String(body.length));
      const value = parsedJson(input.toString('utf8'));
      if (type === null) assert.notEqual(value, undefined);
    }
  },
};

const STREAM: ParserTarget = {
  name: 'url-stream',
  tokens: [...TOKENS, '\0\0\0\0\0\0\0\0', '\0\0\0\0'],
  generate: (random) =>
    Buffer.concat([
      Buffer.from(generated(random)),
      Buffer.alloc(8),
      Buffer.from(random.pick(['', 'body', '\0'.repeat(9)])),
    ]),
  check(input, { random }) {
    for (const type of [METADATA_TYPE, APPLICATION_TYPE]) checkStream(input, random, type);
  },
};

function checkStream(input: Buffer, random: Random, type: string): void {
  const seen = [[input], chunksOf(input, random)].map((parts) => {
    const written: Buffer[] = [];
    let declared: number | null = null as number | null;
    const heads: { status: number; headers: HeaderList }[] = [];
    const output = {
      write(headers: HeaderList, part: Buffer, status = 200): boolean {
        checkHeaders(status, headers);
        const at = headers.indexOf('content-length');
        declared = at === -1 || !hasBody(status) ? null : Number(headers[at + 1]);
        assert.ok(nameCount(headers, OWN) <= (type === APPLICATION_TYPE || status === 205 ? 1 : 0));
        heads.push({ status, headers });
        written.push(part);
        return true;
      },
      onDrain: () => undefined,
      isGone: false,
    };
    const sink = new UrlSink(output, (one) => one);
    for (const [index, part] of parts.entries()) (sink as StreamSink).write(part, index === 0 ? type : null);
    assert.equal(sink.hasBegun, heads.length > 0);
    const isBad = sink.problem !== null;
    const body = Buffer.concat(written).toString('latin1');
    // What follows it on the connection is not its own.
    if (declared !== null) assert.ok(isBad ? body.length <= declared : body.length === declared);
    // Of one that is too long it depends on the parts how much of it is sent.
    return isBad ? { isBad } : { head: heads[0] ?? null, body, isBad };
  });
  // However it is cut, it means the same.
  if (input.length > 0) assert.deepEqual(seen[1], seen[0]);
}

export const URL_TARGETS: readonly ParserTarget[] = [RESULT, STREAM];
