/** What a guest and a client say: frames, lines, requests. */
import assert from 'node:assert/strict';
import { isUtf8 } from 'node:buffer';
import { isIPv4 } from 'node:net';
import { SnapfaasError } from '../../../src/protocol/errors.ts';
import { encodeFrame, FrameError, FrameReader, type Frame } from '../../../src/protocol/frame.ts';
import { parseFailure } from '../../../src/protocol/guest.ts';
import { isJsonObject, isJsonText } from '../../../src/protocol/json-scan.ts';
import { LineError, LineReader } from '../../../src/protocol/lines.ts';
import { topLevelMembers } from '../../../src/protocol/request-members.ts';
import { parseRequest } from '../../../src/protocol/request.ts';
import { parseCidr, parseIpv4, tapAddresses, tapCapacity } from '../../../src/protocol/tap-addresses.ts';
import { ConnectAnswer, VsockError } from '../../../src/protocol/vsock.ts';
import { chunksOf, jsonString, jsonText, outcomeOf, parsedJson } from '../properties.ts';
import type { Random } from '../random.ts';
import type { ParserTarget } from '../target.ts';

const MAX_FRAME_BYTES = 300 * 1024;
const MAX_LINE_BYTES = 200;
const JSON_TOKENS = [
  'null',
  'true',
  '{}',
  '[]',
  '""',
  '\\u',
  '\\ud800',
  '1e9',
  '-0',
  '"__proto__"',
  ',',
  ':',
  '\ufeff',
];

/** Of a guest: any types, headers as they are and as they may not be. */
export function framesText(random: Random, types: readonly [number, ...number[]]): Buffer {
  const frames = Array.from({ length: random.below(4) }, () => {
    const header: unknown = random.oneIn(2) ? undefined : JSON.parse(jsonText(random, 2));
    const isObject = typeof header === 'object' && header !== null && !Array.isArray(header);
    const payload = random.oneIn(400) ? Buffer.alloc(270 * 1024) : random.bytes(random.below(40));
    return encodeFrame(random.pick(types), isObject ? { ...header } : undefined, payload);
  });
  return Buffer.concat(frames);
}

/** All frames, and what is wrong behind them. */
function read(chunks: readonly Buffer[], isBorrowed: boolean): { readonly frames: Frame[]; readonly end: unknown } {
  const reader = new FrameReader(MAX_FRAME_BYTES);
  const frames: Frame[] = [];
  for (const chunk of chunks) {
    const bytes = isBorrowed ? Buffer.from(chunk) : chunk;
    const outcome = outcomeOf([FrameError], () => reader.push(bytes, isBorrowed));
    // Whoever lent it writes over it.
    if (isBorrowed) bytes.fill(0xaa);
    if ('error' in outcome) return { frames, end: outcome.error.message };
    frames.push(...outcome.value);
  }
  return { frames, end: reader.pendingBytes };
}

const FRAMES: ParserTarget = {
  name: 'frames',
  tokens: ['\0\0\0\x03', '\0\x06\0\0', '\xff\xff\xff\xff', '{}', '{"a":1}', '\0\0'],
  generate: (random) => framesText(random, [1, 2, 3, 5, 16, 22]),
  check(input, { random, isValid }) {
    const whole = read([input], false);
    const pieces = read(chunksOf(input, random), random.oneIn(2));
    assert.equal(pieces.end, whole.end);
    // What came whole before a broken one is only seen if it came in another chunk.
    if (typeof whole.end === 'number') assertSameFrames(pieces.frames, whole.frames);
    if (isValid) assert.equal(whole.end, 0);
    // Each says the same when it is said again.
    const again = whole.frames.map(({ type, header, payload }) =>
      encodeFrame(type, Object.keys(header).length === 0 ? undefined : header, payload),
    );
    assertSameFrames(read([Buffer.concat(again)], false).frames, whole.frames);
  },
};

function assertSameFrames(actual: readonly Frame[], expected: readonly Frame[]): void {
  assert.equal(actual.length, expected.length);
  for (const [index, frame] of actual.entries()) {
    const other = expected[index];
    assert.ok(other?.type === frame.type && other.payload.equals(frame.payload));
    assert.equal(JSON.stringify(frame.header), JSON.stringify(other.header));
  }
}

