/** Worker threads: each is prepared as the main thread is, before any code of the function runs in it. */
import worker = require('node:worker_threads');
import module_ = require('node:module');
import path = require('node:path');
import { replaceGeneratorsOfContexts } from './contexts.cjs';
import { correctTimeOrigin } from './clocks.cjs';
import { replaceGenerators } from './generators.cjs';

/** Node's option that has a module run before all others of a thread, and the module. */
export const PRELOAD = ['--require', path.join(__dirname, 'thread.cjs')];

/** Called for each worker that is started. */
let onWorker: () => void = () => undefined;

function withPreload(options: unknown): unknown {
  if (options !== undefined && (typeof options !== 'object' || options === null)) return options;
  const { execArgv } = (options ?? {}) as { readonly execArgv?: unknown };
  // As Node takes it: whatever is false stands for what this thread was started with, and what is no array is refused.
  const own = Boolean(execArgv) ? (execArgv as string[]) : process.execArgv;
  return Array.isArray(own) ? { ...options, execArgv: PRELOAD.concat(own) } : options;
}

function replaceWorker(): void {
  const original = worker.Worker;
  const replaced = new Proxy(original, {
    construct(target, [file, options]: readonly unknown[], newTarget) {
      onWorker();
      return Reflect.construct(target, [file, withPreload(options)], newTarget) as object;
    },
  });
  original.prototype.constructor = replaced;
  worker.Worker = replaced;
}

/**
 * Prepares the thread for a life that a snapshot may interrupt.
 *
 * @param workerStarts called for each worker that this thread starts.
 */
export function prepareThread(workerStarts?: () => void): void {
  if (workerStarts !== undefined) onWorker = workerStarts;
  replaceGeneratorsOfContexts();
  correctTimeOrigin();
  replaceWorker();
  // Tells ES modules of all that was replaced.
  replaceGenerators();
  module_.syncBuiltinESMExports();
}
