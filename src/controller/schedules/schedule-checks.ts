/** Runs in snapctr. What a schedule may be, wherever it comes from. docs/schedules.md names the bounds. */
import type { ScheduleRecord } from '../../registry/records.ts';
import { ExpressionError } from './cron.ts';
import { dueTimes } from './due-times.ts';

export const MAX_SCHEDULES_OF_FUNCTION = 100;
/** Of all functions together. */
export const MAX_SCHEDULES = 10_000;
export const MAX_INPUT_BYTES = 32 * 1024;
export const SCHEDULE_NAME = /^[0-9a-zA-Z._-]{1,64}$/;

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
