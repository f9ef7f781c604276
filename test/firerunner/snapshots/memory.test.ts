import assert from 'node:assert/strict';
import { cp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { DamagedLayerError, PAGE_BYTES, verifyState, type Layer } from '../../../src/firerunner/snapshots/layer.ts';
import {
  composeMemory,
  createWritableCopy,
  openPrivateFile,
  openPrivateMemory,
} from '../../../src/firerunner/snapshots/memory.ts';
import { SnapshotStore } from '../../../src/firerunner/snapshots/store.ts';
import { readWorkingSet, writeWorkingSet } from '../../../src/firerunner/snapshots/working-set-file.ts';
import { ensure, memoryOf, randomBytes, readMemory, sample, temporaryDirectory } from './layers.ts';

const state = randomBytes(99, 500);
const BOUNDED = { timeout: 120_000 };

/** Some chunks of 256 pages, and a part of one. */
const stretches = (...kinds: readonly ('zero' | 'data' | 'same')[]) =>
  fc.array(
    fc.record({
      kind: fc.constantFrom(...kinds),
      pages: fc.oneof(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 300 })),
      seed: fc.integer({ min: 0, max: 1000 }),
    }),
    { minLength: 1, maxLength: 8 },
  );

async function sampleLayers(): Promise<{ directory: string; store: SnapshotStore; layers: readonly [Layer, Layer] }> {
  const directory = await temporaryDirectory();
  const store = new SnapshotStore(join(directory, 'store'));
  const { base, fn } = sample(1);
  const below = await ensure(store, { base: 1 }, base);
  return { directory, store, layers: [below, await ensure(store, { fn: 1 }, fn, below)] };
}

