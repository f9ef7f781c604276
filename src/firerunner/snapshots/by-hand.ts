/** Runs in firerunner. Layers that a person makes and names, in any directory: `--dump_to` and `--load_from`. */
import { truncate, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { LoadRequest } from '../../protocol/guest.ts';
import type { LaunchSpec } from '../../protocol/runner.ts';
import { sha256Json } from '../../storage/digest.ts';
import { LaunchError, type Driver } from '../machine.ts';
import { NAMING_VARIABLES } from '../guest/lambda-environment.ts';
import { buildBase, buildFunction, type BuildContext } from './builder.ts';
import type { Layer, LayerStamp } from './layer.ts';
import { buildLayer } from './publication.ts';
import { Restorable } from './restorable.ts';
import { baseStamp, functionStamp, isBlank, type FileDigests } from './stamps.ts';
import { differenceOf } from './stamp-difference.ts';
import { SnapshotStore } from './store.ts';

/** Size of most images of functions: the smallest class of `snapctr images app`. */
const SMALLEST_APPFS_BYTES = 16 * 1024 * 1024;

/**
 * Opens layers made by hand: each must fit what is below it, and the files of the launch.
 *
 * @param directory for the private files.
 * @throws LaunchError that says which layer does not fit, and why; DamagedLayerError; SnapshotStoreError.
 */
export async function openLayers(
  driver: Driver,
  spec: LaunchSpec,
  digests: FileDigests,
  directory: string,
): Promise<Restorable> {
  const base = await baseStamp(driver, spec.machine, digests);
  const wanted = await functionStamp(driver, spec, base, digests);
  const layers: Layer[] = [];
  for (const path of spec.snapshots?.kind === 'layers' ? spec.snapshots.directories : []) {
    const layer = await SnapshotStore.openDirectory(path);
    const below = layers.at(-1);
    if (layer.base !== (below?.digest ?? null)) {
      const made = layer.base === null ? 'is a base layer' : 'was made on top of another layer';
      const help = layer.base === null ? 'give it first' : 'give the layer it was made on before it: BASE,LAYER';
      throw new LaunchError(
        `${path} ${made}, and cannot ${below === undefined ? 'be the first' : `follow ${below.directory}`}; ${help}`,
      );
    }
    const problem = misfit(layer.stamp, wanted);
    if (problem !== null) throw new LaunchError(`${path} was made with another ${problem}`);
    layers.push(layer);
  }
  const top = layers.at(-1);
  if (top === undefined) throw new LaunchError('no snapshot layer was given');
  return Restorable.open(driver, directory, layers, 'function' in top.stamp);
}

/** @returns what is not as it is wanted; null if all of it is. */
function misfit(stamp: LayerStamp, wanted: LayerStamp): string | null {
  for (const [name, value] of Object.entries(stamp)) {
    if (name !== 'function' && wanted[name] !== value) return `${name}: ${differenceOf(value, wanted[name])}`;
  }
  if (stamp['function'] === undefined) return null;
  // What the function is called may differ by hand; how it was loaded may not. Values may be secrets.
  const [was, now] = [stamp, wanted].map((one) => withoutName(JSON.parse(String(one['function'])) as LoadRequest));
  // The handler first: other members follow from it.
  const names = ['handler', ...Object.keys({ ...was, ...now })] as (keyof LoadRequest)[];
  return names.find((name) => sha256Json(was?.[name] ?? null) !== sha256Json(now?.[name] ?? null)) ?? null;
}

/** A LOAD but for what the function is called. */
function withoutName({ environment, ...request }: LoadRequest): Partial<LoadRequest> {
  const others = Object.entries(environment).filter(([name]) => !NAMING_VARIABLES.includes(name));
  return { ...request, function: '', arn: '', log_group: '', environment: Object.fromEntries(others) };
}

/**
 * Makes a layer in the new directory `target`: of a guest without a function if the app file system is blank or absent,
 * else of the function, on top of the layers that the spec names if it names any.
 *
 * @param privateDirectory for files that are needed meanwhile.
 * @throws FunctionLoadError, LaunchError, SnapshotStoreError; nothing is left at `target` then.
 */
export async function dumpLayer(
  wanted: BuildContext,
  digests: FileDigests,
  privateDirectory: string,
  target: string,
): Promise<Layer> {
  const { driver } = wanted;
  const spec = await withDisk(wanted.spec, privateDirectory);
  const context = { ...wanted, spec };
  const { appfsPath } = spec.machine;
  const isBase = appfsPath === null || (await isBlank(appfsPath));
  if (isBase && spec.snapshots !== null) throw new LaunchError('a layer on a base holds a function: give --appfs');
  const below = spec.snapshots === null ? null : await openLayers(driver, spec, digests, privateDirectory);
  try {
    if (below?.guest.holdsFunction === true) {
      throw new LaunchError(`${below.layer.directory} holds a function already: name its base alone with --load_from`);
    }
    const base = await baseStamp(driver, spec.machine, digests);
    const stamp = isBase ? base : await functionStamp(driver, spec, base, digests);
    const kind = below === null ? 'base' : 'function';
    await buildLayer(dirname(target), { name: basename(target), kind, stamp }, (draft) => {
      if (isBase) return buildBase(context, draft);
      const from = below === null ? null : { layer: below.layer, memory: below.memory, saved: below.guest.machine };
      return buildFunction(context, from, draft);
    });
    return await SnapshotStore.openDirectory(target);
  } finally {
    below?.retire();
  }
}

/** A machine without an app file system gets a blank one of the smallest size, so that a function can follow. */
async function withDisk(spec: LaunchSpec, directory: string): Promise<LaunchSpec> {
  if (spec.machine.appfsPath !== null) return spec;
  const appfsPath = join(directory, 'blank.ext4');
  await writeFile(appfsPath, '');
  await truncate(appfsPath, SMALLEST_APPFS_BYTES);
  return { ...spec, machine: { ...spec.machine, appfsPath } };
}
