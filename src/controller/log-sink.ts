/**
 * Runs in snapctr. Where the log goes, without ever waiting for whoever reads it: a pager, a terminal that was halted, a journal
 * whose disk is slow. What is not taken at once is kept, up to a bound; beyond it lines are left out, and their number is told.
 */
import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** What is kept for a slow reader, in bytes. Output of functions and the like may fill half of it. */
const MAX_KEPT_BYTES = 4 * 1024 * 1024;
/** pino's number of the level `warn`. */
const WARN = 40;
/** Pause between two tries to write to a full pipe, in ms. */
const RETRY_MS = 20;

export class LogSink {
  /** Of the line that is written next; set by pino. */
  lastLevel = 0;
  readonly #fd: number;
  /** In order, from `#next` on. */
  #kept: Buffer[] = [];
  #next = 0;
  #keptBytes = 0;
  #leftOut = 0;
  #timer: NodeJS.Timeout | null = null;
  /** Nobody will ever read it. */
  #isBroken = false;

  /** @param fd of a stream that is open for writing; it is not closed. */
  constructor(fd: number) {
    this.#fd = nonBlocking(fd);
    Object.defineProperty(this, Symbol.for('pino.metadata'), { value: true });
    process.once('exit', () => this.#flushNow());
  }

  /** A line of the log, by pino. */
  write(line: string): void {
    const room = this.lastLevel < WARN ? MAX_KEPT_BYTES / 2 : MAX_KEPT_BYTES;
    const bytes = Buffer.from(line);
    if (this.#keptBytes > 0 && this.#keptBytes + bytes.length > room) this.#leftOut += 1;
    else this.#put(bytes);
  }

  /** A line without a level. */
  say(line: string): void {
    this.#put(Buffer.from(`${line}\n`));
  }

  /** Resolves when nothing is kept any more, or after `limitMs`. */
  async flush(limitMs: number): Promise<void> {
    const deadline = performance.now() + limitMs;
    this.#flushNow();
    while (this.#keptBytes > 0 && performance.now() < deadline) {
      await sleep(RETRY_MS);
      this.#flushNow();
    }
  }

  #put(bytes: Buffer): void {
    if (this.#isBroken) return;
    this.#kept.push(bytes);
    this.#keptBytes += bytes.length;
    if (this.#timer === null) this.#flushNow();
  }

  #flushNow(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    for (let first = this.#kept[this.#next]; first !== undefined; first = this.#kept[this.#next]) {
      if (!this.#write(first)) {
        this.#timer = setTimeout(() => this.#flushNow(), RETRY_MS).unref();
        return;
      }
    }
    this.#kept = [];
    this.#next = 0;
    if (this.#leftOut > 0) this.#tellWhatIsMissing();
  }

  /** @returns false if the stream takes nothing now. */
  #write(first: Buffer): boolean {
    try {
      const written = writeSync(this.#fd, first);
      this.#keptBytes -= written;
      if (written < first.length) this.#kept[this.#next] = first.subarray(written);
      else this.#next += 1;
      return true;
    } catch (error) {
      if (isFull(error)) return false;
      this.#isBroken = true;
      this.#kept = [];
      this.#keptBytes = 0;
      return true;
    }
  }

  #tellWhatIsMissing(): void {
    const count = this.#leftOut;
    this.#leftOut = 0;
    const time = new Date().toISOString();
    const line = {
      level: 'warn',
      time,
      leftOut: count,
      msg: 'lines of this log were left out: it was not read fast enough',
    };
    this.#put(Buffer.from(`${JSON.stringify(line)}\n`));
  }
}

function isFull(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EAGAIN';
}

/**
 * The same stream, such that writing to it never waits. Whether it waits is a property that other processes share, so a pipe or a
 * terminal is opened anew; a socket cannot be, and a file never waits for a reader.
 */
function nonBlocking(fd: number): number {
  const stat = fstatSync(fd);
  // Node makes it so when its own stream is made.
  if (stat.isSocket()) return fd === 2 ? process.stderr.fd : fd;
  if (!stat.isFIFO() && !stat.isCharacterDevice()) return fd;
  try {
    const opened = openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    if (fstatSync(opened).ino === stat.ino) return opened;
    closeSync(opened);
  } catch {
    // Not on Linux, or the stream is another user's: then it waits.
  }
  return fd;
}
