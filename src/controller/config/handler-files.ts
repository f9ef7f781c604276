/** Runs in snapctr. Looks for the file of a function's handler before anything is started. */
import { join } from 'node:path';
import { RUNTIME_NAMES, type RuntimeName } from '../../protocol/runner.ts';
import type { Paths } from './paths.ts';

/** The handler of a function that names none. */
const DEFAULT_HANDLER = 'workload.handle';

/** What a module may be, in the order in which it is looked for. */
const ENDINGS: Readonly<Record<RuntimeName, readonly string[]>> = {
  python3: ['.py', '/__init__.py'],
  nodejs: ['.js', '.mjs', '.cjs', '.ts', '.mts', '.cts'],
};

/**
 * What to remark where the handler's module is not in the function's directory; null if it is. It may come with packages, so
 * it is no error; but mostly it is a slip.
 */
export function missingModule(
  handler: string | null,
  runtime: RuntimeName,
  directory: string,
  paths: Paths,
): string | null {
  const module = moduleOf(handler ?? DEFAULT_HANDLER, runtime);
  const exists = (ending: string): boolean => paths.kindOf(join(directory, module + ending)) !== 'missing';
  if (['', ...ENDINGS[runtime]].some(exists)) return null;
  const wanted = `has no ${module}${ENDINGS[runtime][0] ?? ''}`;
  const other = RUNTIME_NAMES.find((name) => name !== runtime && ENDINGS[name].some(exists));
  if (other === undefined) return `${wanted}; correct \`handler\`, or add the file`;
  return `${wanted} but ${module}${ENDINGS[other].find(exists) ?? ''}, for which the runtime is ${other}`;
}

/** The module of a handler, as a path without its ending; split as the runtimes do it. */
function moduleOf(handler: string, runtime: RuntimeName): string {
  if (runtime === 'python3') return handler.slice(0, Math.max(0, handler.lastIndexOf('.'))).replaceAll('.', '/');
  const dot = handler.indexOf('.', handler.lastIndexOf('/') + 1);
  return dot === -1 ? handler : handler.slice(0, dot);
}
