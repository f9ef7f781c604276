/** Runs in snapctr. Time, as those see it who decide by it: so that a simulation may let a day pass in seconds. */

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Never goes back, in ms. */
  now(): number;
  /** Calls once, `ms` later at the earliest. Does not keep the process alive. */
  after(ms: number, call: () => void): Timer;
}

export const HOST_CLOCK: Clock = {
  now: () => performance.now(),
  after: (ms, call) => {
    const timer = setTimeout(call, ms).unref();
    return { cancel: () => clearTimeout(timer) };
  },
};
