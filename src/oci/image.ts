/**
 * Runs in snapctr and in the builder. From an image's name to its parts, wherever they are:
 *
 * ```
 *   registry ────────▶ manifest ──▶ (index ──▶ manifest) ──▶ configuration, layers
 *   OCI layout ──────▶ index.json ──▶ the same
 *   docker-archive ──▶ manifest.json ──▶ configuration, layers
 * ```
 */
import { createHash } from 'node:crypto';
import { sha256 } from '../storage/digest.ts';
import { BlobCache, piecesOfFile } from './blob-cache.ts';
import { decompressed } from './decompress.ts';
import { ImageError } from './image-error.ts';
import { openLocal, readSmall, type LocalFiles } from './local-files.ts';
import {
  MAX_DOCUMENT_BYTES,
  MAX_LAYERS,
  readConfig,
  readDockerManifest,
  readIndex,
  readManifest,
  type Descriptor,
  type ImageConfig,
  type Manifest,
} from './manifest.ts';
import { formatReference, parseReference, type FileReference, type ImageReference } from './reference.ts';
import { Registry } from './registry.ts';
import type { LayerSource } from './unpack.ts';

export interface OpenedImage {
  /** Of the manifest for our machines; of a docker-archive, of its configuration. */
  readonly digest: string;
  readonly config: ImageConfig;
  readonly layers: readonly LayerSource[];
}

/** Indexes may lead to indexes, but not for ever. */
const MAX_INDEXES = 4;

/**
 * Finds out which image a reference leads to now.
 *
 * @returns `sha256:HEX`
 * @throws ImageError; the signal's reason.
 */
export async function resolveImage(reference: ImageReference, signal: AbortSignal): Promise<string> {
  if (reference.kind === 'registry') {
    const registry = new Registry(reference, signal);
    const { digest } = await followIndexes(reference, (name) => registry.manifest(name));
    return digest;
  }
  return (await openImage(reference, signal)).digest;
}

/** Reads what is needed to know the image; layers come when they are opened. @throws ImageError; the signal's reason. */
export async function openImage(
  reference: ImageReference,
  signal: AbortSignal,
  cache = new BlobCache(),
): Promise<OpenedImage> {
  if (reference.kind === 'registry') return openRemote(reference, signal, cache);
  const files = await openLocal(reference);
  return reference.kind === 'docker-archive' ? openDockerArchive(reference, files) : openLayout(reference, files);
}

type GetManifest = (name: string) => Promise<{ readonly bytes: Buffer; readonly digest: string }>;

async function followIndexes(
  reference: ImageReference & { readonly tag: string },
  get: GetManifest,
): Promise<{ readonly manifest: Manifest; readonly digest: string }> {
  const what = formatReference(reference);
  let name = reference.digest ?? reference.tag;
  for (let hops = 0; hops <= MAX_INDEXES; hops += 1) {
    const { bytes, digest } = await get(name);
    const read = readManifest(bytes, `the manifest of ${what}`);
    if ('manifest' in read) return { manifest: read.manifest, digest };
    name = read.index.digest;
  }
  throw new ImageError('bad_image', `${what} is an index of indexes without end; push the image again`);
}

async function openRemote(
  reference: Extract<ImageReference, { kind: 'registry' }>,
  signal: AbortSignal,
  cache: BlobCache,
): Promise<OpenedImage> {
  const what = formatReference(reference);
  const registry = new Registry(reference, signal);
  const { manifest, digest } = await followIndexes(reference, async (name) => {
    const known = name.startsWith('sha256:') ? await cache.known(name) : null;
    if (known !== null && `sha256:${sha256(known)}` === name) return { bytes: known, digest: name };
    const got = await registry.manifest(name);
    await cache.keep(got.digest, got.bytes);
    return got;
  });
  const { config, layers } = manifest;
  if (config.size > MAX_DOCUMENT_BYTES)
    throw new ImageError('too_large', `the configuration of ${what} is larger than 4 MiB`);
  const bytes = await cache.bytes(config.digest, config.size, () => registry.blob(config.digest, config.size));
  const fetched = async function* (layer: Descriptor): AsyncGenerator<Buffer> {
    const file = await cache.file(layer.digest, layer.size, () => registry.blob(layer.digest, layer.size));
    yield* piecesOfFile(file);
  };
  return { digest, config: readConfig(bytes, what), layers: sourcesOf(layers, fetched) };
}

