/** What a soak shows: a chart, and whether memory is flat. */
import { percentile } from '../result.ts';
import { chart, type Series } from '../../src/workload/chart.ts';
import type { ProbeSample } from './probed.ts';
import { trend, type Point } from './trend.ts';

export interface ProcessSample extends ProbeSample {
  readonly descriptors: number;
}

/** One second. */
export interface SoakSample {
  /** Since the beginning. */
  readonly minute: number;
  readonly snapctr: ProcessSample;
  readonly firerunner: ProcessSample;
  readonly vms: number;
  /** Since the beginning. */
  readonly launches: number;
  readonly evictions: number;
  /** Requests answered in this second, in ms. */
  readonly tookMs: readonly number[];
}

/** Heaps and pools grow to their working size in this time. */
export const SETTLING_MINUTES = 10;
const MOST_MB_PER_HOUR = 1;
/** Longer than full collections are apart. */
const TROUGH_MINUTES = 2;
/** Times are shown for intervals of so many seconds. */
const INTERVAL_S = 10;

const PROGRAMS = ['snapctr', 'firerunner'] as const;
const MB = 1e6;

/** @returns ok: null if it did not last for long enough to tell. */
export function judge(samples: readonly SoakSample[]): {
  readonly ok: boolean | null;
  readonly lines: readonly string[];
} {
  const settled = samples.filter(({ minute }) => minute >= SETTLING_MINUTES);
  const verdicts: (boolean | null)[] = [];
  const lines = PROGRAMS.map((program) => {
    const memory = trend(troughs(settled.map((sample) => ({ x: sample.minute, y: sample[program].rss }))));
    const live = trend(troughs(settled.map((sample) => ({ x: sample.minute, y: sample[program].liveBytes ?? NaN }))));
    const ok = memory === null ? null : memory.slope <= MOST_MB_PER_HOUR;
    verdicts.push(ok);
    if (memory === null) {
      return `${program}: too short to tell; give it ${SETTLING_MINUTES} minutes to settle, and ${3 * TROUGH_MINUTES} more at least`;
    }
    const grows = `${memory.slope.toFixed(2)} ± ${(2 * memory.standardError).toFixed(2)} MB/h`;
    const heap = live === null ? '' : `; live heap ${live.slope.toFixed(2)} MB/h`;
    return `${program}: memory ${grows} (≤ ${MOST_MB_PER_HOUR})  ${ok === true ? 'flat' : 'GROWS'}${heap}`;
  });
  const ok = verdicts.includes(false) ? false : verdicts.includes(null) ? null : true;
  return { ok, lines };
}

/**
 * The least of every few minutes, in MB by hours: garbage comes and goes in waves of several megabytes, which an hour is too
 * short to average out.
 *
 * @param points in bytes by minutes; those that are NaN are left out.
 */
function troughs(points: readonly Point[]): Point[] {
  const least = new Map<number, Point>();
  for (const { x, y } of points) {
    const interval = Math.floor(x / TROUGH_MINUTES);
    const before = least.get(interval)?.y ?? Infinity;
    if (y / MB < before) least.set(interval, { x: x / 60, y: y / MB });
  }
  return [...least.values()];
}

export function soakChart(title: string, samples: readonly SoakSample[]): string {
  const series = (label: string, read: (sample: SoakSample) => number): Series => ({
    label,
    points: samples.map((sample) => ({ x: sample.minute, y: read(sample) })),
  });
  const times = (label: string, p: number): Series => ({
    label,
    points: intervals(samples).map(({ minute, tookMs }) => ({ x: minute, y: percentile(tookMs, p) })),
  });
  return chart(title, [
    {
      title: 'memory, MB',
      series: PROGRAMS.flatMap((program) => [
        series(`${program} resident`, (sample) => sample[program].rss / MB),
        series(`${program} heap`, (sample) => sample[program].heapUsed / MB),
      ]),
    },
    {
      title: 'open descriptors',
      series: PROGRAMS.map((program) => series(program, (sample) => sample[program].descriptors)),
    },
    { title: 'VMs', series: [series('VMs', (sample) => sample.vms)] },
    { title: 'answers, ms', series: [times('p50', 50), times('p99', 99)] },
    {
      title: 'event loop, longest pause, ms',
      series: PROGRAMS.map((program) => series(program, (sample) => sample[program].pauseMs)),
    },
  ]);
}

/** Several seconds together; those without any answer are left out. */
function intervals(samples: readonly SoakSample[]): { readonly minute: number; readonly tookMs: readonly number[] }[] {
  const together = [];
  for (let i = 0; i < samples.length; i += INTERVAL_S) {
    const some = samples.slice(i, i + INTERVAL_S);
    const tookMs = some.flatMap((sample) => sample.tookMs);
    if (tookMs.length > 0) together.push({ minute: some.at(-1)?.minute ?? 0, tookMs });
  }
  return together;
}
