/**
 * Runs in snapctr. Keeps the memory of the start from staying for good: reading a long function list and staging its
 * files makes much garbage at once, for which V8 grows its heap, and an idle process never shrinks it again.
 *
 * Node warns of flags that change after V8 has started: it may crash or misbehave. These two are read anew by V8's heap, at
 * each growth of the young generation and at each making of a context; `npm run bench -- --only idle-memory` shows what they
 * are worth, and the tests run on each recommended version of Node.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** From now on the young generation keeps its first, small size. */
export function holdStartupMemory(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
}

/** Collects what the start left behind; from now on the heap may grow with the load, as V8 sees fit. */
export function releaseStartupMemory(): void {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  setFlagsFromString('--semi-space-growth-factor=2');
}
