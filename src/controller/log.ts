/** Runs in snapctr. Its log: JSON lines on stderr; stdout belongs to results. */
import { destination, pino, type Logger } from 'pino';

export type { Logger };

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Times as a reader of the log wants them: to a tenth of a millisecond. */
export function rounded<T extends object>(times: T): T {
  const entries = Object.entries(times).map(([name, value]: [string, unknown]) => [
    name,
    typeof value === 'number' ? Math.round(value * 10) / 10 : value,
  ]);
  return Object.fromEntries(entries) as T;
}

export function createLogger(level: LogLevel): Logger {
  const options = { level, base: null, timestamp: pino.stdTimeFunctions.isoTime };
  return pino({ ...options, formatters: { level: (label) => ({ level: label }) } }, destination({ fd: 2, sync: true }));
}
