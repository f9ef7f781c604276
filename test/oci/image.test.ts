/** Images where they are: in a registry, in directories and archives. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { BlobCache } from '../../src/oci/blob-cache.ts';
import { openImage, resolveImage } from '../../src/oci/image.ts';
import { ImageError, type ImageErrorCode } from '../../src/oci/image-error.ts';
import { formatReference, isOfThisHost, parseReference, pinned } from '../../src/oci/reference.ts';
import {
  blobOf,
  makeTar,
  partsOf,
  writeDockerArchive,
  writeLayout,
  type TestImage,
} from '../support/container-images.ts';
import { TestRegistry } from '../support/registry.ts';

const live = new AbortController().signal;
const BASE = makeTar([{ path: 'base', content: 'b'.repeat(50_000) }]);
const TOP = makeTar([{ path: 'top', content: 'top' }]);
const IMAGE: TestImage = { layers: [BASE, TOP], config: { Cmd: ['/top'], Env: ['A=b=c'], User: '5' } };

let directory: string;
let cache: BlobCache;
before(() => (directory = mkdtempSync(join(tmpdir(), 'snapfaas-test-oci-'))));
beforeEach(() => (cache = new BlobCache(mkdtempSync(join(directory, 'cache-')))));
after(() => rmSync(directory, { recursive: true, force: true }));

/** The layers, unpacked, one after the other. */
async function read(
  text: string,
): Promise<{ readonly digest: string; readonly layers: readonly Buffer[]; readonly command: readonly string[] }> {
  const { digest, layers, config } = await openImage(parseReference(text), live, cache);
  const all: Buffer[] = [];
  for (const layer of layers) {
    const pieces: Buffer[] = [];
    for await (const piece of layer.open()) pieces.push(piece);
    all.push(Buffer.concat(pieces));
  }
  return { digest, layers: all, command: config.settings.command };
}

function refuses(text: string, code: ImageErrorCode, message: RegExp): Promise<void> {
  return assert.rejects(read(text), (error) => {
    assert.ok(error instanceof ImageError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, message);
    return true;
  });
}

