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

/** Pauses before the tries that follow the first, in ms; together about a minute. */
const PAUSES_MS = [250, 500, 1000, 2000, 4000, 8000, 15_000, 30_000];

export class EventInvocations {
  readonly #owner: ExchangeOwner;
  readonly #capacity: number;
  readonly #logger: Logger;
  /** Nobody can call them off. */
  readonly #never = new AbortController().signal;
  /** Those that wait for their next try. */
  readonly #waiting = new Map<NodeJS.Timeout, () => void>();
  #pending = 0;

  /** @param capacity how many may be under way. */
  constructor(owner: ExchangeOwner, capacity: number, logger: Logger) {
    this.#owner = owner;
    this.#capacity = capacity;
    this.#logger = logger;
    // One listener for each that runs is no leak.
    setMaxListeners(0, this.#never);
  }

  /** Takes an invocation over. @throws SnapfaasError `queue_full`, or whatever the channel says. */
  accept(id: string, invocation: Invocation): void {
    if (this.#pending >= this.#capacity) {
      throw new SnapfaasError('queue_full', `${this.#capacity} invocations of type Event are under way already`);
    }
    this.#submit(id, invocation, 0);
    this.#pending += 1;
    this.#owner.taskOpened();
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
    if (outcome.status === 'ok') return this.#finish();
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

  #giveUp(id: string, { function: name }: Invocation, { code, message }: SnapfaasError): void {
    this.#logger.warn({ function: name, request: id, code }, `an invocation of type Event failed: ${message}`);
    this.#finish();
  }

  #finish(): void {
    this.#pending -= 1;
    this.#owner.taskFinished();
  }
}
