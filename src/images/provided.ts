/**
 * Runs in the builder and in `npm start`. The root file system of functions that bring their own runtime: the userland, and
 * the server of the Runtime API.
 */
import { downloadPackages, unpackPackages, versionsOf, type DebianPackage } from './debian.ts';
import { FRAME_RECIPE, finishFrame, layFrame } from './runtimefs.ts';
import { listRuntimeApi, placeRuntimeApi, RUNTIME_API_RECIPE } from './runtime-api.ts';
import type { RuntimeImage } from './runtimes.ts';
import { finishUserland, resolveRoot, USERLAND_RECIPE, type RootPackages } from './userland.ts';

/** Bootstraps in shell ask for their events with it, as AWS's own guide does. */
const PACKAGES = ['curl'];

const PROVIDED_RECIPE = {
  version: 1,
  frame: FRAME_RECIPE,
  userland: USERLAND_RECIPE,
  packages: PACKAGES,
  ...RUNTIME_API_RECIPE,
};

export const PROVIDED_IMAGE: RuntimeImage = {
  recipe: PROVIDED_RECIPE,
  listFiles: listRuntimeApi,
  resolve: resolveProvided,
  async fill(root, scratch, update) {
    update('downloading packages');
    const { unpacked: packages } = await resolveProvided();
    await fillProvidedRoot(root, scratch, packages);
    return versionsOf(packages);
  },
};

function resolveProvided(): Promise<RootPackages> {
  return resolveRoot(PACKAGES);
}

/** Fills the empty directory `root`. */
async function fillProvidedRoot(root: string, scratch: string, packages: readonly DebianPackage[]): Promise<void> {
  await layFrame(root);
  await unpackPackages(await downloadPackages(packages), root);
  await finishFrame(root, RUNTIME_API_RECIPE.argv);
  await finishUserland(root);
  await placeRuntimeApi(root, scratch);
}