const FAILURE: ParserTarget = {
  name: 'guest-failure',
  tokens: [...JSON_TOKENS, '"type":', '"message":', '"stack":', '"raw":true', '["'],
  generate: (random) =>
    Buffer.from(
      `{"type":${jsonText(random, 1)},"message":${jsonText(random, 1)},"stack":[${jsonText(random)}],"raw":true}`,
    ),
  check(input) {
    const failure = parseFailure(input);
    const { type, message, stack, raw } = failure;
    assert.deepEqual([typeof type, typeof message], ['string', 'string']);
    assert.ok(stack.every((line) => typeof line === 'string'));
    assert.ok(raw === undefined || raw);
    assert.deepEqual(parseFailure(Buffer.from(JSON.stringify(failure))), failure);
  },
};

const JSON_SCAN: ParserTarget = {
  name: 'json-scan',
  tokens: JSON_TOKENS,
  generate: (random) => Buffer.from(jsonText(random)),
  check(input, { isValid }) {
    if (!isUtf8(input)) {
      // Whatever it says of that, it says.
      assert.equal(typeof isJsonText(input), typeof isJsonObject(input));
      return;
    }
    const parsed = parsedJson(input.toString('utf8'));
    const isObject = typeof parsed?.value === 'object' && parsed.value !== null && !Array.isArray(parsed.value);
    // A decoder of UTF-8 may leave a byte order mark out, a parser of JSON may not.
    assert.equal(isJsonText(input), parsed !== undefined);
    assert.equal(isJsonObject(input), isObject);
    if (isValid) assert.ok(parsed !== undefined);
  },
};

const MEMBERS: ParserTarget = {
  name: 'request-members',
  tokens: JSON_TOKENS,
  generate: (random) =>
    Buffer.from(
      `{${Array.from({ length: random.below(4) }, () => `${jsonString(random)}: ${jsonText(random)} `).join(',')}}`,
    ),
  check(input) {
    // The caller has made sure of that.
    if (!isUtf8(input) || !isJsonObject(input)) return;
    const found = new Map<string, unknown>();
    for (const { key, start, end } of topLevelMembers(input)) {
      found.set(key, JSON.parse(input.toString('utf8', start, end)));
    }
    const expected = JSON.parse(input.toString('utf8')) as Record<string, unknown>;
    // Of a key that is there twice the last value counts, at the place of the first.
    const ordered = Object.fromEntries(found);
    assert.deepEqual([...found.keys()].length, Object.keys(ordered).length);
    assert.equal(JSON.stringify(ordered), JSON.stringify(expected));
  },
};

const REQUEST: ParserTarget = {
  name: 'request',
  tokens: [...JSON_TOKENS, '"function":', '"payload":', '"time":', '"user_id":', '"f\\u0075nction"'],
  generate: (random) => {
    const members = [`"function": ${jsonString(random, 'hello')}`, `"payload":${jsonText(random)}`];
    if (random.oneIn(2)) members.push(`"time":${random.below(1e9)}`);
    if (random.oneIn(2)) members.push(`"user_id" :${random.below(9)}`);
    return Buffer.from(`{${(random.oneIn(2) ? members : members.reverse()).join(', ')}}`);
  },
  check(input, { isValid }) {
    const outcome = outcomeOf([SnapfaasError], () => parseRequest(input, { maxPayloadBytes: 64 * 1024 }));
    if ('error' in outcome) {
      assert.equal(
        SnapfaasError.from(outcome.error).code,
        input.length > 64 * 1024 ? 'payload_too_large' : 'bad_request',
      );
      assert.ok(outcome.error.message.length < 1000, outcome.error.message);
      return assert.ok(!isValid, outcome.error);
    }
    const whole = JSON.parse(input.toString('utf8')) as Record<string, unknown>;
    const { value } = outcome;
    assert.equal(value.function, whole['function']);
    assert.deepEqual(JSON.parse(value.payload.toString('utf8')), whole['payload']);
    assert.deepEqual([value.time, value.userId], [whole['time'] ?? null, whole['user_id'] ?? null]);
  },
};

