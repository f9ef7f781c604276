/** Runs in snapctr and in the builder. Manifests, indexes and configurations, as OCI and Docker write them. */
import { z } from 'zod';
import { ImageError } from './image-error.ts';
import { DIGEST } from './reference.ts';

/** Of a manifest, an index or a configuration, in bytes. */
export const MAX_DOCUMENT_BYTES = 4 * 1024 * 1024;
/** Of an image. */
export const MAX_LAYERS = 127;
/** Of all files of all layers, as AWS Lambda has it, in bytes. */
export const MAX_IMAGE_BYTES = 10 * 1024 ** 3;

const OCI = 'application/vnd.oci.image';
const DOCKER = 'application/vnd.docker.distribution.manifest';
const INDEXES: ReadonlySet<string> = new Set([`${OCI}.index.v1+json`, `${DOCKER}.list.v2+json`]);
const MANIFESTS: ReadonlySet<string> = new Set([`${OCI}.manifest.v1+json`, `${DOCKER}.v2+json`]);
export const ACCEPTED = [...MANIFESTS, ...INDEXES].join(', ');

const descriptor = z.object({
  mediaType: z.string().max(255),
  digest: z.string().regex(DIGEST),
  size: z.int().nonnegative(),
  platform: z.object({ os: z.string(), architecture: z.string() }).optional(),
  annotations: z.record(z.string(), z.string()).optional(),
});
export type Descriptor = Readonly<z.infer<typeof descriptor>>;

const index = z.object({ manifests: z.array(descriptor).max(1024) });
const manifest = z.object({ config: descriptor, layers: z.array(descriptor) });
const mediaTyped = z.object({
  mediaType: z.string().optional(),
  manifests: z.unknown().optional(),
  schemaVersion: z.literal(2),
});

const texts = z.array(z.string()).nullish();
const config = z.object({
  os: z.string(),
  architecture: z.string(),
  config: z
    .object({
      Entrypoint: texts,
      Cmd: texts,
      Env: texts,
      WorkingDir: z.string().nullish(),
      User: z.string().nullish(),
    })
    .nullish(),
  rootfs: z.object({ diff_ids: z.array(z.string().regex(DIGEST)) }),
});

export interface Manifest {
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

/** What an image says of the program in it. */
export interface ImageSettings {
  readonly entryPoint: readonly string[];
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly workingDirectory: string;
  /** As it was written; empty: nobody was named. */
  readonly user: string;
}

export interface ImageConfig {
  readonly settings: ImageSettings;
  /** Of the layers, unpacked. */
  readonly diffIds: readonly string[];
}

/** An index's choice for our machines, or the manifest itself. @throws ImageError */
export function readManifest(
  bytes: Buffer,
  what: string,
): { readonly index: Descriptor } | { readonly manifest: Manifest } {
  const json = parseJson(bytes, what);
  const { mediaType, manifests } = parse(mediaTyped, json, what);
  if (mediaType === undefined ? manifests !== undefined : INDEXES.has(mediaType)) {
    return { index: chosen(parse(index, json, what).manifests, what) };
  }
  if (mediaType !== undefined && !MANIFESTS.has(mediaType)) {
    throw new ImageError(
      'bad_image',
      `${what} is of the type ${JSON.stringify(mediaType)}, which is no container image`,
    );
  }
  const read = parse(manifest, json, what);
  if (read.layers.length > MAX_LAYERS) {
    const count = read.layers.length;
    throw new ImageError(
      'too_large',
      `${what} has ${count} layers, over the limit of ${MAX_LAYERS}; build it in fewer steps`,
    );
  }
  return { manifest: read };
}

function chosen(manifests: readonly Descriptor[], what: string): Descriptor {
  const images = manifests.filter(({ mediaType }) => MANIFESTS.has(mediaType) || INDEXES.has(mediaType));
  const [only, ...others] = images;
  const fitting = images.find(({ platform }) => platform?.os === 'linux' && platform.architecture === 'amd64');
  if (fitting !== undefined) return fitting;
  // Its configuration tells what it is for.
  if (only !== undefined && others.length === 0 && only.platform === undefined) return only;
  const there = images.map(({ platform }) => `${platform?.os ?? '?'}/${platform?.architecture ?? '?'}`).join(', ');
  throw new ImageError('wrong_platform', `${what} is there for ${there === '' ? 'nothing' : there} only; ${FOR_AMD64}`);
}

const FOR_AMD64 = 'build it for linux/amd64, such as with --platform linux/amd64';

/** The manifests that an OCI layout names at its top. @throws ImageError */
export function readIndex(bytes: Buffer, what: string): readonly Descriptor[] {
  return parse(index, parseJson(bytes, what), what).manifests;
}

/** @throws ImageError */
export function readConfig(bytes: Buffer, what: string): ImageConfig {
  const {
    os,
    architecture,
    config: given,
    rootfs,
  } = parse(config, parseJson(bytes, what), `the configuration of ${what}`);
  if (os !== 'linux' || architecture !== 'amd64') {
    throw new ImageError('wrong_platform', `${what} is for ${os}/${architecture}; ${FOR_AMD64}`);
  }
  const environment = (given?.Env ?? []).flatMap((line) => {
    const at = line.indexOf('=');
    return at < 1 || line.includes('\0') ? [] : [[line.slice(0, at), line.slice(at + 1)] as const];
  });
  return {
    settings: {
      entryPoint: given?.Entrypoint ?? [],
      command: given?.Cmd ?? [],
      environment: Object.fromEntries(environment),
      workingDirectory: given?.WorkingDir ?? '',
      user: given?.User ?? '',
    },
    diffIds: rootfs.diff_ids,
  };
}

const dockerManifest = z
  .array(z.object({ Config: z.string(), RepoTags: z.array(z.string()).nullish(), Layers: z.array(z.string()) }))
  .max(1024);
export type DockerImage = Readonly<z.infer<typeof dockerManifest>>[number];

/** The `manifest.json` of a docker-archive. @throws ImageError */
export function readDockerManifest(bytes: Buffer, what: string): readonly DockerImage[] {
  return parse(dockerManifest, parseJson(bytes, what), what);
}

function parseJson(bytes: Buffer, what: string): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new ImageError('bad_image', `${what} is no JSON; push or save the image again`, { cause });
  }
}

function parse<T>(schema: z.ZodType<T>, json: unknown, what: string): T {
  const { data, error } = schema.safeParse(json);
  if (data !== undefined) return data;
  const [issue] = error?.issues ?? [];
  const where = issue === undefined || issue.path.length === 0 ? '' : ` at ${issue.path.join('.')}`;
  const message = `${what} is not as images are: ${issue?.message ?? 'unknown'}${where}; push or save the image again`;
  throw new ImageError('bad_image', message, { cause: error });
}
