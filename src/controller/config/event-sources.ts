/** Runs in snapctr. The key `event_sources` of a function: streams whose messages it gets in batches. */
import { z } from 'zod';
import { functionArn, type LambdaAccount } from '../../protocol/arn.ts';
import { eventSourceIdOf, isSubject } from '../../registry/event-source-id.ts';
import {
  DEFAULT_BATCH_SIZE,
  MAX_BATCH_SIZE,
  MAX_BATCHING_WINDOW_S,
  MAX_EVENT_SOURCES_OF_FUNCTION,
  MAX_PARALLELIZATION,
  MAX_RETRY_ATTEMPTS,
  STREAM_NAME,
} from '../../registry/event-source-limits.ts';
import type { FunctionEventSource } from '../../registry/function-registry.ts';
import { destination, destinationOf } from '../../yaml/events-key.ts';
import { expected, wholeNumber } from '../../yaml/values.ts';

export type EventSourceSettings = Omit<FunctionEventSource, 'id' | 'function' | 'modified'>;

const stream = expected('the name of a stream: up to 200 letters, digits, `-` or `_`');
const subject = expected('a subject such as `orders.new` or `orders.>`');
const start = expected('`all`, `new`, or a moment such as `2026-05-01T08:00:00Z`');

export const eventSourcesSchema = z
  .array(
    z.strictObject(
      {
        stream: z.string(stream).regex(STREAM_NAME, stream),
        subject: z.string(subject).refine(isSubject, subject).nullish(),
        qualifier: z.string(expected('a version or an alias')).min(1).nullish(),
        batch_size: wholeNumber(1, MAX_BATCH_SIZE, `a whole number of messages from 1 to ${MAX_BATCH_SIZE}`).nullish(),
        batching_window: wholeNumber(
          0,
          MAX_BATCHING_WINDOW_S,
          `a whole number of seconds from 0 to ${MAX_BATCHING_WINDOW_S}`,
        ).nullish(),
        parallel: wholeNumber(
          1,
          MAX_PARALLELIZATION,
          `a whole number of batches from 1 to ${MAX_PARALLELIZATION}`,
        ).nullish(),
        start: z.string(start).refine(isStart, start).nullish(),
        report_failures: z.boolean(expected('`true` or `false`')).nullish(),
        bisect: z.boolean(expected('`true` or `false`')).nullish(),
        retries: wholeNumber(0, MAX_RETRY_ATTEMPTS, `a whole number from 0 to ${MAX_RETRY_ATTEMPTS}`).nullish(),
        on_failure: destination.nullish(),
        enabled: z.boolean(expected('`true` or `false`')).nullish(),
      },
      expected('a map with `stream` and, if wanted, `subject`, `batch_size` and the like'),
    ),
    expected('a list of event sources'),
  )
  .max(MAX_EVENT_SOURCES_OF_FUNCTION, { error: `has more than ${MAX_EVENT_SOURCES_OF_FUNCTION} event sources` });

function isStart(text: string): boolean {
  return text === 'all' || text === 'new' || z.iso.datetime({ offset: true }).safeParse(text).success;
}

/** @param complain is told of two that would get the same messages. */
export function eventSourceSettings(
  yaml: z.infer<typeof eventSourcesSchema>,
  complain: (message: string) => void,
): readonly EventSourceSettings[] {
  const seen = new Set<string>();
  return yaml.map((one) => {
    const key = JSON.stringify([one.stream, one.subject ?? null]);
    if (seen.has(key)) complain(`two are of the stream ${one.stream} and the same subject; leave one out`);
    seen.add(key);
    const moment = one.start == null || one.start === 'all' || one.start === 'new' ? null : one.start;
    return Object.freeze({
      stream: one.stream,
      subject: one.subject ?? null,
      qualifier: one.qualifier ?? null,
      batchSize: one.batch_size ?? DEFAULT_BATCH_SIZE,
      batchingWindowS: one.batching_window ?? 0,
      parallelizationFactor: one.parallel ?? 1,
      startingPosition: moment !== null ? 'AT_TIMESTAMP' : one.start === 'new' ? 'LATEST' : 'TRIM_HORIZON',
      startingTimestamp: moment === null ? null : new Date(moment).toISOString(),
      reportsFailures: one.report_failures ?? false,
      bisectsBatches: one.bisect ?? false,
      maximumRetryAttempts: one.retries ?? -1,
      onFailure: one.on_failure ?? null,
      isEnabled: one.enabled ?? true,
    });
  });
}

/** As the registry has them: one that stays as it was keeps its date. */
export function eventSourcesOf(
  name: string,
  settings: readonly EventSourceSettings[],
  account: LambdaAccount,
  before: readonly FunctionEventSource[],
): readonly FunctionEventSource[] {
  const now = new Date().toISOString();
  const all = settings.map((one) => {
    const id = eventSourceIdOf(functionArn(account, name), one.stream, one.subject);
    const onFailure = one.onFailure === null ? null : destinationOf(one.onFailure, account);
    const wanted = { id, function: name, ...one, onFailure };
    const known = before.find((source) => source.id === id);
    const isSame =
      known !== undefined && JSON.stringify({ ...wanted, modified: known.modified }) === JSON.stringify(known);
    return isSame ? known : { ...wanted, modified: now };
  });
  return all.sort((a, b) => (a.id < b.id ? -1 : 1));
}
