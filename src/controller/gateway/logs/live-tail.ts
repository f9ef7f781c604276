/**
 * Runs in snapctr. StartLiveTail: what functions print from now on, as a stream of events:
 *
 * ```
 *   initial-response   sessionStart   sessionUpdate   sessionUpdate   …   SessionTimeoutException | SessionStreamingException
 *                                     └── one a second, also without anything new
 * ```
 *
 * It reads the files of the logs, as a query does. Nothing is left out for a reader that is slow: it gets it later.
 */
import { randomUUID } from 'node:crypto';
import type { FunctionLogs } from '../../../logs/function-logs.ts';
import type { LogEvent } from '../../../logs/log-event.ts';
import type { LogPosition } from '../../../logs/log-reader.ts';
import { SnapfaasError } from '../../../protocol/errors.ts';
import type { PartialOutput } from '../dialect.ts';
import { EventEncoder } from '../event-stream.ts';
import type { HeaderList } from '../http-answer.ts';
import { JsonApiError } from '../json/body.ts';
import { cut, MAX_ANSWER_CHARACTERS } from './answer-size.ts';

const UPDATE_MS = 1000;
/** As on AWS. */
const SESSION_MS = 3 * 3600 * 1000;
const MAX_SESSIONS = 64;
/** Of one update. With more, the next one comes at once. */
const MAX_EVENTS = 500;

const HEADERS: HeaderList = ['content-type', 'application/vnd.amazon.eventstream'];
const INITIAL_RESPONSE = new EventEncoder('initial-response', 'application/x-amz-json-1.1');
const SESSION_START = new EventEncoder('sessionStart', 'application/json');
const SESSION_UPDATE = new EventEncoder('sessionUpdate', 'application/json');
const SESSION_STREAMING = new EventEncoder('SessionStreamingException', 'application/json', 'exception');
const SESSION_TIMEOUT = new EventEncoder('SessionTimeoutException', 'application/json', 'exception');

/** What a session is to tell. */
export interface LiveTailWish {
  /** Functions and the ARNs of their log groups. */
  readonly groups: readonly { readonly name: string; readonly arn: string }[];
  /** Told again when the session starts. */
  readonly told: Readonly<Record<string, unknown>>;
  readonly accepts: (event: LogEvent) => boolean;
}

type FollowedLogs = Pick<FunctionLogs, 'read' | 'end'>;

export class LiveTails {
  readonly #logs: FollowedLogs;
  readonly #sessions = new Set<Session>();
  #isClosed = false;

  constructor(logs: FollowedLogs) {
    this.#logs = logs;
  }

  /** Resolves when the reader is gone, or the session has ended. @throws JsonApiError LimitExceededException */
  async run(wish: LiveTailWish, output: PartialOutput): Promise<void> {
    if (this.#isClosed) return;
    if (this.#sessions.size >= MAX_SESSIONS) {
      const problem = `${MAX_SESSIONS} sessions of StartLiveTail are open already; close one of them`;
      throw new JsonApiError('LimitExceededException', problem);
    }
    const session = new Session(this.#logs, wish, output);
    this.#sessions.add(session);
    try {
      await session.run();
    } catch (error) {
      await session.fail(SnapfaasError.from(error).message);
    } finally {
      this.#sessions.delete(session);
    }
  }

  /** Every session ends; none can begin. */
  close(): void {
    this.#isClosed = true;
    for (const session of this.#sessions) session.end();
  }
}

class Session {
  readonly #logs: FollowedLogs;
  readonly #wish: LiveTailWish;
  readonly #output: PartialOutput;
  /** By function: what comes after it was not told yet. It is a place and no time, because a clock may be set back. */
  readonly #positions = new Map<string, LogPosition>();
  #isEnded = false;
  #wake: () => void = () => undefined;

  constructor(logs: FollowedLogs, wish: LiveTailWish, output: PartialOutput) {
    this.#logs = logs;
    this.#wish = wish;
    this.#output = output;
    output.onDrain = () => this.#wake();
  }

  end(): void {
    this.#isEnded = true;
    this.#wake();
  }

  /** It has begun: its reader is told in the stream. */
  fail(message: string): Promise<void> {
    return this.#send(SESSION_STREAMING, { message });
  }

  async run(): Promise<void> {
    const began = performance.now();
    for (const { name } of this.#wish.groups) this.#positions.set(name, await this.#logs.end(name));
    await this.#send(INITIAL_RESPONSE, {});
    await this.#send(SESSION_START, {
      requestId: randomUUID(),
      sessionId: randomUUID(),
      logGroupIdentifiers: this.#wish.groups.map(({ arn }) => arn),
      ...this.#wish.told,
    });
    while (!this.#isOver) {
      const { sessionResults, isBehind } = await this.#update();
      await this.#send(SESSION_UPDATE, { sessionMetadata: { sampled: false }, sessionResults });
      if (performance.now() - began > SESSION_MS) {
        return this.#send(SESSION_TIMEOUT, { message: 'The session has been open for three hours.' });
      }
      if (!isBehind) await this.#pause(UPDATE_MS);
    }
  }

  get #isOver(): boolean {
    return this.#isEnded || this.#output.isGone;
  }

  async #update(): Promise<{ readonly sessionResults: readonly unknown[]; readonly isBehind: boolean }> {
    const sessionResults: unknown[] = [];
    let isBehind = false;
    let room = MAX_ANSWER_CHARACTERS;
    for (const { name, arn } of this.#wish.groups) {
      const { accepts } = this.#wish;
      const after = this.#positions.get(name) ?? null;
      const limit = MAX_EVENTS - sessionResults.length;
      if (limit === 0 || room <= 0) return { sessionResults, isBehind: true };
      const page = await this.#logs.read(name, { fromMs: 0, toMs: Infinity, after, limit, accepts });
      const { events, next } = cut(page.events, page.next, room);
      this.#positions.set(name, next ?? page.end);
      isBehind ||= next !== null;
      for (const { stream, message, timeMs } of events) {
        room -= message.length;
        sessionResults.push({
          logStreamName: stream,
          logGroupIdentifier: arn,
          message,
          timestamp: timeMs,
          ingestionTime: timeMs,
        });
      }
    }
    return { sessionResults, isBehind };
  }

  /** Resolves when the reader has taken it, or is gone. */
  async #send(encoder: EventEncoder, value: unknown): Promise<void> {
    if (this.#isOver || this.#output.write(HEADERS, encoder.encode(Buffer.from(JSON.stringify(value))))) return;
    await this.#woken();
  }

  async #pause(ms: number): Promise<void> {
    const timer = setTimeout(() => this.#wake(), ms);
    await this.#woken();
    clearTimeout(timer);
  }

  async #woken(): Promise<void> {
    if (!this.#isOver) await new Promise<void>((resolve) => (this.#wake = resolve));
  }
}
