/** Runs in the commands of people. When functions of a controller get events by themselves, by an API of its own. */
import { z } from 'zod';
import { jsonCall } from './json-call.ts';
import type { ClientOptions } from './lambda-client.ts';

const scheduleSchema = z.object({
  functionName: z.string(),
  name: z.string(),
  expression: z.string(),
  timeZone: z.string(),
  qualifier: z.string().optional(),
  missed: z.enum(['once', 'skip']),
  start: z.string().optional(),
  end: z.string().optional(),
  state: z.enum(['enabled', 'paused']),
  from: z.enum(['file', 'api']),
  nextDue: z.string().optional(),
  input: z.string().optional(),
});
const pageSchema = z.object({ schedules: z.array(scheduleSchema), nextToken: z.string().optional() });

/** Times are ISO 8601; `input`: JSON, absent in lists; `from`: `file` is changed in the YAML file that it is of. */
export type Schedule = z.infer<typeof scheduleSchema>;

/** What is not given is as the controller has it by default. */
export type NewSchedule = Pick<Schedule, 'functionName' | 'name' | 'expression'> & {
  readonly [K in 'timeZone' | 'qualifier' | 'missed' | 'start' | 'end' | 'state' | 'input']?: Schedule[K] | undefined;
};

/** Each throws a ClientError. */
export class SchedulesClient {
  readonly #options: ClientOptions;

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  /** @param functionName undefined: of all functions. */
  async *list(functionName?: string): AsyncGenerator<Schedule> {
    let nextToken: string | undefined;
    do {
      const page = await this.#call('ListSchedules', { functionName, nextToken }, pageSchema);
      yield* page.schedules;
      nextToken = page.nextToken;
    } while (nextToken !== undefined);
  }

  get(functionName: string, name: string): Promise<Schedule> {
    return this.#call('GetSchedule', { functionName, name }, scheduleSchema);
  }

  /** One of that name is replaced. */
  put(schedule: NewSchedule): Promise<Schedule> {
    return this.#call('PutSchedule', schedule, scheduleSchema);
  }

  async delete(functionName: string, name: string): Promise<void> {
    await this.#call('DeleteSchedule', { functionName, name }, z.object({}));
  }

  #call<T>(operation: string, members: object, schema: z.ZodType<T>): Promise<T> {
    return jsonCall(this.#options, `SnapfaasSchedules.${operation}`, members, schema);
  }
}
