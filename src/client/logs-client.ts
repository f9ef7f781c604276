/** Runs in the commands of people. What functions have printed, by a controller's Logs API, which is that of CloudWatch Logs. */
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { logGroup } from '../protocol/arn.ts';
import { ClientError } from './client-error.ts';
import { jsonCall } from './json-call.ts';
import type { ClientOptions } from './lambda-client.ts';

const pageSchema = z.object({
  events: z.array(
    z.object({ timestamp: z.number(), logStreamName: z.string(), message: z.string(), eventId: z.string() }),
  ),
  nextToken: z.string().optional(),
});

type Page = z.infer<typeof pageSchema>;

/** `eventId`: those of one function have the order of the events. */
export type LogEvent = Page['events'][number];

export interface LogQuery {
  readonly name: string;
  /** ms since 1970. */
  readonly sinceMs: number;
  /** Words, as CloudWatch has them; null: everything. */
  readonly filter: string | null;
  /** Of one invocation; null: of all. */
  readonly requestId: string | null;
}

/** Between two looks for what is new. */
const POLL_MS = 500;
/** A controller that has answered may be away for so long, in ms. */
const AWAY_MS = 300_000;

export class LogsClient {
  readonly #options: ClientOptions;

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  /**
   * What was printed, and with `follow` whatever will be, in its order.
   *
   * @throws ClientError; the signal's reason.
   */
  async *events(query: LogQuery, follow: boolean): AsyncGenerator<LogEvent> {
    let startTime = query.sinceMs;
    let last = '';
    let answeredAt = -Infinity;
    for (;;) {
      try {
        for await (const event of this.#found({ ...query, sinceMs: startTime })) {
          if (event.eventId <= last) continue;
          last = event.eventId;
          startTime = event.timestamp;
          yield event;
        }
        answeredAt = performance.now();
      } catch (error) {
        // It may be started again.
        if (!isAway(error) || performance.now() - answeredAt > AWAY_MS) throw error;
      }
      if (!follow) return;
      await sleep(POLL_MS, undefined, this.#options.signal && { signal: this.#options.signal });
    }
  }

  async *#found({ name, sinceMs, filter, requestId }: LogQuery): AsyncGenerator<LogEvent> {
    let nextToken: string | undefined;
    do {
      const members = {
        logGroupName: logGroup(name),
        startTime: Math.max(0, Math.floor(sinceMs)),
        ...(filter === null ? {} : { filterPattern: filter }),
        ...(requestId === null ? {} : { requestId }),
        ...(nextToken === undefined ? {} : { nextToken }),
      };
      const page: Page = await jsonCall(this.#options, 'Logs_20140328.FilterLogEvents', members, pageSchema);
      yield* page.events;
      nextToken = page.nextToken;
    } while (nextToken !== undefined);
  }
}

function isAway(error: unknown): boolean {
  return error instanceof ClientError && (error.code === 'unreachable' || error.type === 'ServiceUnavailableException');
}
