/** A clock for tests, which goes as far as it is told. */
import type { EventClock } from '../../../src/controller/events/event-clock.ts';

export class ManualClock implements EventClock {
  #now: number;
  #timers: { readonly at: number; readonly run: () => void }[] = [];
  readonly now = (): number => this.#now;

  constructor(now = 1_000_000) {
    this.#now = now;
  }

  readonly after = (ms: number, run: () => void): (() => void) => {
    const timer = { at: this.#now + ms, run };
    this.#timers.push(timer);
    return () => (this.#timers = this.#timers.filter((one) => one !== timer));
  };

  /** Lets time pass, and what is due happen in its order, with all that follows from it at once. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      await settled();
      const [next] = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.#timers = this.#timers.filter((one) => one !== next);
      this.#now = Math.max(this.#now, next.at);
      next.run();
    }
    this.#now = end;
    await settled();
  }
}

/** All that waits for nothing but promises has happened. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
}
