/** Runs in snapctr. One request for an operation that is no invocation, from its body to its answer. */
import { isUtf8 } from 'node:buffer';
import { messageOf } from '../../../../protocol/errors.ts';
import type { PackageStore, ReceivedPackage } from '../../../../packages/store.ts';
import type { BodySink, Dialect } from '../../dialect.ts';
import { jsonAnswer, jsonBytesAnswer, type Answer } from '../../http-answer.ts';
import { ApiError, apiErrorAnswer } from '../errors.ts';
import type { OperationName } from '../routes.ts';
import type { BlobPath } from './blob-json.ts';
import type { Result } from './call.ts';
import { controlApiError } from './control-errors.ts';
import { MAX_BODY_BYTES, MAX_REST_BYTES, ZipBody } from './zip-body.ts';

/** What is done once the body is there, and the caller is known. */
export type Run = (body: unknown, code: ReceivedPackage | null) => Result | Promise<Result>;

/** Where the body has a zip file, and what takes that. */
export interface ZipTarget {
  readonly path: BlobPath;
  readonly packages: Pick<PackageStore, 'receive'>;
}

export class ControlDialect implements Dialect {
  readonly maxBodyBytes: number;
  readonly outlivesClient = false;
  readonly #operation: OperationName;
  readonly #run: Run;
  readonly #zip: ZipBody | null;

  constructor(operation: OperationName, run: Run, zip: ZipTarget | null = null) {
    this.#operation = operation;
    this.#run = run;
    this.#zip = zip === null ? null : new ZipBody(zip.path, zip.packages);
    this.maxBodyBytes = zip === null ? MAX_REST_BYTES : MAX_BODY_BYTES;
  }

  get sink(): BodySink | undefined {
    return this.#zip ?? undefined;
  }

  headerProblem(): null {
    return null;
  }

  tooLarge(): ApiError {
    const message = `Request must be smaller than ${this.maxBodyBytes} bytes for the ${this.#operation} operation`;
    return new ApiError('RequestEntityTooLargeException', message);
  }

  async begin(body: Buffer, id: string): Promise<Answer> {
    const { value, code } = this.#zip === null ? { value: parse(body), code: null } : await this.#zip.end();
    try {
      const { status, json, bytes } = await this.#run(value, code);
      const headers = ['x-amzn-requestid', id];
      if (bytes !== undefined) return jsonBytesAnswer(status, bytes, headers);
      return json === null ? { status, headers, body: Buffer.alloc(0) } : jsonAnswer(status, json, headers);
    } finally {
      await code?.discard();
    }
  }

  answer(): never {
    throw new Error('bug: nothing was run');
  }

  refusal(error: unknown, id: string): Answer {
    return apiErrorAnswer(controlApiError(error), id);
  }
}

/** Answers with an error that was clear before the body came; a caller that proves itself by its body is told after that. */
export class RefusedDialect implements Dialect {
  readonly maxBodyBytes = MAX_BODY_BYTES;
  readonly outlivesClient = false;
  readonly sink: BodySink = { write: () => null, discard: () => undefined };
  readonly #problem: ApiError;

  constructor(problem: ApiError) {
    this.#problem = problem;
  }

  headerProblem(): ApiError {
    return this.#problem;
  }

  tooLarge(): ApiError {
    return new ApiError('RequestEntityTooLargeException', `Request must be smaller than ${this.maxBodyBytes} bytes`);
  }

  begin(): never {
    throw this.#problem;
  }

  answer(): never {
    throw new Error('bug: nothing was run');
  }

  refusal(error: unknown, id: string): Answer {
    return apiErrorAnswer(controlApiError(error), id);
  }
}

/** Null: there is none. @throws ApiError */
function parse(body: Buffer): unknown {
  if (body.length === 0) return null;
  try {
    if (!isUtf8(body)) throw new Error('it is not UTF-8');
    return JSON.parse(body.toString('utf8'));
  } catch (error) {
    const message = `Could not parse request body into json: ${messageOf(error)}`;
    throw new ApiError('InvalidRequestContentException', message, { cause: error });
  }
}
