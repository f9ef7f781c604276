/** Whatever a function throws, in the words of the protocol. */
import { errorCode } from './channel.cjs';
import { MAX_FAILURE_BYTES, type FunctionFailure } from './protocol.cjs';
import { toJson } from './originals.cjs';

/** The error's class: its own `name` if it gave itself one, else that of its constructor. */
function typeOfError(error: Error): string {
  const name = String(error.name);
  if (name !== 'Error' && name !== '') return name;
  const constructor: unknown = error.constructor;
  return typeof constructor === 'function' && constructor.name !== '' ? constructor.name : 'Error';
}

/** Lines of the stack, innermost first, without those of the runtime and of Node's inside. */
function stackLines(error: Error): string[] {
  if (typeof error.stack !== 'string') return [];
  return error.stack
    .split('\n')
    .filter((line) => line.startsWith('    at ') && !line.includes(__dirname) && !line.includes('node:internal'))
    .map((line) => line.trim());
}

/** Whatever was thrown, as a failure. Its own getters may throw: something is always said. */
export function describe(thrown: unknown): FunctionFailure {
  try {
    if (thrown instanceof Error || Object.prototype.toString.call(thrown) === '[object Error]') {
      const error = thrown as Error;
      return { type: typeOfError(error), message: String(error.message), stack: stackLines(error) };
    }
    const text = typeof thrown === 'object' && thrown !== null ? toJson(thrown) : String(thrown);
    return { type: thrown === null ? 'null' : typeof thrown, message: text, stack: [] };
  } catch {
    return { type: 'Error', message: 'the error could not be described', stack: [] };
  }
}

export function describeLoadFailure(thrown: unknown): FunctionFailure {
  const failure = describe(thrown);
  const code = errorCode(thrown);
  if (code === 'MODULE_NOT_FOUND' || code === 'ERR_MODULE_NOT_FOUND') {
    return { ...failure, type: 'Runtime.ImportModuleError', message: `Error: ${failure.message}` };
  }
  if (thrown instanceof SyntaxError) {
    // The file, the line and a caret stand before the message.
    const where = String(thrown.stack).split('\n    at ')[0]?.split('\n') ?? [];
    const stack = [...where.slice(0, -1).filter((line) => line !== ''), ...failure.stack];
    return { type: 'Runtime.UserCodeSyntaxError', message: `SyntaxError: ${failure.message}`, stack };
  }
  return failure;
}

/** As JSON, cut where it would be larger than a frame of the control channel may be. */
export function failureText(failure: FunctionFailure): string {
  const text = toJson(failure);
  if (Buffer.byteLength(text) <= MAX_FAILURE_BYTES) return text;
  return toJson({
    type: failure.type.slice(0, 100),
    message: `${failure.message.slice(0, 2000)} [cut]`,
    stack: failure.stack.slice(0, 20).map((line) => line.slice(0, 100)),
  });
}
