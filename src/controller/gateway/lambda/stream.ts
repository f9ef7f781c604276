/**
 * Runs in snapctr. The operation InvokeWithResponseStream: `POST /2021-11-15/functions/{name}/response-streaming-invocations`.
 * Each part that the function writes becomes a PayloadChunk as soon as it comes; InvokeComplete ends the answer.
 */
import { LATEST } from '../../../protocol/arn.ts';
import type { StreamSink } from '../../../protocol/function-channel.ts';
import type { FunctionVersion } from '../../../registry/function-version.ts';
import { shownStart, type Invocation, type Outcome } from '../../task.ts';
import type { Dialect, PartialOutput } from '../dialect.ts';
import type { Answer, HeaderList } from '../http-answer.ts';
import { apiErrorAnswer, apiErrorOf, validationError, type ApiError } from './errors.ts';
import { EventEncoder } from '../event-stream.ts';
import { failurePayload, isFunctionsDoing } from './failures.ts';
import { checkEvent, eventTooLarge, executedVersion, type InvokeTarget, type InvokeOptions } from './invoke.ts';
import { logResult } from './log-tail.ts';

const PAYLOAD_CHUNK = new EventEncoder('PayloadChunk', 'application/octet-stream');
const INVOKE_COMPLETE = new EventEncoder('InvokeComplete', 'application/json');
/** A result in one piece is sent in parts of this size, which every decoder takes. */
const PART_BYTES = 64 * 1024;

export class StreamDialect implements Dialect {
  /** Its function would write to nobody. */
  readonly outlivesClient = false;
  readonly #target: InvokeTarget;
  readonly #options: InvokeOptions;

  /** @throws ApiError for `Event`, which has no answer that could be streamed. */
  constructor(target: InvokeTarget, options: InvokeOptions) {
    if (options.type === 'Event') {
      throw validationError('invocationType', 'Event', 'Member must satisfy enum value set: [RequestResponse, DryRun]');
    }
    this.#target = target;
    this.#options = options;
  }

  get maxBodyBytes(): number {
    return this.#target.maxEventBytes;
  }

  headerProblem(): null {
    return null;
  }

  tooLarge(): ApiError {
    return eventTooLarge(this.maxBodyBytes, 'InvokeWithResponseStream');
  }

  begin(body: Buffer, id: string, output: PartialOutput): Invocation | Answer {
    const payload = checkEvent(body);
    const { type, header, wantsLog } = this.#options;
    if (type === 'DryRun') return { status: 204, headers: ['x-amzn-requestid', id], body: Buffer.alloc(0) };
    const { name, qualifier, latest } = this.#target;
    const sink = new ChunkSink(streamHeaders(id, latest), output);
    return { function: name, qualifier, payload, lambda: { header, sink, wantsReport: wantsLog } };
  }

  answer(outcome: Outcome, id: string): Answer {
    if (outcome.status === 'error' && !isFunctionsDoing(outcome)) return this.refusal(outcome.error, id);
    const fn = executedVersion(outcome, this.#target);
    const log = logResult(outcome, fn, id);
    const complete = {
      ...(outcome.status === 'error' ? { ErrorCode: 'Unhandled', ErrorDetails: failurePayload(outcome, fn, id) } : {}),
      ...(log === null ? {} : { LogResult: log }),
    };
    const events = outcome.status === 'ok' ? chunks(outcome.result) : [];
    events.push(INVOKE_COMPLETE.encode(Buffer.from(JSON.stringify(complete))));
    const body = Buffer.concat(events);
    const headers = streamHeaders(id, fn);
    headers.push('content-length', String(body.length));
    const start = shownStart(outcome);
    if (start !== null) headers.push('x-snapfaas-start', start);
    return { status: 200, headers, body };
  }

  refusal(error: unknown, id: string): Answer {
    return apiErrorAnswer(apiErrorOf(error), id);
  }
}

/** Turns the parts of the function's answer into events of the client's. */
class ChunkSink implements StreamSink {
  readonly #headers: HeaderList;
  readonly #output: PartialOutput;

  constructor(headers: HeaderList, output: PartialOutput) {
    this.#headers = headers;
    this.#output = output;
  }

  write(part: Buffer): boolean {
    return this.#output.write(this.#headers, PAYLOAD_CHUNK.encode(part));
  }

  get onDrain(): () => void {
    return this.#output.onDrain;
  }

  set onDrain(listener: () => void) {
    this.#output.onDrain = listener;
  }
}

function streamHeaders(id: string, executed: FunctionVersion | null): HeaderList {
  return [
    'x-amzn-requestid',
    id,
    'x-amz-executed-version',
    executed?.version ?? LATEST,
    'content-type',
    'application/vnd.amazon.eventstream',
  ];
}

function chunks(result: Buffer): Buffer[] {
  const events: Buffer[] = [];
  for (let at = 0; at < result.length; at += PART_BYTES) {
    events.push(PAYLOAD_CHUNK.encode(result.subarray(at, at + PART_BYTES)));
  }
  return events;
}
