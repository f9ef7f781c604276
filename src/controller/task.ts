/** Runs in snapctr. A task is one accepted request together with the way back to whoever asked. */
import { randomUUID } from 'node:crypto';
import type { SnapfaasError } from '../protocol/errors.ts';
import type { StreamSink } from '../protocol/function-channel.ts';
import { AFTER_RESTORE_ERROR, RESTORE_TIMED_OUT, type InvokeHeader } from '../protocol/guest.ts';
import { FunctionError } from '../protocol/invoker.ts';
import type { FunctionVersion } from '../registry/function-version.ts';
import type { InvocationReport } from './invocation-log.ts';

/** How the VM that answered came to be: booted or restored, and unused so far; or idle since an earlier request. */
export type StartKind = 'cold' | 'restored' | 'warm';

/**
 * What becomes of a task. `start` is null if no VM was ever found for it: then the handler has certainly not run.
 * `contentType` null or absent: JSON. `report`: only if the invocation wanted one and had a VM. `version`: what it was run on,
 * or launched for; absent if there was no VM for it.
 */
export type Outcome = (
  | { readonly status: 'ok'; readonly result: Buffer; readonly contentType?: string | null; readonly start: StartKind }
  | { readonly status: 'error'; readonly error: SnapfaasError; readonly start: StartKind | null }
) & { readonly report?: InvocationReport; readonly version?: FunctionVersion };

/**
 * How the VM came to be, for the caller to see: also of one whose import failed, or its hooks after a restore. Null: there was
 * none.
 */
export function shownStart(outcome: Outcome): StartKind | null {
  if (outcome.start !== null || !(outcome.error instanceof FunctionError)) return outcome.start;
  const { type } = outcome.error.failure;
  return type === AFTER_RESTORE_ERROR || type === RESTORE_TIMED_OUT ? 'restored' : 'cold';
}

/** What a function is to be called with. */
export interface Invocation {
  readonly function: string;
  /** A number, an alias or `$LATEST`; null or absent: `$LATEST`. */
  readonly qualifier?: string | null;
  /** The event: JSON in UTF-8, which reaches the function byte for byte. */
  readonly payload: Buffer;
  /** Absent for requests of our own interface: their results must be JSON, and come in one piece. */
  readonly lambda?: LambdaInvocation;
}

/** What the API of AWS Lambda can ask for on top. */
export interface LambdaInvocation {
  readonly header: Pick<InvokeHeader, 'arn' | 'client_context' | 'tenant_id' | 'http' | 'trace'>;
  /** Where the parts of a streamed answer go; null: all is in the result. */
  readonly sink: StreamSink | null;
  /** The outcome is to have a report. */
  readonly wantsReport: boolean;
}

/** The trace that a task is in. */
export interface TaskTrace {
  /** In hexadecimal; null: it is not recorded. */
  readonly traceId: string | null;
  /** For the function, as `X-Amzn-Trace-Id` has it. */
  readonly header: string;
}

export interface Task {
  /** Unique for ever; the client sees it and the function's context carries it. */
  readonly id: string;
  readonly request: Invocation;
  /** Aborted when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
  /** Of an invocation of type Event, which try it is, from 1; absent: it is none. */
  readonly eventTry?: number;
  /** The trace that its caller is in, as `X-Amzn-Trace-Id` has it; absent or null: it told none. */
  readonly callerTrace?: string | null;
  /** Set when it is submitted, if traces are made. */
  trace?: TaskTrace;
  /** The response channel. Called exactly once for every task that was submitted, also after an abort. */
  readonly reply: (outcome: Outcome) => void;
}

export function newTaskId(): string {
  return randomUUID();
}