describe('memory', () => {
  test('a base and a function on it compose to the memories they were made of', BOUNDED, async () => {
    const directory = await temporaryDirectory();
    let round = 0;
    await fc.assert(
      fc.asyncProperty(stretches('zero', 'data'), stretches('zero', 'data', 'same'), async (lower, upper) => {
        const store = new SnapshotStore(join(directory, `store-${round++}`));
        const baseMemory = memoryOf(lower);
        const memory = memoryOf(upper, baseMemory);
        const base = await ensure(store, { a: 1 }, { memory: baseMemory, state });
        const fn = await ensure(store, { a: 1 }, { memory, state }, base);
        assert.equal(fn.base, base.digest);
        assert.ok((await readMemory(directory, [base])).equals(baseMemory));
        assert.ok((await readMemory(directory, [base, fn])).equals(memory));
        assert.deepEqual(await store.verify(), [
          { name: base.name, problem: null },
          { name: fn.name, problem: null },
        ]);
        await rm(store.directory, { recursive: true });
      }),
      { numRuns: 40, endOnFailure: true },
    );
  });

  test('pages of zeros take no space, neither in a layer nor in the composed file', async () => {
    const directory = await temporaryDirectory();
    const store = new SnapshotStore(join(directory, 'store'));
    const memory = memoryOf([
      { kind: 'zero', pages: 4000, seed: 1 },
      { kind: 'data', pages: 10, seed: 2 },
      { kind: 'zero', pages: 4000, seed: 1 },
    ]);
    const layer = await ensure(store, { a: 1 }, { memory, state });
    assert.equal(layer.parts.pages.bytes, 10 * PAGE_BYTES);
    const { handle } = await openPrivateMemory({ directory: directory, isNamed: false }, [layer]);
    const { blocks, size } = await handle.stat();
    assert.equal(size, 8010 * PAGE_BYTES);
    assert.ok(blocks * 512 < 100 * PAGE_BYTES, `${blocks * 512} bytes`);
    await handle.close();
  });

  test('a function layer holds the pages that differ from its base, and no others', async () => {
    const { layers } = await sampleLayers();
    // Of the sample: 3 + 1 + 3 pages have new bytes, 2 of 3 zeroed ones had bytes before.
    assert.equal(layers[1].parts.pages.bytes, 7 * PAGE_BYTES);
  });

  test('private files have no name, and fall back to the directory for temporary files', async () => {
    const { directory, layers } = await sampleLayers();
    const place = join(directory, 'store', layers[0].name);
    const before = await readdir(place);
    for (const at of [place, join(directory, 'absent')]) {
      const memory = await openPrivateMemory({ directory: at, isNamed: false }, layers);
      const { handle: file } = await openPrivateFile({ directory: at, isNamed: false }, state);
      assert.equal((await memory.handle.stat()).nlink, 0);
      assert.equal((await file.stat()).nlink, 0);
      assert.deepEqual(
        await file.read(Buffer.alloc(600), 0, 600, 0).then(({ buffer }) => buffer.subarray(0, 500)),
        state,
      );
      assert.equal(memory.bytes, layers[0].memoryBytes);
      await memory.handle.close();
      await file.close();
    }
    assert.deepEqual(await readdir(place), before);
  });

  test('a writable copy has the same bytes, and takes no existing file', async () => {
    const { directory, layers } = await sampleLayers();
    const path = join(directory, 'copy');
    await createWritableCopy(path, layers);
    assert.ok((await readFile(path)).equals(sample(1).fn.memory));
    await assert.rejects(createWritableCopy(path, layers), { name: 'SnapshotStoreError', code: 'EEXIST' });
    await writeFile(join(layers[0].directory, 'pages'), randomBytes(3, layers[0].parts.pages.bytes));
    await assert.rejects(createWritableCopy(`${path}-2`, layers), DamagedLayerError);
    assert.deepEqual((await readdir(directory)).sort(), ['copy', 'store']);
  });

  test('layers that do not belong to each other are refused', async () => {
    const { directory, store, layers } = await sampleLayers();
    const other = await ensure(store, { base: 2 }, sample(2).base);
    const target = await open(join(directory, 'target'), 'wx+');
    for (const stack of [[other, layers[1]], [layers[1]], [layers[0], other]]) {
      await assert.rejects(composeMemory(stack, target), DamagedLayerError);
    }
    await target.close();
  });

  test('a memory that is not of whole pages, or not of its base’s size, is refused', async () => {
    const { store, layers } = await sampleLayers();
    const odd = { memory: randomBytes(1, 5000), state };
    await assert.rejects(ensure(store, { base: 3 }, odd), /has 5000 bytes: not a VM's memory/);
    const small = { memory: randomBytes(1, 2 * PAGE_BYTES), state };
    await assert.rejects(ensure(store, { fn: 3 }, small, layers[0]), /has 8192 bytes, the memory it is compared with/);
    assert.equal((await readdir(store.directory)).length, 2, 'nothing is left of them');
  });
});

describe('damage', () => {
  const damage = fc.oneof(
    fc.record({ kind: fc.constant('flip' as const), at: fc.nat(), bit: fc.nat({ max: 7 }) }),
    fc.record({ kind: fc.constant('cut' as const), at: fc.nat(), bit: fc.constant(0) }),
    fc.record({
      kind: fc.constant('extend' as const),
      at: fc.integer({ min: 1, max: 9000 }),
      bit: fc.nat({ max: 255 }),
    }),
    fc.record({ kind: fc.constant('remove' as const), at: fc.constant(0), bit: fc.constant(0) }),
  );

  async function apply(path: string, { kind, at, bit }: { kind: string; at: number; bit: number }): Promise<void> {
    const bytes = await readFile(path);
    if (kind === 'flip') bytes.writeUInt8(bytes.readUInt8(at % bytes.length) ^ (1 << bit), at % bytes.length);
    if (kind === 'flip') await writeFile(path, bytes);
    if (kind === 'cut') await writeFile(path, bytes.subarray(0, at % bytes.length));
    if (kind === 'extend') await writeFile(path, Buffer.concat([bytes, Buffer.alloc(at, bit)]));
    if (kind === 'remove') await rm(path);
  }

  test(
    'whatever happens to a file, a layer gives the bytes that were written, or DamagedLayerError',
    BOUNDED,
    async () => {
      const { directory, store } = await sampleLayers();
      const { fn } = sample(1);
      let round = 0;
      let refused = 0;
      const file = fc.constantFrom('manifest.json', 'state', 'index', 'pages');
      await fc.assert(
        fc.asyncProperty(file, fc.boolean(), fc.boolean(), damage, async (name, ofBase, early, harm) => {
          const copy = new SnapshotStore(join(directory, `copy-${round++}`));
          await cp(store.directory, copy.directory, { recursive: true });
          const opened = async (): Promise<[Layer, Layer]> => {
            const base = await copy.open('base', { base: 1 });
            const layer = await copy.open('function', { fn: 1 });
            assert.ok(base !== null && layer !== null);
            return [base, layer];
          };
          const [base, layer] = await opened();
          await apply(join((ofBase ? base : layer).directory, name), harm);
          try {
            const layers = early ? await opened() : [base, layer];
            const memory = await readMemory(directory, layers);
            assert.ok(memory.equals(fn.memory), 'other bytes of memory');
            assert.ok((await verifyState(layers[1] ?? layer)).equals(fn.state), 'other bytes of state');
          } catch (error) {
            if (!(error instanceof DamagedLayerError)) throw error;
            assert.equal(error.directory, (ofBase ? base : layer).directory);
            refused += 1;
          }
          await rm(copy.directory, { recursive: true });
        }),
        { numRuns: 400, endOnFailure: true },
      );
      assert.ok(refused > 100, `only ${refused} of 400 were refused`);
    },
  );

  test('no bit of a manifest can be flipped so that it says something else', BOUNDED, async () => {
    const { store, layers } = await sampleLayers();
    const path = join(layers[1].directory, 'manifest.json');
    const original = await readFile(path);
    for (let at = 0; at < original.length; at += 1) {
      const flipped = Buffer.from(original);
      flipped.writeUInt8(flipped.readUInt8(at) ^ (1 << (at % 8)), at);
      await writeFile(path, flipped);
      const layer = await store.open('function', { fn: 1 }).catch((error: unknown) => {
        assert.ok(error instanceof DamagedLayerError);
        return null;
      });
      if (layer !== null) assert.deepEqual(layer, layers[1]);
    }
  });
});

describe('working set', () => {
  const runs = [
    { firstPage: 0, pages: 3 },
    { firstPage: 17, pages: 1 },
    { firstPage: 30, pages: 10 },
  ];

  test('it is read as it was written, and another may take its place', async () => {
    const { layers } = await sampleLayers();
    assert.equal(await readWorkingSet(layers[1]), null);
    for (const written of [runs, runs.slice(1), []]) {
      await writeWorkingSet(layers[1], written);
      assert.deepEqual(await readWorkingSet(layers[1]), written);
    }
    assert.equal((await readdir(layers[1].directory)).length, 5);
  });

  test('one that is damaged, names other pages or belongs to another layer counts as absent', BOUNDED, async () => {
    const { layers } = await sampleLayers();
    const path = join(layers[1].directory, 'working-set');
    await writeWorkingSet(layers[1], runs);
    const original = await readFile(path);
    for (let at = 0; at < original.length; at += 1) {
      const flipped = Buffer.from(original);
      flipped.writeUInt8(flipped.readUInt8(at) ^ (1 << (at % 8)), at);
      await writeFile(path, flipped);
      assert.equal(await readWorkingSet(layers[1]), null);
      await writeFile(path, original.subarray(0, at));
      assert.equal(await readWorkingSet(layers[1]), null);
    }
    await writeFile(path, original);
    await cp(path, join(layers[0].directory, 'working-set'));
    assert.equal(await readWorkingSet(layers[0]), null);
    await writeWorkingSet(layers[1], [{ firstPage: 39, pages: 2 }]);
    assert.equal(await readWorkingSet(layers[1]), null, 'the memory has 40 pages');
  });
});
