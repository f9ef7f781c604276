import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { removeLockLeftovers, withFreeLock, withLock } from '../../src/storage/lock.ts';

const STRANGER = 12_345;
const NOT_ROOT = process.getuid?.() !== 0 && 'only root can give files away';

describe('lock', { timeout: 20_000 }, () => {
  let directory: string;
  let lock: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'snapfaas-lock-'));
    lock = join(directory, 'lock');
  });
  afterEach(() => rmSync(directory, { recursive: true }));
  const take = (): Promise<string> =>
    withLock(lock, () => Promise.resolve('ran'), { signal: AbortSignal.timeout(500) });

  test('one holds it at a time; nothing is left', async () => {
    let holders = 0;
    const work = async (): Promise<void> => {
      assert.equal(++holders, 1);
      assert.equal(await withFreeLock(lock, () => Promise.reject(new Error('it is held'))), false);
      holders -= 1;
    };
    await Promise.all([withLock(lock, work), withLock(lock, work), withLock(lock, work)]);
    assert.deepEqual(readdirSync(directory), []);
  });

  for (const [what, text] of [
    ['a process that is gone', '4194305 17'],
    ['an earlier process of the same id', `${process.pid} 1`],
    ['nobody, as power failures leave it', ''],
    ['what is no process', 'of a person'],
  ] as const) {
    test(`of ${what}: it is broken`, async () => {
      writeFileSync(lock, text);
      assert.equal(await take(), 'ran');
      assert.deepEqual(readdirSync(directory), []);
    });
  }

  test('of a process that lives: it is waited for, until the caller does not want to any more', async () => {
    await withLock(lock, () => assert.rejects(take(), { name: 'AbortError' }));
    assert.equal(await take(), 'ran');
  });

  for (const name of ['lock', 'lock.breaker']) {
    test(
      `a ${name} that another user has made in a directory for all is refused at once`,
      { skip: NOT_ROOT },
      async () => {
        chmodSync(directory, 0o1777);
        writeFileSync(lock, '4194305 17');
        // A process that lives, and a time that never comes.
        writeFileSync(join(directory, name), '1');
        chownSync(join(directory, name), STRANGER, STRANGER);
        utimesSync(join(directory, name), 9e9, 9e9);
        await assert.rejects(take(), {
          name: 'DirectoryError',
          message: `the lock ${join(directory, name)} was made by user ${STRANGER}; remove it, or use a directory of your own`,
        });
      },
    );
  }

  test("a directory's owner may lock it, whoever we are", { skip: NOT_ROOT }, async () => {
    for (const path of [directory, lock]) {
      if (path === lock) writeFileSync(lock, '4194305 17');
      chownSync(path, STRANGER, STRANGER);
    }
    assert.equal(await take(), 'ran');
  });

  for (const [what, make] of [
    ['a link', (path: string) => symlinkSync('elsewhere', path)],
    ['a pipe', (path: string) => execFileSync('mkfifo', [path])],
  ] as const) {
    test(`${what} in its place is refused, not followed and not waited for`, async () => {
      writeFileSync(join(directory, 'elsewhere'), '4194305 17');
      make(lock);
      await assert.rejects(take(), /^DirectoryError: the lock \S+ is no file; remove it/);
      assert.deepEqual(readdirSync(directory).sort(), ['elsewhere', 'lock']);
    });
  }

  test('leftovers are what killed processes made beside it, and nothing else', async () => {
    const gone = ['lock.4194305-17-x', `lock.${process.pid}-1-x`];
    const kept = ['lock.bak', 'lock.2024-05-01', 'lock.4194305-17.orig', 'lock2.4194305-17-x', 'x.lock.4194305-17-x'];
    for (const name of [...gone, ...kept]) writeFileSync(join(directory, name), '');
    symlinkSync('lock.bak', join(directory, 'lock.4194306-17-x'));
    await removeLockLeftovers(lock);
    assert.deepEqual(readdirSync(directory).sort(), [...kept, 'lock.4194306-17-x'].sort());
  });
});
