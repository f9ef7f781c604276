/** Handlers of AWS Lambda. How they are called is in `lambda-buffered.cts` and, for those that stream, `lambda-streamed.cts`. */
import path = require('node:path');
import { LambdaAnswers, neverSettles, type LambdaCall } from './lambda-answers.cjs';
import { callBuffered } from './lambda-buffered.cjs';
import { logFailure, patchConsole, rehearseLine, setRequestId } from './lambda-console.cjs';
import { factsOf, type FunctionFacts } from './lambda-context.cjs';
import { addGlobals, makeLogStreamName, setEnvironment } from './lambda-environment.cjs';
import {
  describeLambda,
  describeLambdaLoadFailure,
  failureOfHandler,
  UnhandledPromiseRejection,
} from './lambda-failures.cjs';
import { isStreaming, type ResponseStream } from './lambda-stream.cjs';
import { callStreamed } from './lambda-streamed.cjs';
import { LoadError } from './loading.cjs';
import type { FunctionFailure, InvokeHeader, LoadRequest } from './protocol.cjs';
import type { Answers, Handler, HandlerPlace, HookKind, Style } from './style.cjs';
import { exit } from './originals.cjs';

const REJECTION_EXIT_STATUS = 128;
const EXCEPTION_EXIT_STATUS = 129;

const HOOK_ERRORS = { 'before-snapshot': 'Runtime.BeforeSnapshotError', 'after-restore': 'Runtime.AfterRestoreError' };

/** A hook's failure, which nobody takes for one of the handler's. */
function ofHook({ type, message, stack }: FunctionFailure, hook: HookKind): FunctionFailure {
  return { type: HOOK_ERRORS[hook], message: `${type}: ${message}`, stack };
}

const echo: Handler = async (event) => {
  rehearseLine();
  return await event;
};

/** In two pieces: the second goes another way than the first. */
const echoAsStream: Handler = async (event, response) => {
  const text = JSON.stringify(event);
  const target = response as ResponseStream;
  target.write(text.slice(0, 1));
  await new Promise<void>((resolve) => target.end(text.slice(1), resolve));
};

export class LambdaStyle implements Style {
  readonly neverSettles = neverSettles;
  readonly rejection = (reason: unknown): unknown => new UnhandledPromiseRejection(reason);
  readonly #request: LoadRequest;
  readonly #answers: LambdaAnswers;
  #facts: FunctionFacts;
  #streams = false;
  #current: LambdaCall | undefined;
  #trace: string | undefined;

  constructor(request: LoadRequest, answers: Answers) {
    this.#request = request;
    this.#answers = new LambdaAnswers(answers, request.max_result_bytes);
    this.#facts = factsOf(request, '');
  }

  setEnvironment(request: LoadRequest): void {
    setEnvironment(request);
    addGlobals();
    patchConsole(process.env);
  }

  /** The name after the last slash is split at its first dot. */
  placeOf(handler: string | null): HandlerPlace {
    const name = handler ?? 'workload.handle';
    const type = 'Runtime.MalformedHandlerName';
    if (name.includes('..')) {
      const advice = 'Use absolute paths when specifying root directories in handler names.';
      throw new LoadError(type, `'${name}' is not a valid handler name. ${advice}`);
    }
    const baseName = path.posix.basename(name);
    const dot = baseName.indexOf('.');
    if (dot < 0) throw new LoadError(type, 'Bad handler');
    const file = path.posix.join(path.posix.dirname(name), baseName.slice(0, dot));
    return { file, exportPath: baseName.slice(dot + 1).split('.'), name };
  }

  accept(handler: Handler): void {
    this.#streams = isStreaming(handler);
  }

  get returnEvent(): Handler {
    return this.#streams ? echoAsStream : echo;
  }

  prepare(): void {
    const logStreamName = makeLogStreamName(this.#request.version);
    process.env['AWS_LAMBDA_LOG_STREAM_NAME'] = logStreamName;
    this.#facts = factsOf(this.#request, logStreamName);
    setRequestId(null);
  }

  call(handler: Handler, event: unknown, header: InvokeHeader, call: number): void {
    setRequestId(header.id ?? '');
    this.#setTrace(header.trace);
    const callInItsWay = this.#streams ? callStreamed : callBuffered;
    this.#current = callInItsWay(this.#answers, this.#facts, handler, event, header, call);
  }

  #setTrace(trace: string | undefined): void {
    if (trace === this.#trace) return;
    this.#trace = trace;
    if (trace === undefined) delete process.env['_X_AMZN_TRACE_ID'];
    else process.env['_X_AMZN_TRACE_ID'] = trace;
  }

  eventLoopIsEmpty(): void {
    this.#current?.eventLoopIsEmpty();
  }

  uncaught(thrown: unknown, isRejection: boolean): void {
    logFailure(isRejection ? 'Unhandled Promise Rejection' : 'Uncaught Exception', thrown);
    const status = this.exitStatus(isRejection);
    const current = this.#current;
    if (current === undefined) exit(status);
    // A frame that is half written has to be whole first; meanwhile the call may have been answered.
    current.whenIdle(() => {
      if (!this.#answers.isOpen(current.call)) exit(status);
      this.#answers.failThenExit(thrown, status);
    });
  }

  exitStatus(isRejection: boolean): number {
    return isRejection ? REJECTION_EXIT_STATUS : EXCEPTION_EXIT_STATUS;
  }

  describeLoadFailure(thrown: unknown): FunctionFailure {
    logFailure('Init Error', thrown);
    return describeLambdaLoadFailure(thrown);
  }

  describeHookFailure(thrown: unknown, hook: HookKind): FunctionFailure {
    const failure = failureOfHandler(thrown);
    logFailure('Hook Error', failure);
    return ofHook(describeLambda(failure), hook);
  }

  hookNeverSettles(hook: HookKind): FunctionFailure {
    return ofHook(neverSettles(), hook);
  }

  tooLarge(): FunctionFailure {
    return this.#answers.tooLarge();
  }
}
