/** Runs in snapctr. Events in memory, where there is no data directory: they end with the process. */
/* eslint-disable @typescript-eslint/require-await -- the interface is that of stores that wait for a disk */
import {
  checkRoom,
  EventStoreError,
  initialState,
  type EventContents,
  type EventState,
  type EventStore,
  type EventStoreLimits,
  type NewEvent,
  type StoredEvent,
} from './event-store.ts';

/** What a host without a disk for them has room for beside `--mem`. */
export const MEMORY_LIMITS: EventStoreLimits = { maxEvents: 10_000, maxBytes: 64 * 1024 * 1024 };

interface MemoryEvent extends StoredEvent {
  state: EventState;
  readonly contents: EventContents;
}

export class MemoryEventStore implements EventStore {
  readonly isDurable = false;
  readonly latestMoment = 0;
  readonly #limits: EventStoreLimits;
  readonly #events = new Map<number, MemoryEvent>();
  #sequence = 0;
  #bytes = 0;

  constructor(limits: EventStoreLimits = MEMORY_LIMITS) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#events.size;
  }

  events(): Iterable<StoredEvent> {
    return this.#events.values();
  }

  find(sequence: number): StoredEvent | null {
    return this.#events.get(sequence) ?? null;
  }

  async append(event: NewEvent): Promise<StoredEvent> {
    checkRoom(this.#limits, this.#events.size, this.#bytes + event.payload.length);
    return this.#add(event);
  }

  async read({ sequence }: StoredEvent): Promise<EventContents> {
    const found = this.#events.get(sequence);
    if (found === undefined) throw new EventStoreError('closed', `event ${sequence} is done`);
    return found.contents;
  }

  update({ sequence }: StoredEvent, state: EventState): void {
    const found = this.#events.get(sequence);
    if (found !== undefined) found.state = state;
  }

  async settle({ sequence, bytes }: StoredEvent, followers: readonly NewEvent[]): Promise<readonly StoredEvent[]> {
    const added = followers.map((one) => this.#add(one));
    if (this.#events.delete(sequence)) this.#bytes -= bytes;
    return added;
  }

  async close(): Promise<void> {
    // There is nothing to write.
  }

  #add({ id, target, payload, acceptedAt, header, hops, attributes = null, origin = null }: NewEvent): StoredEvent {
    const sequence = ++this.#sequence;
    const event: MemoryEvent = {
      sequence,
      target,
      acceptedAt,
      bytes: payload.length,
      origin,
      state: initialState(acceptedAt),
      contents: { id, payload, header, hops, attributes },
    };
    this.#events.set(sequence, event);
    this.#bytes += payload.length;
    return event;
  }
}
