/** Hooks of the function around a snapshot; functions register them through the package `snapfaas`. */

type Hook = (...args: unknown[]) => unknown;

interface Registration {
  readonly hook: Hook;
  readonly args: readonly unknown[];
}

const beforeSnapshot: Registration[] = [];
const afterRestore: Registration[] = [];

/** Lets the package `snapfaas`, whose copy may lie anywhere, reach this module. */
export function openRegistry(): void {
  const registry = {
    beforeSnapshot: (hook: Hook, args: readonly unknown[]) => void beforeSnapshot.push({ hook, args }),
    afterRestore: (hook: Hook, args: readonly unknown[]) => void afterRestore.push({ hook, args }),
  };
  Object.defineProperty(globalThis, Symbol.for('snapfaas.hooks'), { value: registry });
}

/** The latest first: what was set up last is taken down first. Includes hooks that are registered meanwhile. */
export async function runBeforeSnapshot(): Promise<void> {
  for (let next = beforeSnapshot.pop(); next !== undefined; next = beforeSnapshot.pop()) await next.hook(...next.args);
}

export function hasAfterRestore(): boolean {
  return afterRestore.length > 0;
}

/** In order. Includes hooks that are registered meanwhile. */
export async function runAfterRestore(): Promise<void> {
  for (const { hook, args } of afterRestore) await hook(...args);
}
