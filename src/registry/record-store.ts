/**
 * Runs in snapctr. Where records are kept: a store has a bucket for each kind, and a bucket has one record for each name. This is
 * all that is asked of a store, so that it can be files of this host or the key-value buckets of a fleet.
 */
import type { FunctionRecord, LayerRecord, ScheduleMarks } from './records.ts';

/** What a bucket holds, as it was found. */
export interface Loaded<T> {
  /** By name, ascending. */
  readonly records: readonly T[];
  /** Names whose record cannot be used, and why; it is kept as it is until it is put anew or deleted. */
  readonly damaged: readonly { readonly name: string; readonly problem: string }[];
}

export interface RecordBucket<T extends { readonly name: string }> {
  /** Everything. @throws NodeJS.ErrnoException, and the like, if the store itself cannot be read. */
  load(): Promise<Loaded<T>>;
  /**
   * Resolves when the record will be there after a crash; another one of its name is replaced. Calls for the same name must not
   * overlap.
   *
   * @throws NodeJS.ErrnoException, and the like; then the record of before is there.
   */
  put(record: T): Promise<void>;
  /** Resolves when the record will not be there after a crash. One that is not there is deleted already. */
  delete(name: string): Promise<void>;
}

export interface RecordStore {
  readonly functions: RecordBucket<FunctionRecord>;
  readonly layers: RecordBucket<LayerRecord>;
  readonly schedules: RecordBucket<ScheduleMarks>;
}
