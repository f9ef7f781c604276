/** The original's handlers: `handle(request)` returns its result, or a promise of it. */
import path = require('node:path');
import { describe, describeLoadFailure } from './failures.cjs';
import { modulePlaces, searchNodePath } from './module-places.cjs';
import { LoadError } from './loading.cjs';
import { rehearsePrinting } from './output.cjs';
import type { FunctionFailure, InvokeHeader, LoadRequest } from './protocol.cjs';
import { isThenable, type Answers, type Handler, type HandlerPlace, type Style } from './style.cjs';

export class OriginalStyle implements Style {
  readonly describeHookFailure = describe;
  readonly describeLoadFailure = describeLoadFailure;
  readonly rejection = null;
  readonly returnEvent: Handler = async (event) => {
    rehearsePrinting();
    return await event;
  };
  readonly #answers: Answers;

  constructor(answers: Answers) {
    this.#answers = answers;
  }

  setEnvironment(request: LoadRequest): void {
    Object.assign(process.env, request.environment);
    const places = modulePlaces(request.root);
    if (places.length === 0) return;
    process.env['NODE_PATH'] = [...places, process.env['NODE_PATH']].filter(Boolean).join(':');
    searchNodePath();
  }

  /** `dir/file.a.b` is the export `a.b` of `dir/file`. */
  placeOf(name: string | null): HandlerPlace {
    if (name === null) return { file: 'workload', exportPath: ['handle'], name: 'workload.handle' };
    const baseName = path.posix.basename(name);
    const dot = baseName.indexOf('.');
    const exportPath = baseName.slice(dot + 1).split('.');
    if (dot <= 0 || name.includes('..') || path.isAbsolute(name) || exportPath.includes('')) {
      throw new LoadError('Runtime.MalformedHandlerName', `Bad handler '${name}': expected file.function`);
    }
    return { file: path.posix.join(path.posix.dirname(name), baseName.slice(0, dot)), exportPath, name };
  }

  accept(): void {
    // Any function will do.
  }

  call(handler: Handler, event: unknown, _header: InvokeHeader, call: number): void {
    const answers = this.#answers;
    let returned: unknown;
    try {
      returned = handler(event);
      if (isThenable(returned)) {
        returned.then(
          (result) => {
            if (answers.isOpen(call)) this.#succeed(result);
          },
          (error: unknown) => {
            if (answers.isOpen(call)) answers.failure(describe(error));
          },
        );
        return;
      }
    } catch (error) {
      answers.failure(describe(error));
      return;
    }
    this.#succeed(returned);
  }

  #succeed(result: unknown): void {
    let text: string;
    try {
      text = JSON.stringify(result) ?? 'null';
    } catch (error) {
      const { message, stack } = describe(error);
      this.#answers.failure({ type: 'Runtime.MarshalError', message: `Unable to marshal response: ${message}`, stack });
      return;
    }
    this.#answers.result(text);
  }

  prepare(): void {
    // Nothing differs between two VMs.
  }

  eventLoopIsEmpty(): void {
    this.#answers.failure(this.neverSettles('The handler'));
  }

  neverSettles(what: string): FunctionFailure {
    const why = 'its promise is pending, and the event loop is empty: nothing can settle it any more';
    return { type: 'Runtime.NodeJsExit', message: `${what} never ends: ${why}.`, stack: [] };
  }

  hookNeverSettles(): FunctionFailure {
    return this.neverSettles('A hook');
  }

  uncaught(thrown: unknown): void {
    this.#answers.failureThenExit(describe(thrown), this.exitStatus());
  }

  exitStatus(): number {
    return 1;
  }

  tooLarge(bytes: number, limit: number): FunctionFailure {
    const message = `The result has ${bytes} bytes; at most ${limit} are allowed.`;
    return { type: 'Function.ResponseSizeTooLarge', message, stack: [] };
  }
}
