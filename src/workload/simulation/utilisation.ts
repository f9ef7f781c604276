/** Runs in `snapctr simulate`, tests and benchmarks. What the memory for VMs was used for, over time. */
import { MEMORY_USES, type MemoryUse } from '../../controller/pool/vm-life.ts';

/** Of a slice of time. */
export interface UtilisationSlice {
  /** Its middle, in ms. */
  readonly atMs: number;
  /** Means, in MiB. */
  readonly mib: Readonly<Record<MemoryUse, number>>;
  readonly evictions: number;
  readonly requests: number;
  /** Of the requests, those that had to wait. */
  readonly waited: number;
}

interface Slice {
  readonly mibMs: Record<MemoryUse, number>;
  evictions: number;
  requests: number;
  waited: number;
}

export class Utilisation {
  readonly #sliceMs: number;
  readonly #slices: Slice[] = [];
  readonly #mib: Record<MemoryUse, number> = { starting: 0, busy: 0, idle: 0 };
  #nowMs = 0;

  /** @param sliceMs how long a slice is, in whole ms: sums of fractions may never reach the next one. */
  constructor(sliceMs: number) {
    this.#sliceMs = sliceMs;
  }

  /** Memory is used for something else from now on; null: for nothing. */
  change(nowMs: number, mib: number, from: MemoryUse | null, to: MemoryUse | null): void {
    this.#advance(nowMs);
    if (from !== null) this.#mib[from] -= mib;
    if (to !== null) this.#mib[to] += mib;
  }

  onEvicted(nowMs: number): void {
    this.#at(nowMs).evictions += 1;
  }

  /** @param at when the request came. */
  onRequest(at: number, hasWaited: boolean): void {
    const slice = this.#at(at);
    slice.requests += 1;
    if (hasWaited) slice.waited += 1;
  }

  slices(nowMs: number): readonly UtilisationSlice[] {
    this.#advance(nowMs);
    return this.#slices.map(({ mibMs, evictions, requests, waited }, index) => {
      const beginMs = index * this.#sliceMs;
      const ms = Math.max(1, Math.min(this.#sliceMs, nowMs - beginMs));
      const mean = (use: MemoryUse): number => mibMs[use] / ms;
      const mib = { starting: mean('starting'), busy: mean('busy'), idle: mean('idle') };
      return { atMs: beginMs + ms / 2, mib, evictions, requests, waited };
    });
  }

  #at(ms: number): Slice {
    const index = Math.floor(ms / this.#sliceMs);
    while (this.#slices.length <= index) {
      this.#slices.push({ mibMs: { starting: 0, busy: 0, idle: 0 }, evictions: 0, requests: 0, waited: 0 });
    }
    return this.#slices[index] as Slice;
  }

  #advance(nowMs: number): void {
    while (this.#nowMs < nowMs) {
      const slice = this.#at(this.#nowMs);
      const until = Math.min(nowMs, (Math.floor(this.#nowMs / this.#sliceMs) + 1) * this.#sliceMs);
      for (const use of MEMORY_USES) slice.mibMs[use] += this.#mib[use] * (until - this.#nowMs);
      this.#nowMs = until;
    }
  }
}
