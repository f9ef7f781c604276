/**
 * SnapFaaS's Node runtime: loads one function and answers its invocations, one at a time, for as long as the VM lives.
 *
 * Started by init (or by the `process` driver) with two inherited descriptors, both carrying frames (`channel.cts`):
 *
 * ```
 *   fd 3  function channel   host → INVOKE, REHEARSE            RESULT | FAILURE → host
 *   fd 4  control channel    init → LOAD, SEAL, START, DRAINED  HELLO, LOADED | LOAD_FAILED, SEALED, STARTED, DONE → init
 * ```
 *
 * What a function may rely on is in guest/CONTRACT.md. Node ≥ 20, built-in modules only.
 *
 * Between two invocations the process waits in a blocking read: the event loop stands still, as it does in Lambda, so
 * that an idle VM costs nothing and nothing of the function runs unaccounted.
 */
import fs = require('node:fs');
import { channelLost, Incoming, makeFrame, send, sendFrame, writeFully } from './channel.cjs';
import { describe, describeLoadFailure, failureText } from './failures.cjs';
import { drainCaches, forgetSeed, replaceMathRandom, useOpenSsl } from './generators.cjs';
import { hasAfterRestore, openRegistry, runAfterRestore, runBeforeSnapshot } from './hooks.cjs';
import { loadHandler, makeContext, type Callback, type Context, type Handler } from './loading.cjs';
import { makeOutputSynchronous } from './output.cjs';
import {
  CONTROL_FD,
  DONE,
  DRAINED,
  FAILURE,
  FUNCTION_FD,
  HELLO,
  HOOK_FAILED,
  INVOKE,
  LOAD,
  LOAD_FAILED,
  LOADED,
  LOG,
  PROTOCOL_VERSION,
  REHEARSE,
  RESULT,
  SEAL,
  SEALED,
  START,
  STARTED,
  type FunctionFailure,
  type LoadRequest,
  type SealHeader,
  type StartHeader,
} from './protocol.cjs';

/** Output is sent in pieces of this size where it goes as frames. */
const LOG_BYTES = 64 * 1024;
const REHEARSALS = 40;

const doneFrame = makeFrame(DONE, '', Buffer.alloc(0));

/** The handler of a rehearsal. */
const returnEvent: Handler = async (event) => await event;

type State = 'loading' | 'hooks' | 'idle' | 'invoked';

