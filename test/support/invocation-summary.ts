/** What is kept of an invocation that is over, for tests of what is made of it. */
import type { InvocationSummary } from '../../src/controller/telemetry/invocation-summary.ts';

/** A warm request that was answered well. */
export function invocationSummary(keys: Partial<InvocationSummary> = {}): InvocationSummary {
  return {
    requestId: 'id',
    traceId: null,
    function: 'shop',
    version: '$LATEST',
    submittedAt: 1,
    endedAt: 1,
    outcome: 'ok',
    message: null,
    start: 'warm',
    vm: 'vm-1',
    eventTry: null,
    queueMs: 0,
    waits: null,
    launch: null,
    wakeMs: null,
    durationMs: 1.5,
    ...keys,
  };
}
