/**
 * `console` as functions of Lambda know it: each call is a line with time, request and level. All go to where stdout goes,
 * whatever the function does to that stream.
 */
import util = require('node:util');
import { detailsOf, errorForLog, showErrors, textOf } from './lambda-failures.cjs';
import { writeLog } from './output.cjs';
import { isoTime, toJson } from './originals.cjs';

const LEVELS = ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'] as const;
type Level = (typeof LEVELS)[number];
type Log = (...parameters: readonly unknown[]) => void;

/** Stands in lines of the import. */
const NO_REQUEST = '-';
let requestId = NO_REQUEST;
let writesJson = false;

/** @param id null: no request is under way. */
export function setRequestId(id: string | null): void {
  requestId = id ?? NO_REQUEST;
}

function write(level: Level, parameters: readonly unknown[]): void {
  const time = isoTime();
  const line = writesJson ? jsonLine(time, level, parameters) : textLine(time, level, parameters);
  writeLog(`${line}\n`);
}

/** All of a line but its text, so that a snapshot holds this warm: most functions log something. */
export function rehearseLine(): void {
  textLine(isoTime(), 'INFO', ['%s', 'rehearsal', { of: ['a', 1, true, null] }]);
  writeLog('');
}

function textLine(time: string, level: Level, parameters: readonly unknown[]): string {
  return `${time}\t${requestId}\t${level}\t${util.format(...parameters)}`;
}

/** One value stays what it is. Several become text, and the first error among them is told beside it. */
function jsonLine(timestamp: string, level: Level, parameters: readonly unknown[]): string {
  const line = { timestamp, level, requestId };
  if (parameters.length > 1) {
    const error = parameters.find((one) => one instanceof Error);
    return toJson({ ...line, message: util.format(...parameters), ...(error && detailsOf(error)) });
  }
  const [message] = parameters;
  try {
    return toJson({ ...line, message }, showErrors);
  } catch {
    return toJson({ ...line, message: util.format(message) });
  }
}

/** Replaces the methods of `console`; `AWS_LAMBDA_LOG_FORMAT` and `AWS_LAMBDA_LOG_LEVEL` are taken from the environment. */
export function patchConsole(environment: NodeJS.ProcessEnv): void {
  writesJson = environment['AWS_LAMBDA_LOG_FORMAT']?.toUpperCase() === 'JSON';
  const lowest = LEVELS.indexOf(environment['AWS_LAMBDA_LOG_LEVEL']?.toUpperCase() as Level);
  const methodOf = (level: Level): Log => {
    if (LEVELS.indexOf(level) < lowest) return () => undefined;
    return (...parameters) => {
      write(level, parameters);
    };
  };
  const info = methodOf('INFO');
  const methods = {
    trace: methodOf('TRACE'),
    debug: methodOf('DEBUG'),
    info,
    log: info,
    warn: methodOf('WARN'),
    error: methodOf('ERROR'),
    fatal: methodOf('FATAL'),
  };
  Object.assign(console, methods);
}

/** The line of a failure, which is written before its answer. */
export function logFailure(what: string, thrown: unknown): void {
  if (writesJson) write('ERROR', [thrown instanceof Error ? thrown : new Error(textOf(thrown))]);
  else write('ERROR', [what, `\t${errorForLog(thrown)}`]);
}
