/**
 * Runs in snapctr. The books of guest memory, in MiB:
 *
 * ```
 *   total = free + reserved (VMs that launch, idle or run) − never negative −
 *   dying = memory of killed VMs whose process has not ended yet: already free in the books, not yet in the host
 * ```
 *
 * A reservation is made at once, so that a burst cannot overrun the total; the launch itself waits until the memory is
 * there (`settled`).
 */
export class MemoryLedger {
  readonly totalMib: number;
  #reservedMib = 0;
  #dyingMib = 0;
  #waiters: (() => void)[] = [];

  constructor(totalMib: number) {
    this.totalMib = totalMib;
  }

  get reservedMib(): number {
    return this.#reservedMib;
  }

  get dyingMib(): number {
    return this.#dyingMib;
  }

  get freeMib(): number {
    return this.totalMib - this.#reservedMib;
  }

  /** False if there is not enough; nothing is reserved then. */
  tryReserve(mib: number): boolean {
    if (mib > this.freeMib) return false;
    this.#reservedMib += mib;
    return true;
  }

  /** The VM was killed: others may count on its memory, once `ended` says that it is really free. */
  markDying(mib: number): void {
    this.#reservedMib -= mib;
    this.#dyingMib += mib;
    if (this.#reservedMib < 0)
      throw new Error(`memory ledger: ${-this.#reservedMib} MiB more given back than reserved`);
  }

  /** The process of a dying VM has ended. */
  ended(mib: number): void {
    this.#dyingMib -= mib;
    if (this.#dyingMib < 0) throw new Error(`memory ledger: ${-this.#dyingMib} MiB more ended than dying`);
    for (const wake of this.#waiters.splice(0)) wake();
  }

  /** Resolves when all that is reserved has room beside what is still dying; killing is quick, so this is too. */
  async settled(): Promise<void> {
    while (this.#reservedMib + this.#dyingMib > this.totalMib && this.#dyingMib > 0) {
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
    }
  }
}
