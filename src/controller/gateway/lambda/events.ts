/**
 * Runs in snapctr. Invocations of type `Event`: their caller has its answer already. They run once, like all others; one
 * that finds no room is tried again for a while, because its handler has not run. They live in memory only: what still
 * waits when snapctr ends is lost.
 */
import { setMaxListeners } from 'node:events';
import { ERROR_TABLE, SnapfaasError } from '../../../protocol/errors.ts';
import type { Logger } from '../../log.ts';
import type { Invocation, Outcome } from '../../task.ts';
import type { ExchangeOwner } from '../http-exchange.ts';
import { ApiError } from './errors.ts';

/** Pauses before the tries that follow the first, in ms; together about a minute. */
const PAUSES_MS = [250, 500, 1000, 2000, 4000, 8000, 15_000, 30_000];

/** Largest event of type `Event`, in bytes. */
export const MAX_ASYNC_EVENT_BYTES = 1024 * 1024;
/** What the events that may be under way have on average, in bytes, if together they reach their limit. */
const BYTES_PER_EVENT = 64 * 1024;

export class EventInvocations {
  readonly #owner: ExchangeOwner;
  readonly #capacity: number;
  /** Of the payloads of all that are under way. */
  readonly #maxBytes: number;
  readonly #logger: Logger;
  /** Nobody can call them off. */
  readonly #never = new AbortController().signal;
  /** Those that wait for their next try. */
  readonly #waiting = new Map<NodeJS.Timeout, () => void>();
  #pending = 0;
  #pendingBytes = 0;

  /** @param capacity how many may be under way; they may have 64 KiB each on average, and together at least 1 MiB. */
  constructor(owner: ExchangeOwner, capacity: number, logger: Logger) {
    this.#owner = owner;
    this.#capacity = capacity;
    this.#maxBytes = Math.max(capacity * BYTES_PER_EVENT, MAX_ASYNC_EVENT_BYTES);
    this.#logger = logger;
    // One listener for each that runs is no leak.
    setMaxListeners(0, this.#never);
  }

  /** Takes an invocation over. @throws ApiError if too many, or too many bytes, are under way; or what the channel says. */
  accept(id: string, invocation: Invocation): void {
    const { length } = invocation.payload;
    if (this.#pending >= this.#capacity) throw this.#throttled(`${this.#capacity}`);
    if (this.#pendingBytes + length > this.#maxBytes) throw this.#throttled(`${this.#maxBytes} bytes of`);
    // Before it is handed over: it may be answered at once.
    this.#pending += 1;
    this.#pendingBytes += length;
    this.#owner.taskOpened();
    try {
      this.#submit(id, invocation, 0);
    } catch (error) {
      this.#finish(invocation);
      throw error;
    }
  }

  /** No further try: what waits for one is given up. */
  stop(): void {
    for (const [timer, giveUp] of this.#waiting) {
      clearTimeout(timer);
      giveUp();
    }
    this.#waiting.clear();
  }

  #submit(id: string, invocation: Invocation, failures: number): void {
    const reply = (outcome: Outcome): void => this.#onOutcome(id, invocation, failures, outcome);
    this.#owner.submit({ id, request: invocation, signal: this.#never, reply });
  }

  #onOutcome(id: string, invocation: Invocation, failures: number, outcome: Outcome): void {
    if (outcome.status === 'ok') return this.#finish(invocation);
    const { error } = outcome;
    const pauseMs = PAUSES_MS[failures];
    const mayRunAgain = outcome.start === null && ERROR_TABLE[error.code].handlerRan === 'no';
    if (!mayRunAgain || pauseMs === undefined || this.#owner.draining) return this.#giveUp(id, invocation, error);
    const timer = setTimeout(() => {
      this.#waiting.delete(timer);
      try {
        this.#submit(id, invocation, failures + 1);
      } catch (reason) {
        const refused = { status: 'error', error: SnapfaasError.from(reason), start: null } as const;
        this.#onOutcome(id, invocation, failures + 1, refused);
      }
    }, pauseMs);
    this.#waiting.set(timer, () => this.#giveUp(id, invocation, error));
  }

  #giveUp(id: string, invocation: Invocation, { code, message }: SnapfaasError): void {
    const { function: name } = invocation;
    this.#logger.warn({ function: name, request: id, code }, `an invocation of type Event failed: ${message}`);
    this.#finish(invocation);
  }

  #throttled(many: string): ApiError {
    const message = `Rate Exceeded. No more than ${many} invocations of type Event may be under way; see queue_capacity`;
    return new ApiError('TooManyRequestsException', message, { reason: 'ConcurrentInvocationLimitExceeded' });
  }

  #finish({ payload }: Invocation): void {
    this.#pending -= 1;
    this.#pendingBytes -= payload.length;
    this.#owner.taskFinished();
  }
}
