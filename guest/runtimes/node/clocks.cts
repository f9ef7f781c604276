/** Times of the day that Node notes when a process or a thread starts, and adds to a clock that knows nothing of snapshots. */
import { performance } from 'node:perf_hooks';
import { generation } from './generation.cjs';

/** Up to this, in ms, the noted time is taken for the better one: `Date.now` knows whole milliseconds only. */
const TOLERANCE_MS = 2;
const MOST_READS = 3;

// As they are now: a function may put its own in place of them.
const dateNow = Date.now.bind(Date);
const sinceOrigin = performance.now.bind(performance);

/** When this thread's monotonic clock began, by the wall clock of now, in ms. Read again if something came in between. */
function originByNow(): number {
  for (let reads = 1; ; reads += 1) {
    const before = sinceOrigin();
    const now = dateNow();
    const after = sinceOrigin();
    if (after - before < TOLERANCE_MS || reads === MOST_READS) return now - (before + after) / 2;
  }
}

/** Has `performance.timeOrigin`, and with it all that is derived from it, agree with the clock again after a restore. */
export function correctTimeOrigin(): void {
  const prototype = Object.getPrototypeOf(performance) as object;
  const original = Object.getOwnPropertyDescriptor(prototype, 'timeOrigin') as
    { readonly get?: () => number } | undefined;
  if (original?.get === undefined) return;
  let shiftedFor = NaN;
  let shiftMs = 0;
  const get = new Proxy(original.get, {
    apply(target, receiver, args: []): number {
      const noted = Reflect.apply(target, receiver, args);
      const now = generation();
      if (now !== shiftedFor) {
        const driftMs = originByNow() - noted;
        shiftMs = Math.abs(driftMs) > TOLERANCE_MS ? driftMs : 0;
        shiftedFor = now;
      }
      return noted + shiftMs;
    },
  });
  Object.defineProperty(prototype, 'timeOrigin', { ...original, get });
}
