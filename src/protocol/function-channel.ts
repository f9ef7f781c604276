/**
 * The host's end of a function channel: sends INVOKE, waits for RESULT or FAILURE. Used by snapctr for every request
 * and by a standalone firerunner.
 *
 * Most guests have one invocation under way. Where they may have several, each has a slot, by which its frames are told from those
 * of the others:
 *
 * ```
 *   INVOKE 0 ▶ · INVOKE 1 ▶ · ◀ CHUNK 1 · ◀ RESULT 0 · INVOKE 0 ▶ · TAKEN 1 ▶ · ◀ CHUNK 1 · CANCEL 1 ▶ · ◀ FAILURE 1 · …
 * ```
 *
 * Such a channel is always read, for its other answers: what a client takes in of a streamed one is told to the guest instead, which
 * sends no more than a window ahead of that.
 */
import { connect, type Socket } from 'node:net';
import { withLimit } from './abort.ts';
import { messageOf } from './errors.ts';
import { encodeFrame, encodeFrameHead, FrameError, FrameReader, type Frame } from './frame.ts';
import {
  FrameType,
  MAX_FRAME_BYTES,
  parseFailure,
  STREAM_WINDOW_BYTES,
  type FunctionFailure,
  type InvokeHeader,
  type SlotHeader,
  type TakenHeader,
} from './guest.ts';
import type { GuestAddress } from './runner.ts';
import { dialVsock } from './vsock.ts';

/** How long a guest may take to accept the connection to its vsock port, in ms: it listens by then. */
const VSOCK_DIAL_LIMIT_MS = 10_000;

export type InvokeReply =
  | { readonly ok: true; readonly result: Buffer; readonly contentType: string | null }
  | { readonly ok: false; readonly failure: FunctionFailure; readonly isExiting: boolean };

/** Takes the parts of a streamed answer, in order. */
export interface StreamSink {
  /**
   * @param contentType of the whole, told with the first part; null or absent: the function has not said, or said it before.
   * @returns false if it is full: then the guest has to wait, until `onDrain` is called. Where several invocations are under way, some
   * more parts may come all the same, a window of them at most.
   */
  write(part: Buffer, contentType?: string | null): boolean;
  /** Set by the channel, called by the sink when there is room again. */
  onDrain: () => void;
}

/** The channel is of no more use: it was closed, or the guest broke the protocol. */
export class FunctionChannelError extends Error {
  override readonly name = 'FunctionChannelError';
  /** The guest announced a result over the limit. */
  readonly tooLarge: boolean;
  /** The connection ended, for a reason that is not known here; otherwise the guest broke the protocol. */
  readonly closed: boolean;
  /** The guest's end was closed before it had read all that was sent: the request under way cannot have been begun. */
  readonly unread: boolean;

  constructor(
    message: string,
    options: { tooLarge?: boolean; closed?: boolean; unread?: boolean; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.tooLarge = options.tooLarge ?? false;
    this.closed = options.closed ?? false;
    this.unread = options.unread ?? false;
  }
}

/**
 * All channels receive into this one buffer, and copy what they keep: without it every answer of a few bytes would take part
 * of a 64 KiB allocation, and pass through a stream's queue.
 */
const RECEIVE_BUFFER = Buffer.allocUnsafeSlow(64 * 1024);

/** Events from this size on are sent as they are, not copied behind their header. */
const LARGE_EVENT_BYTES = 256 * 1024;

/** So much is taken in before it is told, in bytes: a frame for each part would be more than they are worth. */
const TELL_BYTES = STREAM_WINDOW_BYTES / 4;
/** What a guest may have sent ahead that keeps to its window; see `STREAM_WINDOW_BYTES`. */
const MOST_AHEAD_BYTES = 2 * STREAM_WINDOW_BYTES;

interface Waiting {
  readonly slot: number;
  readonly id: string;
  /** A part of a streamed answer has come. */
  hasBegun: boolean;
  /** The kernel has taken all of the request. */
  isWritten: boolean;
  /** Nobody waits for its parts any more. */
  isCalledOff: boolean;
  /** Of a streamed answer, what came and was not said to be taken. */
  aheadBytes: number;
  readonly sink: StreamSink | null;
  readonly resolve: (reply: InvokeReply) => void;
  readonly reject: (error: FunctionChannelError) => void;
}

export class FunctionChannel {
  readonly #socket: Socket;
  readonly #reader = new FrameReader(MAX_FRAME_BYTES);
  /** By slot; null: it is free. */
  readonly #slots: (Waiting | null)[];
  #broken: FunctionChannelError | null = null;
  /** The only invocation there may be has a sink that is full. */
  #paused = false;
  /** Called once, when the channel ends by itself. */
  onBroken: (error: FunctionChannelError) => void = () => undefined;

