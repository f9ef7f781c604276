/** Runs in snapctr. The key `schedules` of a function: when it gets an event by itself. */
import { z } from 'zod';
import type { ScheduleRecord } from '../../registry/records.ts';
import { MAX_SCHEDULES_OF_FUNCTION } from '../../registry/schedule-limits.ts';
import { expected, text } from '../../yaml/values.ts';
import { checkSchedule, SCHEDULE_NAME } from '../schedules/schedule-checks.ts';

export type ScheduleSettings = Omit<ScheduleRecord, 'isPaused' | 'since'> & { readonly name: string };

const name = expected('1 to 64 letters, digits, `.`, `-` or `_`');
const moment = expected('a moment such as `2026-05-01T08:00:00Z`');
const missed = expected('`once` or `skip`');

export const schedulesSchema = z
  .array(
    z.strictObject(
      {
        name: z.string(name).regex(SCHEDULE_NAME, name),
        expression: text('a schedule such as `rate(5 minutes)` or `cron(0 8 ? * MON-FRI *)`'),
        time_zone: text('a time zone such as `Europe/Berlin`').nullish(),
        qualifier: text('a version or an alias').nullish(),
        // What YAML has become by now is what JSON has too.
        input: z.json().optional(),
        missed: z.enum(['once', 'skip'], missed).nullish(),
        start: z.iso.datetime({ ...moment, offset: true }).nullish(),
        end: z.iso.datetime({ ...moment, offset: true }).nullish(),
      },
      expected('a map with `name`, `expression` and, if wanted, `time_zone`, `input`, `missed`, `start` and `end`'),
    ),
    expected('a list of schedules'),
  )
  .max(MAX_SCHEDULES_OF_FUNCTION, { error: `has more than ${MAX_SCHEDULES_OF_FUNCTION} schedules` });

/** By name, ascending. */
export function scheduleSettings(
  yaml: z.infer<typeof schedulesSchema>,
  complain: (message: string) => void,
): readonly ScheduleSettings[] {
  const all = new Map<string, ScheduleSettings>();
  for (const { name, expression, time_zone, qualifier, input, missed, start, end } of yaml) {
    if (all.has(name)) complain(`two schedules are named "${name}"; give one another name`);
    const settings = {
      name,
      expression,
      timeZone: time_zone ?? 'UTC',
      qualifier: qualifier ?? null,
      input: input === undefined ? null : JSON.stringify(input),
      missed: missed ?? 'once',
      start: start == null ? null : new Date(start).toISOString(),
      end: end == null ? null : new Date(end).toISOString(),
    } as const;
    const problem = checkSchedule(settings);
    if (problem !== null) complain(`schedule "${name}": ${problem}`);
    all.set(name, settings);
  }
  return [...all.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}
