/**
 * The host's end of a function channel: sends INVOKE, waits for RESULT or FAILURE. Used by snapctr for every request
 * and by a standalone firerunner.
 */
import { connect, type Socket } from 'node:net';
import { messageOf } from './errors.ts';
import { encodeFrame, encodeFrameHead, FrameError, FrameReader, type Frame } from './frame.ts';
import { FrameType, MAX_FRAME_BYTES, parseFailure, type FunctionFailure, type InvokeHeader } from './guest.ts';
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
   * @returns false if it is full: then the guest is not read, and so has to wait, until `onDrain` is called.
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

interface Waiting {
  /** A part of a streamed answer has come. */
  hasBegun: boolean;
  readonly sink: StreamSink | null;
  readonly resolve: (reply: InvokeReply) => void;
  readonly reject: (error: FunctionChannelError) => void;
}

export class FunctionChannel {
  readonly #socket: Socket;
  readonly #reader = new FrameReader(MAX_FRAME_BYTES);
  #waiting: Waiting | null = null;
  #broken: FunctionChannelError | null = null;
  /** The sink of the invocation under way is full. */
  #paused = false;
  /** The kernel has taken all of the request under way. */
  #isWritten = false;
  readonly #onWritten = (error?: Error | null): void => {
    this.#isWritten = error == null;
  };
  /** Called once, when the channel ends by itself. */
  onBroken: (error: FunctionChannelError) => void = () => undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('error', (cause: NodeJS.ErrnoException) => {
      const unread = this.#isUnread(cause.code);
      const message = `the function channel failed: ${cause.message}`;
      this.#break(new FunctionChannelError(message, { closed: true, unread, cause }));
    });
    socket.on('close', () => {
      const unread = this.#isUnread();
      this.#break(new FunctionChannelError('the function channel was closed by the guest', { closed: true, unread }));
    });
  }

  /** @throws FunctionChannelError if nobody listens at the address. */
  static connect(address: GuestAddress): Promise<FunctionChannel> {
    const { socketPath, vsockPort } = address;
    return vsockPort === null
      ? FunctionChannel.#connectUnix(socketPath)
      : FunctionChannel.#connectVsock({ ...address, vsockPort });
  }

  static async #connectVsock(address: GuestAddress & { readonly vsockPort: number }): Promise<FunctionChannel> {
    try {
      const socket = await dialVsock(address, AbortSignal.timeout(VSOCK_DIAL_LIMIT_MS));
      const channel = new FunctionChannel(socket);
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

  static #connectUnix(path: string): Promise<FunctionChannel> {
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
        channel = new FunctionChannel(socket);
        resolve(channel);
      });
    });
  }

  /** A part of the answer to the request under way has come. */
  get hasBegunAnswer(): boolean {
    return this.#waiting?.hasBegun ?? false;
  }

  /** Why it is of no more use; null while it can be used. */
  get broken(): FunctionChannelError | null {
    return this.#broken;
  }

  /**
   * One invocation; the next may start when it has settled.
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

  #ask(type: number, header: InvokeHeader, event: Buffer, sink: StreamSink | null): Promise<InvokeReply> {
    if (this.#broken !== null) return Promise.reject(this.#broken);
    if (this.#waiting !== null) throw new Error('a function channel carries one invocation at a time');
    return new Promise((resolve, reject) => {
      this.#waiting = { hasBegun: false, sink, resolve, reject };
      this.#isWritten = false;
      if (event.length < LARGE_EVENT_BYTES) {
        this.#socket.write(encodeFrame(type, { ...header }, event), this.#onWritten);
        return;
      }
      this.#socket.cork();
      this.#socket.write(encodeFrameHead(type, { ...header }, event.length));
      this.#socket.write(event, this.#onWritten);
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
    const waiting = this.#waiting;
    if (frame.type === FrameType.chunk && waiting !== null && waiting.sink !== null) {
      waiting.hasBegun = true;
      return this.#pass(frame, waiting.sink);
    }
    const known = frame.type === FrameType.result || frame.type === FrameType.failure;
    if (waiting === null || !known) {
      const what = known ? 'an answer nobody asked for' : `a frame of unknown type ${frame.type}`;
      this.#break(new FunctionChannelError(`the guest broke the protocol: it sent ${what}`));
      return;
    }
    this.#waiting = null;
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
   * it was read, or its answer would not have come.
   */
  #isUnread(code?: string): boolean {
    return this.#waiting?.hasBegun === false && (!this.#isWritten || code === 'ECONNRESET');
  }

  #pass(chunk: Frame, sink: StreamSink): void {
    if (sink.write(chunk.payload, contentTypeOf(chunk))) return;
    this.#paused = true;
    sink.onDrain = () => this.#letGo(sink);
  }

  /** The next invocation must not wait for the client of the last one. */
  #letGo(sink: StreamSink | null): void {
    if (sink !== null) sink.onDrain = () => undefined;
    if (!this.#paused) return;
    this.#paused = false;
    this.#socket.resume();
  }

  #break(error: FunctionChannelError): void {
    if (this.#broken !== null) return;
    this.#broken = error;
    this.#socket.destroy();
    const waiting = this.#waiting;
    this.#waiting = null;
    waiting?.reject(error);
    this.onBroken(error);
  }
}

function contentTypeOf({ header }: Frame): string | null {
  const { content_type: contentType } = header;
  return typeof contentType === 'string' ? contentType : null;
}
