/** Runs in firerunner. How the snapshot of a function is made: a base layer, and on top of it the function's own. */
import type { LaunchSpec } from '../../protocol/runner.ts';
import { LaunchError } from '../machine.ts';
import type { BaseLayers } from './base-layers.ts';
import { buildFunction } from './builder.ts';
import { openLayers } from './by-hand.ts';
import { mendingDamage, type LayerBuilds } from './layer-builds.ts';
import { type Layer, ignoreDamage } from './layer.ts';
import { Restorable } from './restorable.ts';
import type { Made, RecipeRequest } from './snapshot.ts';
import { functionStamp } from './stamps.ts';
import { SnapshotStore } from './store.ts';

/** The recipe for the snapshot of a function; see `Recipe`. */
export async function makeFunctionSnapshot(
  builds: LayerBuilds,
  bases: BaseLayers,
  spec: LaunchSpec,
  request: RecipeRequest,
): Promise<Made> {
  const { driver, digests, directory } = builds;
  if (driver.snapshots === null) throw new LaunchError(`the ${driver.name} driver has no snapshots`);
  if (spec.snapshots?.kind === 'store') {
    return makeInStore(builds, bases, spec, new SnapshotStore(spec.snapshots.directory), request);
  }
  request.onFound(true);
  const restorable = await openLayers(driver, spec, digests, directory);
  return { layer: restorable.layer.name, builtMs: null, restorable };
}

async function makeInStore(
  builds: LayerBuilds,
  bases: BaseLayers,
  spec: LaunchSpec,
  store: SnapshotStore,
  { hooks, open, unlike, onFound, onBuilding, onLayers }: RecipeRequest,
): Promise<Made> {
  let builtMs: number | null = null;
  let base: Restorable | null = null;
  let layer: Layer | null = null;
  let unusable = unlike;

  const make = async (): Promise<Made> => {
    if (!(await bases.isThere(spec, store))) onFound(false);
    const held = await bases.prepare(spec, store, hooks);
    base = held.restorable;
    try {
      layer = await ensureLayer(base);
      const layers = [base.layer, layer];
      onLayers(layers.map(({ name }) => name));
      const restorable = open ? await Restorable.open(builds.driver, store.directory, layers, true) : null;
      return { layer: layer.name, builtMs, restorable };
    } finally {
      held.release();
    }
  };

  const ensureLayer = async (base: Restorable): Promise<Layer> => {
    const stamp = await functionStamp(builds.driver, spec, base.layer.stamp, builds.digests);
    const existing = await store.open('function', stamp).catch(ignoreDamage);
    const fits = existing?.base === base.layer.digest;
    onFound(fits && existing.digest !== unusable);
    return store.ensure(
      'function',
      stamp,
      (draft) =>
        builds.runForFunction(async () => {
          const started = performance.now();
          let loadedAt = started;
          onBuilding();
          hooks.onProgress?.('loading the function into a VM');
          const from = { layer: base.layer, memory: base.memory, saved: base.guest.machine };
          const onLoaded = (): void => void (loadedAt = performance.now());
          await buildFunction(builds.context(spec, hooks), from, draft, onLoaded);
          builds.savingMs = performance.now() - loadedAt;
          builtMs = performance.now() - started;
        }),
      {
        ...builds.ensureOptions(hooks),
        // One made on a base that was replaced since has pages that do not fit any more.
        unlike: existing === null || fits ? unusable : existing.digest,
      },
    );
  };

  return mendingDamage(make, (error) => {
    hooks.onProgress?.(error.message);
    if (base?.layer.directory === error.directory) bases.invalidate(base);
    if (layer?.directory === error.directory) unusable = layer.digest;
  });
}
