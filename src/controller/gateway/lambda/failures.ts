/**
 * Runs in snapctr. What a function did wrong, as the payload that its caller gets from AWS Lambda: in the words of the
 * language's runtime where that spoke, and of the platform where it could not.
 */
import { FunctionError } from '../../../protocol/invoker.ts';
import {
  AFTER_RESTORE_ERROR,
  EXIT_ERROR,
  INVALID_ENTRYPOINT,
  MAX_LAMBDA_RESULT_BYTES,
  RESTORE_TIMED_OUT,
  RESULT_TOO_LARGE,
  TIMED_OUT,
  type FunctionFailure,
} from '../../../protocol/guest.ts';
import { RUNTIMES, UNKNOWN_RUNTIME } from '../../../protocol/runtimes.ts';
import type { FunctionVersion } from '../../../registry/function-version.ts';
import type { Outcome } from '../../task.ts';

export type FailedOutcome = Extract<Outcome, { status: 'error' }>;

/** From Linux' signal(7), as AWS spells them. */
const SIGNAL_NAMES: Readonly<Record<number, string>> = {
  4: 'illegal instruction',
  6: 'aborted',
  7: 'bus error',
  8: 'floating point exception',
  9: 'killed',
  11: 'segmentation fault',
  15: 'terminated',
};

/**
 * Whether the handler may have run, or the function's own import failed: then the answer is the function's error, and
 * never one that makes a client send the request again. Hooks after the restore have errors of the API to themselves.
 */
export function isFunctionsDoing({ error, start }: FailedOutcome): boolean {
  if (start !== null) return true;
  if (!(error instanceof FunctionError)) return false;
  const { type } = error.failure;
  return type !== AFTER_RESTORE_ERROR && type !== RESTORE_TIMED_OUT;
}

/** The payload, a JSON object with `errorType` and `errorMessage`. */
export function failurePayload({ error, start }: FailedOutcome, fn: FunctionVersion, requestId: string): string {
  const ofPlatform = (errorType: string, message: string): string =>
    JSON.stringify({ errorType, errorMessage: `RequestId: ${requestId} Error: ${message}` });
  if (error instanceof FunctionError) {
    const { failure } = error;
    if (failure.type === EXIT_ERROR) return ofPlatform(EXIT_ERROR, exitMessage(failure));
    if (failure.type === INVALID_ENTRYPOINT) return ofPlatform(INVALID_ENTRYPOINT, failure.message);
    if (failure.posted !== undefined) return failure.posted;
    if (failure.type === TIMED_OUT && start === null) return ofPlatform(TIMED_OUT, failure.message);
    return runtimePayload(failure, fn, start === null ? '' : requestId);
  }
  switch (error.code) {
    case 'function_timeout':
      return ofPlatform(TIMED_OUT, timeoutMessage(fn));
    case 'response_too_large': {
      const errorMessage = `Response payload size exceeded maximum allowed payload size (${MAX_LAMBDA_RESULT_BYTES} bytes).`;
      return JSON.stringify({ errorMessage, errorType: RESULT_TOO_LARGE });
    }
    case 'vm_lost':
      return ofPlatform(EXIT_ERROR, exitMessage(null));
    default:
      return ofPlatform('Sandbox.Failure', error.message);
  }
}

export function timeoutMessage({ timeoutMs }: FunctionVersion): string {
  return `Task timed out after ${(timeoutMs / 1000).toFixed(2)} seconds`;
}

/** @param requestId empty where the import failed: then there was no request yet. */
function runtimePayload(failure: FunctionFailure, fn: FunctionVersion, requestId: string): string {
  const { failurePayload: payload } = fn.runtime === null ? UNKNOWN_RUNTIME : RUNTIMES[fn.runtime];
  return JSON.stringify(payload(failure, requestId));
}

function exitMessage(failure: FunctionFailure | null): string {
  const { status, signal } = failure?.exit ?? {};
  if (signal !== undefined) {
    return `Runtime exited with error: signal: ${SIGNAL_NAMES[signal] ?? `signal ${signal}`}`;
  }
  if (status === undefined || status === 0) return 'Runtime exited without providing a reason';
  return `Runtime exited with error: exit status ${status}`;
}
