/**
 * Runs in snapctr. The log of one VM: what it prints, line by line, between the lines of its invocations. Output takes another
 * way than answers and may come after them, so an invocation's last lines wait a little for it. Where several invocations run at once,
 * what is printed belongs to none of them, and nothing waits for it.
 */
import { randomBytes } from 'node:crypto';
import { encodeEvent, streamName } from './log-event.ts';
import { endLine, reportLine, startLine, type InvocationTimes } from './invocation-lines.ts';

/** Output of an invocation may come so much later than its answer, in ms; so long is the end of a line waited for, too. */
export const LATE_OUTPUT_MS = 200;
/** What one event may hold, in characters; CloudWatch takes 256 KiB. */
const MAX_MESSAGE = 64 * 1024;

/** Where the lines go. */
export interface LineSink {
  /** @param lines as a file has them. */
  append(lines: string): void;
  /** Something waits: `settle` is to be called, every now and then, until it returns true. */
  wait(log: VmLog): void;
}

interface Answered {
  readonly requestId: string;
  /** By `elapsed`. */
  readonly atMs: number;
  readonly times: InvocationTimes;
}

export class VmLog {
  readonly #sink: LineSink;
  readonly #version: string;
  readonly #now: () => number;
  readonly #elapsed: () => number;
  readonly #isShared: boolean;
  #stream: string | null = null;
  /** What was printed since the last end of a line, and by which invocation. */
  #rest = '';
  #restId: string | null = null;
  #restAtMs = 0;
  #answered: Answered | null = null;

  /**
   * @param now ms since 1970, for the lines.
   * @param elapsed ms by which waiting is measured: the time of day may be set back.
   * @param isShared several invocations may run at once.
   */
  constructor(
    sink: LineSink,
    version: string,
    now: () => number,
    elapsed = (): number => performance.now(),
    isShared = false,
  ) {
    this.#sink = sink;
    this.#version = version;
    this.#now = now;
    this.#elapsed = elapsed;
    this.#isShared = isShared;
  }

  begun(requestId: string): void {
    if (!this.#isShared) this.#end();
    this.#write(requestId, startLine(requestId, this.#version));
  }

  printed(requestId: string | null, text: string): void {
    // Of the next one: there is nothing more to wait for.
    if (this.#answered !== null && requestId !== this.#answered.requestId) this.#end();
    else if (this.#rest !== '' && requestId !== this.#restId) this.#endLine();
    const lines = `${this.#rest}${text}`.split('\n');
    let rest = lines.pop() ?? '';
    for (const line of lines) this.#write(requestId, line.endsWith('\r') ? line.slice(0, -1) : line);
    for (; rest.length > MAX_MESSAGE; rest = rest.slice(MAX_MESSAGE))
      this.#write(requestId, rest.slice(0, MAX_MESSAGE));
    this.#rest = rest;
    this.#restId = requestId;
    if (rest === '') return;
    this.#restAtMs = this.#elapsed();
    this.#sink.wait(this);
  }

  answered(requestId: string, times: InvocationTimes): void {
    if (this.#isShared) return this.#writeEnd(requestId, times);
    this.#answered = { requestId, atMs: this.#elapsed(), times };
    this.#sink.wait(this);
  }

  /** Writes what has waited long enough. @returns whether nothing waits any more. */
  settle(): boolean {
    const late = this.#elapsed() - LATE_OUTPUT_MS;
    if (this.#answered !== null && this.#answered.atMs <= late) this.#end();
    if (this.#rest !== '' && this.#restAtMs <= late) this.#endLine();
    return this.#answered === null && this.#rest === '';
  }

  /** The VM is gone, or snapctr ends. */
  close(): void {
    this.#end();
  }

  #end(): void {
    this.#endLine();
    if (this.#answered === null) return;
    const { requestId, times } = this.#answered;
    this.#answered = null;
    this.#writeEnd(requestId, times);
  }

  #writeEnd(requestId: string, times: InvocationTimes): void {
    this.#write(requestId, endLine(requestId));
    this.#write(requestId, reportLine(times, requestId));
  }

  #endLine(): void {
    const rest = this.#rest;
    this.#rest = '';
    if (rest !== '') this.#write(this.#restId, rest);
  }

  #write(requestId: string | null, message: string): void {
    const timeMs = this.#now();
    // A VM that prints nothing and runs nothing has no stream.
    this.#stream ??= streamName(timeMs, this.#version, randomBytes(16).toString('hex'));
    const stream = this.#stream;
    for (let at = 0; at === 0 || at < message.length; at += MAX_MESSAGE) {
      this.#sink.append(encodeEvent({ timeMs, stream, requestId, message: message.slice(at, at + MAX_MESSAGE) }));
    }
  }
}
