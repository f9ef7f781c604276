/**
 * How a handler is called, and what becomes of what it does. There are two styles: `original-style.cts` for
 * `handle(request)`, and `lambda-style.cts` for handlers of AWS Lambda. A function has one of them, said in LOAD.
 */
import type { FunctionFailure, InvokeHeader, LoadRequest } from './protocol.cjs';

/** Parameters are those of its style. */
export type Handler = (...args: readonly unknown[]) => unknown;

/** A handler's module, from the root and without extension, and the names that lead to it within the module's exports. */
export interface HandlerPlace {
  readonly file: string;
  readonly exportPath: readonly string[];
  /** The handler as errors name it. */
  readonly name: string;
}

/** Where a style sends answers. Of each invocation the first counts; `call` tells which one is meant. */
export interface Answers {
  /** False as soon as the call has its answer: what settles late changes nothing. */
  isOpen(call: number): boolean;
  /** `text` as it is to leave; over the limit it becomes a failure. */
  result(text: string): void;
  /** `bytes` as they are to leave. The content type is told only if there is one. */
  resultBytes(bytes: Uint8Array, contentType: string | undefined): void;
  failure(failure: FunctionFailure): void;
  /** The answer of an invocation after which the process is of no more use. */
  failureThenExit(failure: FunctionFailure, status: number): never;
  /** Where CHUNKs go: not to the host during a rehearsal for a snapshot. */
  readonly fd: number;
}

export type HookKind = 'before-snapshot' | 'after-restore';

export interface Style {
  /** Sets what the function's modules are to find when they are imported. */
  setEnvironment(request: LoadRequest): void;
  /** @throws LoadError if no handler can have this name. */
  placeOf(name: string | null): HandlerPlace;
  /** Looks at the handler that was found. @throws whatever makes it of no use. */
  accept(handler: Handler): void;
  /** Starts the handler; the answer may come at once or later. */
  call(handler: Handler, event: unknown, header: InvokeHeader, call: number): void;
  /** A handler that returns its event, for rehearsals. */
  readonly returnEvent: Handler;
  /** This VM is about to be used. Called during a rehearsal as well, so that it runs warm. */
  prepare(): void;
  /** Nothing is left that could settle the call, which is open. */
  eventLoopIsEmpty(): void;
  /** Nobody caught an error while a call was open: answers and ends the process. */
  uncaught(thrown: unknown, isRejection: boolean): void;
  /**
   * Makes an error of what a promise was rejected with if nobody handles it, which then ends the process whatever the
   * function does about it. Null: Node does it, and the function may have a listener instead.
   */
  readonly rejection: ((reason: unknown) => unknown) | null;
  /** The failure of what waits for a promise, such as the import, while nothing is left that could settle it. */
  neverSettles(what: string): FunctionFailure;
  tooLarge(bytes: number, limit: number): FunctionFailure;
  describeHookFailure(thrown: unknown, hook: HookKind): FunctionFailure;
  hookNeverSettles(hook: HookKind): FunctionFailure;
  describeLoadFailure(thrown: unknown): FunctionFailure;
  /** Of the process, after an error that nobody caught. */
  exitStatus(isRejection: boolean): number;
}

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    value !== null &&
    (typeof value === 'object' || typeof value === 'function') &&
    typeof (value as { then?: unknown }).then === 'function'
  );
}