class Runtime {
  readonly #request: LoadRequest;
  readonly #control: Incoming;
  readonly #functionChannel = new Incoming(FUNCTION_FD);
  readonly #receiveNext = () => {
    this.#receive();
  };
  readonly #obeyNext = () => {
    this.#obey();
  };
  /** Where answers go, and what the next turn of the event loop does after one: other than this during SEAL only. */
  #answerFd = FUNCTION_FD;
  #afterAnswer = this.#receiveNext;
  #handler: Handler = returnEvent;
  #state: State = 'loading';
  /** Number of the function's invocation, for its output. */
  #invocation = 0;
  /** Counts calls of a handler, so that a promise that settles late is not taken for the current one's. */
  #call = 0;
  #isRehearsal = false;
  #drainedDue = false;

  constructor(request: LoadRequest, control: Incoming) {
    this.#request = request;
    this.#control = control;
  }

  load(): void {
    if (this.#request.output === 'frames') makeOutputSynchronous((fd, chunk) => this.#sendOutput(fd, chunk));
    process.on('beforeExit', () => {
      this.#eventLoopIsEmpty();
    });
    process.on('uncaughtException', (error) => {
      this.#uncaught(error);
    });
    loadHandler(this.#request).then(
      (handler) => {
        this.#handler = handler;
        this.#report(LOADED);
        setImmediate(this.#obeyNext);
      },
      (error: unknown) => {
        this.#loadFailed(describeLoadFailure(error));
      },
    );
  }

  /** Waits for SEAL or START and does what it says. */
  #obey(): void {
    const channel = this.#control;
    channel.next();
    if (channel.type === START) {
      const { restored } = JSON.parse(channel.header()) as StartHeader;
      if (restored) this.#startRestored();
      else this.#started();
      return;
    }
    if (channel.type !== SEAL) channelLost(`expected SEAL or START, got a frame of type ${channel.type}`);
    const { step } = JSON.parse(channel.header()) as SealHeader;
    if (step === 'hooks') {
      this.#sealHooks();
    } else {
      useOpenSsl();
      this.#sealed();
    }
  }

  #sealHooks(): void {
    this.#state = 'hooks';
    runBeforeSnapshot()
      .then(drainCaches)
      .then(
        () => this.#rehearse(REHEARSALS, () => this.#sealed()),
        (error: unknown) => this.#hookFailed(describe(error)),
      );
  }

  #sealed(): void {
    this.#report(SEALED);
    setImmediate(this.#obeyNext);
  }

  #startRestored(): void {
    forgetSeed();
    if (!hasAfterRestore()) {
      this.#report(STARTED);
      // Not in another turn of the event loop: its code would run for the first time here, on the way of the request.
      this.#receive();
      return;
    }
    this.#state = 'hooks';
    runAfterRestore().then(
      () => this.#started(),
      (error: unknown) => this.#hookFailed(describe(error)),
    );
  }

  #started(): void {
    this.#report(STARTED);
    setImmediate(this.#receiveNext);
  }

  /** Answers one of the host's messages on the control channel. */
  #report(type: number): void {
    this.#state = 'idle';
    sendFrame(CONTROL_FD, type, '');
  }

  /**
   * Runs invocations through the very code that real ones take, with a frame that did not come and an answer that goes
   * nowhere: compiled functions and inline caches are then part of the snapshot.
   */
  #rehearse(times: number, done: () => void): void {
    const frame = makeFrame(
      REHEARSE,
      '{"id":"rehearsal","deadline_ms":0}',
      Buffer.from('{"rehearsal":["",1,true,null]}'),
    );
    const answerFd = fs.openSync('/dev/null', 'w');
    let left = times;
    this.#answerFd = answerFd;
    this.#afterAnswer = () => {
      if (left-- > 0) {
        this.#functionChannel.feign(frame);
        this.#receive();
        return;
      }
      fs.closeSync(answerFd);
      this.#answerFd = FUNCTION_FD;
      this.#afterAnswer = this.#receiveNext;
      done();
    };
    this.#afterAnswer();
  }

  /** Waits for the next INVOKE and starts the handler. */
  #receive(): void {
    const channel = this.#functionChannel;
    channel.next();
    const isRehearsal = channel.type === REHEARSE;
    this.#isRehearsal = isRehearsal;
    if (!isRehearsal) {
      if (channel.type !== INVOKE) channelLost(`expected INVOKE, got a frame of type ${channel.type}`);
      if (this.#drainedDue) {
        // init has collected what the last invocation printed: this one's output starts clean.
        this.#control.next();
        if (this.#control.type !== DRAINED) channelLost(`expected DRAINED, got a frame of type ${this.#control.type}`);
      }
      this.#invocation++;
    }
    const call = ++this.#call;
    this.#state = 'invoked';
    const handler = isRehearsal ? returnEvent : this.#handler;
    const isOriginalStyle = this.#request.handler === null;
    const context = isOriginalStyle ? undefined : makeContext(this.#request, channel.header());
    let event: unknown;
    try {
      event = JSON.parse(channel.payload());
    } catch (error) {
      const message = `Unable to unmarshal input: ${describe(error).message}`;
      this.#answer(FAILURE, failureText({ type: 'Runtime.UnmarshalError', message, stack: [] }));
      return;
    }
    let returned: unknown;
    try {
      returned = context === undefined ? handler(event) : callWithContext(handler, event, context);
      if (isThenable(returned)) {
        returned.then(
          (result) => {
            if (this.#isCurrent(call)) this.#succeed(result);
          },
          (error: unknown) => {
            if (this.#isCurrent(call)) this.#fail(error);
          },
        );
        return;
      }
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#succeed(returned);
  }

  #isCurrent(call: number): boolean {
    return this.#state === 'invoked' && this.#call === call;
  }

  #succeed(result: unknown): void {
    let text: string;
    try {
      text = JSON.stringify(result) ?? 'null';
    } catch (error) {
      const { message, stack } = describe(error);
      const failure = { type: 'Runtime.MarshalError', message: `Unable to marshal response: ${message}`, stack };
      this.#answer(FAILURE, failureText(failure));
      return;
    }
    const limit = this.#request.max_result_bytes;
    if (text.length * 3 > limit) {
      const bytes = Buffer.byteLength(text);
      if (bytes > limit) {
        const message = `The result has ${bytes} bytes; at most ${limit} are allowed.`;
        this.#answer(FAILURE, failureText({ type: 'Function.ResponseSizeTooLarge', message, stack: [] }));
        return;
      }
    }
    this.#answer(RESULT, text);
  }

  #fail(thrown: unknown): void {
    this.#answer(FAILURE, failureText(describe(thrown)));
  }

  #answer(type: number, text: string): void {
    this.#state = 'idle';
    sendFrame(this.#answerFd, type, text);
    if (this.#request.output === 'pipes' && !this.#isRehearsal) {
      send(CONTROL_FD, doneFrame);
      this.#drainedDue = true;
    }
    // Not called directly: one turn of the event loop lets ticks and closed handles go that would pile up otherwise.
    setImmediate(this.#afterAnswer);
  }

  #sendOutput(fd: 1 | 2, chunk: Buffer): void {
    const header = JSON.stringify({ request: this.#invocation, stream: fd === 1 ? 'stdout' : 'stderr' });
    for (let at = 0; at < chunk.length; at += LOG_BYTES) {
      send(CONTROL_FD, makeFrame(LOG, header, chunk.subarray(at, at + LOG_BYTES)));
    }
  }

  #loadFailed(failure: FunctionFailure): void {
    sendFrame(CONTROL_FD, LOAD_FAILED, failureText(failure));
    process.exit(1);
  }

  #hookFailed(failure: FunctionFailure): void {
    sendFrame(CONTROL_FD, HOOK_FAILED, failureText(failure));
    process.exit(1);
  }

  /** Nothing is left that could settle the promise which is waited for. */
  #eventLoopIsEmpty(): void {
    const type = 'Runtime.NodeJsExit';
    const why = 'its promise is pending, and the event loop is empty: nothing can settle it any more';
    if (this.#state === 'loading') {
      this.#loadFailed({ type, message: `The import of the handler never ends: ${why}.`, stack: [] });
    } else if (this.#state === 'hooks') {
      this.#hookFailed({ type, message: `A hook never ends: ${why}.`, stack: [] });
    } else if (this.#state === 'invoked') {
      this.#answer(FAILURE, failureText({ type, message: `The handler never answers: ${why}.`, stack: [] }));
    }
  }

  /** An error that nobody caught leaves the function in an unknown state: answer, if an answer is due, and end. */
  #uncaught(thrown: unknown): void {
    const failure = describe(thrown);
    if (this.#state === 'loading') this.#loadFailed(describeLoadFailure(thrown));
    const isSealing = this.#answerFd !== FUNCTION_FD;
    if (this.#state === 'hooks' || isSealing) this.#hookFailed(failure);
    if (this.#state === 'invoked') {
      this.#state = 'idle';
      sendFrame(FUNCTION_FD, FAILURE, failureText(failure));
    } else {
      const lines = [`${failure.type}: ${failure.message}`, ...failure.stack, ''];
      writeFully(2, Buffer.from(`snapfaas: uncaught between two invocations: ${lines.join('\n    ')}`));
    }
    process.exit(1);
  }
}

