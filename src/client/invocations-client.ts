/** Runs in the commands of people. What a controller knows of invocations that are over, by an API of its own. */
import { z } from 'zod';
import { jsonCall } from './json-call.ts';
import type { ClientOptions } from './lambda-client.ts';

const timingsSchema = z.object({
  kind: z.enum(['cold', 'restored']),
  spawnMs: z.number(),
  bootMs: z.number(),
  loadMs: z.number(),
  resumeMs: z.number(),
});

const causeSchema = z.object({
  busyVms: z.number(),
  lastEnd: z.object({ reason: z.string(), isEvicted: z.boolean(), at: z.number() }).nullable(),
  notAhead: z.string().nullable(),
  evicted: z.array(z.object({ vm: z.string(), function: z.string(), version: z.string() })),
});

const workSchema = z.object({ cpuMs: z.number(), faults: z.number(), diskFaults: z.number() });

const launchSchema = z.object({
  timings: timingsSchema.nullable(),
  work: workSchema.nullable(),
  isAhead: z.boolean(),
  waitMs: z.number(),
  settleMs: z.number(),
  turnMs: z.number(),
  cause: causeSchema.nullable(),
  fallback: z.string().nullable(),
});

/** See `InvocationSummary` of the controller. */
const invocationSchema = z.object({
  requestId: z.string(),
  traceId: z.string().nullable(),
  function: z.string(),
  version: z.string().nullable(),
  submittedAt: z.number(),
  endedAt: z.number(),
  outcome: z.string(),
  message: z.string().nullable(),
  start: z.enum(['cold', 'restored', 'warm']).nullable(),
  vm: z.string().nullable(),
  eventTry: z.number().nullable(),
  queueMs: z.number(),
  waits: z.record(z.string(), z.number()).nullable(),
  launch: launchSchema.nullable(),
  wakeMs: z.number().nullable(),
  durationMs: z.number(),
});
const answerSchema = z.object({ invocations: z.array(invocationSchema) });

export type KnownInvocation = z.infer<typeof invocationSchema>;
export type KnownLaunch = z.infer<typeof launchSchema>;

/** Each throws a ClientError. */
export class InvocationsClient {
  readonly #options: ClientOptions;

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  /** All tries of one request, the newest first; at least one. */
  async get(requestId: string): Promise<readonly KnownInvocation[]> {
    const target = 'SnapfaasInvocations.GetInvocation';
    const { invocations } = await jsonCall(this.#options, target, { requestId }, answerSchema);
    return invocations;
  }

  /** The last ones, the newest first. */
  async list(query: { readonly functionName?: string; readonly limit: number }): Promise<readonly KnownInvocation[]> {
    const target = 'SnapfaasInvocations.ListInvocations';
    const { invocations } = await jsonCall(this.#options, target, query, answerSchema);
    return invocations;
  }
}
