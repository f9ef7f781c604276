/** Runs in snapctr and in the builder. The files of an image that somebody has on this host: an OCI layout's directory, or a tar. */
import { lstat, stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { codeOf } from '../storage/error-code.ts';
import { piecesOfFile } from './blob-cache.ts';
import { ImageError } from './image-error.ts';
import { MAX_DOCUMENT_BYTES, MAX_IMAGE_BYTES } from './manifest.ts';
import { formatReference, type FileReference } from './reference.ts';
import { readTar } from './tar.ts';

/** Of a tar with an image in it; layers, manifests and directories. */
const MAX_FILES = 4096;

export interface LocalFiles {
  /** @throws ImageError `not_found` */
  open(name: string): AsyncIterable<Buffer>;
  has(name: string): boolean | Promise<boolean>;
}

/** @throws ImageError */
export async function openLocal(reference: FileReference): Promise<LocalFiles> {
  const { kind, file } = reference;
  const status = await stat(file).catch((cause: unknown) => {
    const why = codeOf(cause) === 'EACCES' ? 'cannot be read by snapctr' : 'does not exist';
    throw new ImageError('not_found', `${file} ${why}; correct the path of ${formatReference(reference)}`, { cause });
  });
  if (status.isDirectory() !== (kind === 'oci')) {
    const is = status.isDirectory()
      ? 'is a directory, which oci:DIR is for'
      : 'is a file, which oci-archive:FILE is for';
    throw new ImageError('bad_reference', `${file} ${is}; correct ${formatReference(reference)}`);
  }
  return kind === 'oci' ? new Layout(file) : Archive.read(file);
}

class Layout implements LocalFiles {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async has(name: string): Promise<boolean> {
    return (await lstat(join(this.#directory, name)).catch(() => null))?.isFile() === true;
  }

  async *open(name: string): AsyncGenerator<Buffer> {
    const path = join(this.#directory, name);
    if (!(await this.has(name)))
      throw new ImageError('not_found', `${this.#directory} has no ${name}; save the image again`);
    yield* piecesOfFile(path);
  }
}

/** Of a file in a tar, in bytes. */
interface Place {
  readonly start: number;
  readonly size: number;
}

class Archive implements LocalFiles {
  readonly #file: string;
  readonly #places: ReadonlyMap<string, Place>;
  readonly #links: ReadonlyMap<string, string>;

  private constructor(file: string, places: ReadonlyMap<string, Place>, links: ReadonlyMap<string, string>) {
    this.#file = file;
    this.#places = places;
    this.#links = links;
  }

  /** Reads it once, to know where everything is. */
  static async read(file: string): Promise<Archive> {
    const places = new Map<string, Place>();
    const links = new Map<string, string>();
    const tar = readTar(notPacked(file), file, 2 * MAX_IMAGE_BYTES);
    try {
      for (let entry; (entry = await tar.next()) !== null;) {
        const path = posix.normalize(entry.path).replace(/^\/|\/$/g, '');
        if (entry.type === 'file') places.set(path, { start: tar.position, size: entry.size });
        else if (entry.type === 'symlink') links.set(path, posix.join(posix.dirname(path), entry.target));
        else if (entry.type === 'hardlink') links.set(path, posix.normalize(entry.target));
        if (places.size + links.size > MAX_FILES) {
          throw new ImageError(
            'bad_image',
            `${file} holds more than ${MAX_FILES} files, as no saved image does; save it again`,
          );
        }
      }
    } finally {
      await tar.close();
    }
    return new Archive(file, places, links);
  }

  has(name: string): boolean {
    return this.#find(name) !== undefined;
  }

  async *open(name: string): AsyncGenerator<Buffer> {
    const place = this.#find(name);
    if (place === undefined) throw new ImageError('not_found', `${this.#file} has no ${name}; save the image again`);
    if (place.size > 0) yield* piecesOfFile(this.#file, place.start, place.start + place.size - 1);
  }

  /** Images that share a layer may have it once, and links to it. */
  #find(name: string): Place | undefined {
    const path = posix.normalize(name);
    return this.#places.get(path) ?? this.#places.get(this.#links.get(path) ?? '');
  }
}

async function* notPacked(file: string): AsyncGenerator<Buffer> {
  let isFirst = true;
  for await (const piece of piecesOfFile(file)) {
    if (isFirst && piece[0] === 0x1f && piece[1] === 0x8b) {
      throw new ImageError('bad_image', `${file} is packed with gzip; unpack it first, with gunzip`);
    }
    isFirst = false;
    yield piece;
  }
}

/** A file that must be small. @throws ImageError */
export async function readSmall(files: LocalFiles, name: string, what: string): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of files.open(name)) {
    pieces.push(piece);
    if ((bytes += piece.length) > MAX_DOCUMENT_BYTES)
      throw new ImageError('too_large', `${name} of ${what} is larger than 4 MiB`);
  }
  return Buffer.concat(pieces);
}
