/** Runs in snapctr. What a request waited for before it had a VM. */
import type { Lacking } from './pool/launch-cause.ts';

/** `turn`: those before it, or a worker. */
export type WaitReason = 'turn' | Lacking;

/** How long for each, in ms. */
export type Waits = Readonly<Partial<Record<WaitReason, number>>>;

/** The wait of one request that got no VM at once: each look for one tells what it waits for until the next. */
export class QueueWait {
  readonly #waits: Partial<Record<WaitReason, number>> = {};
  #reason: WaitReason = 'turn';
  #since: number;

  /** @param since when it was submitted, by `performance.now()`. */
  constructor(since: number) {
    this.#since = since;
  }

  /** There was no VM for it. */
  lacked(lacking: Lacking, now: number): void {
    this.#add(now);
    this.#reason = lacking;
  }

  /** It has a VM, or has given up. */
  end(now: number): Waits {
    this.#add(now);
    return this.#waits;
  }

  #add(now: number): void {
    this.#waits[this.#reason] = (this.#waits[this.#reason] ?? 0) + now - this.#since;
    this.#since = now;
  }
}
