/**
 * Runs in snapctr. One process that serves it, such as `firerunner --serve`: commands in, events out, as JSON lines, and whether it
 * still does its work.
 *
 * ```
 *   starting ──serving──▶ serving ──ended, or hung: killed──▶ lost ──process ended──▶ ended
 *      └── ended, or not serving in time: killed ──────────────┘
 * ```
 *
 * A process that hangs (stopped, waiting in the kernel for a dead disk, busy without end) is treated as one that has died: it is
 * asked for a sign of life each second, and killed when it gives none. `lost` does not wait for its end, which the kernel may
 * put off for as long as it likes.
 */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { LineError, LineReader } from '../protocol/lines.ts';
import type { Logger } from './log.ts';

/** Its last lines on stderr, kept for error messages. */
const STDERR_LINES = 20;
/** A longer line of stderr is cut, in bytes. */
const MAX_STDERR_LINE_BYTES = 64 * 1024;
/** How long its last words may take after its end: what it has started may keep its stderr open, in ms. */
const LAST_WORDS_MS = 500;

/** Which program it is, and how long its lines may be. */
export interface ServingProgram {
  /** What messages call it. */
  readonly name: 'firerunner' | 'builder';
  /** Its program and arguments. */
  readonly command: readonly string[];
  readonly maxLineBytes: number;
}

export interface ServingTimes {
  /** Between two pings. */
  readonly pingMs: number;
  /** From its start until it serves: firerunner tries out VMMs before. */
  readonly startLimitMs: number;
  /** How long a process that was killed is waited for when nothing else is to be done. */
  readonly killPatienceMs: number;
}

export const SERVING_TIMES: ServingTimes = { pingMs: 1000, startLimitMs: 120_000, killPatienceMs: 2000 };

/** Pings without any answer after which it counts as not answering, and as hung. */
const UNANSWERED_PINGS = 3;
export const HUNG_PINGS = 7;

type SomeEvent = { readonly event: string };
/** What it says when it takes commands. */
export type ServingEvent<Event> = Extract<Event, { event: 'serving' }>;
/** What it says of its work. */
export type ServedEvent<Event> = Exclude<Event, { event: 'serving' | 'pong' }>;

export class ServingProcess<Command, Event extends SomeEvent> {
  /** What it says when it takes commands; rejects with its own words if it ends before, or takes too long. */
  readonly serving: Promise<ServingEvent<Event>>;
  /** Resolves with the reason when it is of no more use. Never rejects. */
  readonly lost: Promise<string>;
  /** Resolves when the process has ended. Never rejects. */
  readonly ended: Promise<void>;
  readonly #name: string;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #times: ServingTimes;
  readonly #logger: Logger;
  readonly #onEvent: (event: ServedEvent<Event>) => void;
  readonly #lastWords: string[] = [];
  /** Pings since it last said anything. Counted, not timed: whoever was stopped itself may not conclude from the clock. */
  #unanswered = 0;
  #heartbeat: NodeJS.Timeout | null = null;
  #isLost = false;
  #hasEnded = false;
  #resolveServing: (event: ServingEvent<Event>) => void = () => undefined;
  #resolveLost: (reason: string) => void = () => undefined;

