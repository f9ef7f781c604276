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
  followToken: z.string(),
});

type Page = z.infer<typeof pageSchema>;

/** `eventId`: those of one function have the order of the events. */
export type LogEvent = Page['events'][number];

export interface LogQuery {
  readonly name: string;
  /** ms since 1970. */
  readonly sinceMs: number;
  /** The same, included; null: there is no end. */
  readonly untilMs: number | null;
  /** Of the function; null: all. */
  readonly version: string | null;
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
    let token: string | null = null;
    let { sinceMs } = query;
    let answeredAt = -Infinity;
    for (;;) {
      const page: Page | null = await this.#page({ ...query, sinceMs }, token).catch((error: unknown) => {
        // It may be started again.
        if (follow && isAway(error) && performance.now() - answeredAt <= AWAY_MS) return null;
        throw error;
      });
      if (page !== null) {
        answeredAt = performance.now();
        token = page.followToken;
        yield* page.events;
        if (page.nextToken !== undefined) continue;
        // From here on all is wanted, whatever its time: a clock may be set back.
        sinceMs = 0;
      }
      if (!follow) return;
      await sleep(POLL_MS, undefined, this.#options.signal && { signal: this.#options.signal });
    }
  }

  /** @param token what the page before it ends with; null: the first page. */
  #page(query: LogQuery, token: string | null): Promise<Page> {
    const { name, sinceMs, untilMs, version, filter, requestId } = query;
    const members = {
      logGroupName: logGroup(name),
      startTime: Math.max(0, Math.floor(sinceMs)),
      ...(untilMs === null ? {} : { endTime: Math.max(0, Math.floor(untilMs)) }),
      ...(version === null ? {} : { version }),
      ...(filter === null ? {} : { filterPattern: filter }),
      ...(requestId === null ? {} : { requestId }),
      ...(token === null ? {} : { nextToken: token }),
    };
    return jsonCall(this.#options, 'Logs_20140328.FilterLogEvents', members, pageSchema);
  }
}

function isAway(error: unknown): boolean {
  return error instanceof ClientError && (error.code === 'unreachable' || error.type === 'ServiceUnavailableException');
}
