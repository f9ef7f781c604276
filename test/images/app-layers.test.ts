/** Layers become /opt of a function, whatever one has in the place of what another has. */
import assert from 'node:assert/strict';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { lstat, mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { before, describe, test } from 'node:test';
import fc from 'fast-check';
import { stageApp, type StagedApp } from '../../src/images/app-stage.ts';
import { copyTree, scanTree } from '../../src/images/tree.ts';
import { makeApp, temporaryDirectory } from './temporary.ts';

/** By path: the text of a file, `→` and the target of a link, or `/` for a directory. */
type Picture = ReadonlyMap<string, string>;

function pictureOf(directory: string): Picture {
  const found: [string, string][] = [];
  const look = (folder: string): void => {
    for (const name of readdirSync(join(directory, folder))) {
      const path = join(folder, name);
      const status = lstatSync(join(directory, path));
      if (status.isSymbolicLink()) found.push([path, `→${readlinkSync(join(directory, path))}`]);
      else if (status.isFile()) found.push([path, readFileSync(join(directory, path), 'utf8')]);
      else {
        found.push([path, '/']);
        look(path);
      }
    }
  };
  look('');
  return new Map(found.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** What unpacking one over the other leaves: whatever is new takes the place of what is not the same kind. */
function laidOver(layers: readonly Picture[]): Picture {
  const all = new Map<string, string>();
  for (const layer of layers) {
    for (const [path, what] of layer) {
      if (what !== '/') for (const below of [...all.keys()]) if (below.startsWith(`${path}/`)) all.delete(below);
      all.set(path, what);
    }
  }
  return new Map([...all].sort(([a], [b]) => (a < b ? -1 : 1)));
}

const name = fc.constantFrom('a', 'b', 'c');
const content = fc.oneof(
  fc.string({ unit: fc.constantFrom('x', 'y'), maxLength: 3 }),
  fc.constantFrom('→a', '→../b', '→c/a', '→./missing'),
);
/** Paths of files and links; parts of a path are directories. */
const layer = fc.dictionary(
  fc.array(name, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/')),
  content,
  { maxKeys: 6 },
);

async function make(files: Readonly<Record<string, string>>): Promise<string> {
  const directory = await temporaryDirectory();
  for (const [path, what] of Object.entries(files)) {
    const place = join(directory, path);
    if ((await lstat(place).catch(() => null)) !== null) continue;
    try {
      await mkdir(dirname(place), { recursive: true });
      // Nothing is made through a link, and no link leads out.
      const parents = path.split('/').slice(0, -1);
      const isReal = parents.every((_, at) => lstatSync(join(directory, ...parents.slice(0, at + 1))).isDirectory());
      if (!isReal) continue;
      if (!what.startsWith('→')) await writeFile(place, what);
      else if (!what.startsWith('→..') || parents.length > 0) await symlink(what.slice(1), place);
    } catch {
      // A file is where a directory would have to be.
    }
  }
  // A link whose target is another link may lead out after all, which is refused: not what is looked at here.
  const usable = await scanTree(directory).then(
    () => true,
    () => false,
  );
  if (usable) return directory;
  await rm(directory, { recursive: true });
  await mkdir(directory);
  return directory;
}

describe('layers of functions', { timeout: 120_000 }, () => {
  let cache: string;
  const stage = (directory: string, layers: readonly string[]): Promise<StagedApp> =>
    stageApp(directory, { cacheDirectory: cache, layers, onHost: true });
  before(async () => {
    cache = await temporaryDirectory();
  });

  test('any layers: the last one has each path, and nothing is written through a link', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(layer, { maxLength: 4 }), async (made) => {
        const layers: string[] = [];
        for (const files of made) layers.push(await make(files));
        const target = await temporaryDirectory();
        for (const directory of layers) await copyTree(directory, await scanTree(directory), target);
        assert.deepEqual(pictureOf(target), laidOver(layers.map(pictureOf)));
      }),
      { numRuns: 150 },
    );
  });

  test('they are below /opt of what is laid over the root file system, beside the function', async () => {
    const app = await makeApp([['index.js', '']]);
    const one = await makeApp([
      ['nodejs/node_modules/dep/index.js', '1'],
      ['bin/tool', 'one'],
    ]);
    const two = await makeApp([['bin/tool', 'two']]);
    const { directory } = await stage(app, [one, two]);
    const read = (path: string): string => readFileSync(join(directory, path), 'utf8');
    assert.deepEqual((await readdir(directory)).sort(), ['.snapfaas', 'index.js']);
    assert.equal(read('.snapfaas/root/opt/bin/tool'), 'two');
    assert.equal(read('.snapfaas/root/opt/nodejs/node_modules/dep/index.js'), '1');
  });

  test('the same layers in another order, with other contents, or none, are another function', async () => {
    const app = await makeApp([['index.js', '']]);
    const one = await makeApp([['a', '1']]);
    const two = await makeApp([['a', '2']]);
    const same = await makeApp([['a', '1']]);
    const digestOf = async (...layers: string[]): Promise<string> => (await stage(app, layers)).digest;
    const digests = [await digestOf(), await digestOf(one), await digestOf(two), await digestOf(one, two)];
    assert.equal(new Set([...digests, await digestOf(two, one)]).size, 5);
    assert.equal(await digestOf(same, two), digests[3]);
  });

  test('modules of Python in a layer are compiled as those of the function are', async () => {
    const app = await makeApp([['workload.py', 'def handle(request):\n    return 1\n']]);
    const modules = await makeApp([['python/brought.py', 'X = 1\n']]);
    const { directory } = await stageApp(app, { cacheDirectory: cache, layers: [modules], runtime: 'python3' });
    const compiled = await readdir(join(directory, '.snapfaas/root/opt/python/__pycache__'));
    assert.match(compiled.join(), /^brought\.cpython-\d+\.pyc$/);
  });
});