describe('an image in a registry', () => {
  let registry: TestRegistry;
  beforeEach(async () => (registry = await TestRegistry.start(true)));
  afterEach(() => registry.close());
  const at = (rest: string): string => `${registry.host}/${rest}`;

  test('is pulled with a token, and its layers are kept by their digests', async () => {
    const digest = registry.push('a/b', 'v1', IMAGE);
    assert.deepEqual(await read(at('a/b:v1')), { digest, layers: [BASE, TOP], command: ['/top'] });
    const asked = registry.seen.length;
    assert.deepEqual((await read(at(`a/b@${digest}`))).layers, [BASE, TOP]);
    assert.equal(registry.seen.length, asked, 'nothing is asked for again');
    registry.push('other', 'latest', { ...IMAGE, layers: [BASE, makeTar([{ path: 'new' }])] });
    await read(at('other'));
    const base = partsOf(IMAGE).layers[0]?.digest ?? '';
    assert.equal(registry.seen.filter((line) => line.endsWith(base)).length, 1);
  });

  test('is resumed where the connection breaks', async () => {
    registry.push('a', 'latest', IMAGE);
    registry.faults.breaks = 3;
    assert.deepEqual((await read(at('a'))).layers, [BASE, TOP]);
  });

  test('is begun anew by a registry without ranges', async () => {
    registry.push('a', 'latest', IMAGE);
    registry.faults.breaks = 2;
    registry.faults.knowsRanges = false;
    assert.deepEqual((await read(at('a'))).layers, [BASE, TOP]);
  });

  test('is given up where the connection breaks again and again, and nothing is kept of it', async () => {
    registry.push('a', 'latest', IMAGE);
    registry.faults.breaks = 100;
    await refuses(at('a'), 'unreachable', /cannot be reached|sent \d+ of/);
    registry.faults.breaks = 0;
    assert.deepEqual((await read(at('a'))).layers, [BASE, TOP]);
  });

  test('is refused if a part is not what its digest says', async () => {
    const digest = registry.push('a', 'latest', IMAGE);
    registry.faults.lies = true;
    await refuses(at('a'), 'bad_digest', /came as sha256:/);
    registry.faults.lies = false;
    registry.pushManifest(
      'a',
      'latest',
      { ...partsOf(IMAGE).manifest, digest: blobOf('x').digest },
      'application/json',
    );
    await refuses(at(`a@${blobOf('x').digest}`), 'bad_digest', new RegExp(digest));
  });

  test('is refused by what it is for, where there is none for our machines', async () => {
    const index = (platforms: readonly string[]): void => {
      const manifests = platforms.map((architecture) => {
        const { manifest } = partsOf({ ...IMAGE, architecture });
        registry.push('a', architecture, { ...IMAGE, architecture });
        const mediaType = 'application/vnd.oci.image.manifest.v1+json';
        return {
          mediaType,
          digest: manifest.digest,
          size: manifest.bytes.length,
          platform: { os: 'linux', architecture },
        };
      });
      const type = 'application/vnd.oci.image.index.v1+json';
      registry.pushManifest(
        'a',
        'multi',
        blobOf(JSON.stringify({ schemaVersion: 2, mediaType: type, manifests })),
        type,
      );
    };
    index(['arm64', 's390x']);
    await refuses(at('a:multi'), 'wrong_platform', /linux\/arm64, linux\/s390x only; build it for linux\/amd64/);
    index(['arm64', 'amd64']);
    assert.equal((await read(at('a:multi'))).digest, partsOf(IMAGE).manifest.digest);
    await refuses(at('a:arm64'), 'wrong_platform', /is for linux\/arm64/);
  });

  test('is told of by name where it is not there, or not ours', async () => {
    await refuses(at('none:v9'), 'not_found', /does not have that image: .*none:v9; correct the name/);
    registry.push('a', 'latest', IMAGE);
    registry.faults.status = 403;
    await refuses(at('a'), 'denied', /status 403/);
    registry.faults.status = 500;
    await refuses(at('a'), 'unreachable', /status 500/);
    await refuses('127.0.0.1:1/a', 'unreachable', /cannot be reached/);
  });

  test('may have 127 layers and not one more', async () => {
    const layers = Array.from({ length: 128 }, (_, index) => makeTar([{ path: `f${index}`, content: String(index) }]));
    registry.push('many', 'ok', { layers: layers.slice(1) });
    assert.equal((await read(at('many:ok'))).layers.length, 127);
    registry.push('many', 'over', { layers });
    await refuses(at('many:over'), 'too_large', /128 layers, over the limit of 127/);
  });

  test('is found by what a tag leads to now', async () => {
    const first = registry.push('a', 'v', IMAGE);
    assert.equal(await resolveImage(parseReference(at('a:v')), live), first);
    const second = registry.push('a', 'v', { ...IMAGE, config: {} });
    assert.equal(await resolveImage(parseReference(at('a:v')), live), second);
    assert.equal(formatReference(pinned(parseReference(at('a:v')), first)), at(`a@${first}`));
  });

  test('leaves the cache within its bound', async () => {
    registry.push('a', 'latest', IMAGE);
    const place = mkdtempSync(join(directory, 'small-'));
    cache = new BlobCache(place, 10);
    await read(at('a'));
    await cache.trim();
    assert.ok(readdirSync(place).length > 0, 'what was used a moment ago stays');
  });
});