  private constructor(socket: Socket, slots: number) {
    this.#socket = socket;
    this.#slots = Array.from({ length: slots }, () => null);
    socket.on('error', (cause: NodeJS.ErrnoException) => {
      const message = `the function channel failed: ${cause.message}`;
      this.#end((unread) => new FunctionChannelError(message, { closed: true, unread, cause }), cause.code);
    });
    socket.on('close', () => {
      const message = 'the function channel was closed by the guest';
      this.#end((unread) => new FunctionChannelError(message, { closed: true, unread }));
    });
  }

  /**
   * @param slots how many invocations there may be under way.
   * @throws FunctionChannelError if nobody listens at the address.
   */
  static connect(address: GuestAddress, slots = 1): Promise<FunctionChannel> {
    const { socketPath, vsockPort } = address;
    return vsockPort === null
      ? FunctionChannel.#connectUnix(socketPath, slots)
      : FunctionChannel.#connectVsock({ ...address, vsockPort }, slots);
  }

  static async #connectVsock(
    address: GuestAddress & { readonly vsockPort: number },
    slots: number,
  ): Promise<FunctionChannel> {
    try {
      const socket = await withLimit(VSOCK_DIAL_LIMIT_MS, undefined, (signal) => dialVsock(address, signal));
      const channel = new FunctionChannel(socket, slots);
      socket.on('data', (chunk: Buffer) => {
        channel.#onData(chunk);
        if (channel.#paused) socket.pause();
      });
      socket.resume();
      return channel;
    } catch (cause) {
      const why = messageOf(cause);
      throw new FunctionChannelError(`the function channel cannot be reached: ${why}`, { cause });
    }
  }

  static #connectUnix(path: string, slots: number): Promise<FunctionChannel> {
    return new Promise((resolve, reject) => {
      let channel: FunctionChannel | null = null;
      const onread = {
        buffer: RECEIVE_BUFFER,
        callback: (bytes: number): boolean => {
          if (channel === null) return true;
          channel.#onData(RECEIVE_BUFFER.subarray(0, bytes), true);
          return !channel.#paused;
        },
      };
      const socket = connect({ path, onread });
      const refused = (cause: Error): void => {
        reject(new FunctionChannelError(`the function channel cannot be reached: ${cause.message}`, { cause }));
      };
      socket.once('error', refused);
      socket.once('connect', () => {
        socket.off('error', refused);
        channel = new FunctionChannel(socket, slots);
        resolve(channel);
      });
    });
  }

  /** Whether several invocations may be under way. */
  get isShared(): boolean {
    return this.#slots.length > 1;
  }

  /** Whether a part of the answer to this request has come. */
  hasBegunAnswer(id: string): boolean {
    return this.#find(id)?.hasBegun ?? false;
  }

  /** Why it is of no more use; null while it can be used. */
  get broken(): FunctionChannelError | null {
    return this.#broken;
  }

  /**
   * One invocation, for which there must be a slot: it is free again when the invocation has settled.
   *
   * @param event the JSON bytes that reach the runtime unchanged.
   * @param sink where the parts of a streamed answer go; the header must say `stream` then.
   * @throws FunctionChannelError if the channel ends before the answer.
   */
  invoke(header: InvokeHeader, event: Buffer, sink: StreamSink | null = null): Promise<InvokeReply> {
    return this.#ask(FrameType.invoke, header, event, sink);
  }

  /** An invocation of the runtime's own handler, which returns the event: all but the function's code gets warm. */
  rehearse(header: InvokeHeader, event: Buffer): Promise<InvokeReply> {
    return this.#ask(FrameType.rehearse, header, event, null);
  }

  /**
   * Nobody waits for this answer any more: where the channel goes on for others, the guest is told, and nothing of it is passed on. The
   * invocation settles all the same, when the guest has answered.
   */
  cancel(id: string): void {
    const waiting = this.isShared ? this.#find(id) : undefined;
    if (waiting === undefined || waiting.isCalledOff) return;
    this.#letGo(waiting.sink);
    waiting.isCalledOff = true;
    const header: SlotHeader = { slot: waiting.slot };
    this.#socket.write(encodeFrame(FrameType.cancel, { ...header }));
  }

