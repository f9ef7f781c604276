/** Runs in snapctr. Looks for the file of a function's handler before anything is started. */
import { join } from 'node:path';
import { RUNTIME_NAMES, RUNTIMES, type RuntimeName } from '../../protocol/runtimes.ts';
import type { Paths } from './paths.ts';

/** The handler of a function that names none. */
export const DEFAULT_HANDLER = 'workload.handle';

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
  const { moduleOf, moduleEndings } = RUNTIMES[runtime];
  const module = moduleOf(handler ?? DEFAULT_HANDLER);
  if (module === null) return null;
  const exists = (ending: string): boolean => paths.kindOf(join(directory, module + ending)) !== 'missing';
  if (['', ...moduleEndings].some(exists)) return null;
  const wanted = `has no ${module}${moduleEndings[0] ?? ''}`;
  const other = RUNTIME_NAMES.find((name) => name !== runtime && RUNTIMES[name].moduleEndings.some(exists));
  if (other === undefined) return `${wanted}; correct \`handler\`, or add the file`;
  return `${wanted} but ${module}${RUNTIMES[other].moduleEndings.find(exists) ?? ''}, for which the runtime is ${other}`;
}
