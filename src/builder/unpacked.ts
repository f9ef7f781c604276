/** Runs in the builder. A function package as a directory, for as long as it is staged. */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { TreeError } from '../images/tree.ts';
import { PackageError } from '../packages/package-error.ts';
import { unpackPackage } from '../packages/unpack.ts';
import { RUNTIME_NAMES, RUNTIMES, type RuntimeName } from '../protocol/runtimes.ts';
import { CACHE_HELP, cacheDirectory } from '../storage/cache-directory.ts';
import { makeWritableDirectory } from '../storage/make-directory.ts';
import { OwnedNames } from '../storage/owned-names.ts';

const UNPACKED = new OwnedNames('.snapfaas-unpacked-');

export interface PackageSource {
  readonly package: string;
  readonly handler: string | null;
  readonly runtime: RuntimeName | null;
}

/**
 * Unpacks a package, and removes what was unpacked when `work` is done.
 *
 * @param work its second argument takes the directory, of which nobody knows, out of a text.
 * @throws PackageError; TreeError; the signal's reason.
 */
export async function withUnpacked<T>(
  source: PackageSource,
  signal: AbortSignal,
  work: (directory: string, withoutIt: (text: string) => string) => Promise<T>,
): Promise<T> {
  const place = join(cacheDirectory(), 'unpacked');
  await makeWritableDirectory(place, CACHE_HELP);
  await UNPACKED.removeAbandoned(place);
  const directory = join(place, await UNPACKED.make(randomUUID()));
  const withoutIt = (text: string): string => text.replaceAll(`${directory}/`, '').replaceAll(directory, 'the package');
  try {
    await unpackPackage(source.package, directory, signal);
    checkHandler(directory, source);
    return await work(directory, withoutIt);
  } catch (error) {
    throw error instanceof TreeError ? new TreeError(withoutIt(error.message), { cause: error }) : error;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** @throws PackageError if the handler's file is not in the package. */
function checkHandler(directory: string, { handler, runtime }: PackageSource): void {
  if (handler === null || runtime === null) return;
  const { moduleOf, moduleEndings } = RUNTIMES[runtime];
  const module = moduleOf(handler);
  const has = (ending: string): boolean => existsSync(join(directory, module + ending));
  if (['', ...moduleEndings].some(has)) return;
  const wanted = `${module}${moduleEndings[0] ?? ''}`;
  const other = RUNTIME_NAMES.find((name) => name !== runtime && RUNTIMES[name].moduleEndings.some(has));
  const why = other === undefined ? '' : `; what is there is for the runtime ${other}`;
  throw new PackageError(
    'handler_missing',
    `the handler "${handler}" is not in the package, which has no ${wanted}${why}; correct the handler, or put the file at ` +
      "the package's top, not into a directory of it",
  );
}
