/** What a client says to the gateways: lines of a request file, names and headers of the Lambda API, origins. */
import assert from 'node:assert/strict';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { readLines, type Line } from '../../../src/controller/gateway/file-lines.ts';
import { ApiError } from '../../../src/controller/gateway/lambda/errors.ts';
import { checkEvent, parseInvokeHeaders } from '../../../src/controller/gateway/lambda/invoke.ts';
import { invokedArn, parseFunctionName } from '../../../src/controller/gateway/lambda/names.ts';
import { OriginPolicy, parseOrigin } from '../../../src/controller/gateway/origin-policy.ts';
import { DEFAULT_ACCOUNT } from '../../../src/protocol/arn.ts';
import { chunksOf, jsonText, outcomeOf, parsedJson } from '../properties.ts';
import type { ParserTarget } from '../target.ts';

const MAX_LINE_BYTES = 100;

async function linesOf(chunks: readonly Buffer[]): Promise<readonly Line[]> {
  const lines: Line[] = [];
  for await (const line of readLines(asStream(chunks), MAX_LINE_BYTES)) lines.push(line);
  return lines;
}

async function* asStream(chunks: readonly Buffer[]): AsyncGenerator<Buffer> {
  for (const chunk of chunks) yield await Promise.resolve(chunk);
}

const FILE_LINES: ParserTarget = {
  name: 'file-lines',
  tokens: ['\n', '\r\n', '\r', '\n\n', '{"time":1}'],
  generate: (random) =>
    Buffer.from(Array.from({ length: random.below(5) }, () => jsonText(random, 1)).join(random.pick(['\n', '\r\n']))),
  async check(input, { random }) {
    const parts = input.toString('latin1').split('\n');
    if (parts.at(-1) === '') parts.pop();
    const expected = parts.map((part, index) => {
      const text = part.replace(/\r$/, '');
      return { number: index + 1, bytes: text.length > MAX_LINE_BYTES ? null : Buffer.from(text, 'latin1') };
    });
    for (const lines of [await linesOf([input]), await linesOf(chunksOf(input, random))]) {
      assert.equal(lines.length, expected.length);
      for (const [index, { number, bytes }] of lines.entries()) {
        assert.equal(number, index + 1);
        const text = expected[index]?.bytes ?? null;
        assert.ok(bytes === null ? text === null : text?.equals(bytes) === true, `line ${number}`);
      }
    }
  },
};

const LAMBDA_NAME: ParserTarget = {
  name: 'lambda-name',
  tokens: [
    'arn:aws:lambda:',
    'us-east-1:',
    '000000000000:',
    'function:',
    ':$LATEST',
    ':',
    '$LATEST.PUBLISHED',
    '?',
    'arn:aws-cn:',
  ],
  generate(random) {
    const name = random.pick(['hello', 'a.b', 'a-b_c', 'x'.repeat(64)]);
    const prefix = random.pick([
      '',
      'arn:aws:lambda:us-east-1:000000000000:function:',
      '000000000000:function:',
      'function:',
    ]);
    return Buffer.from(`${prefix}${name}${random.pick(['', ':$LATEST', ':1'])}`);
  },
  check(input, { isValid }) {
    const [text = '', qualifier = null] = input.toString('utf8').split('?');
    const outcome = outcomeOf([ApiError], () => parseFunctionName(text, qualifier, DEFAULT_ACCOUNT));
    if ('error' in outcome) return assert.ok(!isValid && outcome.error.message.length < 20_000 + 2 * text.length);
    const { name, qualifier: meant } = outcome.value;
    const arn = invokedArn(DEFAULT_ACCOUNT, { name, qualifier: null });
    assert.match(name, /^[a-zA-Z0-9-_.]{1,64}$/);
    // What it is called in full means the same.
    const isInName = meant !== null && text.endsWith(`:${meant}`);
    const again = parseFunctionName(isInName ? `${arn}:${meant}` : arn, isInName ? null : meant, DEFAULT_ACCOUNT);
    assert.deepEqual([again.name, again.qualifier], [name, meant]);
  },
};

