/** What a benchmark measures, and how it is shown. */
import { execFileSync } from 'node:child_process';
import { cpus, release, totalmem } from 'node:os';

export interface Result {
  readonly name: string;
  readonly value: number;
  /** "ratio", "ms", "MB", … */
  readonly unit: string;
  /** What the value has to keep; null: none promised. */
  readonly bound: { readonly at: 'most' | 'least'; readonly value: number } | null;
  /** Null without a bound. */
  readonly ok: boolean | null;
  /** The single measurements behind the value, in `unit` unless `note` says otherwise. */
  readonly samples: readonly number[];
  /** The numbers the value was made of, for a reader. */
  readonly note: string;
}

export interface Benchmark {
  readonly name: string;
  run(): Promise<readonly Result[]>;
}

export function result(
  name: string,
  value: number,
  unit: string,
  bound: Result['bound'],
  samples: readonly number[],
  note: string,
): Result {
  const ok = bound === null ? null : bound.at === 'most' ? value <= bound.value : value >= bound.value;
  return { name, value, unit, bound, ok, samples, note };
}

/** The p-th percentile (nearest rank); p from 0 to 100. */
export function percentile(samples: readonly number[], p: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((p / 100) * sorted.length) - 1)] ?? Number.NaN;
}

export const median = (samples: readonly number[]): number => percentile(samples, 50);

/** "p50 1.2 p99 3.4 (n=100)". */
export function summary(samples: readonly number[]): string {
  const digits = (value: number): string => value.toPrecision(3);
  return `p50 ${digits(median(samples))}, p99 ${digits(percentile(samples, 99))} (n=${samples.length})`;
}

/** Machine, kernel and commit, so that numbers are never without them. */
export function surroundings(): string {
  const git = (...args: string[]): string => {
    try {
      return execFileSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
    } catch {
      return '';
    }
  };
  const commit = git('rev-parse', '--short', 'HEAD') || 'no commit';
  const changed = git('status', '--porcelain') === '' ? '' : ' with changes';
  const cores = cpus();
  return [
    `machine: ${cores.length} × ${cores[0]?.model.trim() ?? 'unknown CPU'}, ${Math.round(totalmem() / 2 ** 30)} GiB`,
    `kernel: ${release()}, node ${process.version}`,
    `commit: ${commit}${changed}`,
  ].join('\n');
}

export function formatResult({ name, value, unit, bound, ok, note }: Result): string {
  const verdict = ok === null ? 'no bound' : ok ? 'ok' : 'MISSED';
  const limit = bound === null ? '' : ` (${bound.at === 'most' ? '≤' : '≥'} ${bound.value})`;
  return `${name.padEnd(34)} ${value.toPrecision(3).padStart(8)} ${unit}${limit}  ${verdict}\n${' '.repeat(36)}${note}`;
}
