/**
 * Runs an invocation over a function channel and turns every way it can end into a result or an error of the table.
 * Used by snapctr for each VM and by a standalone firerunner for its one.
 */
import { isUtf8 } from 'node:buffer';
import { SnapfaasError } from './errors.ts';
import { FunctionChannelError, type FunctionChannel, type StreamSink } from './function-channel.ts';
import {
  EXIT_ERROR,
  RESULT_TOO_LARGE,
  type FunctionFailure,
  type InvokeHeader,
  type RuntimeExitHeader,
} from './guest.ts';
import { isJsonText } from './json-scan.ts';

/** When a channel closes, firerunner usually knows why; its word is waited for this long, in ms. */
const REASON_PATIENCE_MS = 500;
/** A guest with several invocations under way answers one that was called off within this, in ms; else it is not to be trusted with more. */
const CANCEL_PATIENCE_MS = 2000;
/** The end of a runtime and its last answer come on different ways; the answer is waited for this long, in ms. */
const LAST_ANSWER_MS = 50;

/** How one invocation differs from a plain one, whose result must be JSON. */
export interface InvokeOptions {
  /** Further members of the header; without `strict` the result may be any bytes. */
  readonly header: Omit<InvokeHeader, 'id' | 'deadline_ms' | 'stream'>;
  /** Where the parts of a streamed answer go; null: all is in the result. */
  readonly sink: StreamSink | null;
}

const STREAM = { stream: true } as const;
const PLAIN: InvokeOptions = { header: { strict: true }, sink: null };

export interface InvokeResult {
  readonly result: Buffer;
  /** Null: JSON. */
  readonly contentType: string | null;
}

/** A function's own failure: as every error of the table, and in the function's own words. */
export class FunctionError extends SnapfaasError {
  readonly failure: FunctionFailure;
  /** Of an import or a hook that failed, the end of what it printed; null: an invocation failed. */
  readonly printed: string | null;

  constructor(failure: FunctionFailure, printed: string | null = null) {
    super('function_error', failure.message, { details: { type: failure.type, stack: failure.stack } });
    this.failure = failure;
    this.printed = printed;
  }
}

/**
 * A VM that has answered before was lost before the invocation was begun, so that nothing of it has run: another VM can do it. One that
 * is lost at its first invocation fails it: a function that always does that must not be launched for ever.
 */
export class NotBegunError extends SnapfaasError {
  constructor(functionName: string) {
    super('vm_lost', `the VM of ${functionName} was lost: it ended before the request was begun`);
  }
}

/** An invocation under way. */
interface Flight {
  readonly id: string;
  /** From 1, in the order in which they were sent. */
  readonly number: number;
  /** Ends it with an error. */
  fail: (error: SnapfaasError) => void;
}

export class Invoker {
  readonly #functionName: string;
  readonly #timeoutMs: number;
  readonly #channel: FunctionChannel;
  #reusable = true;
  /** Invocations, with those under way. */
  #sent = 0;
  #exiting = false;
  /** The runtime has ended, in this way. */
  #ended: { readonly reason: string; readonly exit: RuntimeExitHeader } | null = null;
  readonly #flights = new Set<Flight>();

  /** @param timeoutMs for each invocation. */
  constructor(channel: FunctionChannel, functionName: string, timeoutMs: number) {
    this.#channel = channel;
    this.#functionName = functionName;
    this.#timeoutMs = timeoutMs;
  }

  /** False once an invocation ended by more than the function's own failure: what the guest does now is unknown. */
  get isReusable(): boolean {
    return this.#reusable && this.#channel.broken === null;
  }

  /** True once it is known that the runtime ends by itself. */
  get isExiting(): boolean {
    return this.#exiting || this.#channel.broken?.unread === true;
  }

