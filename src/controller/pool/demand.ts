/**
 * Runs in snapctr. When a function is likely to be asked for next, and how often at once, learnt from its requests so far. Three things are
 * remembered, all of a fixed size: how often pauses of each length came, which tells how much a VM is worth that waits; the last few of
 * them, which tell whether the function is called by a timer; and how many requests there were at once. The first two are after
 * "Serverless in the Wild" (Shahrad et al., USENIX ATC 2020), which keeps a histogram of idle times for each application.
 */

/** The shortest pause that is told from shorter ones, in ms; pauses double twice from each bin to the next but one. */
const SHORTEST_MS = 16;
const BINS_PER_DOUBLING = 2;
/** Up to some days. */
const BINS = 56;
/** Half of what was seen is forgotten when so many pauses were: a function's rhythm may change. */
const MOST_PAUSES = 128;
/** So many pauses that are alike make a rhythm. */
const RHYTHM_PAUSES = 2;
/** Alike: the longest of them beside the shortest. */
const MOST_UNLIKE = 1.02;
/** A shorter rhythm is served best by a VM that waits, in ms. */
const SHORTEST_RHYTHM_MS = 20_000;
/** One of which no longer pause is known is used again within as long as it has waited, this often. */
const RECENCY_SHARE = 0.3;
/** How much weight that has beside what was seen, in pauses. */
const RECENCY_WEIGHT = 0.1;
/** Nothing is expected sooner than this for recency alone, in ms. */
const RECENCY_MIN_MS = 1000;

/** Numbers of requests at once that are told apart. */
const LEVELS = 32;
/** As of the pauses. */
const MOST_REQUESTS = 128;

export class Demand {
  readonly #counts = new Float32Array(BINS);
  readonly #last = new Float64Array(RHYTHM_PAUSES);
  #pauses = 0;
  #seen = 0;
  #lastAt: number | null = null;
  /** Requests by how many of the function there were with them, from two on; the last level is for more as well. */
  readonly #levels = new Float32Array(LEVELS - 1);
  #requests = 0;

  /**
   * A request has come; one that waited is told late.
   *
   * @param at in ms, by a clock that never goes back.
   * @param atOnce how many have VMs, or wait for launches, with it.
   */
  arrived(at: number, atOnce: number): void {
    this.#countLevel(atOnce);
    const before = this.#lastAt;
    this.#lastAt = Math.max(at, before ?? at);
    if (before === null) return;
    const pauseMs = at - before;
    // Requests that come together are one use.
    if (pauseMs < SHORTEST_MS) return;
    const bin = binOf(pauseMs);
    this.#counts[bin] = (this.#counts[bin] ?? 0) + 1;
    this.#last[this.#seen % RHYTHM_PAUSES] = pauseMs;
    this.#seen += 1;
    this.#pauses += 1;
    if (this.#pauses >= MOST_PAUSES) this.#forgetHalf();
  }

  /** When the last request came; null: none did. */
  get lastAt(): number | null {
    return this.#lastAt;
  }

  /** When the next one is due, if they come in a rhythm that a VM need not wait through; null: that is not known. */
  get dueAt(): number | null {
    if (this.#seen < RHYTHM_PAUSES || this.#lastAt === null) return null;
    let [shortest, longest] = [Infinity, 0];
    for (const pause of this.#last) {
      shortest = Math.min(shortest, pause);
      longest = Math.max(longest, pause);
    }
    return shortest >= SHORTEST_RHYTHM_MS && longest <= shortest * MOST_UNLIKE ? this.#lastAt + shortest : null;
  }

  /**
   * How much is to be had from a VM that has waited for `idleMs`: uses in a ms of further waiting, if one waits for as long as is
   * best (an index of Gittins). Costs as much as there are bins.
   */
  usesPerMs(idleMs: number): number {
    const first = binOf(Math.max(idleMs, SHORTEST_MS));
    let longer = 0;
    for (let bin = first; bin < BINS; bin += 1) longer += this.#counts[bin] ?? 0;
    const byRecency = RECENCY_SHARE / Math.max(RECENCY_MIN_MS, idleMs);
    if (longer === 0) return byRecency;
    let best = 0;
    let used = 0;
    let waitedMs = 0;
    for (let bin = first; bin < BINS && used < longer; bin += 1) {
      const count = this.#counts[bin] ?? 0;
      const fromMs = Math.max(edgeOf(bin), idleMs);
      const toMs = edgeOf(bin + 1);
      // Those that end in this bin wait until its middle, the others through it.
      waitedMs += count * ((fromMs + toMs) / 2 - fromMs) + (longer - used - count) * (toMs - fromMs);
      used += count;
      // At the end of a bin next to nothing of it is left, which says no more than the bin does.
      if (count > 0) best = Math.max(best, used / Math.max(waitedMs, used * SHORTEST_MS));
    }
    return (longer * best + RECENCY_WEIGHT * byRecency) / (longer + RECENCY_WEIGHT);
  }

  /** The share of the requests that came while there were so many with them, from 0 to 1; of more than are told apart nothing is known. */
  shareOf(atOnce: number): number {
    if (this.#requests === 0 || atOnce > LEVELS) return 0;
    if (atOnce <= 1) return 1;
    let count = 0;
    for (let level = atOnce - 2; level < LEVELS - 1; level += 1) count += this.#levels[level] ?? 0;
    return count / this.#requests;
  }

  #countLevel(atOnce: number): void {
    this.#requests += 1;
    // Most requests are alone, and touch no more memory than this: with many functions that is what counting costs.
    if (atOnce > 1) {
      const level = Math.min(LEVELS, atOnce) - 2;
      this.#levels[level] = (this.#levels[level] ?? 0) + 1;
    }
    if (this.#requests < MOST_REQUESTS) return;
    for (let i = 0; i < LEVELS - 1; i += 1) this.#levels[i] = (this.#levels[i] ?? 0) / 2;
    this.#requests /= 2;
  }

  #forgetHalf(): void {
    for (let bin = 0; bin < BINS; bin += 1) this.#counts[bin] = (this.#counts[bin] ?? 0) / 2;
    this.#pauses /= 2;
  }
}

function binOf(pauseMs: number): number {
  return Math.min(BINS - 1, Math.floor(Math.log2(pauseMs / SHORTEST_MS) * BINS_PER_DOUBLING));
}

function edgeOf(bin: number): number {
  return SHORTEST_MS * 2 ** (bin / BINS_PER_DOUBLING);
}
