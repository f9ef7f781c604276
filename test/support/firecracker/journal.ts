/**
 * Runs in the fake Firecracker and the fake jailer. One JSON line for each thing that happened, appended to a file that
 * many processes may share. Every line has `at` (ms since 1970), `pid` and `event`:
 *
 * | event            | further members                                                                        |
 * | ---------------- | -------------------------------------------------------------------------------------- |
 * | `start`          | `program, argv, cwd, uid, gid, environment` (names only), `readyMs` since the process began |
 * | `listen`         | `path`                                                                                 |
 * | `request`        | `method, path, body, status, ms, isDeprecated`, `answer` if it was refused               |
 * | `boot`           | `workMs`: the fake's own work until the runtime was started                              |
 * | `load`           | `workMs`: the fake's own work, of which `replayMs` for what a real memory would have held |
 * | `snapshot`       | `type, pages`                                                                          |
 * | `vsock`          | `port, outcome` (`ok`, `refused`, `malformed`, `fault`)                                  |
 * | `invoke`         | `number` of the invocation in this process, from 1                                      |
 * | `runtime-exited` | `status, signal`                                                                       |
 * | `memory-changed` | `reason`                                                                               |
 * | `device-missing` | `path, reason`: a device node that the jailer was not allowed to make                    |
 * | `fault`          | `fault`: one that struck                                                               |
 * | `exit`           | `status, reason`                                                                       |
 */
import { appendFileSync } from 'node:fs';

export class Journal {
  readonly #path: string | null;

  constructor(path: string | null) {
    this.#path = path;
  }

  write(event: string, members: Readonly<Record<string, unknown>> = {}): void {
    if (this.#path === null) return;
    const line = { at: performance.timeOrigin + performance.now(), pid: process.pid, event, ...members };
    appendFileSync(this.#path, `${JSON.stringify(line)}\n`);
  }
}

/** A line of the journal as tests and benchmarks read it. */
export interface JournalLine {
  readonly at: number;
  readonly pid: number;
  readonly event: string;
  readonly [member: string]: unknown;
}

export function parseJournal(text: string): JournalLine[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as JournalLine);
}
