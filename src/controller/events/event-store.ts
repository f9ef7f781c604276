/**
 * Runs in snapctr. Where events are kept that were accepted and are not done: what is appended is there until it is settled, whatever
 * is killed meanwhile. This is all that is asked of a store, so that it can be a journal of this host or the work queue of a fleet.
 */
import type { LambdaInvocation } from '../task.ts';

/** What a dead letter says beside the event that failed; by the names that AWS has for them. */
export interface DeadLetterAttributes {
  /** Of the event that failed. */
  readonly RequestID: string;
  /** The status of HTTP that its invocation would have had. */
  readonly ErrorCode: number;
  /** 1 KiB in UTF-8 at most. */
  readonly ErrorMessage: string;
}

/** An event on its way in. */
export interface NewEvent {
  /** Of the request that brought it; the same at each try. */
  readonly id: string;
  /** Who gets it: see `target.ts`. */
  readonly target: string;
  /** JSON in UTF-8, as it came. */
  readonly payload: Buffer;
  /** When it was accepted, in ms since 1970 by the clock of the events. */
  readonly acceptedAt: number;
  /** What the caller said of itself; null for what goes to no function. */
  readonly header: LambdaInvocation['header'] | null;
  /** Destinations that led here, one after the other; 0: a caller did. */
  readonly hops: number;
  /** Of a dead letter; absent or null: it is none. */
  readonly attributes?: DeadLetterAttributes | null;
  /** What it was made for, by which its source knows it after a crash; absent or null: nobody asks. */
  readonly origin?: string | null;
}

/** How far an event has come. */
export interface EventState {
  readonly status: 'pending' | 'dead';
  /** How often its target has begun with it, as far as is known. */
  readonly tries: number;
  /** When the next try is due, or when it died; in ms since 1970 by the clock of the events. */
  readonly at: number;
  /** Why the last try failed; kept of dead ones only, in some hundred characters. */
  readonly reason: string | null;
}

/** What a store has in memory of an event. */
export interface StoredEvent {
  /** Later ones have greater numbers. */
  readonly sequence: number;
  readonly target: string;
  readonly acceptedAt: number;
  /** Of its payload. */
  readonly bytes: number;
  readonly state: EventState;
  readonly origin: string | null;
}

/** What only the disk has. */
export type EventContents = Pick<NewEvent, 'id' | 'payload' | 'header' | 'hops' | 'attributes'>;

export interface EventStore {
  /** Whether events outlive this process. */
  readonly isDurable: boolean;
  /** Events that are not settled; pending ones and dead ones. */
  readonly size: number;
  /** All of them, in the order of their numbers. */
  events(): Iterable<StoredEvent>;
  /** @returns null if it is settled, or never was. */
  find(sequence: number): StoredEvent | null;
  /** The latest moment that was ever written down, in ms since 1970; 0: none. The clock of the events does not fall behind it. */
  readonly latestMoment: number;
  /**
   * Resolves when the event will be there after a crash.
   *
   * @throws EventStoreError; then nothing was accepted.
   */
  append(event: NewEvent): Promise<StoredEvent>;
  /** @throws EventStoreError if it is damaged, or was settled. */
  read(event: StoredEvent): Promise<EventContents>;
  /** The new state holds at once. What is written of it is written in time, or tried again; nothing waits for it. */
  update(event: StoredEvent, state: EventState): void;
  /**
   * The event is done, and what follows from it is kept in its place. Resolves when a crash brings back only the followers; that is
   * tried until the disk has room, or the store is closed.
   *
   * @throws EventStoreError `closed`; then a restart may bring the event back.
   */
  settle(event: StoredEvent, followers: readonly NewEvent[]): Promise<readonly StoredEvent[]>;
  /** Resolves when all that can be written is written. */
  close(): Promise<void>;
}

export type EventStoreErrorCode =
  /** There are as many as it keeps. */
  | 'full'
  /** The disk refused. */
  | 'unwritable'
  | 'damaged'
  | 'closed';

export class EventStoreError extends Error {
  override readonly name = 'EventStoreError';
  readonly code: EventStoreErrorCode;

  constructor(code: EventStoreErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Of all events that are not settled. */
export interface EventStoreLimits {
  readonly maxEvents: number;
  readonly maxBytes: number;
}

/** The state of an event that was just accepted. */
export function initialState(acceptedAt: number): EventState {
  return { status: 'pending', tries: 0, at: acceptedAt, reason: null };
}

/** @throws EventStoreError `full` */
export function checkRoom(limits: EventStoreLimits, events: number, bytes: number): void {
  if (events < limits.maxEvents && bytes <= limits.maxBytes) return;
  const kept = events < limits.maxEvents ? `${limits.maxBytes} bytes of events` : `${limits.maxEvents} events`;
  throw new EventStoreError('full', `${kept} are kept already; wait until some are done, or see "snapctr events"`);
}
