/**
 * Runs in snapctr. What destinations are told of an event that is done: AWS's invocation record, version 1.0. The event and the
 * function's answer are in it byte for byte.
 */
import { isUtf8 } from 'node:buffer';
import { functionArn, LATEST, type LambdaAccount } from '../../protocol/arn.ts';
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
  const pieces: (string | Buffer)[] = [JSON.stringify(head).slice(0, -1), ',"requestPayload":', payload];
  if (outcome !== null && version !== null) {
    const failure = outcome.status === 'ok' ? {} : { functionError: 'Unhandled' };
    const responseContext = { statusCode: 200, executedVersion: version.version, ...failure };
    const answer = outcome.status === 'ok' ? asJson(outcome.result) : failurePayload(outcome, version, id);
    pieces.push(',"responseContext":', JSON.stringify(responseContext), ',"responsePayload":', answer);
  }
  pieces.push('}');
  return Buffer.concat(pieces.map((piece) => (typeof piece === 'string' ? Buffer.from(piece) : piece)));
}

/** What is no JSON is told as a text. */
function asJson(result: Buffer): Buffer | string {
  return isUtf8(result) && isJsonText(result) ? result : JSON.stringify(result.toString('utf8'));
}
