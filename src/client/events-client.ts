/** Runs in the commands of people. Events that a controller keeps, by an API of its own. */
import { z } from 'zod';
import { jsonCall } from './json-call.ts';
import type { ClientOptions } from './lambda-client.ts';

const eventSchema = z.object({
  event: z.number(),
  target: z.string(),
  status: z.enum(['pending', 'dead']),
  tries: z.number(),
  bytes: z.number(),
  acceptedAt: z.number(),
  at: z.number(),
  reason: z.string().optional(),
});
const pageSchema = z.object({ events: z.array(eventSchema), nextToken: z.string().optional() });
const contentsSchema = eventSchema.extend({ requestId: z.string(), payload: z.string(), destinationHops: z.number() });
const changeSchema = z.object({ changed: z.number(), hasMore: z.boolean() });

/** `acceptedAt`; `at`: when the next try is due, or when it died: ms since 1970. */
export type KeptEvent = z.infer<typeof eventSchema>;
export type EventContents = z.infer<typeof contentsSchema>;

export interface EventsQuery {
  readonly functionName?: string | undefined;
  /** A file or an endpoint, as events have it. */
  readonly target?: string | undefined;
  readonly status?: KeptEvent['status'] | undefined;
}

/** One dead event, or all of a function, of a file or of an endpoint. */
export type EventChoice = { readonly event: number } | { readonly functionName: string } | { readonly target: string };

/** Each throws a ClientError. */
export class EventsClient {
  readonly #options: ClientOptions;

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  async *list(query: EventsQuery): AsyncGenerator<KeptEvent> {
    let nextToken: string | undefined;
    do {
      const page = await this.#call('ListEvents', { ...query, nextToken }, pageSchema);
      yield* page.events;
      nextToken = page.nextToken;
    } while (nextToken !== undefined);
  }

  get(event: number): Promise<EventContents> {
    return this.#call('GetEvent', { event }, contentsSchema);
  }

  /** They begin anew. @returns how many. */
  redrive(choice: EventChoice): Promise<number> {
    return this.#change('RedriveEvents', choice);
  }

  /** They are gone. @returns how many. */
  purge(choice: EventChoice): Promise<number> {
    return this.#change('PurgeEvents', choice);
  }

  async #change(operation: string, choice: EventChoice): Promise<number> {
    for (let all = 0; ;) {
      const { changed, hasMore } = await this.#call(operation, choice, changeSchema);
      all += changed;
      if (!hasMore || changed === 0) return all;
    }
  }

  #call<T>(operation: string, members: object, schema: z.ZodType<T>): Promise<T> {
    return jsonCall(this.#options, `SnapfaasEvents.${operation}`, members, schema);
  }
}
