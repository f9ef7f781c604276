/** What a dead-letter target gets: a file, an HTTP endpoint. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { deadLetterAttributes, deadLetterHeaders } from '../../../src/controller/events/dead-letter.ts';
import { deliver } from '../../../src/controller/events/destinations.ts';
import type { Ending } from '../../../src/controller/events/invocation-record.ts';
import { SnapfaasError } from '../../../src/protocol/errors.ts';
import { FunctionError } from '../../../src/protocol/invoker.ts';
import { functionConfig } from '../../support/scripted-guests.ts';

const VERSION = functionConfig('f', { runtime: 'nodejs', timeoutMs: 1000 });
const ATTRIBUTES = { RequestID: 'a-b', ErrorCode: 200, ErrorMessage: '100% “no\nluck”' } as const;
const PAYLOAD = Buffer.from('{\n  "n": 9007199254740993\r\n}');

function endingOf(error: SnapfaasError): Ending {
  return {
    condition: 'RetriesExhausted',
    tries: 3,
    outcome: { status: 'error', error, start: 'warm' },
    version: VERSION,
  };
}

function failedWith(message: string): Ending {
  return endingOf(new FunctionError({ type: 'Error', message, stack: [] }));
}

test('a dead letter says why in the words in which a caller would be told', () => {
  assert.deepEqual(deadLetterAttributes('id', failedWith('no luck'), 'elsewhere'), {
    RequestID: 'id',
    ErrorCode: 200,
    ErrorMessage: 'no luck',
  });
  const late = deadLetterAttributes('id', endingOf(new SnapfaasError('function_timeout', 'too slow')), 'too slow');
  assert.equal(late.ErrorMessage, 'RequestId: id Error: Task timed out after 1.00 seconds');
});

test('a dead letter of an event that was never run says 429, and one that was 200', () => {
  const old: Ending = { condition: 'EventAgeExceeded', tries: 0, outcome: null, version: null };
  assert.deepEqual(deadLetterAttributes('id', old, 'it was too old, after 0 tries'), {
    RequestID: 'id',
    ErrorCode: 429,
    ErrorMessage: 'it was too old, after 0 tries',
  });
  assert.equal(deadLetterAttributes('id', { ...old, tries: 1 }, 'it was too old').ErrorCode, 200);
});

test('a message of a dead letter has 1 KiB at most, and can always be sent and read back', () => {
  const units = fc.string({ unit: 'binary', maxLength: 2000 });
  const halves = fc.array(fc.integer({ min: 0xd700, max: 0xe000 })).map((codes) => String.fromCharCode(...codes));
  fc.assert(
    fc.property(
      fc.oneof(
        units,
        halves,
        fc.nat(1030).map((n) => `${'a'.repeat(n)}🦊`),
      ),
      (text) => {
        const attributes = deadLetterAttributes('id', failedWith(text), '');
        const { ErrorMessage } = attributes;
        assert.ok(Buffer.byteLength(ErrorMessage) <= 1024);
        assert.equal(Buffer.from(ErrorMessage).toString(), ErrorMessage);
        const { ErrorMessage: header = '' } = deadLetterHeaders(attributes);
        assert.match(header, /^[ -~]*$/);
        assert.equal(decodeURIComponent(header), ErrorMessage);
      },
    ),
  );
});

test('a file gets a dead letter as a line with its attributes, and the event byte for byte but for line breaks', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-letters-'));
  try {
    const message = { payload: PAYLOAD, attributes: ATTRIBUTES, hops: 1 };
    const { signal } = new AbortController();
    for (let times = 0; times < 2; times += 1) await deliver(directory, { kind: 'file', name: 'a' }, message, signal);
    const [line = '', second, ...rest] = readFileSync(join(directory, 'a'), 'utf8').split('\n');
    assert.match(line, /"Payload":\{ {3}"n": 9007199254740993 {2}\}\}$/);
    assert.deepEqual(JSON.parse(line), { ...ATTRIBUTES, Payload: JSON.parse(PAYLOAD.toString()) as unknown });
    assert.deepEqual([second, rest], [line, ['']]);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test('an endpoint gets the event as it was, and the attributes in headers', async () => {
  const got: { body: string; headers: IncomingHttpHeaders }[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      got.push({ body: Buffer.concat(chunks).toString(), headers: request.headers });
      response.writeHead(204).end();
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  try {
    const { signal } = new AbortController();
    await deliver(null, { kind: 'http', url }, { payload: PAYLOAD, attributes: ATTRIBUTES, hops: 1 }, signal);
    await deliver(null, { kind: 'http', url }, { payload: PAYLOAD, hops: 1 }, signal);
    const [letter, record] = got;
    assert.equal(letter?.body, PAYLOAD.toString());
    assert.deepEqual([letter.headers['requestid'], letter.headers['errorcode']], ['a-b', '200']);
    assert.equal(letter.headers['errormessage'], '100%25 %E2%80%9Cno%0Aluck%E2%80%9D');
    assert.equal(record?.headers['errormessage'], undefined);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
