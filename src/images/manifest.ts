/**
 * Runs in the builder and in `npm start`. A manifest lies beside every built file (`vmlinux` and `vmlinux.json`) and says
 * what it was made of. It is written last: a file without one is not finished. It holds no times, so that equal builds
 * have equal manifests.
 */
import { readFile, stat } from 'node:fs/promises';
import { z } from 'zod';
import { RUNTIME_NAMES } from '../protocol/runtimes.ts';
import { sha256File, sha256Json } from '../storage/digest.ts';

/** Raised when manifests of old builds cannot be understood any more; such files are built again. */
export const MANIFEST_FORMAT = 1;

const inputsSchema = z.strictObject({
  /** How it was built: version and settings of the recipe. */
  recipe: z.string(),
  /** Files of this project that went in: path from the project's root to SHA-256. */
  files: z.record(z.string(), z.string()),
  /** Packages that went in: name to version. */
  packages: z.record(z.string(), z.string()),
});

const manifestSchema = z.strictObject({
  format: z.literal(MANIFEST_FORMAT),
  name: z.string(),
  kind: z.enum(['kernel', 'initrd', 'runtimefs', 'appfs']),
  runtime: z.enum(RUNTIME_NAMES).optional(),
  inputs: inputsSchema,
  /** SHA-256 over `inputs`. */
  inputs_digest: z.string(),
  /** SHA-256 and size of the file itself. */
  sha256: z.string(),
  bytes: z.number().int(),
});

export type Inputs = Readonly<z.infer<typeof inputsSchema>>;
export type Manifest = Readonly<z.infer<typeof manifestSchema>>;
/** What a build knows before its file is there. */
export type ManifestDraft = Pick<Manifest, 'name' | 'kind' | 'runtime' | 'inputs'>;

export function manifestPath(file: string): string {
  return `${file}.json`;
}

/** The manifest of a built file; undefined if there is none, or it is of another format. */
export async function readManifest(file: string): Promise<Manifest | undefined> {
  let text: string;
  try {
    text = await readFile(manifestPath(file), 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return manifestSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** The manifest of `file`, whose contents are final. */
export async function describeFile(file: string, draft: ManifestDraft): Promise<Manifest> {
  const { size } = await stat(file);
  return {
    format: MANIFEST_FORMAT,
    ...draft,
    inputs_digest: sha256Json(draft.inputs),
    sha256: await sha256File(file),
    bytes: size,
  };
}

/** The manifest if `file` is finished and has the size it was built with. Its contents are not read: see `verifyFile`. */
export async function readFinished(file: string): Promise<Manifest | undefined> {
  const manifest = await readManifest(file);
  if (manifest === undefined) return undefined;
  const size = await stat(file).then(
    (status) => status.size,
    () => undefined,
  );
  return size === manifest.bytes ? manifest : undefined;
}

/** Reads the whole file and compares it with its manifest. Returns what is wrong; undefined if nothing is. */
export async function verifyFile(file: string): Promise<string | undefined> {
  const manifest = await readManifest(file);
  if (manifest === undefined) return 'has no manifest';
  if (sha256Json(manifest.inputs) !== manifest.inputs_digest) return 'has a manifest that was changed';
  const size = await stat(file).then(
    (status) => status.size,
    () => undefined,
  );
  if (size === undefined) return 'is missing';
  if (size !== manifest.bytes) return `has ${size} bytes instead of ${manifest.bytes}`;
  if ((await sha256File(file)) !== manifest.sha256) return 'has other contents than were built';
  return undefined;
}
