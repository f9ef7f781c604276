import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseRequest } from '../../src/protocol/request.ts';
import { SnapfaasError, type ErrorCode } from '../../src/protocol/errors.ts';

const LIMIT = { maxPayloadBytes: 6 * 1024 * 1024 };

function parse(text: string | Buffer): ReturnType<typeof parseRequest> {
  return parseRequest(Buffer.from(text as string), LIMIT);
}

function refusal(input: string | Buffer): { code: ErrorCode; message: string } {
  try {
    parse(input);
  } catch (error) {
    assert(error instanceof SnapfaasError, String(error));
    return { code: error.code, message: error.message };
  }
  assert.fail('the request was accepted');
}

test('request: takes the four keys', () => {
  const request = parse('{"time": 120, "user_id": 7, "function": "hello", "payload": {"n": 3}}');
  assert.deepEqual(
    { ...request, payload: request.payload.toString() },
    { function: 'hello', payload: '{"n": 3}', time: 120, userId: 7 },
  );
});

test('request: time and user_id may be absent', () => {
  const request = parse('{"function":"f","payload":null}');
  assert.deepEqual([request.time, request.userId, request.payload.toString()], [null, null, 'null']);
});

const payloads = [
  '1',
  '-0.50e+10',
  '12345678901234567890123',
  'true',
  '""',
  '"a\\"b\\\\"',
  `"${'x'.repeat(100)}\\\\"`,
  `"${'x'.repeat(100)}\\\\\\"y"`,
  `"${'x'.repeat(31)}\\"${'y'.repeat(100)}"`,
  '[]',
  '[ {"]": "}"} , [] ]',
  '{ "b":1,\n "a" : 2, "b": 3 }',
  '{"__proto__": {"x": 1}}',
  '"grüße \u{1F600}"',
];
for (const payload of payloads) {
  test(`request: the payload ${payload.slice(0, 40)} keeps its bytes`, () => {
    for (const text of [
      `{"function":"f","payload":${payload}}`,
      `\n{ "payload" :\t${payload} , "function" : "f" }\r\n`,
    ]) {
      assert.equal(parse(text).payload.toString(), payload);
    }
  });
}

test('request: for any value, key order and whitespace the payload is the slice that was sent', () => {
  const space = fc.stringMatching(/^[ \t\r\n]{0,3}$/);
  fc.assert(
    fc.property(
      fc.jsonValue(),
      fc.constantFrom(undefined, 0, 1, 3),
      fc.shuffledSubarray(['function', 'payload', 'time', 'user_id'], { minLength: 4, maxLength: 4 }),
      fc.array(space, { minLength: 18, maxLength: 18 }),
      fc.boolean(),
      (value, indent, keys, spaces, escapeKeys) => {
        let taken = 0;
        const gap = (): string => spaces[taken++] ?? '';
        const payload = JSON.stringify(value, null, indent);
        const values: Record<string, string> = { function: '"f"', payload, time: '12', user_id: '0' };
        const members = keys.map((key) => {
          const name = escapeKeys ? `\\u00${key.charCodeAt(0).toString(16)}${key.slice(1)}` : key;
          return `${gap()}"${name}"${gap()}:${gap()}${values[key] ?? ''}${gap()}`;
        });
        const request = parse(`${gap()}{${members.join(',')}}${gap()}`);
        assert.equal(request.payload.toString(), payload);
        assert.deepEqual([request.function, request.time, request.userId], ['f', 12, 0]);
      },
    ),
    { numRuns: 500 },
  );
});

