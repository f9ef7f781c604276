/**
 * Runs in snapctr and in firerunner. Frames: the unit of every byte stream between the host and a guest.
 *
 * ```
 *  0            4        5              7                7+H                4+N
 *  +------------+--------+--------------+----------------+------------------+
 *  | N          | type   | H            | header         | payload          |
 *  | u32, BE    | u8     | u16, BE      | H bytes, JSON  | N - 3 - H bytes  |
 *  +------------+--------+--------------+----------------+------------------+
 * ```
 *
 * N counts every byte after itself. The header is a UTF-8 JSON object, or empty (H = 0). The payload is opaque here:
 * events and results cross it unchanged. Types and who sends them are in `guest.ts`.
 */

/** Bytes before the header: length, type and header length. */
export const FRAME_PREFIX_BYTES = 7;
/** Largest header, bounded by its u16 length. */
export const MAX_HEADER_BYTES = 0xffff;

/** A frame of at least this size is put together in one buffer while it comes. */
const LARGE_FRAME_BYTES = 256 * 1024;

/** What a frame says about its payload; kept small, each field is described in `guest.ts`. */
export type FrameHeader = Readonly<Record<string, unknown>>;

export interface Frame {
  readonly type: number;
  readonly header: FrameHeader;
  readonly payload: Buffer;
}

/** The peer sent bytes that are no frame, or one over the limit. The stream cannot be used after it. */
export class FrameError extends Error {
  override readonly name = 'FrameError';
  /** True if the frame was well-formed so far but larger than the reader's limit. */
  readonly tooLarge: boolean;

  constructor(message: string, options: { tooLarge?: boolean } = {}) {
    super(message);
    this.tooLarge = options.tooLarge ?? false;
  }
}

/** A number of a header that counts something: whole, and not negative. @throws FrameError if it is none. */
export function countIn(header: FrameHeader, key: string): number {
  const value = header[key];
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw new FrameError(`"${key}" in a frame header is no count`);
}

const EMPTY = Buffer.alloc(0);
const NO_HEADER: FrameHeader = Object.freeze({});

/** One frame as bytes, in one buffer, so that it leaves in one write. */
export function encodeFrame(type: number, header: FrameHeader | undefined, payload: Uint8Array = EMPTY): Buffer {
  const head = encodeHead(type, header, payload.length, payload.length);
  head.set(payload, head.length - payload.length);
  return head;
}

/** What stands before the payload of a frame; for a payload too large to be copied. */
export function encodeFrameHead(type: number, header: FrameHeader | undefined, payloadBytes: number): Buffer {
  return encodeHead(type, header, payloadBytes, 0);
}

/** @param roomBytes left free behind the head. */
function encodeHead(type: number, header: FrameHeader | undefined, payloadBytes: number, roomBytes: number): Buffer {
  const headerText = header === undefined ? '' : JSON.stringify(header);
  const headerBytes = Buffer.byteLength(headerText);
  if (headerBytes > MAX_HEADER_BYTES) {
    throw new FrameError(`a frame header of ${headerBytes} bytes is over the limit of ${MAX_HEADER_BYTES}`);
  }
  const head = Buffer.allocUnsafe(FRAME_PREFIX_BYTES + headerBytes + roomBytes);
  head.writeUInt32BE(3 + headerBytes + payloadBytes, 0);
  head.writeUInt8(type, 4);
  head.writeUInt16BE(headerBytes, 5);
  head.write(headerText, FRAME_PREFIX_BYTES, 'utf8');
  return head;
}