function linesOf(chunks: readonly Buffer[]): { readonly lines: readonly string[]; readonly end: unknown } {
  const reader = new LineReader(MAX_LINE_BYTES);
  const lines: string[] = [];
  for (const chunk of chunks) {
    const outcome = outcomeOf([LineError], () => reader.push(chunk));
    if ('error' in outcome) return { lines, end: outcome.error.message };
    lines.push(...outcome.value);
    assert.ok(reader.pendingBytes <= MAX_LINE_BYTES);
  }
  return { lines, end: reader.pendingBytes };
}

const LINES: ParserTarget = {
  name: 'lines',
  tokens: ['\n', '\n\n', '\r\n', '{"event":"pong"}\n'],
  generate: (random) =>
    Buffer.from(
      Array.from({ length: random.below(5) }, () => `${'x'.repeat(random.below(60))}${jsonText(random, 1)}\n`).join(''),
    ),
  check(input, { random }) {
    const parts = input.toString('latin1').split('\n');
    const tooLong = parts.findIndex((part) => part.length > MAX_LINE_BYTES);
    const expected = parts.slice(0, -1).map((part) => Buffer.from(part, 'latin1').toString('utf8'));
    for (const { lines, end } of [linesOf([input]), linesOf(chunksOf(input, random))]) {
      assert.equal(typeof end === 'string', tooLong !== -1);
      if (tooLong === -1) assert.deepEqual([lines, end], [expected, parts.at(-1)?.length]);
      else assert.deepEqual(lines, expected.slice(0, lines.length));
    }
  },
};

const CONNECT: ParserTarget = {
  name: 'connect-answer',
  tokens: ['OK ', 'OK 1024\n', '\n', '4294967295'],
  generate: (random) => Buffer.concat([Buffer.from(`OK ${random.u32()}\n`), random.bytes(random.below(20))]),
  check(input, { random, isValid }) {
    const say = (chunks: readonly Buffer[]): Buffer | string | null => {
      const answer = new ConnectAnswer();
      let rest: Buffer | null = null;
      for (const chunk of chunks) {
        if (rest !== null) {
          rest = Buffer.concat([rest, chunk]);
          continue;
        }
        const outcome = outcomeOf([VsockError], () => answer.push(chunk));
        if ('error' in outcome) return 'refused';
        rest = outcome.value;
      }
      return rest;
    };
    const whole = say([input]);
    assert.deepEqual(say(chunksOf(input, random)), whole);
    const [line = ''] = /^OK \d+\n/.exec(input.toString('latin1')) ?? [];
    if (line !== '' && line.length <= 32) assert.deepEqual(whole, input.subarray(line.length));
    if (isValid) assert.ok(Buffer.isBuffer(whole));
  },
};

const ADDRESSES: ParserTarget = {
  name: 'addresses',
  tokens: ['/', '.', '0', '255', '256', '10.200.0.0/24', '/31', '/32', '00'],
  generate: (random) => Buffer.from(`${[0, 0, 0, 0].map(() => random.below(256)).join('.')}/${random.below(33)}`),
  check(input, { isValid }) {
    const text = input.toString('latin1');
    const cidr = parseCidr(text);
    const [dotted = '', length = '', ...more] = text.split('/');
    assert.equal(parseIpv4(dotted) !== null, isIPv4(dotted));
    const isCidr = isIPv4(dotted) && /^\d{1,2}$/.test(length) && Number(length) <= 32 && more.length === 0;
    assert.equal(cidr !== null, isCidr);
    if (isValid) assert.ok(cidr !== null);
    const taps = ['sf0', 'sf1'].slice(0, cidr === null ? 1 : Math.min(2, tapCapacity(cidr)));
    const outcome = outcomeOf([RangeError], () => tapAddresses({ taps, subnet: text }));
    if (cidr === null) return assert.ok('error' in outcome);
    if ('error' in outcome) throw outcome.error;
    for (const [index, tap] of outcome.value.entries()) {
      assert.equal(parseIpv4(tap.hostAddress), (cidr.address + 2 * index) % 2 ** 32);
      assert.match(tap.mac, /^02:00(:[0-9a-f]{2}){4}$/);
    }
  },
};

export const PROTOCOL_TARGETS: readonly ParserTarget[] = [
  FRAMES,
  FAILURE,
  JSON_SCAN,
  MEMBERS,
  REQUEST,
  LINES,
  CONNECT,
  ADDRESSES,
];