async function openLayout(reference: FileReference, files: LocalFiles): Promise<OpenedImage> {
  const what = formatReference(reference);
  const place = (digest: string): string => `blobs/sha256/${digest.slice('sha256:'.length)}`;
  const document = async (digest: string): Promise<Buffer> => {
    const bytes = await readSmall(files, place(digest), what);
    const found = `sha256:${sha256(bytes)}`;
    if (found !== digest) throw wrongDigest(what, digest, found);
    return bytes;
  };
  const first = await firstManifest(reference, files);
  const { manifest, digest } = await followIndexes(
    { kind: 'registry', host: 'layout', path: 'layout', tag: first.digest, digest: null },
    async (name) => ({ bytes: await document(name), digest: name }),
  );
  checkPinned(reference, digest);
  const checked = (layer: Descriptor): AsyncGenerator<Buffer> =>
    verified(files.open(place(layer.digest)), layer.digest, what);
  const config = readConfig(await document(manifest.config.digest), what);
  return { digest, config, layers: sourcesOf(manifest.layers, checked) };
}

async function firstManifest(reference: FileReference, files: LocalFiles): Promise<Descriptor> {
  const what = formatReference(reference);
  const all = readIndex(await readSmall(files, 'index.json', what), `index.json of ${what}`);
  const nameOf = (one: Descriptor): string | undefined => one.annotations?.['org.opencontainers.image.ref.name'];
  const fitting = reference.name === null ? all : all.filter((one) => nameOf(one) === reference.name);
  const [first, ...others] = fitting;
  // Some tools write an entry for each platform at the top.
  const amd64 = fitting.find(({ platform }) => platform?.os === 'linux' && platform.architecture === 'amd64');
  const found = others.length === 0 ? first : amd64;
  if (found !== undefined) return found;
  const names = all.map((one) => nameOf(one) ?? one.digest).join(', ');
  throw new ImageError(
    'not_found',
    `${what} has ${all.length === 0 ? 'no image' : `these images: ${names}`}; name one of them behind a colon`,
  );
}

async function openDockerArchive(reference: FileReference, files: LocalFiles): Promise<OpenedImage> {
  const what = formatReference(reference);
  if (!(await files.has('manifest.json'))) {
    const isOci = await files.has('index.json');
    const advice = isOci
      ? 'it is an OCI archive: write oci-archive:FILE'
      : 'make it with "docker save" or "skopeo copy"';
    throw new ImageError('bad_image', `${reference.file} has no manifest.json; ${advice}`);
  }
  const all = readDockerManifest(await readSmall(files, 'manifest.json', what), `manifest.json of ${what}`);
  const fitting =
    reference.name === null
      ? all
      : all.filter(({ RepoTags }) => RepoTags?.some((tag) => isTag(tag, reference.name)) === true);
  const [image, ...others] = fitting;
  if (image === undefined || others.length > 0) {
    const names = all.flatMap(({ RepoTags }) => RepoTags ?? []).join(', ');
    throw new ImageError(
      'not_found',
      `${what} has ${all.length === 0 ? 'no image' : `these images: ${names}`}; name one of them behind a colon`,
    );
  }
  const bytes = await readSmall(files, image.Config, what);
  const digest = `sha256:${sha256(bytes)}`;
  checkPinned(reference, digest);
  const config = readConfig(bytes, what);
  if (config.diffIds.length !== image.Layers.length || image.Layers.length > MAX_LAYERS) {
    throw new ImageError(
      'bad_image',
      `${what} has ${image.Layers.length} layers, and its configuration tells of ${config.diffIds.length}; save it again`,
    );
  }
  const layers = image.Layers.map((path, index): LayerSource => {
    const name = `layer ${index + 1} (${path})`;
    return { name, open: () => verified(decompressed(files.open(path), name), config.diffIds[index] ?? '', what) };
  });
  return { digest, config, layers };
}

function isTag(tag: string, wanted: string | null): boolean {
  const normal = (text: string): string => formatReference(parseReference(text));
  return wanted !== null && normal(tag) === normal(wanted);
}

function sourcesOf(
  layers: readonly Descriptor[],
  open: (layer: Descriptor) => AsyncIterable<Buffer>,
): readonly LayerSource[] {
  return layers.map((layer, index) => {
    const name = `layer ${index + 1} (${layer.digest.slice(0, 19)})`;
    return { name, open: () => decompressed(open(layer), name) };
  });
}

function checkPinned(reference: FileReference, digest: string): void {
  if (reference.digest === null || reference.digest === digest) return;
  throw new ImageError(
    'not_found',
    `${reference.file} holds another image now (${digest}) than it did (${reference.digest}); deploy the function again`,
  );
}

/** @throws ImageError at the end, for what is not what the digest says. */
async function* verified(source: AsyncIterable<Buffer>, digest: string, what: string): AsyncGenerator<Buffer> {
  const hash = createHash('sha256');
  for await (const piece of source) {
    hash.update(piece);
    yield piece;
  }
  const found = `sha256:${hash.digest('hex')}`;
  if (found !== digest) throw wrongDigest(what, digest, found);
}

function wrongDigest(what: string, wanted: string, found: string): ImageError {
  return new ImageError(
    'bad_digest',
    `a part of ${what} is not what its digest ${wanted} says, but ${found}; save the image again`,
  );
}
