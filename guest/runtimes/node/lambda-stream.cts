/**
 * Streamed answers: what `awslambda.streamifyResponse` marks, and the stream that such a handler writes to.
 *
 * Each piece is a CHUNK. It is written by a thread of Node's pool, so that a host that does not read holds up the stream
 * (`write` returns false, 'drain' comes late) and not the event loop. Where the host takes no CHUNKs the pieces are kept,
 * up to the limit of a result.
 */
import stream = require('node:stream');
import { channelLost, errorCode, makeFrame, send } from './channel.cjs';
import { RuntimeError } from './lambda-failures.cjs';
import { CHUNK, MAX_CHUNK_BYTES } from './protocol.cjs';
import type { Handler } from './style.cjs';
import { toJson, write } from './originals.cjs';

const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');
const HIGH_WATER_MARK = Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark');

const METADATA_TYPE = 'application/vnd.awslambda.http-integration-response';
const METADATA_END = Buffer.alloc(8);
const NOTHING = Buffer.alloc(0);

const RETRY_MS = 1;

interface Marked {
  [STREAMING]?: unknown;
  [HIGH_WATER_MARK]?: unknown;
}

/** Marks a handler `(event, responseStream, context)` as one that streams. */
export function streamifyResponse(handler: Handler & Marked, options?: { highWaterMark?: unknown }): Handler {
  handler[STREAMING] = 'response';
  if (typeof options?.highWaterMark === 'number') handler[HIGH_WATER_MARK] = options.highWaterMark;
  return handler;
}

/** @throws RuntimeError if the handler is marked for something that does not exist. */
export function isStreaming(handler: Handler & Marked): boolean {
  const mark = handler[STREAMING];
  if (mark === undefined || mark === null || mark === false) return false;
  if (mark === 'response') return true;
  throw new RuntimeError('Runtime.MalformedStreamingHandler', 'Only response streaming is supported.');
}

export function highWaterMarkOf(handler: Handler & Marked): number | undefined {
  const mark = Math.trunc(Number(handler[HIGH_WATER_MARK]));
  return mark > 0 ? mark : undefined;
}

export interface ResponseStreamOptions {
  readonly highWaterMark: number | undefined;
  /** Where CHUNKs go; null: the host takes none. */
  readonly fd: number | null;
  readonly maxBytes: number;
}

type Callback = (error?: Error | null) => void;

export class ResponseStream extends stream.Writable {
  contentType: string | undefined;
  /** Bytes that were written, the metadata included. */
  bytes = 0;
  /** Written first of all. */
  #metadata: Buffer | null = null;
  #hasBegun = false;
  #toldContentType = false;
  readonly #fd: number | null;
  readonly #maxBytes: number;
  readonly #kept: Buffer[] = [];
  /** Called when the frame that is being written has gone. */
  #whenGone: (() => void) | null = null;
  #isWriting = false;

  constructor({ highWaterMark, fd, maxBytes }: ResponseStreamOptions) {
    super(highWaterMark === undefined ? {} : { highWaterMark });
    this.#fd = fd;
    this.#maxBytes = maxBytes;
  }

  /** @throws RuntimeError if something was written already. */
  setContentType(contentType: string): void {
    if (this.#hasBegun) {
      throw new RuntimeError('Runtime.InvalidStreamingOperation', 'Cannot set content-type, too late.');
    }
    this.contentType = contentType;
  }

  setMetadata(metadata: unknown): void {
    this.setContentType(METADATA_TYPE);
    this.#metadata = Buffer.concat([Buffer.from(JSON.stringify(metadata)), METADATA_END]);
  }

  /** As in Lambda's stream, what is neither text nor bytes is written as JSON. */
  override write(chunk: unknown, encoding?: BufferEncoding | Callback, callback?: Callback): boolean {
    const isPlain = typeof chunk === 'string' || chunk instanceof Uint8Array || chunk === null;
    const data: unknown = isPlain ? chunk : JSON.stringify(chunk);
    if (typeof encoding === 'function') return super.write(data, encoding);
    return encoding === undefined ? super.write(data, callback) : super.write(data, encoding, callback);
  }

  /** True if the content type went out with a CHUNK. */
  get toldContentType(): boolean {
    return this.#toldContentType;
  }

  /** All that was written, if the host takes no CHUNKs; too little if it is more than a result may have. */
  kept(): Buffer {
    return Buffer.concat(this.#kept);
  }

  /** Calls back when no frame is half written: another may be sent then. */
  whenIdle(callback: () => void): void {
    if (this.#isWriting) this.#whenGone = callback;
    else callback();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: Callback): void {
    this.#put(this.#withMetadata(chunk), 0, callback);
  }

  override _final(callback: Callback): void {
    if (this.#metadata === null) callback();
    else this.#put(this.#withMetadata(NOTHING), 0, callback);
  }

  /** In one piece with what comes first: the first one does not wait for a thread. */
  #withMetadata(chunk: Buffer): Buffer {
    const metadata = this.#metadata;
    this.#metadata = null;
    return metadata === null ? chunk : Buffer.concat([metadata, chunk]);
  }

  #put(bytes: Buffer, from: number, callback: Callback): void {
    const isFirst = !this.#hasBegun;
    this.#hasBegun = true;
    if (this.#fd === null) {
      this.bytes += bytes.length;
      if (this.bytes <= this.#maxBytes) this.#kept.push(Buffer.from(bytes));
      callback();
      return;
    }
    const to = Math.min(from + MAX_CHUNK_BYTES, bytes.length);
    const header = isFirst && this.contentType !== undefined ? toJson({ content_type: this.contentType }) : '';
    this.#toldContentType ||= header !== '';
    const frame = makeFrame(CHUNK, header, bytes.subarray(from, to));
    const next = (): void => {
      this.bytes += to - from;
      if (to < bytes.length) this.#put(bytes, to, callback);
      else callback();
    };
    if (isFirst) {
      // The host has taken all that was sent before it asked: there is room, and a thread would only delay it.
      send(this.#fd, frame);
      next();
    } else {
      this.#isWriting = true;
      this.#writeFrame(this.#fd, frame, 0, next);
    }
  }

  #writeFrame(fd: number, frame: Buffer, from: number, next: () => void): void {
    write(fd, frame, from, frame.length - from, null, (error, count) => {
      if (error !== null && errorCode(error) !== 'EAGAIN') channelLost(error);
      if (error !== null) {
        setTimeout(() => {
          this.#writeFrame(fd, frame, from, next);
        }, RETRY_MS);
      } else if (from + count < frame.length) {
        this.#writeFrame(fd, frame, from + count, next);
      } else {
        this.#gone(next);
      }
    });
  }

  #gone(next: () => void): void {
    this.#isWriting = false;
    const whenGone = this.#whenGone;
    if (whenGone === null) next();
    else whenGone();
  }
}

/** Answers that begin with metadata for an HTTP front end: status, headers, cookies. */
export const HttpResponseStream = {
  /** @returns the stream itself; its first bytes are `metadata` as JSON and eight zero bytes. */
  from(responseStream: ResponseStream, metadata: unknown): ResponseStream {
    responseStream.setMetadata(metadata);
    return responseStream;
  },
};
