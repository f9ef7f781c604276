import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { DamagedLayerError, PAGE_BYTES } from '../../../src/firerunner/snapshots/layer.ts';
import { openPrivateFile, openPrivateMemory } from '../../../src/firerunner/snapshots/memory.ts';
import { SnapshotStore, SnapshotStoreError } from '../../../src/firerunner/snapshots/store.ts';
import { withLock } from '../../../src/storage/lock.ts';
import { Uses } from '../../../src/storage/uses.ts';
import { ourselves, ownerTag } from '../../../src/storage/owner.ts';
import { ensure, fill, memoryOf, randomBytes, readMemory, sample, temporaryDirectory } from './layers.ts';

const { base: saved, fn: savedFunction } = sample(1);

async function emptyStore(): Promise<SnapshotStore> {
  return new SnapshotStore(join(await temporaryDirectory(), 'deep', 'store'));
}

describe('store', () => {
  test('a directory that is not there is an empty store, and is made when a layer is built', async () => {
    const store = await emptyStore();
    assert.equal(await store.open('base', { a: 1 }), null);
    assert.deepEqual(await store.list(), []);
    assert.deepEqual(await store.verify(), []);
    assert.deepEqual(await store.prune(new Set()), []);
    assert.equal(existsSync(store.directory), false);
    const layer = await ensure(store, { a: 1 }, saved);
    assert.equal((await stat(store.directory)).mode & 0o777, 0o700);
    assert.deepEqual(await store.open('base', { a: 1 }), layer);
    assert.deepEqual(await SnapshotStore.openDirectory(layer.directory), layer);
    assert.deepEqual(await readdir(store.directory), [layer.name], 'no lock and no draft is left');
  });

  test('a layer is built once for a stamp, whatever the order of its members', async () => {
    const store = await emptyStore();
    const never = (): Promise<void> => Promise.reject(new Error('built again'));
    const layer = await ensure(store, { a: 1, b: null, c: 'x' }, saved);
    assert.deepEqual(await store.ensure('base', { c: 'x', b: null, a: 1 }, never), layer);
    assert.equal(await store.open('function', { a: 1, b: null, c: 'x' }), null);
    assert.equal(await store.open('base', { a: 1, b: null, c: 'y' }), null);
  });

  test('what no process needs and nobody has used for long is removed, and made again when it is wanted', async () => {
    const store = await emptyStore();
    const everything = { maxBytes: 0, maxAgeMs: 0 };
    assert.deepEqual(await store.removeUnused(everything), { removed: [], more: false });
    const [needed, old, busy, fresh] = [1, 2, 3, 4].map((a) => ensure(store, { a }, saved));
    const layers = await Promise.all([needed, old, busy, fresh].map((layer) => layer ?? assert.fail()));
    const [kept, unused, locked] = layers;
    assert.ok(kept !== undefined && unused !== undefined && locked !== undefined);
    const uses = new Uses(store.directory);
    uses.hold(kept.name);
    await uses.settled();
    for (const { directory } of [kept, unused, locked]) await utimes(directory, 1, 1);
    const lock = join(store.directory, `.snapfaas-${locked.name}.lock`);
    await withLock(lock, async () => {
      assert.deepEqual(await store.removeUnused(everything), { removed: [unused.name], more: false });
    });
    assert.equal((await ensure(store, { a: 2 }, saved)).digest, unused.digest);
    // Finding it is using it.
    await ensure(store, { a: 3 }, saved);
    assert.deepEqual(await store.removeUnused(everything), { removed: [], more: false });
    assert.equal((await store.list()).length, 4);
    await uses.close();
    // What a process needed until it ended was used then.
    assert.deepEqual(await store.removeUnused(everything), { removed: [], more: false });
    for (const { directory } of layers) await utimes(directory, 1, 1);
    const year = 365 * 24 * 3600 * 1000;
    assert.deepEqual(await store.removeUnused({ maxBytes: 2 ** 40, maxAgeMs: 100 * year }), {
      removed: [],
      more: false,
    });
    assert.equal((await store.removeUnused({ maxBytes: 2 ** 40, maxAgeMs: year })).removed.length, 4);
    assert.deepEqual(await readdir(store.directory), []);
  });

  test('a failed build leaves nothing, and its error comes out as it is', async () => {
    const store = await emptyStore();
    const failure = Object.assign(new Error('no such program'), { code: 'EACCES', syscall: 'spawn' });
    await assert.rejects(
      store.ensure('base', { a: 1 }, async (draft) => {
        await fill(draft, saved, null);
        throw failure;
      }),
      (error) => error === failure,
    );
    await assert.rejects(
      store.ensure('base', { a: 1 }, () => Promise.resolve()),
      /has written no memory/,
    );
    assert.deepEqual(await readdir(store.directory), []);
  });

  test('a damaged layer is built again, a whole one only on demand', async () => {
    const store = await emptyStore();
    const first = await ensure(store, { a: 1 }, saved);
    await writeFile(join(first.directory, 'index'), 'x');
    await assert.rejects(store.open('base', { a: 1 }), DamagedLayerError);
    await assert.rejects(SnapshotStore.openDirectory(first.directory), DamagedLayerError);
    const second = await ensure(store, { a: 1 }, saved);
    assert.equal(second.digest, first.digest);
    const other = sample(2).base;
    assert.equal((await ensure(store, { a: 1 }, other)).digest, first.digest);
    const third = await ensure(store, { a: 1 }, other, null, { unlike: first.digest });
    assert.notEqual(third.digest, first.digest);
    // Who found the first one of no use is content with the one that has taken its place.
    assert.deepEqual(await ensure(store, { a: 1 }, saved, null, { unlike: first.digest }), third);
    assert.ok((await readMemory(store.directory, [third])).equals(other.memory));
    assert.deepEqual(await readdir(store.directory), [third.name]);
  });

  test('who reads a layer while it is replaced gets its bytes, or DamagedLayerError', async () => {
    const store = await emptyStore();
    const first = await ensure(store, { a: 1 }, saved);
    const reading = readMemory(store.directory, [first]);
    const results = await Promise.allSettled([
      reading,
      ensure(store, { a: 1 }, sample(2).base, null, { unlike: first.digest }),
    ]);
    if (results[0].status === 'fulfilled') assert.ok(results[0].value.equals(saved.memory));
    else assert.ok(results[0].reason instanceof DamagedLayerError);
    assert.equal(results[1].status, 'fulfilled');
  });

  test('a layer under the name of another, or with another stamp, is refused', async () => {
    const store = await emptyStore();
    const first = await ensure(store, { a: 1 }, saved);
    const second = await ensure(store, { a: 2 }, saved);
    await rm(second.directory, { recursive: true });
    await rename(first.directory, second.directory);
    await assert.rejects(store.open('base', { a: 2 }), /belongs to another layer/);
    assert.match((await store.list())[0]?.problem ?? '', /belongs to another layer/);
    assert.deepEqual((await SnapshotStore.openDirectory(second.directory)).stamp, { a: 1 }, 'by hand any name will do');
  });

  test('waiting for another builder ends with the signal', async () => {
    const store = await emptyStore();
    const abort = new AbortController();
    await mkdir(store.directory, { recursive: true });
    const layer = await ensure(store, { a: 1 }, saved);
    await rm(layer.directory, { recursive: true });
    let waitedFor = 0;
    await withLock(join(store.directory, `.snapfaas-${layer.name}.lock`), async () => {
      const onWait = (pid: number): void => {
        waitedFor = pid;
        abort.abort();
      };
      await assert.rejects(ensure(store, { a: 1 }, saved, null, { signal: abort.signal, onWait }), {
        name: 'AbortError',
      });
    });
    assert.equal(waitedFor, process.pid);
    assert.deepEqual(await readdir(store.directory), []);
  });

  test('list and verify say what is there and what is wrong with it', async () => {
    const store = await emptyStore();
    const base = await ensure(store, { a: 1 }, saved);
    const fn = await ensure(store, { a: 2 }, savedFunction, base);
    const [first, second] = await store.list();
    assert.ok(first !== undefined && second !== undefined);
    const { created, bytes, ...rest } = second;
    assert.deepEqual(rest, {
      name: fn.name,
      kind: 'function',
      stamp: { a: 2 },
      digest: fn.digest,
      base: base.digest,
      memoryBytes: 40 * PAGE_BYTES,
      pages: 7,
      problem: null,
    });
    assert.ok(Math.abs(Date.now() - created.getTime()) < 60_000);
    assert.ok(bytes > 7 * PAGE_BYTES + 3000 && bytes < 8 * PAGE_BYTES + 3000);

    const pages = await readFile(join(base.directory, 'pages'));
    pages.writeUInt8(pages.readUInt8(5000) ^ 4, 5000);
    await writeFile(join(base.directory, 'pages'), pages);
    assert.equal((await store.list())[0]?.problem, null, 'list reads no contents');
    const problem = 'pages has other contents than were written';
    assert.deepEqual(await store.verify(), [
      { name: base.name, problem },
      { name: fn.name, problem: null },
    ]);
    await rm(join(fn.directory, 'manifest.json'));
    const [, broken] = await store.list();
    assert.equal(broken?.problem, 'manifest.json is missing');
    assert.equal(broken.stamp, null);
  });

  test('prune keeps what is named or being built, and removes the rest and what the dead have left', async () => {
    const store = await emptyStore();
    const base = await ensure(store, { a: 1 }, saved);
    const fn = await ensure(store, { a: 2 }, savedFunction, base);
    const locked = await ensure(store, { a: 3 }, saved);
    const unwanted = await ensure(store, { a: 4 }, saved);
    const ours = `.snapfaas-build-${ownerTag(await ourselves())}-00000000`;
    const dead = [
      '.snapfaas-build-999999999-1-00000000/layer',
      `.snapfaas-old-${process.pid}-1-00000000/pages`,
      '.snapfaas-private-999999999-1-00000000',
      join(base.name, '.snapfaas-working-set-999999999-1-00000000'),
    ];
    for (const name of [...dead, ours]) await mkdir(join(store.directory, name), { recursive: true });
    await writeFile(join(store.directory, `.snapfaas-${unwanted.name}.lock`), '999999999 1');
    await writeFile(join(store.directory, `.snapfaas-${base.name}.lock`), '999999999 1');
    await writeFile(join(store.directory, `.snapfaas-${base.name}.lock.999999999-1-x`), '');
    await writeFile(join(store.directory, 'notes.txt'), 'of the administrator');

    const lock = `.snapfaas-${locked.name}.lock`;
    await withLock(join(store.directory, lock), async () => {
      assert.deepEqual(await store.prune(new Set([base.name, fn.name])), [unwanted.name]);
      const left = await readdir(store.directory);
      assert.deepEqual(left.sort(), [ours, lock, base.name, fn.name, locked.name, 'notes.txt'].sort());
    });
    assert.equal((await readdir(base.directory)).length, 4);
    assert.deepEqual(await store.prune(new Set([base.name])), [fn.name, locked.name].sort());
    assert.deepEqual(await store.prune(new Set()), [base.name]);
    assert.deepEqual((await readdir(store.directory)).sort(), [ours, 'notes.txt'].sort());
  });

  test('the event loop goes on while a memory is packed and composed', async () => {
    const store = await emptyStore();
    const memory = memoryOf([{ kind: 'data', pages: 4096, seed: 1 }]);
    let turns = 0;
    let packed = false;
    const count = async (): Promise<void> => {
      while (!packed) {
        await turn();
        turns += 1;
      }
    };
    const counting = count();
    const layer = await ensure(store, { a: 1 }, { memory, state: randomBytes(1, 10) });
    await readMemory(store.directory, [layer]);
    packed = true;
    await counting;
    // 16 MiB in pieces of at most 1 MiB, twice.
    assert.ok(turns >= 32, `${turns} turns`);
  });
});

