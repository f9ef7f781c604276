/** Runs in snapctr. What a schedule may be, wherever it comes from. docs/schedules.md names the bounds. */
import type { ScheduleRecord } from '../../registry/records.ts';
import { ExpressionError } from './cron.ts';
import { dueTimes } from './due-times.ts';

export const MAX_INPUT_BYTES = 32 * 1024;
/** Schedules are kept in objects, by their names; one of them is not theirs to give. */
export const SCHEDULE_NAME = /^(?!__proto__$)[0-9a-zA-Z._-]{1,64}$/;

/** @returns what is wrong, and what to change; null: nothing. */
export function checkSchedule(
  schedule: Pick<ScheduleRecord, 'expression' | 'timeZone' | 'input' | 'start' | 'end'>,
): string | null {
  const { expression, timeZone, input, start, end } = schedule;
  if (input !== null && Buffer.byteLength(input) > MAX_INPUT_BYTES) {
    return `its input has ${Buffer.byteLength(input)} bytes; at most ${MAX_INPUT_BYTES} are taken`;
  }
  try {
    const startAt = start === null ? null : Date.parse(start);
    dueTimes({ expression, timeZone, startAt, endAt: end === null ? null : Date.parse(end), anchor: 0 });
    return null;
  } catch (error) {
    if (error instanceof ExpressionError) return error.message;
    throw error;
  }
}
