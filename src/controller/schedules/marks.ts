/** Runs in snapctr. How far schedules have come, as it is kept: what is marked is never due again, whatever is killed. */
import type { RecordBucket } from '../../registry/record-store.ts';
import type { ScheduleMarks } from '../../registry/records.ts';

export type Watermark = Extract<ScheduleMarks, { name: 'watermark' }>;
export type Known = Extract<ScheduleMarks, { name: 'known' }>;

const NOTHING_YET: Watermark = { name: 'watermark', at: 0, ahead: {} };

export interface Marks {
  /** Null: what was marked is damaged. At 0: nothing was yet, and each schedule is due from when it was made. */
  readonly watermark: Watermark | null;
  readonly known: Known['since'];
  readonly problems: readonly string[];
}

/** @param bucket null: nothing is kept. @throws NodeJS.ErrnoException */
export async function loadMarks(bucket: RecordBucket<ScheduleMarks> | null): Promise<Marks> {
  if (bucket === null) return { watermark: NOTHING_YET, known: {}, problems: [] };
  const { records, damaged } = await bucket.load();
  let watermark: Watermark | null = damaged.some(({ name }) => name === 'watermark') ? null : NOTHING_YET;
  let known: Known['since'] = {};
  for (const record of records) {
    if (record.name === 'watermark') watermark = record;
    else known = record.since;
  }
  return { watermark, known, problems: damaged.map(({ problem }) => problem) };
}
