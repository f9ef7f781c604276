/** Runs in `snapctr workload`, and in tests. Random numbers that are the same ones for a seed, and what is drawn with them. */

/** Values from 0 up to, but not, 1; the same ones for a seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class Random {
  /** From 0 up to, but not, 1. */
  readonly uniform: () => number;

  constructor(seed: number) {
    this.uniform = seeded(seed);
  }

  /** The pause until the next of independent events that come every `mean` on average. */
  exponential(mean: number): number {
    return -Math.log(1 - this.uniform()) * mean;
  }

  /** Half of them are below `median`; `sigma` is the deviation of their logarithm. */
  logNormal(median: number, sigma: number): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return median * Math.exp(sigma * radius * Math.cos(2 * Math.PI * this.uniform()));
  }

  /** From 1 on, `mean` on average: how often something is done that goes on with the same chance each time. */
  geometric(mean: number): number {
    return mean <= 1 ? 1 : 1 + Math.floor(Math.log(1 - this.uniform()) / Math.log(1 - 1 / mean));
  }

  /** One of the rows, as often as their weights say. */
  pick<T>(rows: readonly (readonly [value: T, weight: number])[]): T {
    let left = this.uniform() * rows.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [value, weight] of rows) {
      left -= weight;
      if (left < 0) return value;
    }
    const last = rows.at(-1);
    if (last === undefined) throw new Error('there is nothing to pick from');
    return last[0];
  }
}

/** Shares of a whole by rank, each 1/rank^`exponent` of the first one's; together 1. */
export function zipf(count: number, exponent: number): readonly number[] {
  const weights = Array.from({ length: count }, (_, i) => (i + 1) ** -exponent);
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}
