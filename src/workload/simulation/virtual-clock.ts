/** Runs in `snapctr simulate`, tests and benchmarks. A clock that stands until it is set. */
import { DueQueue } from '../../controller/due-queue.ts';
import type { Clock, Timer } from '../../controller/pool/clock.ts';

export class VirtualClock implements Clock {
  readonly #timers = new DueQueue<{ call: (() => void) | null }>();
  #nowMs = 0;

  now(): number {
    return this.#nowMs;
  }

  after(ms: number, call: () => void): Timer {
    const timer: { call: (() => void) | null } = { call };
    this.#timers.add(this.#nowMs + ms, timer);
    return { cancel: () => (timer.call = null) };
  }

  /** When the next timer is due. */
  get nextAt(): number {
    return this.#timers.nextAt ?? Infinity;
  }

  /** It is later now; what is due by then is called. */
  set(nowMs: number): void {
    this.#nowMs = nowMs;
    for (let due = this.#timers.take(nowMs); due !== null; due = this.#timers.take(nowMs)) due.call?.();
  }
}