const mounted: string[] = [];
after(() => {
  for (const directory of mounted) execFileSync('umount', [directory]);
});

/** A file system of 1 MiB; null if this user may not mount one. */
async function smallFileSystem(): Promise<string | null> {
  const directory = await temporaryDirectory();
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', directory], { stdio: 'pipe' });
  } catch {
    return null;
  }
  mounted.push(directory);
  return directory;
}

describe('what an administrator can help', () => {
  const NO_MOUNT = 'needs root and the right to mount a tmpfs';

  test('a full disk: the error says where and what to do, and nothing is left', async (context) => {
    const directory = await smallFileSystem();
    if (directory === null) return context.skip(NO_MOUNT);
    const outside = await temporaryDirectory();
    const store = new SnapshotStore(join(directory, 'store'));
    const first = await ensure(store, { a: 1 }, saved);
    const path = join(outside, 'memory');
    await writeFile(path, randomBytes(1, 512 * PAGE_BYTES));
    const tooMuch = (): Promise<unknown> =>
      store.ensure(
        'base',
        { a: 1 },
        async (draft) => {
          await writeFile(draft.statePath, 'state');
          await draft.writeMemory(path, null);
        },
        { unlike: first.digest },
      );
    await assert.rejects(tooMuch(), (error) => {
      assert.ok(error instanceof SnapshotStoreError);
      assert.equal(error.code, 'ENOSPC');
      assert.ok(error.message.includes(store.directory), error.message);
      assert.match(error.message, /no space is left; free space there, or set snapshot_dir to /);
      return true;
    });
    assert.deepEqual(await readdir(store.directory), [first.name]);
    assert.deepEqual(await store.verify(), [{ name: first.name, problem: null }], 'the old one is still whole');

    const large = await ensure(
      new SnapshotStore(outside),
      { b: 1 },
      { memory: await readFile(path), state: saved.state },
    );
    await assert.rejects(openPrivateMemory({ directory: directory, isNamed: false }, [large]), {
      name: 'SnapshotStoreError',
      code: 'ENOSPC',
    });
    await assert.rejects(openPrivateFile({ directory: directory, isNamed: false }, await readFile(path)), {
      code: 'ENOSPC',
    });
    assert.deepEqual(await readdir(directory), ['store']);
    await ensure(store, { a: 2 }, saved);
  });

  test('a read-only store: what is there is used, what is missing is an error', async (context) => {
    const directory = await smallFileSystem();
    if (directory === null) return context.skip(NO_MOUNT);
    const store = new SnapshotStore(join(directory, 'store'));
    const layer = await ensure(store, { a: 1 }, saved);
    execFileSync('mount', ['-o', 'remount,ro', directory]);
    assert.deepEqual(await ensure(store, { a: 1 }, saved), layer);
    assert.ok((await readMemory(directory, [layer])).equals(saved.memory));
    assert.deepEqual(await store.verify(), [{ name: layer.name, problem: null }]);
    const readOnly = { name: 'SnapshotStoreError', code: 'EROFS', message: /read-only; set snapshot_dir to / };
    await assert.rejects(ensure(store, { a: 2 }, saved), readOnly);
    await assert.rejects(ensure(new SnapshotStore(join(directory, 'new', 'store')), { a: 2 }, saved), readOnly);
    await assert.rejects(store.prune(new Set()), readOnly);
  });

  test('a file where the directory should be', async () => {
    const file = join(await temporaryDirectory(), 'file');
    await writeFile(file, '');
    for (const path of [file, join(file, 'store')]) {
      const store = new SnapshotStore(path);
      assert.equal(await store.open('base', { a: 1 }), null);
      await assert.rejects(ensure(store, { a: 1 }, saved), (error) => {
        assert.ok(error instanceof SnapshotStoreError);
        assert.ok(error.message.includes(path) && error.message.includes('snapshot_dir'), error.message);
        return true;
      });
      await assert.rejects(store.list(), { name: 'SnapshotStoreError', code: 'ENOTDIR' });
    }
    await assert.rejects(SnapshotStore.openDirectory(join(file, 'layer')), { name: 'SnapshotStoreError' });
    await assert.rejects(SnapshotStore.openDirectory(`${file}-absent`), /no such file or directory/);
  });
});
