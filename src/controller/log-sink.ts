/**
 * Runs in snapctr. Where the log goes, without ever waiting for whoever takes it: a pager, a terminal that was halted, a journal
 * whose disk is slow, a file on a full disk. What is not taken at once is kept, up to a bound; beyond it lines are left out, and
 * their number is told.
 *
 * ```
 *   write ──▶ kept ──▶ pipe, terminal, socket: what fits into it, at once
 *               │  └─▶ file: a part at a time, by another thread
 *               └ full: left out, and counted
 * ```
 */
import { closeSync, constants, fstatSync, openSync, write, writeSync, type Stats } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf } from '../storage/error-code.ts';

/** What is kept for a slow reader, in bytes. Output of functions and the like may fill half of it. */
const MAX_KEPT_BYTES = 4 * 1024 * 1024;
/** Written to a file by one call, in bytes or a little more. */
const PART_BYTES = 256 * 1024;
/** So many lines that were written are not held any longer. */
const MOST_WRITTEN = 1024;
/** pino's number of the level `warn`. */
const WARN = 40;
/** Pause between two tries to write to a full pipe, in ms. */
const RETRY_MS = 20;
/** The same for what fails in another way, such as a full disk. */
const FAILED_RETRY_MS = 500;
/** Errors after which nobody will ever take anything. EIO is none of them: a disk may have it for a while. */
const FOREVER: readonly (string | undefined)[] = ['EPIPE', 'EBADF', 'ECONNRESET', 'ENOTCONN', 'EINVAL'];

export class LogSink {
  /** Of the line that is written next; set by pino. */
  lastLevel = 0;
  readonly #fd: number;
  readonly #isFile: boolean;
  /** In order, from `#next` on. */
  #kept: Buffer[] = [];
  #next = 0;
  #keptBytes = 0;
  /** The first of them, which another thread writes just now. */
  #flyingBytes = 0;
  #leftOut = 0;
  #timer: NodeJS.Timeout | null = null;
  /** Nobody will ever take it. */
  #isBroken = false;

  /** @param fd of a stream that is open for writing; it is not closed. */
  constructor(fd: number) {
    const stat = fstatSync(fd);
    this.#isFile = stat.isFile();
    this.#fd = this.#isFile ? fd : nonBlocking(fd, stat);
    Object.defineProperty(this, Symbol.for('pino.metadata'), { value: true });
    process.once('exit', () => this.#flushAtExit());
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
    if (this.#isFile) this.#startPart();
    else this.#writeAll();
  }

  /** Nothing is called any more when another thread has written its part; that it writes it is seen to by Node. */
  #flushAtExit(): void {
    this.#took(this.#flyingBytes);
    this.#writeAll();
  }

  #writeAll(): void {
    for (let first = this.#kept[this.#next]; first !== undefined; first = this.#kept[this.#next]) {
      try {
        this.#took(writeSync(this.#fd, first));
      } catch (error) {
        this.#failed(error);
        return;
      }
    }
    this.#drained();
  }

  #startPart(): void {
    if (this.#flyingBytes > 0) return;
    const part: Buffer[] = [];
    for (let at = this.#next; at < this.#kept.length && this.#flyingBytes < PART_BYTES; at += 1) {
      const line = this.#kept[at] ?? Buffer.alloc(0);
      part.push(line);
      this.#flyingBytes += line.length;
    }
    if (part.length === 0) return this.#drained();
    write(this.#fd, Buffer.concat(part), (error, written) => {
      this.#flyingBytes = 0;
      if (error !== null) return this.#failed(error);
      this.#took(written);
      this.#startPart();
    });
  }

  /** @param bytes of what is kept that are written. */
  #took(bytes: number): void {
    this.#keptBytes -= bytes;
    let rest = bytes;
    for (let first = this.#kept[this.#next]; first !== undefined && rest > 0; first = this.#kept[this.#next]) {
      if (rest < first.length) this.#kept[this.#next] = first.subarray(rest);
      else this.#next += 1;
      rest -= Math.min(rest, first.length);
    }
    // Also where there is always something left.
    if (this.#next < MOST_WRITTEN) return;
    this.#kept.splice(0, this.#next);
    this.#next = 0;
  }

  #drained(): void {
    this.#kept = [];
    this.#next = 0;
    if (this.#leftOut > 0) this.#tellWhatIsMissing();
  }

  /** What is kept is tried again, unless nobody will ever take it. */
  #failed(error: unknown): void {
    const code = codeOf(error);
    if (FOREVER.includes(code)) {
      this.#isBroken = true;
      this.#kept = [];
      this.#next = 0;
      this.#keptBytes = 0;
      return;
    }
    this.#timer = setTimeout(() => this.#flushNow(), code === 'EAGAIN' ? RETRY_MS : FAILED_RETRY_MS).unref();
  }

  #tellWhatIsMissing(): void {
    const count = this.#leftOut;
    this.#leftOut = 0;
    const time = new Date().toISOString();
    const line = {
      level: 'warn',
      time,
      leftOut: count,
      msg: 'lines of this log were left out: they were not taken fast enough',
    };
    this.#put(Buffer.from(`${JSON.stringify(line)}\n`));
  }
}

/**
 * The same stream, such that writing to it never waits. Whether it waits is a property that other processes share, so a pipe or a
 * terminal is opened anew; a socket cannot be.
 */
function nonBlocking(fd: number, stat: Stats): number {
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
