/** Runs in snapctr. The clock by which events are due and grow old: it never goes back, and does not leap while snapctr runs. */

export interface EventClock {
  /** In ms since 1970, or near it. */
  readonly now: () => number;
  /** Calls back once. @returns what calls that off. */
  readonly after: (ms: number, run: () => void) => () => void;
}

/** @param latestMoment what was written down last: the host's clock may have been set back since. */
export function eventClock(latestMoment: number): EventClock {
  const base = Math.max(Date.now(), latestMoment) - performance.now();
  return {
    now: () => base + performance.now(),
    after: (ms, run) => {
      const timer = setTimeout(run, ms);
      return () => clearTimeout(timer);
    },
  };
}
