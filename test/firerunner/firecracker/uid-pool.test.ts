/** Users for jailed VMs: one for each, also among several firerunners. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { UidPool } from '../../../src/firerunner/firecracker/uid-pool.ts';

describe('uid pool', () => {
  let directory: string;
  beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'snapfaas-uids-'))));
  afterEach(() => rmSync(directory, { recursive: true }));

  test('gives each VM a user of its own, and says when the range is used up', async () => {
    const pool = new UidPool(directory, 100_000, 3);
    const [first, ...others] = await Promise.all([pool.take(), pool.take(), pool.take()]);
    assert.deepEqual([first, ...others].map(({ uid }) => uid).sort(), [100_000, 100_001, 100_002]);
    await assert.rejects(pool.take(), { message: /all 3 users of `uid_range` 100000-100002 are taken/ });
    await first.release();
    assert.equal((await pool.take()).uid, first.uid);
  });

  test('a user that was given back is used last', async () => {
    const pool = new UidPool(directory, 100_000, 3);
    const first = await pool.take();
    await first.release();
    assert.notEqual((await pool.take()).uid, first.uid);
  });

  test('leaves alone the users of another process that runs', async () => {
    const started = startTime(process.ppid);
    writeFileSync(join(directory, `100000-${process.ppid}-${started}`), '');
    const pool = new UidPool(directory, 100_000, 2);
    assert.equal((await pool.take()).uid, 100_001);
    await assert.rejects(pool.take(), /are taken/);
  });

  test('takes over, and removes, the users of a process that is gone', async () => {
    const { pid } = spawnSync('true');
    writeFileSync(join(directory, `100000-${pid}-1`), '');
    const pool = new UidPool(directory, 100_000, 1);
    await pool.removeLeftovers();
    assert.deepEqual(readdirSync(directory), []);
    assert.equal((await pool.take()).uid, 100_000);
  });

  test('closing gives every user back', async () => {
    const pool = new UidPool(directory, 100_000, 8);
    await Promise.all([pool.take(), pool.take()]);
    assert.equal(readdirSync(directory).length, 2);
    await pool.close();
    assert.deepEqual(readdirSync(directory), []);
  });
});

function startTime(pid: number): string {
  const { stdout } = spawnSync('cat', [`/proc/${pid}/stat`], { encoding: 'utf8' });
  return stdout.slice(stdout.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}
