/**
 * Runs in snapctr. APIs in AWS's JSON protocol: `POST /` with the API and the operation in the header `X-Amz-Target`, and JSON both
 * ways.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { AccessError } from '../../../auth/access-error.ts';
import type { Caller } from '../../../auth/caller.ts';
import { SnapfaasError } from '../../../protocol/errors.ts';
import type { Dialect, PartialOutput } from '../dialect.ts';
import { answer, type Answer } from '../http-answer.ts';
import { type Body, JsonApiError, readBody } from './body.ts';

export type Json = Readonly<Record<string, unknown>>;

export interface JsonApi {
  /** Such as "Logs_20140328". */
  readonly name: string;
  /** The service that its clients sign for. */
  readonly service: string;
  /**
   * @param output for operations whose answer is a stream.
   * @returns null: the answer was sent as a stream, which has ended.
   * @throws JsonApiError, AccessError
   */
  run(operation: string, body: Body, caller: Caller, output: PartialOutput): Promise<Json | null>;
  /** Every stream ends. */
  close?(): void;
}

const TARGET = /^(\w{1,64})\.(\w{1,64})$/;
const CONTENT_TYPE = 'application/x-amz-json-1.1';
const MAX_BODY_BYTES = 64 * 1024;

/** A request to one of the APIs. */
export interface JsonCall {
  readonly api: JsonApi;
  readonly operation: string;
}

/** @returns null if the headers name none of them. */
export function jsonCall(apis: readonly JsonApi[], headers: IncomingHttpHeaders): JsonCall | null {
  const target = headers['x-amz-target'];
  const [, name, operation = ''] = TARGET.exec(typeof target === 'string' ? target : '') ?? [];
  const api = apis.find((one) => one.name === name);
  return api === undefined ? null : { api, operation };
}

export class JsonDialect implements Dialect {
  readonly maxBodyBytes = MAX_BODY_BYTES;
  readonly outlivesClient = false;
  readonly #call: JsonCall;
  readonly #caller: Caller;

  constructor(call: JsonCall, caller: Caller) {
    this.#call = call;
    this.#caller = caller;
  }

  headerProblem(): null {
    return null;
  }

  tooLarge(): JsonApiError {
    return new JsonApiError('InvalidParameterException', `the request must be smaller than ${MAX_BODY_BYTES} bytes`);
  }

  async begin(body: Buffer, id: string, output: PartialOutput): Promise<Answer> {
    const { api, operation } = this.#call;
    const answer = await api.run(operation, readBody(body), this.#caller, output);
    return answer === null ? { status: 200, headers: [], body: Buffer.alloc(0) } : jsonAnswer(200, answer, id);
  }

  answer(): never {
    throw new Error('nothing was run');
  }

  refusal(error: unknown, id: string): Answer {
    if (error instanceof JsonApiError) return jsonAnswer(400, { __type: error.type, message: error.message }, id);
    if (error instanceof AccessError) return jsonAnswer(403, { __type: error.reason, message: error.message }, id);
    const { httpStatus, message } = SnapfaasError.from(error);
    const type = httpStatus === 429 ? 'ThrottlingException' : httpStatus < 500 ? 'InvalidParameterException' : null;
    return jsonAnswer(httpStatus, { __type: type ?? 'ServiceUnavailableException', message }, id);
  }
}

function jsonAnswer(status: number, value: Json, id: string): Answer {
  return answer(status, CONTENT_TYPE, Buffer.from(JSON.stringify(value)), ['x-amzn-requestid', id]);
}
