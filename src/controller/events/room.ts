/**
 * Runs in snapctr. What is under way at once: all functions have one room, all other destinations another, and each of them a share
 * of it, however many flows lead there.
 *
 * ```
 *   0            half                whole
 *   ├─ anybody ───┼─ who has nothing ─┤     small events have no bytes here: only their number counts
 * ```
 *
 * Who has something under way gets more only from the first half. The slow ones leave the other half to all that have nothing yet.
 */
import type { Flow } from './flow.ts';

/** There may be so many of these that nobody has to look at their bytes. */
const SMALL_EVENT_BYTES = 16 * 1024;

export interface RoomLimits {
  /** Events. */
  readonly maxInFlight: number;
  /** Of payloads in memory, small ones left out. It is passed by the last event at most. */
  readonly maxBytes: number;
}

/** What one function, or one destination, has under way. */
export class Share {
  readonly key: string;
  readonly room: Room;
  /** The one that began an event last is last. */
  readonly flows = new Set<Flow>();
  inFlight = 0;
  /** Of large events. */
  bytes = 0;

  constructor(key: string, room: Room) {
    this.key = key;
    this.room = room;
  }
}

export class Room {
  readonly #limits: RoomLimits;
  readonly #shares = new Map<string, Share>();
  #inFlight = 0;
  #bytes = 0;

  constructor(limits: RoomLimits) {
    this.#limits = limits;
  }

  /** The same for all flows that lead there. */
  shareOf(key: string): Share {
    const known = this.#shares.get(key);
    if (known !== undefined) return known;
    const share = new Share(key, this);
    this.#shares.set(key, share);
    return share;
  }

  /** Whether it has all that it may have, or a quarter of the bytes: only an event of its own that ends changes that. */
  isFull({ inFlight, bytes }: Share, limit: number): boolean {
    return inFlight >= limit || bytes * 4 >= this.#limits.maxBytes;
  }

  /** Whether there is room for its next event, of so many bytes. */
  takes(share: Share, bytes: number): boolean {
    const { maxInFlight, maxBytes } = this.#limits;
    if (this.#inFlight >= (share.inFlight === 0 ? maxInFlight : Math.ceil(maxInFlight / 2))) return false;
    return sizeOf(bytes) === 0 || this.#bytes < (share.bytes === 0 ? maxBytes : maxBytes / 2);
  }

  enter(flow: Flow, bytes: number): void {
    const { share } = flow;
    share.flows.delete(flow);
    share.flows.add(flow);
    this.#change(share, 1, sizeOf(bytes));
  }

  leave({ share }: Flow, bytes: number): void {
    this.#change(share, -1, -sizeOf(bytes));
  }

  /** Nothing waits in it, and nothing of it is under way. */
  forget(flow: Flow): void {
    const { share } = flow;
    share.flows.delete(flow);
    if (share.flows.size === 0) this.#shares.delete(share.key);
  }

  #change(share: Share, events: number, bytes: number): void {
    share.inFlight += events;
    share.bytes += bytes;
    this.#inFlight += events;
    this.#bytes += bytes;
  }
}

function sizeOf(bytes: number): number {
  return bytes > SMALL_EVENT_BYTES ? bytes : 0;
}
