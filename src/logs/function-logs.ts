/**
 * Runs in snapctr. What functions print, and the lines of their invocations, in files of each function's own:
 *
 * ```
 *   VmLog ──lines──▶ pending, in memory ──every 100 ms──▶ DIRECTORY/NAME.log/*.jsonl ──▶ readers
 *                       │ full: left out, and counted        │ over the budget: the oldest file of whoever has most goes
 * ```
 *
 * Nobody waits for it: a disk that is slow or full costs lines of the log, not requests.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { messageOf } from '../protocol/errors.ts';
import { codeOf } from '../storage/error-code.ts';
import { encodeEvent } from './log-event.ts';
import { LogFiles } from './log-files.ts';
import {
  endOf,
  readLastOf,
  readLog,
  type LastQuery,
  type LogPage,
  type LogPosition,
  type LogQuery,
} from './log-reader.ts';
import { VmLog } from './vm-log.ts';

const FLUSH_MS = 100;
/** What waits to be written: for one function, and for all, in bytes. */
const MAX_PENDING_BYTES = 1024 * 1024;
const MAX_ALL_PENDING_BYTES = 16 * 1024 * 1024;
/** Pause between two looks for files that are too old, and two complaints about the disk, in ms. */
const SELDOM_MS = 60_000;
const SUFFIX = '.log';

export interface FunctionLogsOptions {
  /** Made when it is needed. */
  readonly directory: string;
  /** All files together may have so many bytes. */
  readonly maxBytes: number;
  /** Files that were last written to longer ago are removed. */
  readonly maxAgeMs: number;
  readonly onProblem: (message: string) => void;
  /** ms since 1970. */
  readonly now: () => number;
}

interface Pending {
  lines: string[];
  bytes: number;
  /** Lines that had no room since the last were written. */
  leftOut: number;
}

/** Lines that are in no file: they came faster than they could be written, or the disk did not take them. */
export interface LostLines {
  readonly flood: number;
  readonly disk: number;
}

export class FunctionLogs {
  readonly #options: FunctionLogsOptions;
  readonly #logs = new Map<string, LogFiles>();
  readonly #pending = new Map<string, Pending>();
  #pendingBytes = 0;
  /** Of all files. */
  #bytes = 0;
  /** With lines that wait for others. */
  readonly #waiting = new Set<VmLog>();
  #timer: NodeJS.Timeout | null = null;
  #flushing: Promise<void> = Promise.resolve();
  readonly #found: Promise<void>;
  #cleanedAtMs = 0;
  #complainedAtMs = -SELDOM_MS;
  #lost: LostLines = { flood: 0, disk: 0 };
  #isClosed = false;

  constructor(options: FunctionLogsOptions) {
    this.#options = options;
    this.#found = this.#findAll();
  }

  /** Since the start. */
  get lost(): LostLines {
    return this.#lost;
  }