  /**
   * One invocation; there may be as many at once as the channel has slots.
   *
   * One that runs over its time, or is given up, ends the use of the VM. Where there are several, the others still get their answers, and
   * the guest is told of one that is given up: then the VM stays in use, if it answers.
   *
   * @param event the JSON bytes that reach the runtime unchanged.
   * @returns the result, as the runtime wrote it.
   * @throws NotBegunError; SnapfaasError `function_error`, `response_too_large`, `function_timeout`, `vm_lost`, or the
   * signal's reason.
   */
  invoke(id: string, event: Buffer, signal: AbortSignal, options: InvokeOptions = PLAIN): Promise<InvokeResult> {
    const { header, sink } = options;
    return new Promise((resolve, reject) => {
      let isCalledOff = false;
      const finish = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        this.#flights.delete(flight);
      };
      const fail = (error: SnapfaasError): void => {
        if (!this.#flights.has(flight)) return;
        this.#reusable = false;
        finish();
        reject(isCalledOff ? abortError(signal) : error);
      };
      const onAbort = (): void => {
        if (!this.#channel.isShared || flight.number === 0) return fail(abortError(signal));
        isCalledOff = true;
        clearTimeout(timer);
        timer = setTimeout(() => fail(abortError(signal)), CANCEL_PATIENCE_MS);
        this.#channel.cancel(id);
      };
      const onTimeout = (): void => {
        this.#channel.cancel(id);
        fail(this.#timeoutError());
      };
      let timer = setTimeout(onTimeout, this.#timeoutMs);
      const flight: Flight = { id, number: signal.aborted ? 0 : this.#sent + 1, fail };
      this.#flights.add(flight);
      signal.addEventListener('abort', onAbort, { once: true });
      if (signal.aborted) return onAbort();
      this.#sent += 1;
      if (!this.isReusable)
        return fail(this.#notBegun(flight) ?? vmLost(this.#functionName, 'it ended before the request'));
      const deadline = Date.now() + this.#timeoutMs;
      this.#channel.invoke({ id, deadline_ms: deadline, ...header, ...(sink && STREAM) }, event, sink).then(
        (reply) => {
          if (!this.#flights.has(flight)) return;
          if (reply.ok && header.strict === true && !isJson(reply.result) && !isCalledOff) {
            return fail(vmLost(this.#functionName, 'its runtime answered with something that is not JSON'));
          }
          if (!reply.ok && reply.isExiting) {
            this.#reusable = false;
            this.#exiting = true;
          }
          finish();
          if (isCalledOff) reject(abortError(signal));
          else if (reply.ok) resolve(reply);
          else reject(functionError(reply.failure));
        },
        (cause: unknown) => {
          if (!(cause instanceof FunctionChannelError)) return fail(SnapfaasError.from(cause));
          const notBegun = cause.unread ? this.#notBegun(flight) : null;
          if (notBegun !== null) return fail(notBegun);
          if (cause.tooLarge) return fail(new SnapfaasError('response_too_large', 'the result is over 6 MiB'));
          if (!cause.closed) return fail(vmLost(this.#functionName, cause.message));
          if (this.#ended !== null) return fail(this.#endOf(flight, this.#ended));
          const patience = setTimeout(() => fail(vmLost(this.#functionName, cause.message)), REASON_PATIENCE_MS);
          flight.fail = (reason) => {
            clearTimeout(patience);
            fail(reason);
          };
        },
      );
    });
  }

  /** Ends the invocations under way with an error. False if there is none. */
  interrupt(error: SnapfaasError): boolean {
    if (this.#flights.size === 0) return false;
    // Whatever follows from the end of the runtime is not its reason, and must not overtake its answers.
    if (this.#ended === null) for (const flight of [...this.#flights]) flight.fail(error);
    return true;
  }

  /**
   * The runtime has ended: an invocation under way gets its answer if there is one, else an error that says how, or that it was not
   * begun. False if none is under way.
   */
  runtimeEnded(reason: string, exit: RuntimeExitHeader): boolean {
    this.#reusable = false;
    if (this.#flights.size === 0) return false;
    const ended = { reason, exit };
    const errors = new Map([...this.#flights].map((flight) => [flight, this.#endOf(flight, ended)]));
    this.#ended = ended;
    setTimeout(() => {
      for (const [flight, error] of errors) flight.fail(error);
    }, LAST_ANSWER_MS);
    return true;
  }

  #endOf(flight: Flight, { reason, exit }: { reason: string; exit: RuntimeExitHeader }): SnapfaasError {
    const { begun = this.#sent } = exit;
    const isBegun = begun >= flight.number || this.#channel.hasBegunAnswer(flight.id);
    return (isBegun ? null : this.#notBegun(flight)) ?? runtimeExited(reason, exit);
  }

  /** Null for the first invocation. */
  #notBegun({ number }: Flight): SnapfaasError | null {
    return number > 1 ? new NotBegunError(this.#functionName) : null;
  }

  #timeoutError(): SnapfaasError {
    return new SnapfaasError(
      'function_timeout',
      `${this.#functionName} ran for longer than its timeout of ${this.#timeoutMs / 1000} s; its VM ` +
        (this.#channel.isShared ? 'gets no further requests' : 'was killed'),
    );
  }
}

export function vmLost(functionName: string, reason: string): SnapfaasError {
  return new SnapfaasError('vm_lost', `the VM of ${functionName} was lost: ${reason}`);
}

/** The runtime ended inside its VM while the function ran: the function's doing, by exit, crash or lack of memory. */
function runtimeExited(reason: string, exit: RuntimeExitHeader): SnapfaasError {
  return new FunctionError({ type: EXIT_ERROR, message: `${reason} before it answered`, stack: [], exit });
}

/** A function's own failure as clients see it. */
export function functionError(failure: FunctionFailure): SnapfaasError {
  if (failure.type === RESULT_TOO_LARGE) return new SnapfaasError('response_too_large', failure.message);
  return new FunctionError(failure);
}

/** A request given up because its client is gone, or because the program ends; the signal's reason tells. */
export function abortError(signal: AbortSignal): SnapfaasError {
  return signal.reason instanceof SnapfaasError
    ? signal.reason
    : new SnapfaasError('internal', 'the client is gone', { cause: signal.reason });
}

/** The guest is not trusted to send JSON, and clients are promised nothing else. */
function isJson(bytes: Buffer): boolean {
  return isUtf8(bytes) && isJsonText(bytes);
}
