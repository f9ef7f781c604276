/**
 * Runs in snapctr. What destinations are told of an event that is done: AWS's invocation record, version 1.0. The event and the
 * function's answer are in it byte for byte, or not at all: AWS gives up a record that is too large, here it goes without them.
 */
import { isUtf8 } from 'node:buffer';
import { functionArn, LATEST, type LambdaAccount } from '../../protocol/arn.ts';
import { MAX_PAYLOAD_BYTES } from '../../protocol/guest.ts';
import { isJsonText } from '../../protocol/json-scan.ts';
import type { FunctionVersion } from '../../registry/function-version.ts';
import { failurePayload } from '../gateway/lambda/failures.ts';
import type { Outcome } from '../task.ts';
import type { EventContents } from './event-store.ts';

export type Condition = 'Success' | 'RetriesExhausted' | 'EventAgeExceeded';

export interface Ending {
  readonly condition: Condition;
  /** How often the function was begun with it, as far as is known. */
  readonly tries: number;
  /** Of the last try; null: the function was not run, or that is not known any more. */
  readonly outcome: Outcome | null;
  /** What that was run on. */
  readonly version: FunctionVersion | null;
}

/** So that a function can be told, and each destination is told the same. @returns at most `MAX_PAYLOAD_BYTES`. */
export function invocationRecord(
  account: LambdaAccount,
  name: string,
  qualifier: string | null,
  { id, payload }: Pick<EventContents, 'id' | 'payload'>,
  { condition, tries, outcome, version }: Ending,
  now: number,
): Buffer {
  const requestContext = {
    requestId: id,
    functionArn: `${functionArn(account, name)}:${qualifier ?? LATEST}`,
    condition,
    approximateInvokeCount: tries,
  };
  const head = { version: '1.0', timestamp: new Date(now).toISOString(), requestContext };
  const pieces: Pieces = { head, request: payload, response: null };
  if (outcome === null || version === null) return fitting([pieces, { ...pieces, request: omitted(payload) }]);
  const failure = outcome.status === 'ok' ? {} : { functionError: 'Unhandled' };
  const context = { statusCode: 200, executedVersion: version.version, ...failure };
  const answer = outcome.status === 'ok' ? asJson(outcome.result) : Buffer.from(failurePayload(outcome, version, id));
  const withoutAnswer = { ...pieces, response: { context, payload: omitted(answer) } };
  const whole = { ...pieces, response: { context, payload: answer } };
  const request = omitted(payload);
  return fitting([whole, withoutAnswer, { ...whole, request }, { ...withoutAnswer, request }]);
}

interface Pieces {
  readonly head: object;
  /** JSON; or why it is not there, as a text. */
  readonly request: Buffer | string;
  readonly response: { readonly context: object; readonly payload: Buffer | string } | null;
}

/** The first one that is not too large. */
function fitting(all: readonly Pieces[]): Buffer {
  const records = all.map(({ head, request, response }) => [
    JSON.stringify(head).slice(0, -1),
    ...payloadMember('requestPayload', request),
    ...(response === null ? [] : [',"responseContext":', JSON.stringify(response.context)]),
    ...(response === null ? [] : payloadMember('responsePayload', response.payload)),
    '}',
  ]);
  const sizeOf = (record: readonly (string | Buffer)[]): number =>
    record.reduce((sum, piece) => sum + Buffer.byteLength(piece), 0);
  const record = records.find((one) => sizeOf(one) <= MAX_PAYLOAD_BYTES) ?? records.at(-1) ?? [];
  return Buffer.concat(record.map((piece) => (typeof piece === 'string' ? Buffer.from(piece) : piece)));
}

function payloadMember(name: string, payload: Buffer | string): readonly (string | Buffer)[] {
  return typeof payload === 'string' ? [`,"${name}Omitted":`, JSON.stringify(payload)] : [`,"${name}":`, payload];
}

function omitted({ length }: Buffer): string {
  return `its ${length} bytes would make the record larger than ${MAX_PAYLOAD_BYTES} bytes`;
}

/** What is no JSON is told as a text. */
function asJson(result: Buffer): Buffer {
  return isUtf8(result) && isJsonText(result) ? result : Buffer.from(JSON.stringify(result.toString('utf8')));
}
