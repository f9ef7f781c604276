/** Runs in snapctr. The clock by which schedules are due: the host's, which may be set back and forward. */

export interface ScheduleClock {
  /** In ms since 1970. */
  readonly now: () => number;
  /** In ms; is never set. */
  readonly monotonic: () => number;
  /** Calls back once. @returns what calls that off. */
  readonly after: (ms: number, run: () => void) => () => void;
}

export const hostClock: ScheduleClock = {
  now: Date.now,
  monotonic: () => performance.now(),
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};
