/** Whatever a handler of Lambda's style throws, with the type, message and stack that Lambda's own client reports. */
import util = require('node:util');
import { errorCode } from './channel.cjs';
import type { FunctionFailure } from './protocol.cjs';
import { toJson } from './originals.cjs';

/** An error with a name and a stack of Lambda's making. */
export class RuntimeError extends Error {
  constructor(name: string, message: string) {
    super(message);
    this.name = name;
  }
}

/** A rejection that nobody handled. */
export class UnhandledPromiseRejection extends RuntimeError {
  readonly reason: unknown;

  constructor(reason: unknown) {
    super('Runtime.UnhandledPromiseRejection', reason === undefined ? '' : textOf(reason));
    this.reason = reason;
    const where = reason instanceof Error ? framesOf(reason.stack) : [];
    this.stack = [this.message === '' ? this.name : `${this.name}: ${this.message}`, ...where].join('\n');
  }
}

function toText(value: unknown): string {
  return String(value);
}

/** The text of any value, also of one whose methods throw. */
export function textOf(value: unknown): string {
  try {
    return toText(value);
  } catch {
    return 'a value that has no text';
  }
}

/** Of any realm, such as those of `vm`, and what merely looks like one. */
function isError(value: unknown): value is Error {
  if (util.types.isNativeError(value)) return true;
  if (typeof value !== 'object' || value === null) return false;
  const { name, message, stack } = value as Partial<Record<keyof Error, unknown>>;
  return [name, message, stack].every((text) => typeof text === 'string' && text !== '');
}

function isFrame(line: string): boolean {
  return line.startsWith('    at ');
}

function framesOf(stack: unknown): string[] {
  return stackLines(stack).filter(isFrame);
}

/** Lines of a stack, the error's text included, down to the runtime's first frame. */
function stackLines(stack: unknown): string[] {
  if (typeof stack !== 'string') return [];
  const lines = withoutDelete(stack).split('\n');
  const end = lines.findIndex((line) => isFrame(line) && line.includes(__dirname));
  return end < 0 ? lines : lines.slice(0, end);
}

/** The client reports failures in an HTTP header as well, which cannot hold this character. */
function withoutDelete(text: string): string {
  return text.replaceAll('\x7f', '%7F');
}

/** Of a member that must be a text if it is there. @throws TypeError if it is something else. */
function memberText(value: unknown): string {
  if (value === undefined || value === null) return '';
  if (typeof value !== 'string') throw new TypeError('not a text');
  return withoutDelete(value);
}

/** What was thrown, or what a promise was rejected with. Its own getters may throw: something is always said. */
export function describeLambda(thrown: unknown): FunctionFailure {
  try {
    if (!isError(thrown)) {
      // The method itself, which not every value has.
      const message: unknown = (thrown as { toString(): unknown }).toString();
      return { type: typeof thrown, message: message === undefined ? '' : toText(message), stack: [] };
    }
    const { stack } = thrown;
    if (typeof stack !== 'string') throw new TypeError('no stack');
    return { type: memberText(thrown.name), message: memberText(thrown.message), stack: stackLines(stack) };
  } catch {
    const problem = 'there was a problem while retrieving one or more of its message, name, and stack';
    return { type: 'handled', message: `callback called with Error argument, but ${problem}`, stack: [] };
  }
}

/**
 * What Lambda reports for what a handler threw. Its client makes an error of everything else to log it, and reports what
 * goes wrong in that instead.
 */
export function failureOfHandler(thrown: unknown): unknown {
  if (thrown === undefined || thrown === null) return 'handled';
  try {
    if (!(thrown instanceof Error)) new Error(thrown as string);
    return thrown;
  } catch (problem) {
    return problem;
  }
}

export function describeLambdaLoadFailure(thrown: unknown): FunctionFailure {
  const failure = describeLambda(thrown);
  const code = errorCode(thrown);
  const text = `${failure.type}: ${failure.message}`;
  if (code === 'MODULE_NOT_FOUND' || code === 'ERR_MODULE_NOT_FOUND') {
    const type = 'Runtime.ImportModuleError';
    return { type, message: text, stack: [...`${type}: ${text}`.split('\n'), ...framesOf(failure.stack.join('\n'))] };
  }
  if (thrown instanceof SyntaxError) {
    const type = 'Runtime.UserCodeSyntaxError';
    // The file, the line and a caret stand before the message.
    const end = failure.stack.findIndex((line) => line.startsWith(failure.type));
    const where = failure.stack.slice(0, Math.max(end, 0)).filter((line) => line !== '');
    return { type, message: text, stack: [`${type}: ${text}`, ...where, ...framesOf(thrown.stack)] };
  }
  return failure;
}

/** What an error is in lines of JSON. */
export interface ErrorDetails {
  readonly errorType: string;
  readonly errorMessage: string;
  readonly stackTrace: readonly string[];
}

export function detailsOf(error: Error): ErrorDetails {
  const type = (error.constructor as { name?: unknown } | undefined)?.name;
  return {
    errorType: typeof type === 'string' ? type : 'UnknownError',
    errorMessage: error.message,
    stackTrace: stackLines(error.stack),
  };
}

/** For `JSON.stringify`, which would leave nothing of an error but its own members. */
export function showErrors(_key: string, value: unknown): unknown {
  return value instanceof Error ? Object.assign({}, detailsOf(value), value) : value;
}

/** An error as Lambda logs it: its own members, and those that JSON would leave out. */
export function errorForLog(thrown: unknown): string {
  const error = thrown instanceof Error ? thrown : new Error(textOf(thrown));
  const spread = (_key: string, value: unknown): unknown => {
    if (!(value instanceof Error)) return value;
    const shown: Record<string, unknown> = {
      errorType: value.name,
      errorMessage: value.message,
      code: errorCode(value),
    };
    Object.assign(shown, value);
    if (typeof value.stack === 'string') shown['stack'] = stackLines(value.stack);
    return shown;
  };
  try {
    return toJson(error, spread);
  } catch {
    const { type, message, stack } = describeLambda(error);
    return toJson({ errorType: type, errorMessage: message, trace: stack });
  }
}
