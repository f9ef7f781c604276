/** Runs in `snapctr replay`. What became of the requests: counts, latencies in HDR histograms, and both over time. */
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import { chart, type Series } from './chart.ts';

/** Times in ms since the start. */
export interface ReplayAnswer {
  readonly function: string;
  /** When it was to be sent, was sent, and was answered. */
  readonly dueMs: number;
  readonly sentMs: number;
  readonly answeredMs: number;
  /** `ok`, or why not. */
  readonly code: string;
  /** `cold`, `restored` or `warm`, as the answer says; null: it says nothing. */
  readonly start: string | null;
}

/** Of VMs, in MiB. */
export interface MemorySample {
  /** Those that serve, or are being started. */
  readonly usedMib: number;
  /** Those that are kept for requests that may come. */
  readonly idleMib: number;
}

/** In ms. */
export interface Latencies {
  readonly count: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
  readonly mean: number;
}

/** What `--json` and `--report` give. */
export interface ReplaySummary {
  readonly requests: number;
  readonly ok: number;
  /** By code. */
  readonly failed: Readonly<Record<string, number>>;
  /** Lines that are no requests with a time, or go back in time; the first of them. */
  readonly bad_lines: { readonly count: number; readonly first: number | null };
  readonly seconds: number;
  /** From the time of each request to its answer; good ones alone. */
  readonly latency_ms: Latencies;
  /** By how its VM was started. */
  readonly by_start: Readonly<Record<string, Latencies>>;
  /** How late requests were sent: of this program, or for too many in flight. */
  readonly late_ms: Latencies;
}

/** Histograms are in µs. */
const LONGEST_US = 3_600_000_000;
const SLICES_AT_ONCE = 120;
const MAX_CODES = 100;

/** Answers whose requests were due in the same stretch of time. */
interface Slice {
  readonly latency: RecordableHistogram;
  failed: number;
  readonly starts: Map<string, number>;
  readonly memory: MemorySample[];
}

export class ReplayReport {
  readonly #latency = histogram(3);
  readonly #late = histogram(3);
  readonly #byStart = new Map<string, RecordableHistogram>();
  readonly #failed = new Map<string, number>();
  #slices: Slice[] = [];
  /** Of each slice; doubled when there are too many. */
  #sliceMs = 1000;
  #requests = 0;
  #ok = 0;
  #badLines = 0;
  #firstBad: number | null = null;
  #lastMs = 0;
  #hasMemory = false;

  onBadLine(number: number): void {
    this.#badLines += 1;
    this.#firstBad ??= number;
  }

