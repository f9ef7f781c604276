/** Runs in snapctr. The events of one target: they wait in the order in which they came. */
import type { StoredEvent } from './event-store.ts';
import type { Share } from './room.ts';
import type { Target } from './target.ts';

/** Pauses after which a target that had no room is asked again: they double from the first to the longest, in ms. */
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 60_000;
/** What is taken from the front of the array at once. */
const CHUNK = 1024;

export class Flow {
  readonly key: string;
  readonly target: Target;
  readonly share: Share;
  inFlight = 0;
  /** Until then there is no room for it. */
  pausedUntil = 0;
  #refusals = 0;
  /** Turned away for want of room: they are before all others. */
  #back: StoredEvent[] = [];
  #waiting: StoredEvent[] = [];
  #taken = 0;

  constructor(key: string, target: Target, share: Share) {
    this.key = key;
    this.target = target;
    this.share = share;
    share.flows.add(this);
  }

  get waiting(): number {
    return this.#back.length + this.#waiting.length - this.#taken;
  }

  get first(): StoredEvent | undefined {
    return this.#back[0] ?? this.#waiting[this.#taken];
  }

  /** Nothing of it is left to be done, and nobody has to know that it has no room. */
  isIdle(now: number): boolean {
    return this.waiting === 0 && this.inFlight === 0 && this.pausedUntil <= now;
  }

  add(event: StoredEvent): void {
    this.#waiting.push(event);
  }

  take(): StoredEvent | undefined {
    const back = this.#back.shift();
    if (back !== undefined) return back;
    const event = this.#waiting[this.#taken];
    if (event === undefined) return undefined;
    this.#taken += 1;
    if (this.#taken >= CHUNK && this.#taken * 2 >= this.#waiting.length) {
      this.#waiting = this.#waiting.slice(this.#taken);
      this.#taken = 0;
    }
    return event;
  }

  /** There was no room for it: it is the next one again, after a pause. */
  refused(event: StoredEvent, now: number): void {
    this.#back.push(event);
    this.#back.sort((a, b) => a.sequence - b.sequence);
    // Others that were under way at the same time say nothing new.
    if (this.pausedUntil > now) return;
    this.pausedUntil = now + Math.min(FIRST_PAUSE_MS * 2 ** this.#refusals, LONGEST_PAUSE_MS);
    this.#refusals += 1;
  }

  /** There was room. */
  ran(): void {
    this.#refusals = 0;
  }
}
