/**
 * Runs in the fake Firecracker. What a function prints, gathered by request as the guest's init does (`guest/init/output.c`):
 * LOG frames of at most 16 KiB, cut after 256 KiB, LOG_END behind them.
 */
import { constants } from 'node:os';
import type { Readable } from 'node:stream';
import type { FrameHeader } from '../../../src/protocol/frame.ts';
import { FrameType, MAX_LOG_BYTES_PER_REQUEST } from '../../../src/protocol/guest.ts';
import type { RuntimeExit } from './runtime-process.ts';

const LOG_BYTES = 16 * 1024;
const CUT_MARK = Buffer.from('[snapfaas: output over 256 KiB of this request was cut]\n');

export type SendToHost = (type: number, header: FrameHeader | undefined, payload?: Buffer) => void;

export class GuestOutput {
  readonly #send: SendToHost;
  readonly #streams: readonly Readable[];
  /** Number of the request that prints; 0 until the function is started. */
  #request = 0;
  #printedBytes = 0;

  constructor(stdout: Readable, stderr: Readable, send: SendToHost) {
    this.#send = send;
    this.#streams = [stdout, stderr];
    stdout.on('data', (bytes: Buffer) => this.#collect('stdout', bytes));
    stderr.on('data', (bytes: Buffer) => this.#collect('stderr', bytes));
  }

  pause(): void {
    for (const stream of this.#streams) stream.pause();
  }

  resume(): void {
    for (const stream of this.#streams) stream.resume();
  }

  /**
   * Ends the output of the current request; what it printed before was collected.
   *
   * @param isAsked its end is said even if nothing was printed.
   */
  async endRequest(next: 'same' | 'next', isAsked = false): Promise<void> {
    // Each turn of the event loop empties the pipes.
    for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
    if (this.#printedBytes > 0 || isAsked) {
      const cut = Math.max(0, this.#printedBytes - MAX_LOG_BYTES_PER_REQUEST);
      this.#send(FrameType.logEnd, { request: this.#request, bytes: this.#printedBytes, cut });
    }
    this.#printedBytes = 0;
    if (next === 'next') this.#request++;
  }

  #collect(stream: 'stdout' | 'stderr', bytes: Buffer): void {
    const room = MAX_LOG_BYTES_PER_REQUEST - this.#printedBytes;
    for (let at = 0; at < Math.min(bytes.length, room); at += LOG_BYTES) {
      this.#log(stream, bytes.subarray(at, Math.min(at + LOG_BYTES, room)));
    }
    if (room >= 0 && bytes.length > room) this.#log('stderr', CUT_MARK);
    this.#printedBytes += bytes.length;
  }

  #log(stream: 'stdout' | 'stderr', payload: Buffer): void {
    this.#send(FrameType.log, { request: this.#request, stream }, payload);
  }
}

/** The header of RUNTIME_EXITED. */
export function exitHeader({ status, signal }: RuntimeExit): FrameHeader {
  return signal === null ? { status: status ?? 0 } : { signal: constants.signals[signal] };
}
