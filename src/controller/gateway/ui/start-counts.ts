/** Runs in snapctr. How requests found their VMs over the last five minutes, and the parts of the starts among them. */
import {
  START_BUCKET_MS,
  START_BUCKETS,
  type LiveStartKind,
  type PhaseRow,
  type StartRow,
} from '../../../protocol/live-state.ts';
import type { InvocationSummary } from '../../telemetry/invocation-summary.ts';

/** Starts of a kind whose parts are averaged. */
const PHASE_STARTS = 50;

type Phases = Omit<PhaseRow, 'starts'>;

interface Bucket {
  readonly counts: Partial<Record<LiveStartKind | 'failed', number>>;
  /** Of starts that took a launch. */
  readonly phases: Phases[];
}

export class StartCounts {
  readonly #buckets = new Map<number, Bucket>();
  readonly #phases = new Map<LiveStartKind, Phases[]>();

  add(summary: InvocationSummary): void {
    const kind = kindOf(summary);
    const at = Math.floor(summary.endedAt / START_BUCKET_MS);
    const bucket = this.#buckets.get(at) ?? this.#begin(at);
    const counted = summary.outcome === 'ok' ? (kind ?? 'failed') : 'failed';
    bucket.counts[counted] = (bucket.counts[counted] ?? 0) + 1;
    const phases = summary.outcome === 'ok' ? phasesOf(summary) : null;
    if (phases === null || kind === null || kind === 'warm') return;
    if (bucket.phases.length < PHASE_STARTS) bucket.phases.push(phases);
    const last = this.#phases.get(kind) ?? [];
    last.push(phases);
    if (last.length > PHASE_STARTS) last.shift();
    this.#phases.set(kind, last);
  }

  /** Nobody may ask for a long time. */
  #begin(at: number): Bucket {
    const bucket = { counts: {}, phases: [] };
    this.#buckets.set(at, bucket);
    const [oldest] = this.#buckets.keys();
    if (this.#buckets.size > START_BUCKETS && oldest !== undefined) this.#buckets.delete(oldest);
    return bucket;
  }

  /** By `START_BUCKET_MS` since 1970. @param bucket the one that is counted now. */
  starts(bucket: number): ReadonlyMap<string, StartRow> {
    const rows = new Map<string, StartRow>();
    for (const [at, { counts, phases }] of this.#buckets) {
      if (at <= bucket - START_BUCKETS || at > bucket) this.#buckets.delete(at);
      else rows.set(String(at), phases.length === 0 ? counts : { ...counts, parts: meanOf(phases) });
    }
    return rows;
  }

  /** By kind. */
  phases(): ReadonlyMap<string, PhaseRow> {
    return new Map([...this.#phases].map(([kind, phases]) => [kind, meanOf(phases)]));
  }
}

function kindOf({ start, launch }: InvocationSummary): LiveStartKind | null {
  return start !== null && start !== 'warm' && launch?.isAhead === true ? 'ahead' : start;
}

function phasesOf({ queueMs, launch, durationMs }: InvocationSummary): Phases | null {
  const timings = launch?.timings ?? null;
  if (launch === null || timings === null) return null;
  const { spawnMs, bootMs, loadMs, resumeMs } = timings;
  const waitedMs = queueMs + launch.settleMs + launch.turnMs;
  return { queueMs: waitedMs, spawnMs, bootMs, loadMs, resumeMs, firstResponseMs: durationMs };
}

function meanOf(phases: readonly Phases[]): PhaseRow {
  const mean = (member: keyof Phases): number =>
    Math.round((phases.reduce((sum, one) => sum + one[member], 0) / phases.length) * 10) / 10;
  return {
    starts: phases.length,
    queueMs: mean('queueMs'),
    spawnMs: mean('spawnMs'),
    bootMs: mean('bootMs'),
    loadMs: mean('loadMs'),
    resumeMs: mean('resumeMs'),
    firstResponseMs: mean('firstResponseMs'),
  };
}
