/** Runs in snapctr. The gateway of schedules, with what it is wired to. */
import type { DataDirectory } from '../../control/data-directory.ts';
import { loadMarks } from './marks.ts';
import { hostClock } from './schedule-clock.ts';
import { Scheduler, type SchedulerOptions } from './scheduler.ts';

export interface SchedulesOptions extends Pick<SchedulerOptions, 'events' | 'registry' | 'account' | 'logger'> {
  /** Null: what was due while snapctr did not run is not known. */
  readonly data: Pick<DataDirectory, 'records'> | null;
}

/** @throws NodeJS.ErrnoException */
export async function openSchedules({ data, ...options }: SchedulesOptions): Promise<Scheduler> {
  const bucket = data?.records.schedules ?? null;
  const marks = await loadMarks(bucket);
  for (const problem of marks.problems) {
    options.logger.error(`how far schedules had come is not known, and what was missed is not made good: ${problem}`);
  }
  return new Scheduler({ ...options, marks, bucket, clock: hostClock });
}