  #find(id: string): Waiting | undefined {
    return this.#slots.find((waiting) => waiting?.id === id) ?? undefined;
  }

  #ask(type: number, header: InvokeHeader, event: Buffer, sink: StreamSink | null): Promise<InvokeReply> {
    if (this.#broken !== null) return Promise.reject(this.#broken);
    const slot = this.#slots.indexOf(null);
    if (slot < 0) throw new Error('a function channel carries one invocation at a time in each slot');
    return new Promise((resolve, reject) => {
      const state = { hasBegun: false, isWritten: false, isCalledOff: false, aheadBytes: 0 };
      const waiting: Waiting = { slot, id: header.id, ...state, sink, resolve, reject };
      this.#slots[slot] = waiting;
      const onWritten = (error?: Error | null): void => {
        waiting.isWritten = error == null;
      };
      const head = slot === 0 ? { ...header } : { ...header, slot };
      if (event.length < LARGE_EVENT_BYTES) {
        this.#socket.write(encodeFrame(type, head, event), onWritten);
        return;
      }
      this.#socket.cork();
      this.#socket.write(encodeFrameHead(type, head, event.length));
      this.#socket.write(event, onWritten);
      this.#socket.uncork();
    });
  }

  close(): void {
    this.onBroken = () => undefined;
    this.#break(new FunctionChannelError('the function channel was closed'));
  }

  #onData(chunk: Buffer, isBorrowed = false): void {
    try {
      for (const frame of this.#reader.push(chunk, isBorrowed)) this.#onFrame(frame);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.#break(
        new FunctionChannelError(`the guest broke the protocol: ${error.message}`, { tooLarge: error.tooLarge }),
      );
    }
  }

  #onFrame(frame: Frame): void {
    const { slot = 0 } = frame.header;
    const waiting = typeof slot === 'number' ? (this.#slots[slot] ?? null) : null;
    if (frame.type === FrameType.chunk && waiting !== null && waiting.sink !== null) {
      waiting.hasBegun = true;
      return this.#pass(frame, waiting, waiting.sink);
    }
    const known = frame.type === FrameType.result || frame.type === FrameType.failure;
    if (waiting === null || !known) {
      const what = known ? 'an answer nobody asked for' : `a frame of unknown type ${frame.type}`;
      this.#break(new FunctionChannelError(`the guest broke the protocol: it sent ${what}`));
      return;
    }
    this.#slots[waiting.slot] = null;
    this.#letGo(waiting.sink);
    if (frame.type === FrameType.result) {
      waiting.resolve({ ok: true, result: frame.payload, contentType: contentTypeOf(frame) });
    } else {
      const isExiting = frame.header['exiting'] === true;
      waiting.resolve({ ok: false, failure: parseFailure(frame.payload), isExiting });
    }
  }

  /**
   * A unix socket is reset if its other end was closed while bytes waited there. They are the request's under way: what was sent before
   * it was read, or its answer would not have come. Of several nobody knows whose they are.
   */
  #isUnread({ hasBegun, isWritten }: Waiting, code?: string): boolean {
    return !hasBegun && (!isWritten || (code === 'ECONNRESET' && !this.isShared));
  }

  #pass(chunk: Frame, waiting: Waiting, sink: StreamSink): void {
    if (waiting.isCalledOff) return;
    if (this.isShared) return this.#passOfSeveral(chunk, waiting, sink);
    if (sink.write(chunk.payload, contentTypeOf(chunk))) return;
    this.#paused = true;
    sink.onDrain = () => this.#letGo(sink);
  }

  #passOfSeveral(chunk: Frame, waiting: Waiting, sink: StreamSink): void {
    waiting.aheadBytes += chunk.payload.length;
    if (waiting.aheadBytes > MOST_AHEAD_BYTES) {
      const what = 'more of a streamed answer than was to be sent ahead';
      return this.#break(new FunctionChannelError(`the guest broke the protocol: it sent ${what}`));
    }
    if (sink.write(chunk.payload, contentTypeOf(chunk))) this.#tellTaken(waiting);
    else sink.onDrain = () => this.#tellTaken(waiting);
  }

  #tellTaken(waiting: Waiting): void {
    const { slot, aheadBytes } = waiting;
    if (aheadBytes < TELL_BYTES || this.#slots[slot] !== waiting || waiting.isCalledOff) return;
    waiting.aheadBytes = 0;
    const header: TakenHeader = { slot, bytes: aheadBytes };
    this.#socket.write(encodeFrame(FrameType.taken, { ...header }));
  }

  /** The next invocation must not wait for the client of the last one. */
  #letGo(sink: StreamSink | null): void {
    if (sink !== null) sink.onDrain = () => undefined;
    if (!this.#paused) return;
    this.#paused = false;
    this.#socket.resume();
  }

  #break(error: FunctionChannelError): void {
    this.#end(() => error);
  }

  /** @param errorOf whether the guest has left a request unread; the channel's own error is that of one, if there is one. */
  #end(errorOf: (unread: boolean) => FunctionChannelError, code?: string): void {
    if (this.#broken !== null) return;
    const waiting = this.#slots.filter((one) => one !== null);
    const broken = errorOf(waiting.some((one) => this.#isUnread(one, code)));
    this.#broken = broken;
    this.#socket.destroy();
    this.#slots.fill(null);
    for (const one of waiting) {
      const unread = this.#isUnread(one, code);
      one.reject(unread === broken.unread ? broken : errorOf(unread));
    }
    this.onBroken(broken);
  }
}

function contentTypeOf({ header }: Frame): string | null {
  const { content_type: contentType } = header;
  return typeof contentType === 'string' ? contentType : null;
}