function callWithContext(handler: Handler, event: unknown, context: Context): unknown {
  if (handler.length < 3) return handler(event, context);
  // Node's older convention: handler(event, context, callback). The first to settle counts.
  return new Promise((resolve, reject) => {
    const callback: Callback = (error, result) => {
      if (error === null || error === undefined) resolve(result);
      else reject(error);
    };
    const returned = handler(event, context, callback);
    if (isThenable(returned)) returned.then(resolve, reject);
  });
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    value !== null &&
    (typeof value === 'object' || typeof value === 'function') &&
    typeof (value as { then?: unknown }).then === 'function'
  );
}

function main(): void {
  replaceMathRandom();
  openRegistry();
  // A function may close its own output: the error is dropped.
  makeOutputSynchronous((fd, chunk) => void writeFully(fd, chunk));
  const hello = JSON.stringify({ protocol: PROTOCOL_VERSION, runtime: 'nodejs', version: process.versions.node });
  send(CONTROL_FD, makeFrame(HELLO, hello, Buffer.alloc(0)));

  const control = new Incoming(CONTROL_FD);
  control.next();
  if (control.type !== LOAD) channelLost(`expected LOAD, got a frame of type ${control.type}`);
  new Runtime(JSON.parse(control.payload()) as LoadRequest, control).load();
}

main();
