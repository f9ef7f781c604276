/**
 * Runs in snapctr. What the last invocations tell, while somebody looks: rates and times of functions over the last minute, starts over
 * the last five, and the parts of starts. What was before the first look comes from the history.
 */
import { START_BUCKET_MS, type ActivityRow, type FunctionStarts } from '../../../protocol/live-state.ts';
import type { InvocationHistory } from '../../telemetry/invocation-history.ts';
import type { InvocationSummary } from '../../telemetry/invocation-summary.ts';
import { replace, type LiveTable } from './live-table.ts';
import { StartCounts } from './start-counts.ts';

const SLOT_MS = 10_000;
const SLOTS = 6;
/** Of times: each a fifth wider than the one before, from `SMALLEST_MS` to half an hour: functions may take 15 minutes. */
const BUCKETS = 97;
const PER_OCTAVE = 4;
const SMALLEST_MS = 0.1;
const MAX_SEEDED = 10_000;
/** Functions whose starts are counted apart, because somebody looks at them. */
const MAX_WATCHED = 64;

export class LiveActivity {
  readonly #history: Pick<InvocationHistory, 'find' | 'listen'>;
  readonly #isFunction: (name: string) => boolean;
  readonly #functions = new Map<string, FunctionActivity>();
  /** Those whose row is another than the one that was told. */
  readonly #changed = new Set<string>();
  #starts = new StartCounts();
  /** By function, those that were asked for last at the end. */
  readonly #watched = new Map<string, StartCounts>();
  #slot = 0;
  #end: (() => void) | null = null;

  /** @param isFunction whether a name is one of ours: requests may have any. */
  constructor(history: Pick<InvocationHistory, 'find' | 'listen'>, isFunction: (name: string) => boolean) {
    this.#history = history;
    this.#isFunction = isFunction;
  }

  begin(): void {
    const before = this.#history.find({ limit: MAX_SEEDED });
    for (const summary of [...before].reverse()) this.#add(summary);
    this.#end = this.#history.listen((summary) => this.#add(summary));
  }

  end(): void {
    this.#end?.();
    this.#end = null;
    this.#functions.clear();
    this.#changed.clear();
    this.#starts = new StartCounts();
    this.#watched.clear();
  }

  /** Of one function; of what was before the first question, as far as the history has it. */
  startsOf(name: string, now: number): FunctionStarts {
    const counts = this.#watched.get(name) ?? this.#countsOf(name);
    this.#watched.delete(name);
    if (this.#end !== null) this.#watched.set(name, counts);
    const [longestUnasked] = this.#watched.keys();
    if (this.#watched.size > MAX_WATCHED && longestUnasked !== undefined) this.#watched.delete(longestUnasked);
    const startBucket = Math.floor(now / START_BUCKET_MS);
    return {
      startBucket,
      starts: Object.fromEntries(counts.starts(startBucket)),
      phases: Object.fromEntries(counts.phases()),
    };
  }

  #countsOf(name: string): StartCounts {
    const counts = new StartCounts();
    const before = this.#history.find({ function: name, limit: MAX_SEEDED });
    for (const summary of [...before].reverse()) counts.add(summary);
    return counts;
  }

  update(table: LiveTable, now: number): void {
    const slot = Math.floor(now / SLOT_MS);
    if (slot !== this.#slot) {
      // All of them: what is older than a minute counts no more.
      this.#slot = slot;
      for (const name of this.#functions.keys()) this.#changed.add(name);
    }
    for (const name of this.#changed) {
      const row = this.#isFunction(name) ? (this.#functions.get(name)?.row(slot) ?? null) : null;
      if (row !== null) table.set('activity', name, row);
      else {
        this.#functions.delete(name);
        table.delete('activity', name);
      }
    }
    this.#changed.clear();
    this.#updateStarts(table, now);
  }

  #updateStarts(table: LiveTable, now: number): void {
    const bucket = Math.floor(now / START_BUCKET_MS);
    table.set('host', 'startBucket', bucket);
    replace(table, 'starts', this.#starts.starts(bucket));
    replace(table, 'phases', this.#starts.phases());
  }

  #add(summary: InvocationSummary): void {
    const { function: name } = summary;
    this.#starts.add(summary);
    this.#watched.get(name)?.add(summary);
    if (!this.#isFunction(name)) return;
    let activity = this.#functions.get(name);
    if (activity === undefined) this.#functions.set(name, (activity = new FunctionActivity()));
    activity.add(summary);
    this.#changed.add(name);
  }
}

/** Counts of one function, in slots of which each is for some seconds. */
export class FunctionActivity {
  readonly #slots = Array.from({ length: SLOTS }, () => ({
    slot: -1,
    requests: 0,
    errors: 0,
    times: new Uint32Array(BUCKETS),
  }));
  #lastEndedAt = 0;

  add({ endedAt, submittedAt, outcome }: InvocationSummary): void {
    const slot = Math.floor(endedAt / SLOT_MS);
    const counts = this.#slots[slot % SLOTS];
    // A clock that was set back.
    if (counts === undefined || counts.slot > slot) return;
    if (counts.slot < slot) {
      counts.slot = slot;
      counts.requests = 0;
      counts.errors = 0;
      counts.times.fill(0);
    }
    counts.requests += 1;
    if (outcome !== 'ok') counts.errors += 1;
    const bucket = bucketOf(endedAt - submittedAt);
    counts.times[bucket] = (counts.times[bucket] ?? 0) + 1;
    this.#lastEndedAt = endedAt;
  }

  /** Null: there was none in the last minute. */
  row(slot: number): ActivityRow | null {
    const times = new Uint32Array(BUCKETS);
    let [requests, errors] = [0, 0];
    for (const counts of this.#slots) {
      if (counts.slot <= slot - SLOTS || counts.slot > slot) continue;
      requests += counts.requests;
      errors += counts.errors;
      for (const [at, count] of counts.times.entries()) times[at] = (times[at] ?? 0) + count;
    }
    if (requests === 0) return null;
    return {
      requests,
      errors,
      p50Ms: quantile(times, requests * 0.5),
      p99Ms: quantile(times, requests * 0.99),
      lastEndedAtMs: Math.round(this.#lastEndedAt * 10) / 10,
    };
  }
}

function bucketOf(ms: number): number {
  const at = Math.floor(Math.log2(Math.max(ms, SMALLEST_MS) / SMALLEST_MS) * PER_OCTAVE);
  return Math.min(at, BUCKETS - 1);
}

/** The middle of the bucket in which it is. */
function quantile(times: Uint32Array, rank: number): number {
  let seen = 0;
  for (const [at, count] of times.entries()) {
    seen += count;
    if (seen >= rank) return Math.round(SMALLEST_MS * 2 ** ((at + 0.5) / PER_OCTAVE) * 10) / 10;
  }
  return 0;
}
