/**
 * Runs in snapctr. The operation Invoke: `POST /2015-03-31/functions/{name}/invocations`; and InvokeAsync, which is what it had
 * before it had types: `POST /2014-11-13/functions/{name}/invoke-async`.
 */
import { isUtf8 } from 'node:buffer';
import type { IncomingHttpHeaders } from 'node:http';
import type { LambdaAccount } from '../../../protocol/arn.ts';
import { messageOf } from '../../../protocol/errors.ts';
import { isJsonText } from '../../../protocol/json-scan.ts';
import type { FunctionVersion } from '../../../registry/function-version.ts';
import { shownStart, type Invocation, type LambdaInvocation, type Outcome } from '../../task.ts';
import type { EventDispatcher } from '../../events/dispatcher.ts';
import { hopsOf } from '../../events/hops.ts';
import type { Dialect } from '../dialect.ts';
import { answer, jsonAnswer, type Answer, type HeaderList } from '../http-answer.ts';
import { traceHeaderOf } from '../trace-header.ts';
import { ApiError, apiErrorAnswer, apiErrorOf, validationError } from './errors.ts';
import { failurePayload, isFunctionsDoing } from './failures.ts';
import { logResult } from './log-tail.ts';
import { invokedArn, type FunctionReference } from './names.ts';

const INVOCATION_TYPES = ['Event', 'RequestResponse', 'DryRun'] as const;
type InvocationType = (typeof INVOCATION_TYPES)[number];
const LOG_TYPES = ['None', 'Tail'] as const;
const MAX_CLIENT_CONTEXT_BYTES = 3583;
/** As AWS takes them. */
const TENANT = /^[a-zA-Z0-9._:/=+\-@ ]{1,256}$/;
const NO_EVENT = Buffer.from('{}');
/** Largest event of type `Event`, in bytes. */
const MAX_ASYNC_EVENT_BYTES = 1024 * 1024;

/** Takes events that nobody waits for. */
export type EventSink = Pick<EventDispatcher, 'accept'>;

export interface InvokeTarget {
  readonly name: string;
  /** Of the version, where that is known already; else as the caller gave it. */
  readonly qualifier: string | null;
  /** As the caller gave it: an alias may lead elsewhere by the time that an event is run. */
  readonly askedQualifier: string | null;
  /** What answers for it now, for outcomes that do not say; null: nothing does yet. */
  readonly latest: FunctionVersion | null;
  /** Largest event, in bytes. */
  readonly maxEventBytes: number;
}

/** What the headers of a request ask for. */
export interface InvokeOptions {
  readonly type: InvocationType;
  readonly wantsLog: boolean;
  readonly header: LambdaInvocation['header'];
  /** Destinations that led to the request; of an event. */
  readonly hops: number;
}

export class InvokeDialect implements Dialect {
  /** As on AWS, where the caller has no hold on what it has started. */
  readonly outlivesClient = true;
  readonly #target: InvokeTarget;
  readonly #options: InvokeOptions;
  readonly #events: EventSink;
  readonly #accepted: object | null;

  /** @param accepted what an event that was accepted is answered with, as JSON; null: nothing. */
  constructor(target: InvokeTarget, options: InvokeOptions, events: EventSink, accepted: object | null = null) {
    this.#target = target;
    this.#options = options;
    this.#events = events;
    this.#accepted = accepted;
  }

  get maxBodyBytes(): number {
    return this.#target.maxEventBytes;
  }

  headerProblem(): null {
    return null;
  }

  tooLarge(): ApiError {
    return eventTooLarge(this.maxBodyBytes, 'InvokeFunction');
  }

  begin(body: Buffer, id: string): Invocation | Answer | Promise<Answer> {
    const { name, qualifier } = this.#target;
    const { type, header, wantsLog } = this.#options;
    const payload = checkEvent(body);
    if (type === 'DryRun') return { status: 204, headers: ['x-amzn-requestid', id], body: Buffer.alloc(0) };
    if (type === 'RequestResponse') {
      return { function: name, qualifier, payload, lambda: { header, sink: null, wantsReport: wantsLog } };
    }
    if (payload.length > MAX_ASYNC_EVENT_BYTES) {
      const limit = `limit ${MAX_ASYNC_EVENT_BYTES} bytes`;
      const message = `${payload.length} byte payload is too large for the Event invocation type (${limit})`;
      throw new ApiError('RequestEntityTooLargeException', message);
    }
    return this.#accept(id, payload);
  }

  async #accept(id: string, payload: Buffer): Promise<Answer> {
    const { name, askedQualifier } = this.#target;
    const { header, hops } = this.#options;
    await this.#events.accept({ id, function: name, qualifier: askedQualifier, payload, header, hops });
    if (this.#accepted !== null) return jsonAnswer(202, this.#accepted, ['x-amzn-requestid', id]);
    return { status: 202, headers: ['x-amzn-requestid', id, 'content-length', '0'], body: Buffer.alloc(0) };
  }

