/** What becomes of calls in Lambda's style: results as text, failures in the log and as answers. */
import { logFailure } from './lambda-console.cjs';
import { describeLambda, failureOfHandler, RuntimeError } from './lambda-failures.cjs';
import type { FunctionFailure } from './protocol.cjs';
import type { Answers } from './style.cjs';

const NEVER_SETTLED_EXIT_STATUS = 13;

export function neverSettles(): FunctionFailure {
  const what = 'The Lambda runtime client detected an unexpected Node.js exit code.';
  const why = 'This is most commonly caused by a Promise that was never settled.';
  const where = 'For more information, see https://nodejs.org/docs/latest/api/process.html#exit-codes';
  return { type: 'Runtime.NodeJsExit', message: `${what} ${why} ${where}`, stack: [] };
}

/** A call under way, as far as an empty event loop or an uncaught error has to know it. */
export interface LambdaCall {
  readonly call: number;
  /** Nothing is left that could settle it. */
  eventLoopIsEmpty(): void;
  /** Calls back when no frame is half written. */
  whenIdle(callback: () => void): void;
}

export class LambdaAnswers {
  readonly #answers: Answers;
  readonly #maxResultBytes: number;

  constructor(answers: Answers, maxResultBytes: number) {
    this.#answers = answers;
    this.#maxResultBytes = maxResultBytes;
  }

  get fd(): number {
    return this.#answers.fd;
  }

  get maxResultBytes(): number {
    return this.#maxResultBytes;
  }

  isOpen(call: number): boolean {
    return this.#answers.isOpen(call);
  }

  succeed(call: number, result: unknown): void {
    let text: string | undefined;
    try {
      text = JSON.stringify(result === undefined ? null : result);
    } catch {
      this.fail(call, new Error('Unable to stringify response body'));
      return;
    }
    // A function or a symbol, in the words of the client, which needs a text.
    if (text === undefined) this.fail(call, new TypeError('Wrong arguments'));
    else this.#answers.result(text);
  }

  succeedWithBytes(bytes: Uint8Array, contentType: string | undefined): void {
    this.#answers.resultBytes(bytes, contentType);
  }

  /** The caller needs JSON, and what the handler wrote to its stream is none. */
  refuseBytes(): void {
    const message = 'Unable to marshal response: what the handler wrote is not JSON';
    const error = new RuntimeError('Runtime.MarshalError', message);
    logFailure('Invoke Error', error);
    this.#answers.failure({ type: error.name, message, stack: [] });
  }

  fail(call: number, thrown: unknown): void {
    if (!this.#answers.isOpen(call)) return;
    const failure = failureOfHandler(thrown);
    logFailure('Invoke Error', failure);
    this.#answers.failure(describeLambda(failure));
  }

  /** Nothing can settle the returned promise any more: Node would end here, and so does this process. */
  neverSettles(): void {
    this.#answers.failureThenExit(neverSettles(), NEVER_SETTLED_EXIT_STATUS);
  }

  failThenExit(thrown: unknown, status: number): never {
    this.#answers.failureThenExit(describeLambda(thrown), status);
  }

  /** The result is larger than allowed. */
  refuse(): void {
    this.#answers.failure(this.tooLarge());
  }

  tooLarge(): FunctionFailure {
    const message = `Response payload size exceeded maximum allowed payload size (${this.#maxResultBytes} bytes).`;
    return { type: 'Function.ResponseSizeTooLarge', message, stack: [], raw: true };
  }
}