  constructor(
    { name, command, maxLineBytes }: ServingProgram,
    logger: Logger,
    onEvent: (event: ServedEvent<Event>) => void,
    times: ServingTimes = SERVING_TIMES,
  ) {
    const [program, ...args] = command;
    if (program === undefined) throw new Error(`no ${name} command given`);
    this.#name = name;
    this.#logger = logger;
    this.#onEvent = onEvent;
    this.#times = times;
    this.lost = new Promise((resolve) => (this.#resolveLost = resolve));
    // A group of its own: a terminal's Ctrl-C is for snapctr, which drains first.
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
    this.#readLastWords();
    // A write to a process that has just died; its end is handled below.
    this.#child.stdin.on('error', () => undefined);
    this.ended = this.#untilEnded();
    this.serving = this.#untilServing();
    this.serving.catch(() => undefined);
    const reader = new LineReader(maxLineBytes);
    this.#child.stdout.on('data', (chunk: Buffer) => this.#onData(reader, chunk));
  }

  /** Null once it has ended. */
  get pid(): number | null {
    return this.#hasEnded ? null : (this.#child.pid ?? null);
  }

  /** False while it leaves pings unanswered. */
  get isAnswering(): boolean {
    return this.#unanswered < UNANSWERED_PINGS;
  }

  send(command: Command): void {
    this.#write(command);
  }

  /** It is of no more use, for this reason; it is killed, and with firerunner every VM: the kernel kills VMMs with their parent. */
  fail(reason: string): void {
    if (this.#isLost) return;
    this.#lose(reason);
    this.#kill();
  }

  /**
   * Ends it, and all it has started: by the end of its stdin, and if that takes longer than `patienceMs` by a signal. Resolves when
   * it has ended, or cannot be ended: then `lost` has resolved all the same.
   */
  async close(patienceMs: number): Promise<void> {
    this.#stopHeartbeat();
    this.#child.stdin.end();
    await this.#untilEndedWithin(this.isAnswering ? patienceMs : 0);
    if (this.#hasEnded) return;
    this.#kill();
    await this.#untilEndedWithin(this.#times.killPatienceMs);
    this.#lose(`${this.#name} does not end`);
  }

  /** Also the programs in its group, such as those that a builder runs; VMMs and janitors have groups of their own. */
  #kill(): void {
    const { pid } = this.#child;
    if (pid === undefined || this.#hasEnded) return;
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // It has just ended.
    }
  }

  #write(command: Command | { readonly op: 'ping' }): void {
    if (!this.#isLost) this.#child.stdin.write(`${JSON.stringify(command)}\n`);
  }

  #lose(reason: string): void {
    if (this.#isLost) return;
    this.#isLost = true;
    this.#stopHeartbeat();
    this.#resolveLost([reason, ...this.#lastWords].join('\n'));
  }

  async #untilServing(): Promise<ServingEvent<Event>> {
    const serving = new Promise<ServingEvent<Event>>((resolve) => (this.#resolveServing = resolve));
    const { startLimitMs } = this.#times;
    const late = setTimeout(
      () => this.fail(`${this.#name} did not start within ${startLimitMs / 1000} s`),
      startLimitMs,
    );
    try {
      const event = await Promise.race([serving, this.lost]);
      if (typeof event === 'string') throw new Error(event);
      return event;
    } finally {
      clearTimeout(late);
    }
  }

  async #untilEnded(): Promise<void> {
    const child = this.#child;
    const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
    const how = await new Promise<string>((resolve) => {
      child.once('error', (error) => {
        // Also said of a kill that fails, while the process lives.
        if (child.pid === undefined) resolve(`${this.#name} could not be started: ${error.message}`);
      });
      child.once('exit', (status, signal) => {
        resolve(`${this.#name} ended with ${signal ?? `status ${String(status)}`}`);
      });
    });
    // What it was running ends with it, however it ended: the group is there as long as one of them is.
    this.#kill();
    this.#hasEnded = true;
    this.#stopHeartbeat();
    await Promise.race([closed, sleep(LAST_WORDS_MS, undefined, { ref: false })]);
    this.#lose(how);
  }

  async #untilEndedWithin(limitMs: number): Promise<void> {
    const patience = new AbortController();
    await Promise.race([this.ended, sleep(limitMs, undefined, { signal: patience.signal }).catch(() => undefined)]);
    patience.abort();
  }

  #readLastWords(): void {
    const { pid, stderr } = this.#child;
    let reader = new LineReader(MAX_STDERR_LINE_BYTES);
    stderr.on('data', (chunk: Buffer) => {
      try {
        for (const line of reader.push(chunk)) {
          this.#lastWords.push(line);
          if (this.#lastWords.length > STDERR_LINES) this.#lastWords.shift();
          this.#logger.warn({ [this.#name]: pid }, line);
        }
      } catch (error) {
        // What it says beside its events is for people; a line that nobody would read is left out.
        if (!(error instanceof LineError)) throw error;
        reader = new LineReader(MAX_STDERR_LINE_BYTES);
      }
    });
  }

  #onData(reader: LineReader, chunk: Buffer): void {
    if (this.#isLost) return;
    this.#unanswered = 0;
    try {
      for (const line of reader.push(chunk)) this.#onLine(line);
    } catch (error) {
      if (!(error instanceof LineError)) throw error;
      this.fail(`${this.#name} broke the protocol: ${error.message}`);
    }
  }

  #onLine(line: string): void {
    const event = parseEvent(line) as Event | null;
    if (event === null) {
      const fields = { [this.#name]: this.#child.pid, bytes: line.length };
      this.#logger.warn(fields, `${this.#name} broke off in the middle of a line`);
    } else if (event.event === 'serving') {
      this.#startHeartbeat();
      this.#resolveServing(event as ServingEvent<Event>);
    } else if (event.event !== 'pong' && !this.#isLost) {
      this.#onEvent(event as ServedEvent<Event>);
    }
  }

  #startHeartbeat(): void {
    const { pingMs } = this.#times;
    this.#heartbeat ??= setInterval(() => {
      if (this.#unanswered >= HUNG_PINGS) {
        return this.fail(`${this.#name} did not answer for ${(HUNG_PINGS * pingMs) / 1000} s and was killed`);
      }
      this.#unanswered += 1;
      this.#write({ op: 'ping' });
    }, pingMs).unref();
  }

  #stopHeartbeat(): void {
    if (this.#heartbeat !== null) clearInterval(this.#heartbeat);
    this.#heartbeat = null;
  }
}

/** Null for what it left half written when it was killed. */
function parseEvent(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}
