/**
 * Runs in firerunner. A layer of a snapshot: the memory of a stopped VM, or what differs from the layer below.
 *
 * ```
 *   snapshot_dir/
 *     base-KEY/          a runtime that is up, without a function          KEY: 16 hex digits of the stamp's digest
 *     function-KEY/      a function on that base
 *       manifest.json    what the layer is bound to; sizes and digests of its parts, and of itself
 *       state            registers and devices, as the VMM wrote them
 *       index            where pages go: see page-index.ts
 *       pages            4 KiB each, one after the other
 *       working-set      pages to read ahead; written later, may be absent
 *
 *   memory of a VM       │ 0 │ B │ B │ B │ 0 │ B │ 0 │        0: zeros, in no file
 *   = base               │   │ B │ B │ B │   │ B │   │        B: in its `pages`
 *   + function           │   │   │ F │ z │   │   │ F │        F: in its `pages`, z: named as zeros by its `index`
 * ```
 *
 * A published layer is never written to: another one takes its place (see publication.ts). Whatever is read from one is
 * compared with the digests in the manifest before anybody uses it.
 */
import { readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { messageOf } from '../../protocol/errors.ts';
import { sha256, sha256Json } from '../../storage/digest.ts';
import { hasCode } from '../../storage/error-code.ts';
import { SnapshotStoreError } from './store-error.ts';

export const PAGE_BYTES = 4096;
/** Raised when layers are written in another way; layers of other formats count as damaged and are made again. */
export const LAYER_FORMAT = 1;
/** Names of snapshots' parts in the order of their drawing. */
export const PARTS = ['state', 'index', 'pages'] as const;
export const MANIFEST = 'manifest.json';

const MAX_MANIFEST_BYTES = 1024 * 1024;
/** Page numbers are 32 bits. */
const MAX_MEMORY_BYTES = 2 ** 32 * PAGE_BYTES;

export type LayerKind = 'base' | 'function';
export type Part = (typeof PARTS)[number];

/** Digests and versions that a layer depends on: it is used only where its stamp is equal. */
export type LayerStamp = Readonly<Record<string, string | number | null>>;

export interface PartDescription {
  /** In hex. */
  readonly sha256: string;
  readonly bytes: number;
}

export interface ManifestDraft {
  readonly kind: LayerKind;
  readonly stamp: LayerStamp;
  /** Digest of the manifest of the layer below; null for a base layer. */
  readonly base: string | null;
  readonly memoryBytes: number;
  readonly parts: Readonly<Record<Part, PartDescription>>;
}

/** A whole layer, as far as its manifest and the sizes of its files tell. */
export interface Layer extends ManifestDraft {
  /** Of its directory; `KIND-KEY` in a store. */
  readonly name: string;
  readonly directory: string;
  /** SHA-256 over the rest of the manifest, and so over every part of the layer, in hex. */
  readonly digest: string;
  readonly statePath: string;
}

/** A layer must not be used; the message says which file is wrong and why. Making it again helps. */
export class DamagedLayerError extends Error {
  override readonly name = 'DamagedLayerError';
  /** The layer's directory. */
  readonly directory: string;
  /** Such as "state is missing". */
  readonly problem: string;

  constructor(directory: string, problem: string, options?: ErrorOptions) {
    super(`the snapshot layer ${directory} is damaged: ${problem}; it has to be made again`, options);
    this.directory = directory;
    this.problem = problem;
  }
}

/** Two stamps have equal names if, and only if, they are equal themselves; 64 bits make sure of that. */
export function layerName(kind: LayerKind, stamp: LayerStamp): string {
  return `${kind}-${sha256Json(stamp).slice(0, 16)}`;
}

/** The kind of layer that has this name; null if no layer has. */
export function kindOfName(name: string): LayerKind | null {
  const [, kind] = /^(base|function)-[0-9a-f]{16}$/.exec(name) ?? [];
  return kind === 'base' || kind === 'function' ? kind : null;
}

/** @returns the text of `manifest.json`. */
export function formatManifest({ kind, stamp, base, memoryBytes, parts }: ManifestDraft): string {
  const body = { format: LAYER_FORMAT, kind, stamp, base, memory_bytes: memoryBytes, parts };
  return `${JSON.stringify({ ...body, digest: sha256Json(body) }, undefined, 2)}\n`;
}

/**
 * Reads a layer's manifest and compares the sizes of its parts.
 *
 * @returns null if there is no such directory.
 * @throws DamagedLayerError if anything is wrong with it; SnapshotStoreError if it may not be read.
 */
export async function readLayer(directory: string): Promise<Layer | null> {
  const text = await readManifest(directory);
  if (text === null) return null;
  const { digest, ...draft } = parseManifest(directory, text);
  for (const part of PARTS) await checkSize(directory, part, draft.parts[part].bytes);
  return { ...draft, digest, name: basename(directory), directory, statePath: join(directory, 'state') };
}

/**
 * Reads the device state.
 *
 * @returns its bytes, compared with the manifest: use these, not the file.
 * @throws DamagedLayerError
 */
export async function verifyState(layer: Layer): Promise<Buffer> {
  return readPart(layer, 'state');
}

/** The whole of a small part, compared with the manifest. @throws DamagedLayerError */
export async function readPart(layer: Layer, part: Part): Promise<Buffer> {
  await checkSize(layer.directory, part, layer.parts[part].bytes);
  const bytes = await readFile(join(layer.directory, part)).catch((error: unknown) => {
    throw unreadable(layer.directory, part, error);
  });
  if (bytes.length !== layer.parts[part].bytes || sha256(bytes) !== layer.parts[part].sha256) {
    throw new DamagedLayerError(layer.directory, `${part} has other contents than were written`);
  }
  return bytes;
}

/** What a failed read means: the rights to read can be given, anything else is damage. */
export function unreadable(directory: string, file: string, error: unknown): Error {
  if (hasCode(error, 'EACCES', 'EPERM', 'EMFILE', 'ENFILE', 'ENOMEM')) {
    return SnapshotStoreError.from(error, 'read', join(directory, file));
  }
  const reason = messageOf(error);
  const problem = hasCode(error, 'ENOENT') ? `${file} is missing` : `${file} cannot be read (${reason})`;
  return new DamagedLayerError(directory, problem, { cause: error });
}

async function readManifest(directory: string): Promise<string | null> {
  try {
    const { size } = await stat(join(directory, MANIFEST));
    if (size > MAX_MANIFEST_BYTES) throw new DamagedLayerError(directory, `${MANIFEST} has ${size} bytes`);
    return await readFile(join(directory, MANIFEST), 'utf8');
  } catch (error) {
    if (error instanceof DamagedLayerError) throw error;
    if (hasCode(error, 'ENOENT', 'ENOTDIR') && !(await exists(directory))) return null;
    throw unreadable(directory, MANIFEST, error);
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: unknown) => !hasCode(error, 'ENOENT', 'ENOTDIR'),
  );
}

