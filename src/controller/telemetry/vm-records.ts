/** Runs in snapctr. A JSON line for each VM that has ended, in a file. */
import { openSync } from 'node:fs';
import { messageOf } from '../../protocol/errors.ts';
import { LogSink } from '../log-sink.ts';
import type { VmRecord } from '../pool/vm-life.ts';
import { UsageError } from '../usage-error.ts';

/** How long the last lines may take to be written, in ms. */
const LAST_LINES_MS = 1000;

export class VmRecords {
  readonly #sink: LogSink;

  /** Lines are added to the file. @throws UsageError if it cannot be written. */
  constructor(path: string) {
    try {
      this.#sink = new LogSink(openSync(path, 'a'));
    } catch (error) {
      throw new UsageError(`--vm-records: ${path} cannot be written: ${messageOf(error)}; name another file`);
    }
  }

  write(record: VmRecord): void {
    this.#sink.write(`${JSON.stringify(record)}\n`);
  }

  /** Before the process ends. */
  close(): Promise<void> {
    return this.#sink.flush(LAST_LINES_MS);
  }
}