  answer(outcome: Outcome, id: string): Answer {
    if (outcome.status === 'error' && !isFunctionsDoing(outcome)) return this.refusal(outcome.error, id);
    const fn = executedVersion(outcome, this.#target);
    const headers: HeaderList = ['x-amzn-requestid', id, 'x-amz-executed-version', fn.version];
    const start = shownStart(outcome);
    if (start !== null) headers.push('x-snapfaas-start', start);
    const log = logResult(outcome, fn, id);
    if (log !== null) headers.push('x-amz-log-result', log);
    if (outcome.status === 'ok') {
      return answer(200, printable(outcome.contentType) ?? 'application/json', outcome.result, headers);
    }
    headers.push('x-amz-function-error', 'Unhandled');
    return answer(200, 'application/json', Buffer.from(failurePayload(outcome, fn, id)), headers);
  }

  refusal(error: unknown, id: string): Answer {
    return apiErrorAnswer(apiErrorOf(error), id);
  }
}

/** What an outcome that is the function's was run on. */
export function executedVersion({ version }: Outcome, { latest }: InvokeTarget): FunctionVersion {
  const executed = version ?? latest;
  if (executed === null) throw new Error('bug: a function without a version has run');
  return executed;
}

/** @throws ApiError if a header has a value that the API does not know. */
export function parseInvokeHeaders(
  headers: IncomingHttpHeaders,
  reference: FunctionReference,
  account: LambdaAccount,
): InvokeOptions {
  const type = oneOf(INVOCATION_TYPES, headers['x-amz-invocation-type'], 'invocationType') ?? 'RequestResponse';
  const logType = oneOf(LOG_TYPES, headers['x-amz-log-type'], 'logType');
  const clientContext = headers['x-amz-client-context'];
  const trace = traceHeaderOf(headers);
  const tenant = headers['x-amz-tenant-id'];
  if (tenant !== undefined && !TENANT.test(String(tenant))) {
    const pattern = `Member must satisfy regular expression pattern: ${TENANT.source.slice(1, -1)}`;
    throw validationError('tenantId', String(tenant).slice(0, 300), pattern);
  }
  return {
    type,
    wantsLog: logType === 'Tail',
    hops: hopsOf(headers),
    header: {
      arn: invokedArn(account, reference),
      ...(typeof clientContext === 'string' ? { client_context: decodeClientContext(clientContext) } : {}),
      ...(typeof tenant === 'string' ? { tenant_id: tenant } : {}),
      ...(trace === null ? {} : { trace }),
    },
  };
}

export function eventTooLarge(maxBytes: number, operation: string): ApiError {
  const message = `Request must be smaller than ${maxBytes} bytes for the ${operation} operation`;
  return new ApiError('RequestEntityTooLargeException', message);
}

/** The event, whose bytes are not touched; an empty body stands for an empty object. @throws ApiError if it is not JSON. */
export function checkEvent(body: Buffer): Buffer {
  if (body.length === 0) return NO_EVENT;
  const isText = isUtf8(body);
  if (isText && isJsonText(body)) return body;
  try {
    if (!isText) throw new Error('Invalid UTF-8');
    // It says what is wrong, and where.
    JSON.parse(body.toString('utf8'));
    return body;
  } catch (error) {
    const why = messageOf(error);
    const message = `Could not parse request body into json: Could not parse payload into json: ${why}`;
    throw new ApiError('InvalidRequestContentException', message, { cause: error });
  }
}

function decodeClientContext(base64: string): string {
  if (base64.length > MAX_CLIENT_CONTEXT_BYTES) {
    const constraint = `Member must have length less than or equal to ${MAX_CLIENT_CONTEXT_BYTES}`;
    throw validationError('clientContext', base64, constraint);
  }
  const text = Buffer.from(base64, 'base64').toString('utf8');
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return text;
  } catch {
    // Said below, as for JSON that is no object.
  }
  throw new ApiError('InvalidRequestContentException', 'Client context must be a valid Base64-encoded JSON object.');
}

function oneOf<T extends string>(known: readonly T[], value: string | string[] | undefined, field: string): T | null {
  if (value === undefined || value === '') return null;
  const found = known.find((name) => name === value);
  if (found !== undefined) return found;
  throw validationError(field, String(value), `Member must satisfy enum value set: [${known.join(', ')}]`);
}

/** A guest's content type, if it can stand in a header. */
function printable(contentType: string | null | undefined): string | null {
  return typeof contentType === 'string' && /^[\x20-\x7e]{1,256}$/.test(contentType) ? contentType : null;
}
