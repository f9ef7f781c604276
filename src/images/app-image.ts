/** Runs in the builder and in `npm start`. A staged function as an ext4 image, which virtual machines mount as /srv. */
import { dirname, join } from 'node:path';
import type { StagedApp } from './app-stage.ts';
import { CACHE_HELP } from '../storage/cache-directory.ts';
import { sha256Json } from '../storage/digest.ts';
import {
  EXT4_RULES_VERSION,
  measureTree,
  writeExt4,
  type Ext4Size,
  type FileAttributes,
  type TreeSize,
} from './ext4.ts';
import { readFinished, readManifest, type ManifestDraft } from './manifest.ts';
import { inBuildFolder, type BuildFolder } from './publish.ts';
import { runTool, ToolError } from './tool.ts';
import { TreeError } from './tree.ts';

const MEBIBYTE = 1024 * 1024;
/**
 * Sizes of function images (sparse files). Few and fixed: a snapshot keeps the size of the disk it was taken with, so
 * that only images of the same size can take each other's place.
 */
export const SIZE_CLASSES: readonly Ext4Size[] = [
  { bytes: 16 * MEBIBYTE, inodes: 2048 },
  { bytes: 64 * MEBIBYTE, inodes: 8192 },
  { bytes: 256 * MEBIBYTE, inodes: 32_768 },
  { bytes: 1024 * MEBIBYTE, inodes: 65_536 },
  { bytes: 4096 * MEBIBYTE, inodes: 131_072 },
];

/** Container images may be larger, by as much as AWS Lambda lets them. */
export const CONTAINER_SIZES: readonly Ext4Size[] = [...SIZE_CLASSES, { bytes: 12 * 1024 * MEBIBYTE, inodes: 524_288 }];

export interface PackedApp {
  readonly image: string;
  /** SHA-256 of the image. */
  readonly digest: string;
  readonly bytes: number;
}

export interface PackOptions {
  readonly force?: boolean;
  readonly signal?: AbortSignal;
}

/**
 * Writes a staged function as an ext4 image beside its files, unless that was done before.
 *
 * @throws TreeError if it is larger than the largest size class; ToolError if e2fsprogs is missing.
 */
export async function packApp(staged: StagedApp, options: PackOptions = {}): Promise<PackedApp> {
  const folder = join(staged.directory, '..');
  const image = join(folder, 'app.ext4');
  const recipe = sha256Json({ stage: staged.digest, ext4: EXT4_RULES_VERSION, sizes: SIZE_CLASSES });
  const inputs = { recipe, files: {}, packages: { ...staged.packages } };
  const findFinished = async (): Promise<PackedApp | undefined> => {
    const manifest = options.force === true ? undefined : await readFinished(image);
    if (manifest === undefined || sha256Json(manifest.inputs) !== sha256Json(inputs)) return undefined;
    return { image, digest: manifest.sha256, bytes: manifest.bytes };
  };
  const pack = async (buildFolder: BuildFolder): Promise<PackedApp> => {
    const other = await findFinished();
    if (other !== undefined) return other;
    const draft: ManifestDraft = { name: 'app', kind: 'appfs', inputs };
    const manifest = await buildFolder.publish(image, draft, (file) => writeSmallest(staged.directory, file));
    return { image, digest: manifest.sha256, bytes: manifest.bytes };
  };
  return (await findFinished()) ?? (await inBuildFolder(folder, pack, { help: CACHE_HELP, signal: options.signal }));
}

/**
 * Copies an image and its manifest to where the user wants it, as a sparse file.
 * @param out absolute path.
 */
export async function exportApp(packed: PackedApp, out: string): Promise<void> {
  const manifest = await readManifest(packed.image);
  if (manifest === undefined) throw new Error(`${packed.image} has no manifest; it was changed while it was copied`);
  const draft: ManifestDraft = { name: manifest.name, kind: manifest.kind, inputs: manifest.inputs };
  await inBuildFolder(dirname(out), (buildFolder) =>
    buildFolder.publish(out, draft, async (file) => {
      await runTool('cp', ['--sparse=always', '--', packed.image, file]);
    }),
  );
}

/**
 * @param attributes as for `writeExt4`.
 * @throws TreeError if it is larger than the largest of the sizes.
 */
export async function writeSmallest(
  directory: string,
  file: string,
  sizes: readonly Ext4Size[] = SIZE_CLASSES,
  attributes: readonly FileAttributes[] | null = null,
): Promise<void> {
  const tree = await measureTree(directory);
  const fitting = sizes.filter((size) => mayFit(tree, size));
  for (const [index, size] of fitting.entries()) {
    try {
      await writeExt4(directory, file, size, 'app', attributes);
      return;
    } catch (error) {
      // The measure leaves out what ext4 needs for itself; close to the limit only trying tells.
      if (!(error instanceof ToolError) || error.missing || index === fitting.length - 1) throw error;
    }
  }
  const largest = sizes.at(-1);
  throw new TreeError(
    `the function has ${Math.ceil(tree.bytes / MEBIBYTE)} MiB in ${tree.entries} files, ` +
      `over the limit of ${(largest?.bytes ?? 0) / MEBIBYTE} MiB and ${largest?.inodes} files`,
  );
}

function mayFit(tree: TreeSize, size: Ext4Size): boolean {
  return tree.entries + 16 <= size.inodes && tree.bytes <= size.bytes;
}
