/** Runs in `snapctr simulate`, tests and benchmarks. Processor time: whatever runs shares the cores evenly. */

/** Work that the cores have before them, in ms of one core. */
interface Work {
  leftMs: number;
  readonly done: () => void;
}

export class Cores {
  readonly #count: number;
  readonly #works = new Set<Work>();
  #nowMs = 0;

  constructor(count: number) {
    this.#count = count;
  }

  /** Work under way. */
  get busy(): number {
    return this.#works.size;
  }

  /** Resolves when this much of a core was spent on it. */
  run(ms: number): Promise<void> {
    return new Promise((resolve) => this.#works.add({ leftMs: ms, done: resolve }));
  }

  /** When the first is done, if nothing else begins. */
  get nextAt(): number {
    let leftMs = Infinity;
    for (const work of this.#works) leftMs = Math.min(leftMs, work.leftMs);
    return this.#nowMs + leftMs / this.#speed;
  }

  /** Time goes on to this instant. */
  advance(nowMs: number): void {
    const doneMs = (nowMs - this.#nowMs) * this.#speed;
    this.#nowMs = nowMs;
    for (const work of [...this.#works]) {
      work.leftMs -= doneMs;
      if (work.leftMs > 1e-6) continue;
      this.#works.delete(work);
      work.done();
    }
  }

  /** All that is under way is done at once. */
  finish(): void {
    for (const work of this.#works) work.done();
    this.#works.clear();
  }

  /** Of a core for each work, how much it gets. */
  get #speed(): number {
    return Math.min(1, this.#count / this.#works.size);
  }
}
