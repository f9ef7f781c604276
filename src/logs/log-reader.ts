/** Runs in snapctr. Reads a function's log from any place on, a bounded piece at a time. */
import { open } from 'node:fs/promises';
import { decodeEvent, type LogEvent } from './log-event.ts';
import type { LogFile } from './log-files.ts';

const PART_BYTES = 64 * 1024;
/** Read by one call at most, in bytes; the next one goes on where it ended. */
const MAX_SEARCHED_BYTES = 8 * 1024 * 1024;

/** Between two lines of a log. */
export interface LogPosition {
  readonly begunMs: number;
  readonly offset: number;
}

/** Before all lines. */
const LOG_HEAD: LogPosition = { begunMs: 0, offset: 0 };

export interface LogQuery {
  /** ms since 1970, the first one included, the last one not. */
  readonly fromMs: number;
  readonly toMs: number;
  /** Null: from the beginning. */
  readonly after: LogPosition | null;
  /** Events at most. */
  readonly limit: number;
  readonly accepts: (event: LogEvent) => boolean;
}

export interface FoundEvent extends LogEvent {
  /** Where its line begins. */
  readonly position: LogPosition;
}

export interface LogPage {
  readonly events: readonly FoundEvent[];
  /** Where to go on; null: all was searched. */
  readonly next: LogPosition | null;
  /** Where whatever is logged from now on is found. */
  readonly end: LogPosition;
}

/** Where the log ends: after its last line, or at its beginning if there is none. */
export function endOf(files: readonly LogFile[]): LogPosition {
  const last = files.at(-1);
  return last === undefined ? LOG_HEAD : { begunMs: last.begunMs, offset: last.bytes };
}

/** Events in the order in which they were logged. @throws NodeJS.ErrnoException */
export async function readLog(files: readonly LogFile[], query: LogQuery): Promise<LogPage> {
  const events: FoundEvent[] = [];
  const after = startOf(files, query.after);
  let searched = 0;
  let end = after;
  // A file that is removed meanwhile is not missed.
  for (const file of [...files]) {
    if (file.begunMs < after.begunMs) continue;
    const from = file.begunMs === after.begunMs ? after.offset : 0;
    if (file.lastMs < query.fromMs) {
      end = { begunMs: file.begunMs, offset: file.bytes };
      continue;
    }
    for await (const { line, offset, bytes } of linesOf(file.path, from)) {
      end = { begunMs: file.begunMs, offset: offset + bytes };
      searched += bytes;
      const event = decodeEvent(line);
      if (event !== null && isWanted(event, query)) {
        events.push({ ...event, position: { begunMs: file.begunMs, offset } });
      }
      if (events.length >= query.limit || searched >= MAX_SEARCHED_BYTES) return { events, next: end, end };
    }
  }
  return { events, next: null, end };
}

export interface LastQuery extends LogQuery {
  /** Null: the end. */
  readonly before: LogPosition | null;
}

/**
 * The last events between two places, in the order in which they were logged. `next`: the place before them; null: there is
 * nothing before them.
 *
 * @throws NodeJS.ErrnoException
 */
export async function readLastOf(files: readonly LogFile[], query: LastQuery): Promise<LogPage> {
  const { before, limit } = query;
  const after = startOf(files, query.after);
  let events: FoundEvent[] = [];
  let searched = 0;
  let end = before;
  for (const file of [...files].reverse()) {
    if (before !== null && file.begunMs > before.begunMs) continue;
    if (file.begunMs < after.begunMs) break;
    const from = file.begunMs === after.begunMs ? after.offset : 0;
    if (file.lastMs < query.fromMs) {
      end ??= { begunMs: file.begunMs, offset: file.bytes };
      continue;
    }
    const to = file.begunMs === before?.begunMs ? before.offset : Infinity;
    const found: FoundEvent[] = [];
    let last = from;
    for await (const { line, offset, bytes } of linesOf(file.path, from)) {
      if (offset >= to) break;
      last = offset + bytes;
      searched += bytes;
      const event = decodeEvent(line);
      if (event === null || !isWanted(event, query)) continue;
      found.push({ ...event, position: { begunMs: file.begunMs, offset } });
      if (found.length > limit) found.shift();
    }
    end ??= { begunMs: file.begunMs, offset: last };
    events = [...found, ...events].slice(-limit);
    const [first] = events;
    if (events.length >= limit && first !== undefined) return { events, next: first.position, end };
    if (searched >= MAX_SEARCHED_BYTES) return { events, next: { begunMs: file.begunMs, offset: 0 }, end };
  }
  return { events, next: null, end: end ?? after };
}

/** A place behind all files is of a log that was removed, and begun again after the clock was set back: all of it is new. */
function startOf(files: readonly LogFile[], after: LogPosition | null): LogPosition {
  const newest = files.at(-1)?.begunMs ?? Infinity;
  return after === null || after.begunMs > newest ? LOG_HEAD : after;
}

function isWanted(event: LogEvent, { fromMs, toMs, accepts }: Pick<LogQuery, 'fromMs' | 'toMs' | 'accepts'>): boolean {
  return event.timeMs >= fromMs && event.timeMs < toMs && accepts(event);
}

interface Line {
  readonly line: string;
  readonly offset: number;
  /** With its end. */
  readonly bytes: number;
}

/** What has no end yet is being written, or was cut off. */
async function* linesOf(path: string, from: number): AsyncGenerator<Line> {
  const handle = await open(path, 'r').catch(() => null);
  if (handle === null) return;
  try {
    let offset = from;
    let rest: Buffer = Buffer.alloc(0);
    for (;;) {
      const { bytesRead, buffer } = await handle.read({
        buffer: Buffer.allocUnsafe(PART_BYTES),
        position: offset + rest.length,
      });
      if (bytesRead === 0) return;
      const part = Buffer.concat([rest, buffer.subarray(0, bytesRead)]);
      let at = 0;
      for (let end = part.indexOf(10, at); end !== -1; end = part.indexOf(10, at)) {
        yield { line: part.toString('utf8', at, end), offset: offset + at, bytes: end + 1 - at };
        at = end + 1;
      }
      offset += at;
      rest = part.subarray(at);
    }
  } finally {
    await handle.close();
  }
}

/** Position of a line in all of a log, as a number of equal length whose order is that of the lines. */
export function positionId({ begunMs, offset }: LogPosition): string {
  return `${String(begunMs).padStart(17, '0')}${String(offset).padStart(15, '0')}`;
}

/** @returns null for what is none. */
export function positionOf(id: string): LogPosition | null {
  if (!/^\d{32}$/.test(id)) return null;
  return { begunMs: Number(id.slice(0, 17)), offset: Number(id.slice(17)) };
}
