/** Runs in the builder. A function package and layers as directories, for as long as they are staged. */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { TreeError } from '../images/tree.ts';
import { MAX_UNPACKED_BYTES } from '../packages/entries.ts';
import { PackageError } from '../packages/package-error.ts';
import { unpackPackage } from '../packages/unpack.ts';
import { MAX_LAYERS, type BuildRequest } from '../protocol/builder.ts';
import { RUNTIME_NAMES, RUNTIMES } from '../protocol/runtimes.ts';
import { CACHE_HELP, cacheDirectory } from '../storage/cache-directory.ts';
import { makeWritableDirectory } from '../storage/make-directory.ts';
import { OwnedNames } from '../storage/owned-names.ts';
import { removeTree } from '../storage/remove-tree.ts';

const UNPACKED = new OwnedNames('.snapfaas-unpacked-');

/** Of a function that is not a container image. */
export type FilesRequest = Exclude<BuildRequest, { readonly container: string }>;

export interface Unpacked {
  /** The function's files. */
  readonly directory: string;
  /** One for each layer, in their order. */
  readonly layers: readonly string[];
  /** Takes directories of which nobody knows out of a text. */
  readonly withoutThem: (text: string) => string;
}

/**
 * Unpacks what is packed, and removes what was unpacked when `work` is done. All archives together may hold
 * `MAX_UNPACKED_BYTES`; directories, which somebody of this host has made, are not counted.
 *
 * @throws PackageError; TreeError; the signal's reason.
 */
export async function withUnpacked<T>(
  request: FilesRequest,
  signal: AbortSignal,
  work: (unpacked: Unpacked) => Promise<T>,
): Promise<T> {
  const place = join(cacheDirectory(), 'unpacked');
  await makeWritableDirectory(place, CACHE_HELP);
  await UNPACKED.removeAbandoned(place);
  const own = join(place, await UNPACKED.make(randomUUID()));
  const shown = new Map<string, string>();
  const withoutThem = (text: string): string =>
    [...shown].reduce((rest, [path, name]) => rest.replaceAll(path, name), text);
  try {
    await mkdir(own, { mode: 0o700 });
    return await work({ ...(await unpackAll(request, own, shown, signal)), withoutThem });
  } catch (error) {
    throw error instanceof TreeError ? new TreeError(withoutThem(error.message), { cause: error }) : error;
  } finally {
    await removeTree(own);
  }
}

/** @param shown gets the names for paths that nobody knows. */
async function unpackAll(
  request: FilesRequest,
  own: string,
  shown: Map<string, string>,
  signal: AbortSignal,
): Promise<Pick<Unpacked, 'directory' | 'layers'>> {
  if (request.layers.length > MAX_LAYERS) {
    throw new PackageError('too_large', `the function has more than ${MAX_LAYERS} layers; merge some into one`);
  }
  let room = MAX_UNPACKED_BYTES;
  const unpackOne = async (file: string, to: string): Promise<string> => {
    const target = join(own, to);
    room -= await unpackPackage(file, target, signal, room);
    return target;
  };
  let directory: string;
  if ('directory' in request) directory = request.directory;
  else {
    directory = await unpackOne(request.package, 'package');
    shown.set(`${directory}/`, '').set(directory, 'the package');
    // A handler may come with a layer, as those of tools that wrap others do.
    if (request.layers.length === 0) checkHandler(directory, request);
  }
  const layers: string[] = [];
  for (const [index, layer] of request.layers.entries()) {
    if ((await stat(layer)).isDirectory()) {
      layers.push(layer);
      continue;
    }
    const name = `layer ${index + 1} (${basename(layer)})`;
    try {
      layers.push(await unpackOne(layer, `layer-${index + 1}`));
    } catch (error) {
      throw error instanceof PackageError ? new PackageError(error.code, `${name}: ${error.message}`) : error;
    }
    shown.set(join(own, `layer-${index + 1}`), name);
  }
  return { directory, layers };
}

/** @throws PackageError if the handler's file is not in the package. */
function checkHandler(
  directory: string,
  { handler, runtime }: Pick<Extract<BuildRequest, { package: string }>, 'handler' | 'runtime'>,
): void {
  if (handler === null || runtime === null) return;
  const { moduleOf, moduleEndings } = RUNTIMES[runtime];
  const module = moduleOf(handler);
  if (module === null) return;
  const has = (ending: string): boolean => existsSync(join(directory, module + ending));
  if (['', ...moduleEndings].some(has)) return;
  const atTop = "at the package's top, not into a directory of it";
  if (runtime === 'provided') {
    const what = `the program that is to be started, an executable file of this name, ${atTop}`;
    throw new PackageError('handler_missing', `the package has no ${module}; put ${what}`);
  }
  const wanted = `${module}${moduleEndings[0] ?? ''}`;
  const other = RUNTIME_NAMES.find((name) => name !== runtime && RUNTIMES[name].moduleEndings.some(has));
  const why = other === undefined ? '' : `; what is there is for the runtime ${other}`;
  throw new PackageError(
    'handler_missing',
    `the handler "${handler}" is not in the package, which has no ${wanted}${why}; correct the handler, or put the file ${atTop}`,
  );
}
