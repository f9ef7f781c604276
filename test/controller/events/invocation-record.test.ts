/** The record that destinations get: what is in it is what was there, and it fits into an invocation. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { invocationRecord, type Ending } from '../../../src/controller/events/invocation-record.ts';
import { DEFAULT_ACCOUNT } from '../../../src/protocol/arn.ts';
import { MAX_PAYLOAD_BYTES } from '../../../src/protocol/guest.ts';
import { functionConfig } from '../../support/scripted-guests.ts';

const version = functionConfig('f', { runtime: 'nodejs', timeoutMs: 1000 });
const MIB = 1024 * 1024;

function recordOf(request: Buffer, result: Buffer | null): Buffer {
  const outcome = result === null ? null : ({ status: 'ok', result, start: 'warm' } as const);
  const ending: Ending = { condition: 'Success', tries: 1, outcome, version };
  return invocationRecord(DEFAULT_ACCOUNT, 'f', null, { id: 'id', payload: request }, ending, 0);
}

/** A text in JSON, of so many bytes. */
function text(bytes: number): Buffer {
  return Buffer.from(`"${'a'.repeat(bytes - 2)}"`);
}

function membersOf(record: Buffer): Record<string, unknown> {
  return JSON.parse(record.toString()) as Record<string, unknown>;
}

test('invocation record: the answer is in it as long as an invocation can bring it, and not one byte longer', () => {
  const request = text(MIB);
  const around = recordOf(request, text(2)).length - 2;
  const largest = text(MAX_PAYLOAD_BYTES - around);
  const whole = recordOf(request, largest);
  assert.equal(whole.length, MAX_PAYLOAD_BYTES);
  assert.equal(membersOf(whole)['responsePayload'], JSON.parse(largest.toString()));
  const cut = recordOf(request, text(largest.length + 1));
  const { requestPayload, ...members } = membersOf(cut);
  assert.equal(requestPayload, JSON.parse(request.toString()));
  assert.deepEqual(Object.keys(members), [
    'version',
    'timestamp',
    'requestContext',
    'responseContext',
    'responsePayloadOmitted',
  ]);
  const why = `its ${largest.length + 1} bytes would make the record larger than ${MAX_PAYLOAD_BYTES} bytes`;
  assert.equal(members['responsePayloadOmitted'], why);
  assert.deepEqual(members['responseContext'], { statusCode: 200, executedVersion: version.version });
});

test('invocation record: an event that does not fit is left out as well, and a small answer not', () => {
  const large = text(MAX_PAYLOAD_BYTES);
  for (const result of [null, text(2), large]) {
    const record = recordOf(large, result);
    assert.ok(record.length < 1024, `${record.length}`);
    const { requestPayload, requestPayloadOmitted, requestContext } = membersOf(record);
    assert.deepEqual(
      [requestPayload, typeof requestPayloadOmitted, typeof requestContext],
      [undefined, 'string', 'object'],
    );
  }
  assert.equal(membersOf(recordOf(large, text(2)))['responsePayload'], '');
});

test('invocation record: bytes that are no JSON are a text in it, however much longer that is', () => {
  assert.equal(membersOf(recordOf(text(2), Buffer.from('no JSON')))['responsePayload'], 'no JSON');
  const record = recordOf(text(2), Buffer.alloc(5 * MIB));
  assert.match(String(membersOf(record)['responsePayloadOmitted']), /^its 31457282 bytes/);
});