  onAnswer({ dueMs, sentMs, answeredMs, code, start }: ReplayAnswer): void {
    this.#requests += 1;
    this.#lastMs = Math.max(this.#lastMs, answeredMs);
    record(this.#late, sentMs - dueMs);
    const slice = this.#sliceAt(dueMs);
    if (code !== 'ok') {
      const key = this.#failed.has(code) || this.#failed.size < MAX_CODES ? code : 'other';
      this.#failed.set(key, (this.#failed.get(key) ?? 0) + 1);
      slice.failed += 1;
      return;
    }
    this.#ok += 1;
    const ms = answeredMs - dueMs;
    record(this.#latency, ms);
    record(slice.latency, ms);
    if (start === null) return;
    slice.starts.set(start, (slice.starts.get(start) ?? 0) + 1);
    let ofStart = this.#byStart.get(start);
    if (ofStart === undefined) this.#byStart.set(start, (ofStart = histogram(3)));
    record(ofStart, ms);
  }

  /** @param atMs since the start. */
  onMemory(atMs: number, sample: MemorySample): void {
    this.#sliceAt(atMs).memory.push(sample);
    this.#hasMemory = true;
  }

  summary(): ReplaySummary {
    return {
      requests: this.#requests,
      ok: this.#ok,
      failed: Object.fromEntries(this.#failed),
      bad_lines: { count: this.#badLines, first: this.#firstBad },
      seconds: this.#lastMs / 1000,
      latency_ms: latencies(this.#latency),
      by_start: Object.fromEntries([...this.#byStart].map(([start, of]) => [start, latencies(of)])),
      late_ms: latencies(this.#late),
    };
  }

  /** An SVG: latencies, starts, failures, and what memory was used for over time, if that was told. */
  picture(title: string): string {
    const kinds = [...this.#byStart.keys()].sort();
    const perSecond = (count: number): number => (count * 1000) / this.#sliceMs;
    const line = (label: string, read: (slice: Slice) => number): Series => ({
      label,
      points: this.#slices.map((slice, i) => ({ x: ((i + 0.5) * this.#sliceMs) / 60_000, y: read(slice) })),
    });
    return chart(title, [
      {
        title: 'latency, ms',
        series: [50, 99].map((p) =>
          line(`p${p}`, ({ latency }) => (latency.count === 0 ? 0 : latency.percentile(p) / 1000)),
        ),
      },
      {
        title: 'answers a second, by start',
        series: kinds.map((kind) => line(kind, ({ starts }) => perSecond(starts.get(kind) ?? 0))),
      },
      { title: 'failures a second', series: [line('failed', ({ failed }) => perSecond(failed))] },
      ...(this.#hasMemory ? [this.#memoryPanel()] : []),
    ]);
  }

  /** Slices without a sample are left out: nothing is known of them. */
  #memoryPanel(): { readonly title: string; readonly series: readonly Series[] } {
    const known = this.#slices.flatMap(({ memory }, i) =>
      memory.length === 0 ? [] : [{ memory, minute: ((i + 0.5) * this.#sliceMs) / 60_000 }],
    );
    const line = (label: string, read: (sample: MemorySample) => number): Series => ({
      label,
      points: known.map(({ memory, minute: x }) => ({
        x,
        y: memory.reduce((sum, sample) => sum + read(sample), 0) / memory.length,
      })),
    });
    const series = [line('used', ({ usedMib }) => usedMib), line('kept idle', ({ idleMib }) => idleMib)];
    return { title: 'memory of VMs, MiB', series };
  }

  #sliceAt(dueMs: number): Slice {
    while (dueMs >= SLICES_AT_ONCE * this.#sliceMs) this.#halve();
    const index = Math.floor(dueMs / this.#sliceMs);
    while (this.#slices.length <= index) this.#slices.push(emptySlice());
    return this.#slices[index] ?? emptySlice();
  }

  /** Two slices become one. */
  #halve(): void {
    this.#sliceMs *= 2;
    const before = this.#slices;
    this.#slices = [];
    for (let i = 0; i < before.length; i += 2) {
      const joined = emptySlice();
      for (const slice of before.slice(i, i + 2)) {
        joined.latency.add(slice.latency);
        joined.failed += slice.failed;
        joined.memory.push(...slice.memory);
        for (const [start, count] of slice.starts) joined.starts.set(start, (joined.starts.get(start) ?? 0) + count);
      }
      this.#slices.push(joined);
    }
  }
}

function emptySlice(): Slice {
  return { latency: histogram(2), failed: 0, starts: new Map(), memory: [] };
}

function histogram(figures: number): RecordableHistogram {
  return createHistogram({ lowest: 1, highest: LONGEST_US, figures });
}

function record(of: RecordableHistogram, ms: number): void {
  of.record(Math.min(LONGEST_US, Math.max(1, Math.round(ms * 1000))));
}

function latencies(of: RecordableHistogram): Latencies {
  const ms = (us: number): number => us / 1000;
  if (of.count === 0) return { count: 0, p50: 0, p90: 0, p99: 0, p999: 0, max: 0, mean: 0 };
  const at = (p: number): number => ms(of.percentile(p));
  return {
    count: of.count,
    p50: at(50),
    p90: at(90),
    p99: at(99),
    p999: at(99.9),
    max: ms(of.max),
    mean: Math.round(of.mean) / 1000,
  };
}