describe('an image on this host', () => {
  test('is read from an OCI layout', async () => {
    const place = join(directory, 'layout');
    const digest = writeLayout(place, IMAGE);
    assert.deepEqual(await read(`oci:${place}`), { digest, layers: [BASE, TOP], command: ['/top'] });
    assert.equal((await read(`oci:${place}:latest`)).digest, digest);
    await refuses(`oci:${place}:other`, 'not_found', /these images: latest/);
    await refuses(`oci:${place}@${blobOf('x').digest}`, 'not_found', /holds another image now/);
    const layer = partsOf(IMAGE).layers[1];
    writeFileSync(
      join(place, 'blobs/sha256', layer?.digest.slice(7) ?? ''),
      partsOf({ layers: [BASE] }).layers[0]?.bytes ?? '',
    );
    await refuses(`oci:${place}`, 'bad_digest', /is not what its digest/);
  });

  test('is read from what docker save writes', async () => {
    const file = join(directory, 'saved.tar');
    const digest = writeDockerArchive(file, IMAGE);
    assert.deepEqual(await read(`docker-archive:${file}`), { digest, layers: [BASE, TOP], command: ['/top'] });
    assert.equal((await read(`docker-archive:${file}:test:latest`)).digest, digest);
    await refuses(`docker-archive:${file}:none:latest`, 'not_found', /these images: test:latest/);
    await refuses(`oci-archive:${file}`, 'not_found', /index\.json/);
    const bytes = readFileSync(file);
    bytes[bytes.lastIndexOf('top')] = 0x74 ^ 1;
    writeFileSync(file, bytes);
    await assert.rejects(read(`docker-archive:${file}`), ImageError);
  });

  test('is told of where it is not there, or something else', async () => {
    await refuses(`oci:${directory}/none`, 'not_found', /does not exist/);
    await refuses(`docker-archive:${directory}`, 'bad_reference', /is a directory, which oci:DIR is for/);
    await refuses(`oci:${directory}`, 'not_found', /no index\.json/);
  });

  test('may have layers packed with zstd, or not packed', async () => {
    const place = join(directory, 'zstd');
    const zstd = execFileSync('zstd', ['-q', '-c'], { input: TOP });
    const plain = blobOf(BASE);
    const packed = blobOf(zstd);
    const { config } = partsOf(IMAGE);
    const mediaType = 'application/vnd.oci.image.layer.v1.tar';
    const manifest = {
      schemaVersion: 2,
      config: { mediaType, digest: config.digest, size: config.bytes.length },
      layers: [plain, packed].map(({ digest, bytes }) => ({ mediaType, digest, size: bytes.length })),
    };
    writeLayout(place, IMAGE);
    const blob = blobOf(JSON.stringify(manifest));
    for (const { digest, bytes } of [plain, packed, blob])
      writeFileSync(join(place, 'blobs/sha256', digest.slice(7)), bytes);
    const entry = {
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      digest: blob.digest,
      size: blob.bytes.length,
    };
    writeFileSync(join(place, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [entry] }));
    assert.deepEqual((await read(`oci:${place}`)).layers, [BASE, TOP]);
  });
});

describe('the name of an image', () => {
  const digest = `sha256:${'0a'.repeat(32)}`;
  for (const [text, meant] of [
    ['alpine', 'docker.io/library/alpine:latest'],
    ['docker://alpine:3.20', 'docker.io/library/alpine:3.20'],
    ['user/tool', 'docker.io/user/tool:latest'],
    ['public.ecr.aws/lambda/nodejs:22', 'public.ecr.aws/lambda/nodejs:22'],
    ['localhost:5000/a', 'localhost:5000/a:latest'],
    [`ghcr.io/a/b:v1@${digest}`, `ghcr.io/a/b@${digest}`],
    ['oci:images/tool', 'oci:images/tool'],
    ['oci:/a/b:v1', 'oci:/a/b:v1'],
    ['docker-archive:a.tar:repo/x:v1', 'docker-archive:a.tar:repo/x:v1'],
  ] as const) {
    test(`${text} is ${meant}`, () => assert.equal(formatReference(parseReference(text)), meant));
  }
  for (const text of [
    '',
    'A/B',
    'a b',
    'a@sha256:1',
    'host.example/',
    'a:b:c',
    'http://x/y',
    'oci:',
    'a/../b',
    'x.example/a?b',
    `a@md5:${'0'.repeat(32)}`,
  ]) {
    test(`${JSON.stringify(text)} is none`, () => {
      assert.throws(
        () => parseReference(text),
        (error) => error instanceof ImageError && error.code === 'bad_reference',
      );
    });
  }
  test('tells what only this host has', () => {
    const local = ['oci:/a', 'docker-archive:/a', 'localhost/a', '127.0.0.1:5000/a'].map(parseReference);
    assert.ok(local.every(isOfThisHost));
    assert.ok(!isOfThisHost(parseReference('ghcr.io/a/b')));
  });
});
