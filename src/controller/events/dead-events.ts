/** Runs in snapctr. Events that failed for good, and that no destination has taken: kept for some time, so that they can be tried again. */
import { messageOf } from '../../protocol/errors.ts';
import type { Logger } from '../log.ts';
import type { EventClock } from './event-clock.ts';
import type { EventStore, StoredEvent } from './event-store.ts';

/** docs/lambda.md names all three. */
const MAX_DEAD = 10_000;
const MAX_DEAD_BYTES = 1024 * 1024 * 1024;
const MAX_DEAD_AGE_MS = 14 * 24 * 3600 * 1000;
const SWEEP_MS = 600_000;

export interface DeadEventsOptions {
  readonly store: Pick<EventStore, 'settle'>;
  readonly clock: EventClock;
  readonly logger: Logger;
}

export class DeadEvents {
  readonly #options: DeadEventsOptions;
  /** Those that died first are first. */
  readonly #events = new Map<number, StoredEvent>();
  #bytes = 0;
  #callOff: (() => void) | null = null;

  constructor(options: DeadEventsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#events.size;
  }

  all(): Iterable<StoredEvent> {
    return this.#events.values();
  }

  has({ sequence }: StoredEvent): boolean {
    return this.#events.has(sequence);
  }

  add(event: StoredEvent): void {
    if (this.#events.has(event.sequence)) return;
    this.#events.set(event.sequence, event);
    this.#bytes += event.bytes;
    for (const oldest of this.#events.values()) {
      if (this.#events.size <= MAX_DEAD && this.#bytes <= MAX_DEAD_BYTES) break;
      this.#drop(oldest, 'there are too many');
    }
  }

  remove(event: StoredEvent): void {
    if (this.#events.delete(event.sequence)) this.#bytes -= event.bytes;
  }

  /** From now on those that are too old go by themselves. */
  start(): void {
    const { clock } = this.#options;
    for (const event of this.#events.values()) {
      if (event.state.at + MAX_DEAD_AGE_MS <= clock.now()) this.#drop(event, 'it died too long ago');
    }
    this.#callOff = clock.after(SWEEP_MS, () => this.start());
  }

  stop(): void {
    this.#callOff?.();
  }

  #drop(event: StoredEvent, why: string): void {
    const { logger, store } = this.#options;
    this.remove(event);
    logger.warn({ target: event.target, event: event.sequence }, `a dead event is removed: ${why}`);
    store.settle(event, []).catch((error: unknown) => logger.debug(`its end was not written: ${messageOf(error)}`));
  }
}
