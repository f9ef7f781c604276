/**
 * Runs in firerunner. What init does inside a VM (`guest/init`), done for a runtime that is a plain child process: it
 * passes on what brings the function to its first invocation, gathers the output of the function by invocation, and
 * reports the runtime's end.
 *
 * The runtime sends its output as LOG frames (`LoadRequest.output` is `frames`), so that an invocation that prints nothing
 * does not wake this process: here a context switch is what costs, while in a VM init runs beside the runtime anyway.
 */
import type { ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import type { Duplex, Readable } from 'node:stream';
import { encodeFrame, FrameError, FrameReader, type Frame, type FrameHeader } from '../../protocol/frame.ts';
import { FrameType, MAX_FRAME_BYTES, MAX_LOG_BYTES_PER_REQUEST, type LogHeader } from '../../protocol/guest.ts';
import type { ControlChannel, MachineExit } from '../machine.ts';

const CUT_MARK = Buffer.from('[snapfaas: output over 256 KiB of this request was cut]\n');

/** What is passed on to the runtime, and what each may be answered by. The rest is for a kernel's ears: SYNC. */
const ANSWERS: ReadonlyMap<number, readonly number[]> = new Map([
  [FrameType.load, [FrameType.loaded, FrameType.loadFailed]],
  [FrameType.seal, [FrameType.sealed, FrameType.hookFailed]],
  [FrameType.start, [FrameType.started, FrameType.hookFailed]],
]);

export class HostInit implements ControlChannel {
  onFrame: (frame: Frame) => void = () => undefined;
  onClosed: (reason: string) => void = () => undefined;
  /** Resolves when the runtime has ended and everything it said was passed on. */
  readonly ended: Promise<MachineExit>;
  readonly #runtime: Duplex;
  readonly #outputs: readonly (Readable | null)[];
  #hasEnded = false;
  /** What the runtime may say now, by frame that is unanswered, in order. All else that it sends is not passed on. */
  readonly #awaited: (readonly number[])[] = [[FrameType.hello]];
  /** Number of the latest invocation that printed; 0 until the function is started. */
  #request = 0;
  #printedBytes = 0;
  /** Invocations that were begun, as the runtime said when it exited; null: it ended without a word. */
  #begun: number | null = null;

  constructor(child: ChildProcess, runtime: Duplex, exited: Promise<MachineExit>) {
    this.#runtime = runtime;
    this.#outputs = [child.stdout, child.stderr];
    this.#collect(child.stdout, 'stdout');
    this.#collect(child.stderr, 'stderr');
    const reader = new FrameReader(MAX_FRAME_BYTES);
    runtime.on('error', () => undefined);
    runtime.on('data', (chunk: Buffer) => {
      try {
        for (const frame of reader.push(chunk)) this.#fromRuntime(frame);
      } catch (error) {
        // The function may write here; whatever it is, it must not disturb us.
        if (!(error instanceof FrameError)) throw error;
        runtime.destroy();
      }
    });
    // Last of all, also behind what the runtime said just before and is not passed on yet.
    this.ended = exited.then(
      (exit) =>
        new Promise((resolve) => {
          this.resume();
          this.#hasEnded = true;
          this.#whenDrained(() => {
            this.#reportExit(exit);
            resolve(exit);
          });
        }),
    );
  }

  send(type: number, header?: FrameHeader, payload?: Uint8Array): void {
    const answers = ANSWERS.get(type);
    if (answers === undefined) return;
    this.#awaited.push(answers);
    this.#runtime.write(encodeFrame(type, header, payload));
  }

  pause(): void {
    if (this.#hasEnded) return;
    for (const stream of [this.#runtime, ...this.#outputs]) stream?.pause();
  }

  resume(): void {
    for (const stream of [this.#runtime, ...this.#outputs]) stream?.resume();
  }

  #fromRuntime(frame: Frame): void {
    if (frame.type === FrameType.log) {
      const { request, stream } = frame.header;
      if (isCount(request)) this.#beginRequest(request);
      this.#collectBytes(stream === 'stderr' ? 'stderr' : 'stdout', frame.payload);
    } else if (frame.type === FrameType.done) {
      const { request } = frame.header;
      this.#whenDrained(() => {
        if (isCount(request)) this.#beginRequest(request);
        this.#endRequest(true);
      });
    } else if (frame.type === FrameType.ending) {
      const { begun } = frame.header;
      if (typeof begun === 'number') this.#begun = begun;
    } else if (this.#awaited[0]?.includes(frame.type)) {
      this.#awaited.shift();
      if (frame.type === FrameType.hello) return this.onFrame(frame);
      this.#whenDrained(() => {
        this.#endRequest();
        if (frame.type === FrameType.started) this.#beginRequest(1);
        this.onFrame(frame);
      });
    }
  }

  #reportExit(exit: MachineExit): void {
    this.#endRequest();
    const signal = exit.signal === null ? undefined : constants.signals[exit.signal];
    this.onFrame({
      type: FrameType.runtimeExited,
      header: {
        ...(signal === undefined ? { status: exit.status ?? 0 } : { signal }),
        ...(this.#begun === null ? {} : { begun: this.#begun }),
      },
      payload: Buffer.alloc(0),
    });
  }

  /**
   * Output that was written before the frame just read is in our pipes; each turn of the event loop reads up to 2 MiB
   * of each, which is more than a pipe holds.
   */
  #whenDrained(then: () => void): void {
    setImmediate(() => setImmediate(then));
  }

  #collect(output: Readable | null, stream: LogHeader['stream']): void {
    output?.on('error', () => undefined);
    output?.on('data', (bytes: Buffer) => this.#collectBytes(stream, bytes));
  }

  #collectBytes(stream: LogHeader['stream'], bytes: Buffer): void {
    const room = MAX_LOG_BYTES_PER_REQUEST - this.#printedBytes;
    if (room > 0) this.#log(stream, bytes.subarray(0, room));
    if (room >= 0 && bytes.length > room) this.#log('stderr', CUT_MARK);
    this.#printedBytes += bytes.length;
  }

  #log(stream: LogHeader['stream'], payload: Buffer): void {
    this.onFrame({ type: FrameType.log, header: { request: this.#request, stream }, payload });
  }

  #beginRequest(request: number): void {
    if (request === this.#request) return;
    this.#endRequest();
    this.#request = request;
  }

  /** @param isAsked LOG_END is sent also if nothing was printed. */
  #endRequest(isAsked = false): void {
    if (this.#printedBytes === 0 && !isAsked) return;
    const cut = Math.max(0, this.#printedBytes - MAX_LOG_BYTES_PER_REQUEST);
    this.onFrame({
      type: FrameType.logEnd,
      header: { request: this.#request, bytes: this.#printedBytes, cut },
      payload: Buffer.alloc(0),
    });
    this.#printedBytes = 0;
  }
}

/** Of a function's own frames, any may be forged. */
function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
