/** Container images as tests make them: tars by hand, laid out as OCI and Docker have them. */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

export interface TarFile {
  readonly path: string;
  /** A file's, unless it is a link or something else. */
  readonly content?: string | Buffer;
  /** As tar has it; `0`: a file. */
  readonly type?: string;
  readonly target?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
}

const BLOCK = 512;

export function header(file: TarFile, size: number): Buffer {
  const { path, type = '0', target = '', mode = type === '5' ? 0o755 : 0o644, uid = 0, gid = 0, mtime = 0 } = file;
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, bytes: number): string => value.toString(8).padStart(bytes - 1, '0');
  block.write(path, 0, 100);
  block.write(octal(mode, 8), 100);
  block.write(octal(uid, 8), 108);
  block.write(octal(gid, 8), 116);
  block.write(octal(size, 12), 124);
  block.write(octal(mtime, 12), 136);
  block.write(' '.repeat(8), 148);
  block.write(type, 156);
  block.write(target, 157, 100);
  block.write('ustar\0' + '00', 257, 'latin1');
  block.write(
    octal(
      block.reduce((sum, byte) => sum + byte, 0),
      7,
    ),
    148,
  );
  block[154] = 0;
  return block;
}

export function padded(content: Buffer): Buffer {
  return Buffer.concat([content, Buffer.alloc((BLOCK - (content.length % BLOCK)) % BLOCK)]);
}

/** A PAX header for the entry that follows. */
export function pax(records: Readonly<Record<string, string>>): Buffer {
  const lines = Object.entries(records).map(([key, value]) => {
    const rest = Buffer.byteLength(` ${key}=${value}\n`);
    let length = rest + String(rest).length;
    if (String(length).length !== String(rest).length) length = rest + String(length).length;
    return `${length} ${key}=${value}\n`;
  });
  const content = Buffer.from(lines.join(''));
  return Buffer.concat([header({ path: 'pax', type: 'x' }, content.length), padded(content)]);
}

export function makeTar(files: readonly (TarFile | Buffer)[]): Buffer {
  const blocks = files.flatMap((file) => {
    if (Buffer.isBuffer(file)) return [file];
    const content = Buffer.from(file.content ?? '');
    const records: Record<string, string> = {};
    if (Buffer.byteLength(file.path) > 100) records['path'] = file.path;
    if (Buffer.byteLength(file.target ?? '') > 100) records['linkpath'] = file.target ?? '';
    const long = Object.keys(records).length === 0 ? [] : [pax(records)];
    return [...long, header(file, content.length), padded(content)];
  });
  return Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK)]);
}

export interface TestImage {
  /** Each a tar, base first. */
  readonly layers: readonly Buffer[];
  readonly config?: Readonly<Record<string, unknown>>;
  readonly architecture?: string;
}

export interface Blob {
  readonly digest: string;
  readonly bytes: Buffer;
}

export function blobOf(bytes: Buffer | string): Blob {
  const data = Buffer.from(bytes);
  return { digest: `sha256:${createHash('sha256').update(data).digest('hex')}`, bytes: data };
}

/** The parts of an image: manifest, configuration, layers packed with gzip. */
export function partsOf({ layers, config = {}, architecture = 'amd64' }: TestImage): {
  readonly manifest: Blob;
  readonly config: Blob;
  readonly layers: readonly Blob[];
} {
  const packed = layers.map((layer) => blobOf(gzipSync(layer, { level: 1 })));
  const configBlob = blobOf(
    JSON.stringify({
      os: 'linux',
      architecture,
      config,
      rootfs: { type: 'layers', diff_ids: layers.map((layer) => blobOf(layer).digest) },
    }),
  );
  const descriptor = (mediaType: string, { digest, bytes }: Blob): unknown => ({
    mediaType,
    digest,
    size: bytes.length,
  });
  const manifest = blobOf(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: descriptor('application/vnd.oci.image.config.v1+json', configBlob),
      layers: packed.map((layer) => descriptor('application/vnd.oci.image.layer.v1.tar+gzip', layer)),
    }),
  );
  return { manifest, config: configBlob, layers: packed };
}

/** Writes an OCI layout to a new directory. @returns the manifest's digest. */
export function writeLayout(directory: string, image: TestImage): string {
  const { manifest, config, layers } = partsOf(image);
  const blobs = join(directory, 'blobs', 'sha256');
  mkdirSync(blobs, { recursive: true });
  for (const { digest, bytes } of [manifest, config, ...layers]) writeFileSync(join(blobs, digest.slice(7)), bytes);
  writeFileSync(join(directory, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  const descriptor = {
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    digest: manifest.digest,
    size: manifest.bytes.length,
    annotations: { 'org.opencontainers.image.ref.name': 'latest' },
  };
  writeFileSync(join(directory, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [descriptor] }));
  return manifest.digest;
}

/** Writes what `docker save` does. @returns the configuration's digest. */
export function writeDockerArchive(file: string, { layers, config = {} }: TestImage, tag = 'test:latest'): string {
  const configBlob = blobOf(
    JSON.stringify({
      os: 'linux',
      architecture: 'amd64',
      config,
      rootfs: { type: 'layers', diff_ids: layers.map((layer) => blobOf(layer).digest) },
    }),
  );
  const name = `${configBlob.digest.slice(7)}.json`;
  const paths = layers.map((_layer, index) => `${index}/layer.tar`);
  writeFileSync(
    file,
    makeTar([
      { path: name, content: configBlob.bytes },
      ...layers.map((content, index) => ({ path: paths[index] ?? '', content })),
      { path: 'manifest.json', content: JSON.stringify([{ Config: name, RepoTags: [tag], Layers: paths }]) },
    ]),
  );
  return configBlob.digest;
}
