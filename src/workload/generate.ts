/**
 * Runs in `snapctr workload generate`, and in benchmarks. A trace with the traits of those that clouds have published (Shahrad et al., "Serverless in
 * the Wild", USENIX ATC 2020): most functions are called seldom and few very often; what calls them is people, queues and timers.
 *
 * ```
 *   people   sessions at random, more of them by day; each a few requests, seconds apart
 *   queues   bursts at random, each some requests within a second
 *   timers   at every minute … hour, late by some ms
 * ```
 */
import { Random, zipf } from './random.ts';
import { byTime, MAX_ARRIVALS, type Arrival, type Trace, type TracedFunction, type Trigger } from './trace.ts';

export interface WorkloadShape {
  readonly functions: number;
  readonly durationMs: number;
  /** Requests per second by people and queues, on average; timers come on top. */
  readonly requestsPerSecond: number;
  /** How uneven popularity is: the function of rank r gets 1/r^exponent of what the first one gets. */
  readonly zipfExponent: number;
  readonly seed: number;
}

/** The published shares of HTTP, queues and timers among functions, and nothing else. */
const TRIGGERS: readonly (readonly [Trigger, number])[] = [
  ['http', 55],
  ['queue', 15],
  ['timer', 16],
];
const MINUTE_MS = 60_000;
const DAY_MS = 1440 * MINUTE_MS;
const TIMER_PERIODS: readonly (readonly [periodMs: number, weight: number])[] = [
  [MINUTE_MS, 1],
  [5 * MINUTE_MS, 3],
  [10 * MINUTE_MS, 2],
  [15 * MINUTE_MS, 2],
  [30 * MINUTE_MS, 2],
  [60 * MINUTE_MS, 4],
];
const TIMER_JITTER_MS = 100;
const SESSION_REQUESTS = 4;
const SESSION_GAP_MS = 2000;
const BURST_REQUESTS = 8;
const BURST_MS = 1000;
/** At the busiest hour people ask by this part more than on average, at the quietest by this part less. */
const DAILY_SWING = 0.6;
const MEMORY_MIB: readonly (readonly [number, number])[] = [
  [128, 7],
  [256, 2],
  [512, 1],
];
const MEDIAN_RUN_MS = 40;
/** Between functions, and between the requests of one. */
const RUN_SIGMA = { functions: 1, requests: 0.4 };
const LONGEST_RUN_MS = 10_000;

/** @throws RangeError if it would have more requests than are kept at once. */
export function generate(shape: WorkloadShape): Trace {
  const random = new Random(shape.seed);
  const shares = zipf(shape.functions, shape.zipfExponent);
  const functions: TracedFunction[] = [];
  const arrivals: Arrival[] = [];
  for (const [i, share] of shares.entries()) {
    const fn: TracedFunction = {
      name: `f${i + 1}`,
      memoryMib: random.pick(MEMORY_MIB),
      trigger: random.pick(TRIGGERS),
    };
    functions.push(fn);
    const medianMs = random.logNormal(MEDIAN_RUN_MS, RUN_SIGMA.functions);
    for (const time of times(fn.trigger, shape.requestsPerSecond * share, shape.durationMs, random)) {
      const runMs = Math.min(LONGEST_RUN_MS, Math.max(1, random.logNormal(medianMs, RUN_SIGMA.requests)));
      arrivals.push({ timeMs: Math.floor(time), function: fn.name, userId: i + 1, runMs: Math.round(runMs) });
      if (arrivals.length > MAX_ARRIVALS) {
        throw new RangeError(`it would have more than ${MAX_ARRIVALS} requests; ask for fewer, or for less time`);
      }
    }
  }
  return { functions, arrivals: arrivals.sort(byTime) };
}

function* times(trigger: Trigger | null, perSecond: number, untilMs: number, random: Random): Generator<number> {
  if (trigger === 'timer') {
    yield* timer(untilMs, random);
    return;
  }
  const [mean, gapMs] =
    trigger === 'queue' ? [BURST_REQUESTS, BURST_MS / BURST_REQUESTS] : [SESSION_REQUESTS, SESSION_GAP_MS];
  const pauseMs = (1000 * mean) / (perSecond * (1 + DAILY_SWING));
  for (let start = random.exponential(pauseMs); start < untilMs; start += random.exponential(pauseMs)) {
    // Of as many as the busiest hour has, the quieter ones have a part.
    const isLeftOut = random.uniform() * (1 + DAILY_SWING) > 1 + DAILY_SWING * Math.sin((2 * Math.PI * start) / DAY_MS);
    const count = random.geometric(mean) * (isLeftOut ? 0 : 1);
    for (let i = 0, at = start; i < count && at < untilMs; i += 1, at += random.exponential(gapMs)) yield at;
  }
}

function* timer(untilMs: number, random: Random): Generator<number> {
  const periodMs = random.pick(TIMER_PERIODS);
  for (let due = random.uniform() * periodMs; due < untilMs; due += periodMs) {
    const at = due + random.uniform() * TIMER_JITTER_MS;
    if (at < untilMs) yield at;
  }
}
