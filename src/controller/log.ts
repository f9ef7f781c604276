/** Runs in snapctr. Its log: JSON lines on stderr; stdout belongs to results. */
import { pino, type Logger } from 'pino';
import type { LogLevel } from './log-levels.ts';
import { LogSink } from './log-sink.ts';

export type { Logger };

/** Times as a reader of the log wants them: to a tenth of a millisecond. */
export function rounded<T extends object>(times: T): T {
  const entries = Object.entries(times).map(([name, value]: [string, unknown]) => [
    name,
    typeof value === 'number' ? Math.round(value * 10) / 10 : value,
  ]);
  return Object.fromEntries(entries) as T;
}

let stderr: LogSink | null = null;

export function createLogger(level: LogLevel): Logger {
  const options = { level, base: null, timestamp: pino.stdTimeFunctions.isoTime };
  stderr ??= new LogSink(2);
  return pino({ ...options, formatters: { level: (label) => ({ level: label }) } }, stderr);
}

/** A line for people between those of the log. */
export function say(line: string): void {
  stderr ??= new LogSink(2);
  stderr.say(line);
}

/** Resolves when everything that was logged has left, or after `limitMs` if nobody reads it. */
export async function flushLog(limitMs: number): Promise<void> {
  await stderr?.flush(limitMs);
}