async function checkSize(directory: string, part: Part, bytes: number): Promise<void> {
  const status = await stat(join(directory, part)).catch((error: unknown) => {
    throw unreadable(directory, part, error);
  });
  if (!status.isFile()) throw new DamagedLayerError(directory, `${part} is not a file`);
  if (status.size !== bytes) {
    throw new DamagedLayerError(directory, `${part} has ${status.size} bytes instead of ${bytes}`);
  }
}

/** @throws DamagedLayerError */
export function parseManifest(directory: string, text: string): ManifestDraft & { readonly digest: string } {
  const damaged = (problem: string): never => {
    throw new DamagedLayerError(directory, `${MANIFEST} ${problem}`);
  };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return damaged('is not JSON');
  }
  if (!isRecord(value)) return damaged('is not an object');
  const { digest, ...body } = value;
  if (typeof digest !== 'string' || digestOf(body) !== digest) return damaged('does not match its own digest');
  if (body['format'] !== LAYER_FORMAT) return damaged(`has another format than ${LAYER_FORMAT}`);
  const { kind, stamp, base, memory_bytes: memoryBytes, parts } = body;
  if ((kind !== 'base' && kind !== 'function') || !isStamp(stamp) || !isParts(parts))
    return damaged('has other members');
  if (!(base === null || typeof base === 'string') || (base === null) !== (kind === 'base')) {
    return damaged('has a wrong base');
  }
  if (!isSize(memoryBytes) || memoryBytes % PAGE_BYTES !== 0 || memoryBytes > MAX_MEMORY_BYTES) {
    return damaged('has a wrong size of the memory');
  }
  return { kind, stamp, base, memoryBytes, parts, digest };
}

/** Null for what is nested so deeply that nobody of ours has written it. */
function digestOf(body: unknown): string | null {
  try {
    return sha256Json(body);
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSize(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function isStamp(value: unknown): value is LayerStamp {
  const isPlain = (member: unknown): boolean => member === null || ['string', 'number'].includes(typeof member);
  return isRecord(value) && Object.values(value).every(isPlain);
}

function isParts(value: unknown): value is ManifestDraft['parts'] {
  if (!isRecord(value) || Object.keys(value).length !== PARTS.length) return false;
  return PARTS.every((name) => {
    const part = value[name];
    return isRecord(part) && typeof part['sha256'] === 'string' && isSize(part['bytes']);
  });
}

/** A damaged layer is as good as none: it is made again. */
export function ignoreDamage(error: unknown): null {
  if (error instanceof DamagedLayerError) return null;
  throw error;
}