const HEADERS = ['x-amz-invocation-type', 'x-amz-log-type', 'x-amz-client-context', 'x-amzn-trace-id'] as const;

const LAMBDA_HEADERS: ParserTarget = {
  name: 'lambda-headers',
  tokens: ['\n', 'Event', 'RequestResponse', 'DryRun', 'Tail', 'None', 'e30=', 'bnVsbA==', 'Root='],
  generate: (random) =>
    Buffer.from(
      [
        random.pick(['Event', 'RequestResponse', 'DryRun', '']),
        random.pick(['Tail', 'None', '']),
        Buffer.from(`{"custom":${jsonText(random, 1)}}`).toString('base64'),
        'Root=1-5759e988-bd862e3fe1be46a994272793',
        jsonText(random),
      ].join('\n'),
    ),
  check(input, { isValid }) {
    const [type, log, context, trace, ...rest] = input.toString('latin1').split('\n');
    const values = [type, log, context, trace];
    const headers: IncomingHttpHeaders = {};
    for (const [index, name] of HEADERS.entries()) if (values[index] !== undefined) headers[name] = values[index];
    const outcome = outcomeOf([ApiError], () =>
      parseInvokeHeaders(headers, { name: 'hello', qualifier: null }, DEFAULT_ACCOUNT),
    );
    if ('value' in outcome) {
      const { client_context: given } = outcome.value.header;
      if (given !== undefined) assert.equal(typeof JSON.parse(given), 'object');
    } else if (isValid) throw outcome.error;
    const body = Buffer.from(rest.join('\n'), 'latin1');
    const event = outcomeOf([ApiError], () => checkEvent(body));
    const text = new TextDecoder().decode(body);
    if ('value' in event) assert.ok(body.length === 0 || (event.value === body && parsedJson(text) !== undefined));
    else assert.equal(event.error.name, 'InvalidRequestContentException');
  },
};

const ORIGIN: ParserTarget = {
  name: 'origin',
  tokens: [
    '\n',
    'http://',
    'https://',
    'localhost',
    '127.0.0.1',
    '[::1]',
    ':8080',
    'null',
    '*',
    '@',
    'same-origin',
    'none',
  ],
  generate: (random) =>
    Buffer.from(
      [
        random.pick(['localhost:8080', '127.0.0.1', '[::1]:8080', 'example.org']),
        random.pick(['http://localhost:8080', 'https://example.org', 'null', 'http://127.0.0.1']),
        random.pick(['none', 'same-origin', 'cross-site']),
      ].join('\n'),
    ),
  check(input) {
    const [host = '', origin = '', site = ''] = input.toString('latin1').split('\n');
    const policy = new OriginPolicy({
      listenHost: 'localhost',
      address: '127.0.0.1',
      allowed: ['http://allowed.example'],
      scheme: 'http',
      needsKeys: () => false,
    });
    const headers = { host, origin, 'sec-fetch-site': site };
    const problem = policy.problem({ method: 'POST', headers } as unknown as IncomingMessage);
    // No page of another host is let in, however its name is written.
    const isLocal = /^(localhost|127\.0\.0\.1|\[::1\])(:\d*)?$/i.test(host);
    const isOwn = origin === `http://${host.toLowerCase()}`;
    assert.equal(problem === null, isLocal && (isOwn || origin === 'http://allowed.example'), problem?.message);
    assert.ok(problem === null || problem.message.length < 2000);
    const parsed = parseOrigin(origin);
    if (parsed !== null) assert.equal(parseOrigin(parsed), parsed);
  },
};

export const GATEWAY_TARGETS: readonly ParserTarget[] = [FILE_LINES, LAMBDA_NAME, LAMBDA_HEADERS, ORIGIN];
