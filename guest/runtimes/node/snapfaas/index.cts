/**
 * The package `snapfaas`, which every function finds: hooks around the snapshot that its VMs are started from.
 *
 * ```js
 * import { registerAfterRestore, registerBeforeSnapshot } from 'snapfaas';
 * ```
 */

type Register = (hook: (...args: never[]) => unknown, args: readonly unknown[]) => void;

interface Registry {
  readonly beforeSnapshot: Register;
  readonly afterRestore: Register;
}

/** As the runtime leaves it; a function's modules cannot name the runtime's files. */
function registry(): Registry {
  const found = (globalThis as { [key: symbol]: Registry | undefined })[Symbol.for('snapfaas.hooks')];
  if (found === undefined) throw new Error("hooks can be registered in a function's main thread only");
  return found;
}

function checkIsFunction(hook: unknown): void {
  if (typeof hook !== 'function') throw new TypeError(`a hook must be a function, not ${typeof hook}`);
}

/**
 * Has `hook(...args)` called before a snapshot of the function is taken, after those hooks that are registered later. A
 * promise that it returns is awaited. If it fails, no snapshot is taken.
 */
export function registerBeforeSnapshot<Args extends unknown[]>(hook: (...args: Args) => unknown, ...args: Args): void {
  checkIsFunction(hook);
  registry().beforeSnapshot(hook, args);
}

/**
 * Has `hook(...args)` called in each VM that starts from a snapshot, before its first invocation and after those hooks
 * that are registered earlier. A promise that it returns is awaited. If it fails, the VM is not used.
 */
export function registerAfterRestore<Args extends unknown[]>(hook: (...args: Args) => unknown, ...args: Args): void {
  checkIsFunction(hook);
  registry().afterRestore(hook, args);
}
