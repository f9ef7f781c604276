/** Runs in snapctr. What a run of a request file came to. */
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import type { ErrorCode } from '../../protocol/errors.ts';
import type { Outcome, StartKind } from '../task.ts';

export interface FileSummary {
  /** Result lines. */
  readonly total: number;
  readonly ok: number;
  readonly errors: number;
  /** Errors by code; codes that did not occur are left out. */
  readonly byCode: Readonly<Partial<Record<ErrorCode, number>>>;
  /** False if the run was ended before the file was. */
  readonly complete: boolean;
  /** From the start to the last answer. */
  readonly wallMs: number;
  readonly starts: Readonly<Record<StartKind, number>>;
  /** Of the requests answered ok, from sending to the answer; null if there were none. */
  readonly latencyMs: { readonly p50: number; readonly p99: number } | null;
  /** The same for people, a few lines without a line break at the end. */
  formatSummary(): string;
}

/** Counts results; its memory does not depend on how many there are. */
export class SummaryCounter {
  readonly #byCode: Partial<Record<ErrorCode, number>> = {};
  readonly #starts: Record<StartKind, number> = { cold: 0, restored: 0, warm: 0 };
  /** In µs. */
  readonly #latencies: RecordableHistogram = createHistogram();
  #ok = 0;
  #errors = 0;

  add(outcome: Outcome, latencyMs: number): void {
    if (outcome.start !== null) this.#starts[outcome.start] += 1;
    if (outcome.status === 'ok') {
      this.#ok += 1;
      this.#latencies.record(Math.max(1, Math.round(latencyMs * 1000)));
    } else {
      const { code } = outcome.error;
      this.#errors += 1;
      this.#byCode[code] = (this.#byCode[code] ?? 0) + 1;
    }
  }

  summary(wallMs: number, complete: boolean): FileSummary {
    const latencyMs = this.#ok === 0 ? null : { p50: this.#percentileMs(50), p99: this.#percentileMs(99) };
    const counts = {
      total: this.#ok + this.#errors,
      ok: this.#ok,
      errors: this.#errors,
      byCode: { ...this.#byCode },
      complete,
      wallMs,
      starts: { ...this.#starts },
      latencyMs,
    };
    return { ...counts, formatSummary: () => format(counts) };
  }

  #percentileMs(percent: number): number {
    return this.#latencies.percentile(percent) / 1000;
  }
}

function format(counts: Omit<FileSummary, 'formatSummary'>): string {
  const { total, ok, errors, byCode, starts, latencyMs } = counts;
  const codes = Object.entries(byCode).map(([code, count]) => `${count} ${code}`);
  const lines = [
    `${total} requests in ${(counts.wallMs / 1000).toFixed(2)} s: ${ok} ok, ${errors} failed` +
      (codes.length === 0 ? '' : ` (${codes.join(', ')})`),
    `starts: ${starts.cold} cold, ${starts.restored} restored, ${starts.warm} warm`,
  ];
  if (latencyMs !== null) lines.push(`latency: p50 ${latencyMs.p50.toFixed(1)} ms, p99 ${latencyMs.p99.toFixed(1)} ms`);
  if (!counts.complete) lines.push('ended before the end of the request file');
  return lines.join('\n');
}
