/** Runs in the commands of people. What functions have printed, by a controller's Logs API, which is that of CloudWatch Logs. */
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { logGroup } from '../protocol/arn.ts';
import { ClientError } from './client-error.ts';
import { exchange } from './http.ts';
import type { ClientOptions } from './lambda-client.ts';

const pageSchema = z.object({
  events: z.array(
    z.object({ timestamp: z.number(), logStreamName: z.string(), message: z.string(), eventId: z.string() }),
  ),
  nextToken: z.string().optional(),
});
const errorSchema = z.object({ __type: z.string(), message: z.string().optional() });

/** `eventId`: those of one function have the order of the events. */
export type LogEvent = z.infer<typeof pageSchema>['events'][number];

export interface LogQuery {
  readonly name: string;
  /** ms since 1970. */
  readonly sinceMs: number;
  /** Words, as CloudWatch has them; null: everything. */
  readonly filter: string | null;
  /** Of one invocation; null: of all. */
  readonly requestId: string | null;
}

const PATIENCE_MS = 60_000;
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
      const page = pageSchema.parse(
        await this.#call('FilterLogEvents', {
          logGroupName: logGroup(name),
          startTime: Math.max(0, Math.floor(sinceMs)),
          ...(filter === null ? {} : { filterPattern: filter }),
          ...(requestId === null ? {} : { requestId }),
          ...(nextToken === undefined ? {} : { nextToken }),
        }),
      );
      yield* page.events;
      nextToken = page.nextToken;
    } while (nextToken !== undefined);
  }

  async #call(operation: string, members: object): Promise<unknown> {
    const { endpoint, token, signal } = this.#options;
    const content = Buffer.from(JSON.stringify(members));
    const { status, body } = await exchange({
      method: 'POST',
      url: new URL('/', endpoint),
      headers: {
        'content-type': 'application/x-amz-json-1.1',
        'x-amz-target': `Logs_20140328.${operation}`,
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      },
      body: { bytes: content.length, content },
      patienceMs: PATIENCE_MS,
      signal,
    });
    const answer = parsed(body);
    if (status === 200) return answer;
    const error = errorSchema.safeParse(answer);
    if (!error.success)
      throw new ClientError('bad_answer', `${endpoint.origin} answered ${status}: is it a controller?`);
    const { __type, message = __type } = error.data;
    throw new ClientError('refused', message, { type: __type });
  }
}

function isAway(error: unknown): boolean {
  return error instanceof ClientError && (error.code === 'unreachable' || error.type === 'ServiceUnavailableException');
}

function parsed(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return null;
  }
}
