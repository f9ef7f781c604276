/**
 * Invocations, one at a time, from INVOKE on the function channel to RESULT or FAILURE. The path of a warm one is
 * `receive`, `#begin`, the style's `call`, `result`, `#answered`: one read, one call, one or two writes.
 */
import { channelLost, Incoming, makeFrame, send, sendFrame, writeFully } from './channel.cjs';
import { describe, failureText } from './failures.cjs';
import { collectGarbage, LARGE_BYTES } from './garbage.cjs';
import type { IdleEvents } from './idle-events.cjs';
import {
  CONTROL_FD,
  DONE,
  DRAINED,
  ENDING,
  FAILURE,
  FUNCTION_FD,
  INVOKE,
  REHEARSE,
  RESULT,
  type FunctionFailure,
  type InvokeHeader,
  type LoadRequest,
} from './protocol.cjs';
import type { Stage } from './stage.cjs';
import type { Answers, Handler, Style } from './style.cjs';
import { exit, inNextTurn, parseJson, toJson, writeSync } from './originals.cjs';

const NOTHING = Buffer.alloc(0);
const doneFrame = makeFrame(DONE, '', NOTHING);

export class Invocations implements Answers, Stage {
  readonly #channel = new Incoming(FUNCTION_FD);
  readonly #control: Incoming;
  readonly #idleEvents: IdleEvents;
  readonly #maxResultBytes: number;
  readonly #tellsDone: boolean;
  readonly #receiveNext = () => {
    this.receive();
  };
  readonly #beginNext = () => {
    this.#begin();
  };
  /** Where answers go, and what the next turn of the event loop does after one: other than this for `rehearse` only. */
  #fd = FUNCTION_FD;
  #afterAnswer = this.#receiveNext;
  #style: Style | undefined;
  #handler: Handler | undefined;
  /** Number of the function's invocation, for its output. */
  number = 0;
  /** Counts calls of a handler, so that a promise that settles late is not taken for the current one's. */
  #call = 0;
  #isOpen = false;
  /** INVOKE was read, and its handler is not begun yet. */
  #isSettling = false;
  #isRehearsal = false;
  #wantsLogEnd = false;
  #drainedDue = false;
  /** The event or the result of the invocation was large. */
  #isLarge = false;
  readonly #tidyUp = () => {
    this.#isLarge = false;
    collectGarbage();
    this.#afterAnswer();
  };

  constructor(request: LoadRequest, control: Incoming, idleEvents: IdleEvents) {
    this.#control = control;
    this.#idleEvents = idleEvents;
    this.#maxResultBytes = request.max_result_bytes;
    this.#tellsDone = request.output === 'pipes';
  }

  /** Must be called before the first invocation or rehearsal. */
  serve(style: Style, handler: Handler): void {
    this.#style = style;
    this.#handler = handler;
  }

  get fd(): number {
    return this.#fd;
  }

  isOpen(call: number): boolean {
    return this.#isOpen && this.#call === call;
  }

  /** Waits for the next INVOKE and starts the handler, after whatever happened meanwhile. */
  receive(): void {
    const channel = this.#channel;
    channel.next();
    const isRehearsal = channel.type === REHEARSE;
    this.#isRehearsal = isRehearsal;
    if (!isRehearsal) {
      if (channel.type !== INVOKE) channelLost(`expected INVOKE, got a frame of type ${channel.type}`);
      this.number++;
      this.#isSettling = true;
    }
    if (this.#idleEvents.arePossible()) this.#idleEvents.settle(this.#beginNext);
    else this.#begin();
  }

  /** Starts the handler for the frame that was received. */
  #begin(): void {
    const channel = this.#channel;
    const isRehearsal = this.#isRehearsal;
    if (!isRehearsal) this.#startOutput();
    this.#isSettling = false;
    this.#isLarge = channel.frameEnd - channel.payloadStart > LARGE_BYTES;
    const call = ++this.#call;
    this.#isOpen = true;
    const style = this.#style;
    const handler = isRehearsal ? style?.returnEvent : this.#handler;
    if (style === undefined || handler === undefined) throw new Error('an invocation came before the function');
    const headerText = channel.header();
    const header = (headerText === '' ? {} : parseJson(headerText)) as InvokeHeader;
    this.#wantsLogEnd = header.log_end === true;
    let event: unknown;
    try {
      event = JSON.parse(channel.payload());
    } catch (error) {
      const message = `Unable to unmarshal input: ${describe(error).message}`;
      this.failure({ type: 'Runtime.UnmarshalError', message, stack: [] });
      return;
    }
    style.call(handler, event, header, call);
  }

  /**
   * init has collected what the last invocation printed: this one's output starts clean. By this frame init also knows that the
   * invocation is begun.
   */
  #startOutput(): void {
    if (!this.#drainedDue) return;
    this.#control.next();
    if (this.#control.type !== DRAINED) channelLost(`expected DRAINED, got a frame of type ${this.#control.type}`);
  }

  /**
   * Runs invocations through the very code that real ones take, with a frame that did not come and an answer that goes to
   * `fd`: compiled functions and inline caches are then part of a snapshot.
   */
  rehearse(times: number, fd: number, frame: Buffer, done: () => void): void {
    let left = times;
    this.#fd = fd;
    this.#afterAnswer = () => {
      if (left-- > 0) {
        this.#channel.feign(frame);
        this.receive();
        return;
      }
      this.#fd = FUNCTION_FD;
      this.#afterAnswer = this.#receiveNext;
      done();
    };
    this.#afterAnswer();
  }

  result(text: string): void {
    const limit = this.#maxResultBytes;
    if (text.length > LARGE_BYTES) this.#isLarge = true;
    if (text.length * 3 > limit) {
      const bytes = Buffer.byteLength(text);
      if (bytes > limit) return this.#refuse(bytes);
    }
    this.#isOpen = false;
    sendFrame(this.#fd, RESULT, text);
    this.#answered();
  }

  resultBytes(bytes: Uint8Array, contentType: string | undefined): void {
    if (bytes.length > this.#maxResultBytes) return this.#refuse(bytes.length);
    this.#isOpen = false;
    const header = contentType === undefined ? '' : toJson({ content_type: contentType });
    send(this.#fd, makeFrame(RESULT, header, bytes));
    this.#answered();
  }

  #refuse(bytes: number): void {
    if (this.#style !== undefined) this.failure(this.#style.tooLarge(bytes, this.#maxResultBytes));
  }

  failure(failure: FunctionFailure): void {
    this.#isOpen = false;
    sendFrame(this.#fd, FAILURE, failureText(failure));
    this.#answered();
  }

  failureThenExit(failure: FunctionFailure, status: number): never {
    this.#isOpen = false;
    send(this.#fd, makeFrame(FAILURE, '{"exiting":true}', Buffer.from(failureText(failure))));
    if (!this.#isRehearsal) this.#tellDone();
    exit(status);
  }

  #answered(): void {
    if (!this.#isRehearsal) this.#tellDone();
    // Not called directly: one turn of the event loop lets ticks and closed handles go that would pile up otherwise.
    inNextTurn(this.#isLarge ? this.#tidyUp : this.#afterAnswer);
  }

  /** All that the invocation printed is written. */
  #tellDone(): void {
    if (this.#wantsLogEnd) {
      send(CONTROL_FD, makeFrame(DONE, `{"log_end":true,"request":${this.number}}`, NOTHING));
    } else if (this.#tellsDone) {
      send(CONTROL_FD, doneFrame);
    }
    this.#drainedDue = this.#tellsDone;
  }

  eventLoopIsEmpty(): void {
    if (this.#isOpen) this.#style?.eventLoopIsEmpty();
  }

  /**
   * The process exits. What an invocation has left behind may end it after the answer, while the host has sent the next INVOKE
   * already, or while that one waits for the events of the idle time: where there is no init that knows, it would count as begun.
   */
  exiting(): void {
    if (this.#tellsDone) return;
    const begun = this.#isSettling ? this.number - 1 : this.number;
    try {
      writeSync(CONTROL_FD, makeFrame(ENDING, `{"begun":${begun}}`, NOTHING));
    } catch {
      // The function has closed it, or nobody listens any more.
    }
  }

  /** An error that nobody caught leaves the function in an unknown state: answer, if an answer is due, and end. */
  uncaught(thrown: unknown, isRejection: boolean): void {
    if (this.#isOpen) {
      this.#style?.uncaught(thrown, isRejection);
      return;
    }
    const { type, message, stack } = describe(thrown);
    const lines = [`${type}: ${message}`, ...stack, ''];
    writeFully(2, Buffer.from(`snapfaas: uncaught between two invocations: ${lines.join('\n    ')}`));
    exit(this.#style?.exitStatus(isRejection) ?? 1);
  }
}
