/** Runs in snapctr. What is counted of each function and version, within a bound on their number: the rest is one series, `other`. */
import { Durations } from './durations.ts';
import type { InvocationSummary } from './invocation-summary.ts';

/** Versions of functions that have series of their own; each has some thirty. */
export const MAX_COUNTED_VERSIONS = 200;
/** One that was not used for this long gives its place to another, in ms. */
const UNUSED_MS = 3_600_000;

export class VersionCounts {
  readonly function: string;
  readonly version: string;
  /** By error code, or "ok". */
  readonly outcomes = new Map<string, number>();
  /** By kind of start. */
  readonly starts = new Map<string, number>();
  readonly durations = new Durations();
  usedAt = 0;

  constructor(name: string, version: string) {
    this.function = name;
    this.version = version;
  }
}

export class FunctionCounts {
  readonly #max: number;
  /** By function, then version: no string is made for a request. */
  readonly #functions = new Map<string, Map<string, VersionCounts>>();
  readonly #other = new VersionCounts('other', '');
  #size = 0;

  constructor(max = MAX_COUNTED_VERSIONS) {
    this.#max = max;
  }

  /** What was refused before a version was found for it has no series: names that there are not would fill the bound. */
  add({ function: name, version, outcome, start, durationMs, endedAt, traceId }: InvocationSummary): void {
    if (version === null) return;
    const counts = this.#functions.get(name)?.get(version) ?? this.#enter(name, version, endedAt);
    counts.usedAt = endedAt;
    increment(counts.outcomes, outcome);
    if (start === null) return;
    increment(counts.starts, start);
    counts.durations.observe(durationMs / 1000, traceId);
  }

  *[Symbol.iterator](): Generator<VersionCounts> {
    for (const versions of this.#functions.values()) yield* versions.values();
    if (this.#other.usedAt > 0) yield this.#other;
  }

  #enter(name: string, version: string, now: number): VersionCounts {
    if (this.#size >= this.#max && !this.#makeRoom(now)) return this.#other;
    const counts = new VersionCounts(name, version);
    let versions = this.#functions.get(name);
    if (versions === undefined) this.#functions.set(name, (versions = new Map<string, VersionCounts>()));
    versions.set(version, counts);
    this.#size += 1;
    return counts;
  }

  #makeRoom(now: number): boolean {
    let oldest: VersionCounts | null = null;
    for (const versions of this.#functions.values()) {
      for (const counts of versions.values()) if (oldest === null || counts.usedAt < oldest.usedAt) oldest = counts;
    }
    if (oldest === null || now - oldest.usedAt < UNUSED_MS) return false;
    const versions = this.#functions.get(oldest.function);
    versions?.delete(oldest.version);
    if (versions?.size === 0) this.#functions.delete(oldest.function);
    this.#size -= 1;
    return true;
  }
}

export function increment(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