  /** The log of a VM that holds a version of the function. */
  vmLog(name: string, version: string, isShared = false): VmLog {
    const sink = {
      append: (lines: string): void => this.#append(name, lines),
      wait: (log: VmLog): void => {
        this.#waiting.add(log);
        this.#schedule();
      },
    };
    return new VmLog(sink, version, this.#options.now, undefined, isShared);
  }

  /** Functions that have a log, also those that are gone; sorted. */
  async names(): Promise<readonly string[]> {
    await this.#flush();
    return [...this.#logs].flatMap(([name, { files }]) => (files.length > 0 ? [name] : [])).sort();
  }

  /** @returns null: there is none. */
  async sizeOf(name: string): Promise<{ readonly bytes: number; readonly begunMs: number } | null> {
    await this.#flush();
    const log = this.#logs.get(name);
    const [first] = log?.files ?? [];
    return log === undefined || first === undefined ? null : { bytes: log.bytes, begunMs: first.begunMs };
  }

  /** Where whatever is logged from now on is found. */
  async end(name: string): Promise<LogPosition> {
    await this.#flush();
    return endOf(this.#logs.get(name)?.files ?? []);
  }

  /** Everything that was logged before the call is searched. @throws NodeJS.ErrnoException */
  async read(name: string, query: LogQuery): Promise<LogPage> {
    await this.#flush();
    return readLog(this.#logs.get(name)?.files ?? [], query);
  }

  /** The last events of those that `readLog` would find. @throws NodeJS.ErrnoException */
  async readLast(name: string, query: LastQuery): Promise<LogPage> {
    await this.#flush();
    return readLastOf(this.#logs.get(name)?.files ?? [], query);
  }

  /** Writes what is there; nothing is taken any more. */
  async close(): Promise<void> {
    for (const log of this.#waiting) log.close();
    this.#isClosed = true;
    await this.#flush();
  }

  #append(name: string, lines: string): void {
    if (this.#isClosed) return;
    let pending = this.#pending.get(name);
    if (pending === undefined) this.#pending.set(name, (pending = { lines: [], bytes: 0, leftOut: 0 }));
    // Characters are bytes, nearly always.
    const hasRoom = pending.bytes < MAX_PENDING_BYTES && this.#pendingBytes < MAX_ALL_PENDING_BYTES;
    if (hasRoom) {
      pending.lines.push(lines);
      pending.bytes += lines.length;
      this.#pendingBytes += lines.length;
    } else {
      pending.leftOut += 1;
      this.#lost = { ...this.#lost, flood: this.#lost.flood + 1 };
    }
    this.#schedule();
  }

  #schedule(): void {
    if (this.#timer !== null || this.#isClosed) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      for (const log of this.#waiting) if (log.settle()) this.#waiting.delete(log);
      void this.#flush().then(() => {
        if (this.#waiting.size > 0 || this.#pending.size > 0) this.#schedule();
      });
    }, FLUSH_MS).unref();
  }

  /** Resolves when all is written that was there before, or is given up. */
  #flush(): Promise<void> {
    this.#flushing = this.#flushing.then(() => this.#writeAll());
    return this.#flushing;
  }

  async #writeAll(): Promise<void> {
    await this.#found;
    for (const [name, pending] of [...this.#pending]) {
      this.#pending.delete(name);
      await this.#write(name, pending);
      this.#pendingBytes -= pending.bytes;
    }
    try {
      await this.#removeExcess();
      await this.#removeOld();
    } catch (error) {
      this.#complain(`files of logs cannot be removed: ${messageOf(error)}`);
    }
  }

  async #write(name: string, { lines, leftOut }: Pending): Promise<void> {
    const nowMs = this.#options.now();
    if (leftOut > 0) {
      const message = `${leftOut} lines were left out: they came faster than they could be written`;
      lines.push(encodeEvent({ timeMs: nowMs, stream: 'snapfaas', requestId: null, message }));
    }
    let written = 0;
    try {
      const log = this.#logs.get(name) ?? (await this.#find(name));
      const before = log.bytes;
      await log.append(Buffer.from(lines.join('')), nowMs).finally(() => {
        written = log.bytes - before;
        this.#bytes += written;
      });
    } catch (error) {
      this.#lost = { ...this.#lost, disk: this.#lost.disk + linesAfter(lines, written) };
      this.#complain(`the output of functions cannot be kept: ${messageOf(error)}`);
    }
  }

  /** Whoever has most gives: one that floods its log does not cost the others theirs. */
  async #removeExcess(): Promise<void> {
    while (this.#bytes > this.#options.maxBytes) {
      let largest: LogFiles | null = null;
      for (const log of this.#logs.values()) if (log.bytes > (largest?.bytes ?? 0)) largest = log;
      if (largest === null) return;
      await this.#removeOldest(largest);
    }
  }

  async #removeOldest(log: LogFiles): Promise<void> {
    const before = log.bytes;
    await log.removeOldest();
    this.#bytes += log.bytes - before;
  }

  async #removeOld(): Promise<void> {
    const nowMs = this.#options.now();
    if (Math.abs(nowMs - this.#cleanedAtMs) < SELDOM_MS) return;
    this.#cleanedAtMs = nowMs;
    const oldest = nowMs - this.#options.maxAgeMs;
    for (const [name, log] of [...this.#logs]) {
      while ((log.files[0]?.lastMs ?? Infinity) < oldest) await this.#removeOldest(log);
      if (log.files.length === 0) this.#logs.delete(name);
    }
  }

  async #findAll(): Promise<void> {
    try {
      for (const entry of await readdir(this.#options.directory)) {
        if (!entry.endsWith(SUFFIX)) continue;
        await this.#find(entry.slice(0, -SUFFIX.length));
        await nextTurn();
      }
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') this.#complain(`logs of functions cannot be read: ${messageOf(error)}`);
    }
  }

  async #find(name: string): Promise<LogFiles> {
    const log = await LogFiles.find(this.#directoryOf(name));
    this.#logs.set(name, log);
    this.#bytes += log.bytes;
    return log;
  }

  /** @param name of a function: letters, digits, `.`, `_` and `-`. */
  #directoryOf(name: string): string {
    return join(this.#options.directory, `${name}${SUFFIX}`);
  }

  #complain(message: string): void {
    const nowMs = performance.now();
    if (nowMs - this.#complainedAtMs < SELDOM_MS) return;
    this.#complainedAtMs = nowMs;
    this.#options.onProblem(message);
  }
}

/** How many lines are not whole in the first bytes of all. */
function linesAfter(lines: readonly string[], bytes: number): number {
  let end = 0;
  const first = lines.findIndex((line) => (end += Buffer.byteLength(line)) > bytes);
  return first === -1 ? 0 : lines.length - first;
}