const refused: readonly (readonly [title: string, input: string | Buffer, message: RegExp])[] = [
  ['an empty request', '', /empty; send a JSON object/],
  ['only whitespace', ' \r\n', /empty; send a JSON object/],
  ['text that is not JSON', 'hello', /not valid JSON/],
  ['JSON that is cut off', '{"function":"f","payl', /not valid JSON/],
  ['something behind the object', '{"function":"f","payload":1} x', /not valid JSON/],
  ['two objects', '{"function":"f","payload":1}{}', /not valid JSON/],
  ['broken UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]), /not valid UTF-8/],
  ['UTF-16', Buffer.from('\ufeff{"function":"f","payload":1}', 'utf16le'), /not valid UTF-8/],
  ['a byte order mark', '\ufeff{"function":"f","payload":1}', /byte order mark/],
  ['an array', '[]', /not an array/],
  ['a string', '"f"', /not a string/],
  ['null', 'null', /not null/],
  ['an empty object', '{}', /"function" is missing/],
  ['a request without a function', '{"payload":1}', /"function" is missing/],
  ['a function that is no string', '{"function":1,"payload":1}', /"function" must be a string, not a number/],
  ['an empty function name', '{"function":"","payload":1}', /"function" is empty/],
  ['an endless function name', `{"function":"${'f'.repeat(65)}","payload":1}`, /at most 64/],
  ['a request without a payload', '{"function":"f"}', /"payload" is missing/],
  ['an unknown key', '{"function":"f","payload":1,"fun":2}', /unknown key "fun".*"user_id"/],
  ['an endless unknown key', `{"${'k'.repeat(1000)}":1}`, /unknown key "k{64}…"/],
  ['__proto__', '{"__proto__":{"payload":1},"function":"f","payload":1}', /unknown key "__proto__"/],
  ['a duplicate key', '{"function":"f","payload":1,"function":"g"}', /"function" is there twice/],
  ['a duplicate payload', '{"function":"f","payload":1,"payload":{}}', /"payload" is there twice/],
  ['a duplicate key in disguise', '{"function":"f","payload":1,"\\u0066unction":"g"}', /"function" is there twice/],
  ['a negative time', '{"function":"f","payload":1,"time":-1}', /"time" must be a whole number.*not -1/],
  ['a fractional time', '{"function":"f","payload":1,"time":1.5}', /"time".*not 1\.5/],
  ['a time out of range', '{"function":"f","payload":1,"time":9007199254740993}', /"time"/],
  ['a time that is text', '{"function":"f","payload":1,"time":"1"}', /"time".*not a string/],
  ['a user_id of null', '{"function":"f","payload":1,"user_id":null}', /"user_id".*not null/],
];
for (const [title, input, message] of refused) {
  test(`request: refuses ${title}`, () => {
    const error = refusal(input);
    assert.equal(error.code, 'bad_request');
    assert.match(error.message, message);
    assert(error.message.length < 300, error.message);
  });
}

test('request: one byte over the limit is payload_too_large, the limit itself is fine', () => {
  const text = '{"function":"f","payload":"xx"}';
  const bytes = Buffer.from(text);
  assert.equal(parseRequest(bytes, { maxPayloadBytes: bytes.length }).function, 'f');
  assert.throws(
    () => parseRequest(bytes, { maxPayloadBytes: bytes.length - 1 }),
    (error: unknown) => error instanceof SnapfaasError && error.code === 'payload_too_large',
  );
});

test('request: deep nesting is answered, not a crash', () => {
  const depth = 1_000_000;
  assert.equal(refusal('['.repeat(depth)).code, 'bad_request');
  const nested = `${'['.repeat(depth)}${']'.repeat(depth)}`;
  try {
    assert.equal(parse(`{"function":"f","payload":${nested}}`).payload.length, 2 * depth);
  } catch (error) {
    // An engine that cannot nest so deep must say so as a bad request.
    assert(error instanceof SnapfaasError && error.code === 'bad_request', String(error));
  }
});

test('request: 6 MiB are taken apart, whatever they consist of', () => {
  const room = LIMIT.maxPayloadBytes - 64;
  const shapes = {
    'one string': `"${'x'.repeat(room - 2)}"`,
    quotes: `"${'\\"'.repeat(room / 2 - 2)}"`,
    backslashes: `"${'\\\\'.repeat(room / 2 - 2)}"`,
    'short strings': `[${'"abc",'.repeat(room / 6 - 1)}0]`,
    numbers: `[${'1,'.repeat(room / 2 - 2)}0]`,
  };
  for (const [shape, payload] of Object.entries(shapes)) {
    const bytes = Buffer.from(`{"function":"f","payload":${payload}}`);
    assert.equal(parseRequest(bytes, LIMIT).payload.length, payload.length, shape);
  }
});
