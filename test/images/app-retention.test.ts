/** Functions come and go while what nobody needs is removed: nothing that is needed goes, the rest does. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, utimes } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { removeUnusedApps, useApp } from '../../src/images/app-retention.ts';
import { stageApp, type StagedApp } from '../../src/images/app-stage.ts';
import { inBuildFolder } from '../../src/images/publish.ts';
import { Uses } from '../../src/storage/uses.ts';
import { Random } from '../fuzz/random.ts';
import { makeApp, temporaryDirectory } from './temporary.ts';

const EVERYTHING = { maxBytes: 0, maxAgeMs: 0 };
const never = new AbortController().signal;

describe('retention of images', { timeout: 120_000 }, () => {
  const cacheHome = process.env['XDG_CACHE_HOME'];
  let cache: string;
  let apps: string;
  before(async () => {
    process.env['XDG_CACHE_HOME'] = await temporaryDirectory();
    cache = join(process.env['XDG_CACHE_HOME'], 'snapfaas');
    apps = join(cache, 'apps');
  });
  after(() => {
    if (cacheHome === undefined) Reflect.deleteProperty(process.env, 'XDG_CACHE_HOME');
    else process.env['XDG_CACHE_HOME'] = cacheHome;
  });

  const folderOf = (staged: StagedApp): string => dirname(staged.directory);
  const makeOld = (folder: string): Promise<void> => utimes(folder, 1, 1).catch(() => undefined);
  const folders = (): readonly string[] => readdirSync(apps).filter((name) => !name.startsWith('.'));
  const removeAll = async (): Promise<readonly string[]> => {
    const all: string[] = [];
    for (let more = true; more;) {
      const result = await removeUnusedApps(apps, EVERYTHING, never);
      all.push(...result.removed);
      ({ more } = result);
    }
    return all;
  };

  test('what a builder has left that was killed goes, in folders that nobody builds in again; what one is at stays', async () => {
    const staged = await stageApp(await makeApp([['app.py', 'left = 1']]));
    const folder = folderOf(staged);
    await mkdir(join(folder, '.snapfaas-image-4194305-1-0bf32135', 'scratch'), { recursive: true });
    await inBuildFolder(folder, async () => {
      await mkdir(join(folder, '.snapfaas-image-4194305-1-1bf32135'));
      await removeUnusedApps(apps, { maxBytes: Number.MAX_SAFE_INTEGER, maxAgeMs: Number.MAX_SAFE_INTEGER }, never);
      assert.equal(readdirSync(folder).filter((name) => name.startsWith('.snapfaas-image-')).length, 1);
    });
    assert.ok(existsSync(staged.directory));
    await makeOld(folder);
    await removeAll();
  });

  test('rounds: functions are staged, held, let go of and staged again while removals run beside them', async (t) => {
    const seed = Number(process.env['SNAPFAAS_SEED'] ?? Date.now() % 1_000_000);
    t.diagnostic(`seed ${seed}`);
    const random = new Random(seed);
    const uses = new Uses(apps);
    await mkdir(apps, { recursive: true });
    const sources = await Promise.all(Array.from({ length: 6 }, (_, n) => makeApp([['index.js', `// ${n}`]])));
    /** Staged directories that a version runs from, by source. */
    const held = new Map<number, string>();
    const deploy = async (source: number): Promise<void> => {
      const staged = await stageApp(sources[source] ?? '');
      if (held.has(source)) return;
      held.set(source, staged.directory);
      uses.hold(basename(folderOf(staged)));
      await uses.settled();
      // As if it had been deployed long ago.
      await makeOld(folderOf(staged));
    };
    const retire = async (source: number): Promise<void> => {
      const directory = held.get(source);
      if (directory === undefined) return;
      held.delete(source);
      uses.release(basename(dirname(directory)));
      await uses.settled();
      await makeOld(dirname(directory));
    };
    for (let round = 0; round < 60; round += 1) {
      const source = random.below(sources.length);
      const step = random.oneIn(2) ? deploy(source) : retire(source);
      await Promise.all([step, random.oneIn(2) ? removeUnusedApps(apps, EVERYTHING, never) : null]);
      for (const [kept, directory] of held) {
        assert.equal(readFileSync(join(directory, 'index.js'), 'utf8'), `// ${kept}`, `round ${round}`);
      }
    }
    await removeAll();
    assert.deepEqual([...folders()].sort(), [...held.values()].map((directory) => basename(dirname(directory))).sort());
    await uses.close();
  });

  test('what was removed is made again, to the same digest', async () => {
    const source = await makeApp([['index.js', 'back']]);
    const first = await stageApp(source);
    await makeOld(folderOf(first));
    assert.ok((await removeAll()).includes(first.digest));
    assert.equal(await useApp(folderOf(first), first.directory), false);
    assert.deepEqual(await stageApp(source), first);
    assert.ok(existsSync(first.directory));
  });

  test('what was just used, or is being built, stays; and so does what is not ours', async () => {
    const fresh = await stageApp(await makeApp([['index.js', 'fresh']]));
    const busy = await stageApp(await makeApp([['index.js', 'busy']]));
    await mkdir(join(apps, 'notes'), { recursive: true });
    await makeOld(join(apps, 'notes'));
    await inBuildFolder(folderOf(busy), async () => {
      await makeOld(folderOf(busy));
      await removeAll();
    });
    for (const staged of [fresh, busy]) assert.ok(existsSync(staged.directory));
    assert.ok(existsSync(join(apps, 'notes')));
  });

  test('more than a slice is removed slice by slice, nothing of it is left', async () => {
    await removeAll();
    for (let n = 0; n < 40; n += 1) {
      const folder = join(apps, n.toString(16).padStart(64, '0'));
      await mkdir(folder);
      await makeOld(folder);
    }
    const first = await removeUnusedApps(apps, EVERYTHING, never);
    assert.deepEqual([first.removed.length, first.more], [32, true]);
    assert.equal((await removeAll()).length, 8);
    assert.deepEqual(
      readdirSync(apps).filter((name) => name.startsWith('.') || name.startsWith('00')),
      [],
    );
    assert.deepEqual(readdirSync(join(cache, 'locks')), []);
  });
});
