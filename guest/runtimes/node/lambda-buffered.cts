/**
 * Calls of `(event, context)` handlers that return a promise, and of `(event, context, callback)`. What completes an
 * invocation, and with what, is as in Lambda's own client for Node up to version 22, which knows callbacks:
 *
 * ```
 *   the promise settles, context.succeed, fail, done     answered at once
 *   callback(error), a thrown error                      answered at once
 *   callback(null, result)                               answered when the event loop is empty, or at once if
 *                                                        context.callbackWaitsForEmptyEventLoop is false
 *   thrown null or undefined                             as callback(null)
 *   nothing of that, and the event loop is empty         null; a failure if a promise was returned
 * ```
 *
 * The first counts. A value that is no promise is ignored when it is returned.
 */
import type { LambdaAnswers, LambdaCall } from './lambda-answers.cjs';
import { addContext, type Completion, type FunctionFacts } from './lambda-context.cjs';
import type { InvokeHeader } from './protocol.cjs';
import { isThenable, type Handler } from './style.cjs';

export function callBuffered(
  answers: LambdaAnswers,
  facts: FunctionFacts,
  handler: Handler,
  event: unknown,
  header: InvokeHeader,
  call: number,
): LambdaCall {
  let isComplete = false;
  let waits = true;
  let returnedPromise = false;
  let result: unknown = null;
  let hasResult = false;

  const isFirst = (): boolean => {
    const wasComplete = isComplete;
    isComplete = true;
    return !wasComplete && answers.isOpen(call);
  };
  const fail = (error?: unknown): void => {
    if (isFirst()) answers.fail(call, error);
  };
  const done = (error?: unknown, given?: unknown): void => {
    if (error !== undefined && error !== null) fail(error);
    else if (isFirst()) answers.succeed(call, given);
  };
  const succeed = (given?: unknown): void => {
    done(null, given);
  };
  const callback = (error?: unknown, given?: unknown): void => {
    if (!waits || (error !== undefined && error !== null)) {
      done(error, given);
    } else if (isFirst()) {
      result = given;
      hasResult = true;
    }
  };
  const completion: Completion = {
    get callbackWaitsForEmptyEventLoop() {
      return waits;
    },
    set callbackWaitsForEmptyEventLoop(value) {
      waits = value;
    },
    succeed,
    fail,
    done,
  };
  try {
    const returned = handler(event, addContext(completion, facts, header), callback);
    if (isThenable(returned)) {
      returnedPromise = true;
      returned.then(succeed, fail);
    }
  } catch (error) {
    // So does Lambda's client: what is thrown as null or undefined is no error.
    callback(error);
  }
  return {
    call,
    eventLoopIsEmpty() {
      if (returnedPromise && !hasResult) answers.neverSettles();
      else answers.succeed(call, result);
    },
    whenIdle(then) {
      then();
    },
  };
}
