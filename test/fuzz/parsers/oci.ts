/** Container images of strangers: layers, manifests and names. */
import assert from 'node:assert/strict';
import { ImageError } from '../../../src/oci/image-error.ts';
import { readConfig, readDockerManifest, readIndex, readManifest } from '../../../src/oci/manifest.ts';
import { formatReference, parseReference } from '../../../src/oci/reference.ts';
import { readTar } from '../../../src/oci/tar.ts';
import { isDirectory, Tree, type Child } from '../../../src/oci/tree.ts';
import { makeTar, partsOf, pax, type TarFile } from '../../support/container-images.ts';
import { chunksOf, outcomeOf, outcomeOfPromise } from '../properties.ts';
import { Random } from '../random.ts';
import type { ParserTarget } from '../target.ts';

const MAX_BYTES = 1024 * 1024;

function layerOf(random: Random): Buffer {
  const kinds = [
    { path: 'bin/sh', content: 'x'.repeat(random.below(1200)), mode: 0o4755 },
    { path: 'bin', type: '5' },
    { path: 'lib', type: '2', target: '../usr/lib' },
    { path: 'lib/a', content: 'y' },
    { path: 'also', type: '1', target: 'bin/sh' },
    { path: '.wh.bin' },
    { path: 'bin/.wh..wh..opq' },
    { path: 'dev/null', type: '3' },
    { path: `${'d/'.repeat(60)}long`, content: 'z' },
    pax({ path: 'é/ø', mtime: '1700000000.25', uid: '70000' }),
  ] as const satisfies readonly (TarFile | Buffer)[];
  return makeTar(Array.from({ length: 1 + random.below(5) }, () => random.pick<TarFile | Buffer>(kinds)));
}

async function* streamOf(chunks: readonly Buffer[]): AsyncGenerator<Buffer> {
  for (const chunk of chunks) yield await Promise.resolve(chunk);
}

function checkTree(child: Child, depth: number): number {
  assert.ok(depth <= 256);
  if (!isDirectory(child)) return 1;
  let count = 1;
  for (const [name, inner] of child.children) {
    assert.doesNotMatch(name, /^(|\.|\.\.)$|[/\0]/);
    assert.ok(Buffer.byteLength(name) <= 255);
    count += checkTree(inner, depth + 1);
  }
  return count;
}

const LAYER: ParserTarget = {
  name: 'oci-layer',
  tokens: [
    'ustar\0' + '00',
    'ustar  \0',
    '\0',
    '../',
    '/',
    '.wh.',
    '0',
    '1',
    '2',
    '5',
    'x',
    'g',
    'L',
    'K',
    'S',
    '12 path=a/b\n',
    '\x80',
  ],
  generate: layerOf,
  async check(input, { random, isValid }) {
    const attributes = { mode: 0o644, uid: 0, gid: 0, mtimeS: 0 };
    const outcome = await outcomeOfPromise([ImageError], async () => {
      const tree = new Tree({ nameOf: () => 'the layer', onGone: () => undefined });
      tree.beginLayer();
      const tar = readTar(streamOf(chunksOf(input, random)), 'the layer', MAX_BYTES);
      for (let entry; (entry = await tar.next()) !== null;) {
        assert.ok(Number.isSafeInteger(entry.size) && entry.size >= 0 && entry.size <= MAX_BYTES);
        assert.equal(entry.mode & ~0o7777, 0);
        for (const number of [entry.uid, entry.gid, entry.mtimeS]) assert.ok(number >= 0 && number <= 0xffff_ffff);
        if (tree.takeAway(entry.path)) continue;
        if (entry.type === 'directory') tree.addDirectory(entry.path, attributes);
        else if (entry.type === 'hardlink') tree.addName(entry.path, entry.target);
        else if (entry.type === 'symlink') tree.add(entry.path, { attributes, content: { target: entry.target } });
        else tree.add(entry.path, { attributes, content: { file: entry.path } });
      }
      await tar.rest();
      return checkTree(tree.root, 0);
    });
    // A link may lead to nothing where another one has taken its place.
    if ('error' in outcome && isValid) assert.match(outcome.error.message, /is not there|no directory|is a directory/);
  },
};

/** Of images that are made once: compressing their layers takes longer than reading what describes them. */
const IMAGES = 16;
let documents: readonly [Buffer, ...Buffer[]] | null = null;

function madeDocuments(): readonly [Buffer, ...Buffer[]] {
  const made = Array.from({ length: IMAGES }, (_, seed) => {
    const config = { Env: ['A=b', 'bad'], Cmd: ['x'], User: '1' };
    const parts = partsOf({ layers: [layerOf(new Random(seed))], config });
    return [parts.manifest.bytes, parts.config.bytes];
  }).flat();
  return made as [Buffer, ...Buffer[]];
}

const DOCUMENTS: ParserTarget = {
  name: 'oci-documents',
  tokens: [
    '"mediaType":',
    '"manifests":',
    '"layers":',
    '"config":',
    'null',
    '[]',
    '{}',
    'sha256:',
    '"digest":',
    '"Env":',
  ],
  generate: (random) => random.pick((documents ??= madeDocuments())),
  check(input) {
    const read = outcomeOf([ImageError], () => readManifest(input, 'it'));
    if ('value' in read && 'manifest' in read.value) assert.ok(read.value.manifest.layers.length <= 127);
    const config = outcomeOf([ImageError], () => readConfig(input, 'it'));
    if ('value' in config) {
      for (const name of Object.keys(config.value.settings.environment)) assert.doesNotMatch(name, /^$|[=\0]/);
    }
    outcomeOf([ImageError], () => readIndex(input, 'it'));
    outcomeOf([ImageError], () => readDockerManifest(input, 'it'));
  },
};

const REFERENCE: ParserTarget = {
  name: 'oci-reference',
  tokens: [':', '/', '@', 'sha256:', 'oci:', 'docker-archive:', 'docker://', 'localhost', 'a'.repeat(64), '..'],
  generate: (random) =>
    Buffer.from(
      random.pick([
        'alpine',
        'public.ecr.aws/lambda/nodejs:22',
        `localhost:5000/a/b_c@sha256:${'0a'.repeat(32)}`,
        'oci:/srv/image:latest',
        'docker-archive:/srv/image.tar',
        'docker://ghcr.io/o/r:v1.2',
      ]),
    ),
  check(input, { isValid }) {
    const outcome = outcomeOf([ImageError], () => parseReference(input.toString('utf8')));
    if ('error' in outcome) return assert.ok(!isValid);
    // What it is called afterwards means the same.
    const text = formatReference(outcome.value);
    const again = parseReference(text);
    assert.equal(formatReference(again), text);
    if (again.kind === 'registry') assert.doesNotMatch(`${again.path}${again.tag}`, /\.\.\/|[?#%\s@]/);
  },
};

export const OCI_TARGETS: readonly ParserTarget[] = [LAYER, DOCUMENTS, REFERENCE];
