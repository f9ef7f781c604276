/** Runs in `snapctr workload`. Who asks for which function when. */

/** What calls a function; it decides in which rhythm. */
export type Trigger = 'http' | 'queue' | 'timer';

export interface TracedFunction {
  readonly name: string;
  readonly memoryMib: number;
  /** Null: the trace does not tell. */
  readonly trigger: Trigger | null;
}

/** One request. */
export interface Arrival {
  /** Since the start of the trace, in whole ms. */
  readonly timeMs: number;
  readonly function: string;
  /** A small number for whoever asks, as request files have it. */
  readonly userId: number;
  /** How long the function runs, in whole ms. */
  readonly runMs: number;
}

export interface Trace {
  readonly functions: readonly TracedFunction[];
  /** By time. */
  readonly arrivals: readonly Arrival[];
}

/** Arrivals that are kept in memory at once. */
export const MAX_ARRIVALS = 10_000_000;

/** A line of a request file (docs/config.md): its function is told how long to run. */
export function requestLine({ timeMs, function: name, userId, runMs }: Arrival): string {
  return JSON.stringify({ time: timeMs, user_id: userId, function: name, payload: { run_ms: runMs } });
}

export function byTime(one: Arrival, other: Arrival): number {
  return one.timeMs - other.timeMs;
}
