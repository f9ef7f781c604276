/**
 * Frames on the two inherited descriptors.
 *
 * ```
 *   0            4        5              7                7+H               4+N
 *   | N u32 BE   | type   | H u16 BE     | header, JSON   | payload         |
 * ```
 *
 * All reads and writes block. That is the fastest way to receive: a read through the event loop costs an epoll round and
 * a thread hop more, some hundred microseconds in an emulated guest.
 */
import { MAX_FRAME_BYTES, PREFIX_BYTES } from './protocol.cjs';
import { exit, fstatSync, readSync, writeSync } from './originals.cjs';

const BUFFER_BYTES = 64 * 1024;

const sleepCell = new Int32Array(new SharedArrayBuffer(4));
function sleep(milliseconds: number): void {
  Atomics.wait(sleepCell, 0, 0, milliseconds);
}

/** Nobody can be answered any more: leave, so that the host learns it at once. */
export function channelLost(reason: unknown): never {
  writeFully(2, Buffer.from(`snapfaas: the runtime lost its channel: ${String(reason)}\n`));
  exit(1);
}

export function errorCode(error: unknown): unknown {
  return error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
}

/** Writes everything, waiting where the descriptor is full. Returns the error if it cannot be written at all. */
export function writeFully(fd: number, data: Uint8Array, end = data.length): unknown {
  let written = 0;
  while (written < end) {
    try {
      written += writeSync(fd, data, written, end - written);
    } catch (error) {
      if (errorCode(error) !== 'EAGAIN') return error;
      sleep(1);
    }
  }
  return undefined;
}

export function send(fd: number, data: Uint8Array, end = data.length): void {
  const error = writeFully(fd, data, end);
  if (error !== undefined) channelLost(error);
}

function prefix(target: Buffer, type: number, headerBytes: number, payloadBytes: number): void {
  target.writeUInt32BE(3 + headerBytes + payloadBytes, 0);
  target[4] = type;
  target.writeUInt16BE(headerBytes, 5);
}

/** A frame in memory of its own. */
export function makeFrame(type: number, header: string, payload: Uint8Array): Buffer {
  const headerBytes = Buffer.byteLength(header);
  const frame = Buffer.allocUnsafe(PREFIX_BYTES + headerBytes + payload.length);
  prefix(frame, type, headerBytes, payload.length);
  frame.write(header, PREFIX_BYTES);
  frame.set(payload, PREFIX_BYTES + headerBytes);
  return frame;
}

/** Used again for every frame that surely fits. */
const outgoing = Buffer.allocUnsafeSlow(BUFFER_BYTES);
/** UTF-8 takes at most three bytes for one UTF-16 unit. */
const LONGEST_SMALL_TEXT = Math.floor((BUFFER_BYTES - PREFIX_BYTES) / 3);

/** Sends a frame without a header. */
export function sendFrame(fd: number, type: number, payload: string): void {
  if (payload.length <= LONGEST_SMALL_TEXT) {
    const bytes = outgoing.write(payload, PREFIX_BYTES);
    prefix(outgoing, type, 0, bytes);
    send(fd, outgoing, PREFIX_BYTES + bytes);
  } else {
    const bytes = Buffer.byteLength(payload);
    const frame = Buffer.allocUnsafe(PREFIX_BYTES + bytes);
    prefix(frame, type, 0, bytes);
    frame.write(payload, PREFIX_BYTES);
    send(fd, frame);
  }
}

/** Frames from one descriptor, read into one buffer that is used again for every frame that fits. */
export class Incoming {
  readonly #fd: number;
  readonly #isDevice: boolean;
  readonly #small = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  /** Bytes in `#small` that belong to the next frame. */
  #start = 0;
  #end = 0;

  /** The frame that `next` found: `frame[0, end)`, its payload from `payloadStart`. Valid until `next` is called again. */
  frame = this.#small;
  type = 0;
  frameStart = 0;
  payloadStart = 0;
  frameEnd = 0;

  constructor(fd: number) {
    this.#fd = fd;
    this.#isDevice = fstatSync(fd).isCharacterDevice();
  }

  next(): void {
    const small = this.#small;
    if (this.#start === this.#end) {
      this.#start = 0;
      this.#end = this.#read(small, 0);
    }
    while (this.#end - this.#start < PREFIX_BYTES) {
      this.#moveToFront();
      this.#end += this.#read(small, this.#end);
    }
    const bytes = 4 + small.readUInt32BE(this.#start);
    const headerEnd = PREFIX_BYTES + small.readUInt16BE(this.#start + 5);
    if (bytes > 4 + MAX_FRAME_BYTES || headerEnd > bytes) {
      channelLost(`a frame of ${bytes - 4} bytes with a header of ${headerEnd - PREFIX_BYTES}`);
    }
    this.type = small.readUInt8(this.#start + 4);
    if (this.#end - this.#start >= bytes) {
      this.frame = small;
      this.frameStart = this.#start;
      this.#start += bytes;
    } else {
      this.#moveToFront();
      this.frame = bytes > BUFFER_BYTES ? Buffer.allocUnsafeSlow(bytes) : small;
      if (this.frame !== small) small.copy(this.frame, 0, 0, this.#end);
      let have = this.#end;
      while (have < bytes) have += this.#read(this.frame, have, bytes);
      this.frameStart = this.#start = this.#end = 0;
    }
    this.payloadStart = this.frameStart + headerEnd;
    this.frameEnd = this.frameStart + bytes;
  }

  /** Makes `frame` the next to be found, as if it had come. Nothing may be left unread. */
  feign(frame: Buffer): void {
    this.#start = 0;
    this.#end = frame.copy(this.#small);
  }

  header(): string {
    return this.frame.toString('utf8', this.frameStart + PREFIX_BYTES, this.payloadStart);
  }

  /** The payload as text. A frame that needed its own memory gives it back. */
  payload(): string {
    const text = this.frame.toString('utf8', this.payloadStart, this.frameEnd);
    this.frame = this.#small;
    return text;
  }

  #moveToFront(): void {
    if (this.#start === 0) return;
    this.#small.copy(this.#small, 0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
  }

  #read(target: Buffer, from: number, to = target.length): number {
    for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 8)) {
      try {
        const count = readSync(this.#fd, target, from, to - from, null);
        if (count > 0) return count;
      } catch (error) {
        if (errorCode(error) !== 'EAGAIN') channelLost(error);
        sleep(1);
        continue;
      }
      // A virtio port reads as ended while no host is connected to it; a socket's end is the end of our work.
      if (!this.#isDevice) exit(0);
      sleep(waitMs);
    }
  }
}
