/** Runs in snapctr. How long it is waited before what failed is tried again. */

const FIRST_MS = 1000;
const LONGEST_MS = 30_000;
/** Of a message that its function failed. */
const LONGEST_RETRY_MS = 300_000;

/** @param failures before, one after the other. */
export function pauseMs(failures: number): number {
  return Math.min(FIRST_MS * 2 ** Math.min(failures, 20), LONGEST_MS);
}

/** @param tries of the message so far, from 1. */
export function retryPauseMs(tries: number): number {
  return Math.min(FIRST_MS * 2 ** Math.min(tries - 1, 20), LONGEST_RETRY_MS);
}
