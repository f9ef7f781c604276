/** Runs in snapctr. What the operations on schedules make of a function's record. */
import type { FunctionSchedule } from '../registry/function-registry.ts';
import { newest, type FunctionRecord, type ScheduleRecord } from '../registry/records.ts';
import { MAX_SCHEDULES, MAX_SCHEDULES_OF_FUNCTION } from '../registry/schedule-limits.ts';
import { checkQualifier } from './alias-changes.ts';
import { without } from './changes.ts';
import { ControlError } from './control-error.ts';

export type ScheduleSettings = Omit<ScheduleRecord, 'since'>;

/**
 * One of that name is replaced; it goes on counting if it says what it said before when it is due.
 *
 * @param now ISO 8601, UTC.
 * @throws ControlError `not_found` if there is no such version or alias, `invalid` if there are too many, or requests have tenants.
 */
export function scheduleSet(
  record: FunctionRecord,
  name: string,
  settings: ScheduleSettings,
  arn: string,
  now: string,
): FunctionRecord {
  checkQualifier(record, settings.qualifier, arn);
  if (newest(record).settings.tenantIsolation !== undefined) {
    throw new ControlError(
      'invalid',
      'A function with tenant isolation has no schedules: their events name no tenant.',
    );
  }
  const { schedules = {} } = record;
  const before = Object.hasOwn(schedules, name) ? schedules[name] : undefined;
  const others = without(schedules, name);
  if (Object.keys(others).length >= MAX_SCHEDULES_OF_FUNCTION) {
    const most = `A function has ${MAX_SCHEDULES_OF_FUNCTION} schedules at most`;
    throw new ControlError('invalid', `${most}; remove one, or have another function invoked.`);
  }
  const since = before !== undefined && goesOn(before, settings) ? before.since : now;
  return { ...record, schedules: { ...others, [name]: { ...settings, since } } };
}

/** @throws ControlError `not_found` */
export function scheduleRemoved(record: FunctionRecord, name: string): FunctionRecord {
  const { schedules = {} } = record;
  if (!Object.hasOwn(schedules, name)) throw noSchedule(record.name, name);
  return { ...record, schedules: without(schedules, name) };
}

/** @param count of all functions together, before. @throws ControlError `invalid` */
export function checkScheduleCount(before: FunctionRecord, after: FunctionRecord, count: number): void {
  if (countOf(after) <= countOf(before) || count < MAX_SCHEDULES) return;
  throw new ControlError('invalid', `There are ${count} schedules, of ${MAX_SCHEDULES} at most; remove some.`);
}

/** By name, ascending. */
export function schedulesOf({ schedules = {} }: FunctionRecord): readonly FunctionSchedule[] {
  return Object.entries(schedules)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, schedule]) => ({ name, ...schedule }));
}

export function noSchedule(functionName: string, name: string): ControlError {
  return new ControlError('not_found', `The function ${functionName} has no schedule ${name}.`);
}

/** What is paused has no due times: they begin when it is resumed. */
function goesOn(before: ScheduleRecord, { expression, timeZone, start, end, isPaused }: ScheduleSettings): boolean {
  return (
    before.expression === expression &&
    before.timeZone === timeZone &&
    before.start === start &&
    before.end === end &&
    (isPaused || !before.isPaused)
  );
}

function countOf({ schedules = {} }: FunctionRecord): number {
  return Object.keys(schedules).length;
}
