/** Runs in the commands of people. The key `schedules` of `function.yaml`: it says all schedules that a function has at a controller. */
import { z } from 'zod';
import { expected, text } from '../yaml/values.ts';
import type { NewSchedule, Schedule, SchedulesClient } from './schedules-client.ts';

const moment = expected('a moment such as `2026-05-01T08:00:00Z`');

/** As in the YAML files of a controller, which checks the rest. */
export const schedulesSchema = z
  .array(
    z.strictObject(
      {
        name: text('the name of a schedule'),
        expression: text('a schedule such as `rate(5 minutes)` or `cron(0 8 ? * MON-FRI *)`'),
        time_zone: text('a time zone such as `Europe/Berlin`').optional(),
        qualifier: text('a version or an alias').optional(),
        input: z.json().optional(),
        missed: z.enum(['once', 'skip'], expected('`once` or `skip`')).optional(),
        start: z.iso.datetime({ ...moment, offset: true }).optional(),
        end: z.iso.datetime({ ...moment, offset: true }).optional(),
      },
      expected('a map with `name`, `expression` and, if wanted, `time_zone`, `input`, `missed`, `start` and `end`'),
    ),
    expected('a list of schedules'),
  )
  .refine((all) => new Set(all.map(({ name }) => name)).size === all.length, {
    error: 'has two schedules of one name; give one another name',
  });

export type WrittenSchedules = z.infer<typeof schedulesSchema>;

/** By name. */
export interface SchedulesChange {
  readonly set: readonly string[];
  readonly removed: readonly string[];
}

/**
 * Those that say something else are set, those that are not written are removed. One that is paused stays so: that is said of it by hand.
 *
 * @throws ClientError; what was changed before stays changed.
 */
export async function deploySchedules(
  client: Pick<SchedulesClient, 'list' | 'get' | 'put' | 'delete'>,
  functionName: string,
  written: WrittenSchedules,
): Promise<SchedulesChange> {
  const known = new Set<string>();
  for await (const { name } of client.list(functionName)) known.add(name);
  const names = new Set(written.map(({ name }) => name));
  const removed = [...known].filter((name) => !names.has(name));
  // First, as there may be no room for more.
  for (const name of removed) await client.delete(functionName, name);
  const set: string[] = [];
  for (const one of written) {
    const before = known.has(one.name) ? await client.get(functionName, one.name) : null;
    const wanted = wantedOf(functionName, one, before);
    if (before !== null && SAID.every((key) => before[key] === wanted[key])) continue;
    await client.put(wanted);
    set.push(one.name);
  }
  return { set, removed };
}

const SAID = ['expression', 'timeZone', 'qualifier', 'input', 'missed', 'start', 'end'] as const;

function wantedOf(functionName: string, one: WrittenSchedules[number], before: Schedule | null): NewSchedule {
  const { name, expression, time_zone: timeZone = 'UTC', qualifier, input, missed = 'once', start, end } = one;
  return {
    functionName,
    name,
    expression,
    timeZone,
    qualifier: qualifier === '$LATEST' ? undefined : qualifier,
    input: input === undefined ? undefined : JSON.stringify(input),
    missed,
    start: start && new Date(start).toISOString(),
    end: end && new Date(end).toISOString(),
    state: before?.state,
  };
}
