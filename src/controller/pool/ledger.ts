/**
 * Runs in snapctr. The books of what VMs take of the host: guest memory, in MiB, and taps. For either:
 *
 * ```
 *   total = free + reserved (VMs that launch, idle or run) − never negative −
 *   dying = of killed VMs whose process has not ended yet: already free in the books, not yet on the host
 * ```
 *
 * A reservation is made at once, so that a burst cannot overrun the total; the launch itself waits until the host really
 * has what was promised (`settled`).
 */

/** What one VM takes. */
export interface Share {
  readonly memoryMib: number;
  /** Whether it holds one of the host's taps. */
  readonly hasTap: boolean;
}

/** What is not free for a VM. */
export interface Lack {
  /** 0 if there is enough. */
  readonly memoryMib: number;
  readonly tap: boolean;
}

export class Ledger {
  readonly #total: Sum;
  readonly #reserved: Sum;
  readonly #dying: Sum;
  #waiters: (() => void)[] = [];

  constructor(totalMib: number, taps = 0) {
    this.#total = new Sum(totalMib, taps);
    this.#reserved = new Sum();
    this.#dying = new Sum();
  }

  get totalMib(): number {
    return this.#total.mib;
  }

  get taps(): number {
    return this.#total.taps;
  }

  get reservedMib(): number {
    return this.#reserved.mib;
  }

  get dyingMib(): number {
    return this.#dying.mib;
  }

  get freeMib(): number {
    return this.#total.mib - this.#reserved.mib;
  }

  /** Whether a VM would fit if there were no others. */
  couldHold({ memoryMib, hasTap }: Share): boolean {
    return memoryMib <= this.#total.mib && !(hasTap && this.#total.taps === 0);
  }

  /** Null if everything a VM takes is free. */
  lack({ memoryMib, hasTap }: Share): Lack | null {
    const missingMib = Math.max(0, memoryMib - this.freeMib);
    const tap = hasTap && this.#reserved.taps >= this.#total.taps;
    return missingMib === 0 && !tap ? null : { memoryMib: missingMib, tap };
  }

  /** False if there is not enough; nothing is reserved then. */
  tryReserve(share: Share): boolean {
    if (this.lack(share) !== null) return false;
    this.#reserved.add(share);
    return true;
  }

  /** The VM was killed: others may count on its share, once `ended` says that it is really free. */
  markDying(share: Share): void {
    this.#reserved.subtract(share, 'given back than reserved');
    this.#dying.add(share);
  }

  /** The process of a dying VM has ended. */
  ended(share: Share): void {
    this.#dying.subtract(share, 'ended than dying');
    this.#wakeAll();
  }

  /**
   * Resolves when all that is reserved has room beside what is still dying; killing is quick, so this is too.
   *
   * @param limitMs how long to wait at most: a process that the kernel does not let go keeps its memory for as long.
   * @returns false if the time was up before.
   */
  async settled(limitMs: number): Promise<boolean> {
    if (!this.#isOverdrawn()) return true;
    const deadline = performance.now() + limitMs;
    // Timers may be early by a part of a millisecond.
    const timer = setTimeout(() => this.#wakeAll(), limitMs + 1);
    while (this.#isOverdrawn() && performance.now() < deadline) {
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
    }
    clearTimeout(timer);
    return !this.#isOverdrawn();
  }

  #wakeAll(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }

  #isOverdrawn(): boolean {
    return (['mib', 'taps'] as const).some(
      (of) => this.#dying[of] > 0 && this.#reserved[of] + this.#dying[of] > this.#total[of],
    );
  }
}

/** A sum of shares. */
class Sum {
  mib: number;
  taps: number;

  constructor(mib = 0, taps = 0) {
    this.mib = mib;
    this.taps = taps;
  }

  add({ memoryMib, hasTap }: Share): void {
    this.mib += memoryMib;
    if (hasTap) this.taps += 1;
  }

  subtract({ memoryMib, hasTap }: Share, how: string): void {
    this.mib -= memoryMib;
    if (hasTap) this.taps -= 1;
    if (this.mib < 0) throw new Error(`ledger: ${-this.mib} MiB more ${how}`);
    if (this.taps < 0) throw new Error(`ledger: ${-this.taps} taps more ${how}`);
  }
}
