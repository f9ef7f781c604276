/** Runs in the builder. A container image becomes a file system that guests enter as their root. */
import { dirname, join } from 'node:path';
import { mkdir } from 'node:fs/promises';
import { CONTAINER_SIZES, writeSmallest } from '../images/app-image.ts';
import { useApp } from '../images/app-retention.ts';
import { EXT4_RULES_VERSION } from '../images/ext4.ts';
import { readFinished, type ManifestDraft } from '../images/manifest.ts';
import { inBuildFolder, type BuildFolder } from '../images/publish.ts';
import { runTool, ToolError } from '../images/tool.ts';
import { BlobCache } from '../oci/blob-cache.ts';
import { openImage, type OpenedImage } from '../oci/image.ts';
import { formatReference, parseReference } from '../oci/reference.ts';
import { completeRoot, ROOT_RULES_VERSION } from '../oci/root-files.ts';
import { placeTree, unpackLayers } from '../oci/unpack.ts';
import type { Built } from '../protocol/builder.ts';
import { CACHE_HELP, cacheDirectory } from '../storage/cache-directory.ts';
import { sha256Json } from '../storage/digest.ts';
import { makeWritableDirectory } from '../storage/make-directory.ts';
import { touch } from '../storage/uses.ts';
import type { BuildObserver } from './build.ts';

/**
 * The result is kept by the image's digest: of an image that was made ready before, nothing is asked for.
 *
 * @param named as `parseReference` reads it, with absolute paths.
 * @throws ImageError, TreeError or ToolError; the signal's reason.
 */
export async function buildContainer(named: string, observer: BuildObserver, signal: AbortSignal): Promise<Built> {
  const reference = parseReference(named);
  const known = reference.digest === null ? null : await findFinished(reference.digest, signal);
  if (known !== null) return known;
  observer.onProgress('looking at the image');
  const cache = new BlobCache();
  const image = await openImage(reference, signal, cache);
  try {
    return (
      (await findFinished(image.digest, signal)) ?? (await make(image, formatReference(reference), observer, signal))
    );
  } finally {
    await cache.trim();
  }
}

function placeOf(digest: string): { readonly image: string; readonly recipe: string } {
  const recipe = sha256Json({
    container: digest,
    rules: ROOT_RULES_VERSION,
    ext4: EXT4_RULES_VERSION,
    sizes: CONTAINER_SIZES,
  });
  return { image: join(cacheDirectory(), 'apps', recipe, 'app.ext4'), recipe };
}

/** Null if it was not made yet. */
async function findFinished(digest: string, signal: AbortSignal): Promise<Built | null> {
  const { image } = placeOf(digest);
  const manifest = await readFinished(image);
  if (manifest === undefined || !(await useApp(dirname(image), image, signal))) return null;
  return { path: image, digest: manifest.sha256, bytes: manifest.bytes };
}

async function make(opened: OpenedImage, what: string, observer: BuildObserver, signal: AbortSignal): Promise<Built> {
  const { image, recipe } = placeOf(opened.digest);
  const work = async (folder: BuildFolder): Promise<Built> => {
    const other = await findFinishedInTurn(image);
    if (other !== null) return other;
    observer.onProgress(`unpacking ${opened.layers.length} layers`);
    const contents = join(folder.scratch, 'contents');
    const root = join(folder.scratch, 'root');
    await mkdir(contents, { mode: 0o700 });
    const unpacked = await unpackLayers(opened.layers, contents, signal);
    const { leftOut } = unpacked;
    if (leftOut.length > 0) observer.onNote(`${what}: devices and pipes are not made, such as ${leftOut[0] ?? ''}`);
    const owners = await completeRoot(unpacked, opened.config.settings);
    const attributes = (await placeTree(unpacked.tree, root, signal)).map(owners);
    observer.onProgress('making a file system of them');
    const draft: ManifestDraft = { name: 'app', kind: 'appfs', inputs: { recipe, files: {}, packages: {} } };
    const manifest = await folder.publish(image, draft, (file) =>
      writeSmallest(root, file, CONTAINER_SIZES, attributes),
    );
    return { path: image, digest: manifest.sha256, bytes: manifest.bytes };
  };
  const options = {
    help: CACHE_HELP,
    signal,
    onWait: (pid: number) => observer.onProgress(`waiting for process ${pid}`),
  };
  await spreadOut(dirname(dirname(image)));
  const built = await inBuildFolder(dirname(image), work, options);
  await touch(dirname(image));
  return built;
}

/**
 * Tells ext4 that directories in this one have nothing to do with each other. By default they are all in one place of the disk, where an ext4
 * without a journal looks through all files that were removed in the last minutes, for each that is made: after a build these are thousands.
 */
async function spreadOut(directory: string): Promise<void> {
  await makeWritableDirectory(directory, CACHE_HELP);
  await runTool('chattr', ['+T', directory]).catch((error: unknown) => {
    // Other file systems do not know of it.
    if (!(error instanceof ToolError)) throw error;
  });
}

/** By somebody who had the folder before us. */
async function findFinishedInTurn(image: string): Promise<Built | null> {
  const manifest = await readFinished(image);
  return manifest === undefined ? null : { path: image, digest: manifest.sha256, bytes: manifest.bytes };
}