function parseHeader(bytes: Buffer): FrameHeader {
  if (bytes.length === 0) return NO_HEADER;
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch {
    throw new FrameError('a frame header is not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new FrameError('a frame header is not a JSON object');
  }
  return value as FrameHeader;
}

/**
 * Cuts a byte stream into frames. The length is checked against `maxFrameBytes` before any memory is taken for it.
 *
 * Frames are handed out in order by `push`; a returned payload is the caller's own (never overwritten later).
 */
export class FrameReader {
  readonly #maxFrameBytes: number;
  /** Received and not yet cut, in order; together `#bufferedBytes` long. */
  #chunks: Buffer[] = [];
  #bufferedBytes = 0;
  /** Bytes of the frame at the front including its length field; 0 while that is unknown. */
  #wantedBytes = 0;
  /** A large frame at the front, put together as it comes; null: there is none. */
  #large: Buffer | null = null;
  #largeBytes = 0;

  /** @param maxFrameBytes largest accepted N (see the diagram), in bytes. */
  constructor(maxFrameBytes: number) {
    this.#maxFrameBytes = maxFrameBytes;
  }

  /** Bytes received of a frame that is not complete yet. */
  get pendingBytes(): number {
    return this.#bufferedBytes + this.#largeBytes;
  }

  /**
   * @param isBorrowed the chunk's memory is used again afterwards: what is kept of it is copied.
   * @throws FrameError if the stream is broken.
   */
  push(chunk: Buffer, isBorrowed = false): Frame[] {
    const frames: Frame[] = [];
    let rest = chunk;
    if (this.#large !== null) {
      const taken = chunk.copy(this.#large, this.#largeBytes);
      this.#largeBytes += taken;
      if (this.#largeBytes < this.#large.length) return frames;
      frames.push(parseFrame(this.#large));
      this.#large = null;
      this.#largeBytes = 0;
      rest = chunk.subarray(taken);
    }
    if (isBorrowed) rest = Buffer.from(rest);
    this.#chunks.push(rest);
    this.#bufferedBytes += rest.length;
    for (;;) {
      if (this.#wantedBytes === 0) {
        if (this.#bufferedBytes < 4) return frames;
        this.#wantedBytes = 4 + this.#checkedLength();
      }
      if (this.#bufferedBytes < this.#wantedBytes) {
        if (this.#wantedBytes >= LARGE_FRAME_BYTES) this.#beginLarge();
        return frames;
      }
      frames.push(this.#cut(this.#wantedBytes));
      this.#wantedBytes = 0;
    }
  }

  #checkedLength(): number {
    const first = this.#chunks[0];
    if (first === undefined || first.length < 4) this.#chunks = [Buffer.concat(this.#chunks)];
    const length = (this.#chunks[0] ?? EMPTY).readUInt32BE(0);
    if (length < 3) throw new FrameError(`a frame of ${length} bytes is shorter than its own prefix`);
    if (length > this.#maxFrameBytes) {
      throw new FrameError(`a frame of ${length} bytes is over the limit of ${this.#maxFrameBytes}`, {
        tooLarge: true,
      });
    }
    return length;
  }

  /** Kept in pieces until it is whole, a large frame would take its memory twice. */
  #beginLarge(): void {
    const large = Buffer.allocUnsafeSlow(this.#wantedBytes);
    for (const chunk of this.#chunks) this.#largeBytes += chunk.copy(large, this.#largeBytes);
    this.#large = large;
    this.#chunks = [];
    this.#bufferedBytes = 0;
    this.#wantedBytes = 0;
  }

  #cut(bytes: number): Frame {
    const first = this.#chunks[0];
    const whole =
      first !== undefined && first.length >= bytes ? first : Buffer.concat(this.#chunks, this.#bufferedBytes);
    const rest = this.#bufferedBytes - bytes;
    if (whole === first) {
      if (first.length === bytes) this.#chunks.shift();
      else this.#chunks[0] = first.subarray(bytes);
    } else {
      this.#chunks = rest === 0 ? [] : [whole.subarray(bytes)];
    }
    this.#bufferedBytes = rest;
    return parseFrame(whole.subarray(0, bytes));
  }
}

function parseFrame(whole: Buffer): Frame {
  const headerEnd = FRAME_PREFIX_BYTES + whole.readUInt16BE(5);
  if (headerEnd > whole.length) throw new FrameError('a frame header is longer than its frame');
  return {
    type: whole.readUInt8(4),
    header: parseHeader(whole.subarray(FRAME_PREFIX_BYTES, headerEnd)),
    payload: whole.subarray(headerEnd),
  };
}
