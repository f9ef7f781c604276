/** Runs in snapctr. Where the file of keys is. */
import { dirname, join, resolve } from 'node:path';

/** The variable that takes the place of `--keys`. */
export const KEYS_VARIABLE = 'SNAPFAAS_KEYS';
const NAME = 'keys.json';

/**
 * @param flag value of `--keys`.
 * @param config path of the controller's configuration: by default, its keys are beside it.
 * @returns the path, and whether somebody named it, so that it has to be there.
 */
export function keyFileOf(
  flag: string | undefined,
  config: string,
): { readonly path: string; readonly isRequired: boolean } {
  const named = flag ?? process.env[KEYS_VARIABLE];
  if (named !== undefined && named !== '') return { path: resolve(named), isRequired: true };
  return { path: join(dirname(resolve(config)), NAME), isRequired: false };
}
