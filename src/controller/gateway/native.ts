/** Runs in snapctr. The dialect of `POST /`: `{"function", "payload"}` in, the function's result or `{"error"}` out. */
import type { IncomingHttpHeaders } from 'node:http';
import { ANYBODY, type Caller } from '../../auth/caller.ts';
import { SnapfaasError } from '../../protocol/errors.ts';
import { parseRequest, requestTooLarge } from '../../protocol/request.ts';
import { shownStart, type Invocation, type Outcome } from '../task.ts';
import type { Dialect } from './dialect.ts';
import { errorAnswer, type Answer } from './http-answer.ts';
import { headerProblem } from './http-problems.ts';

export class NativeDialect implements Dialect {
  readonly maxBodyBytes: number;
  readonly outlivesClient = false;
  readonly #caller: Caller;

  constructor(maxPayloadBytes: number, caller: Caller = ANYBODY) {
    this.maxBodyBytes = maxPayloadBytes;
    this.#caller = caller;
  }

  headerProblem(headers: IncomingHttpHeaders): SnapfaasError | null {
    return headerProblem(headers['content-type'], headers['content-encoding']);
  }

  tooLarge(bytes?: number): SnapfaasError {
    return requestTooLarge(this.maxBodyBytes, bytes);
  }

  begin(body: Buffer): Invocation {
    const request = parseRequest(body, { maxPayloadBytes: this.maxBodyBytes });
    this.#caller.authorize('lambda:InvokeFunction', request.function);
    return request;
  }

  answer(outcome: Outcome, id: string): Answer {
    if (outcome.status === 'error') {
      const start = shownStart(outcome);
      const headers = start === null ? [] : ['x-snapfaas-start', start];
      return errorAnswer(outcome.error, { requestId: id, headers });
    }
    const { result, start } = outcome;
    const headers = [
      'content-type',
      'application/json',
      'content-length',
      String(result.length),
      'x-snapfaas-request-id',
      id,
      'x-snapfaas-start',
      start,
    ];
    return { status: 200, headers, body: result };
  }

  refusal(error: unknown, id: string, isTask: boolean): Answer {
    return errorAnswer(SnapfaasError.from(error), isTask ? { requestId: id } : {});
  }
}
