/** What to do when the memory of VMs cannot be written: the setting is named that helps. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openPrivate } from '../../../src/firerunner/snapshots/private-memory.ts';

const failure = (code: string): Error => Object.assign(new Error(`${code}: no`), { code, syscall: 'write' });

for (const code of ['ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'ENOTDIR', 'EIO']) {
  for (const [isNamed, setting, others] of [
    [true, /chroot_base/, /snapshot_dir|TMPDIR/],
    [false, /snapshot_dir/, /chroot_base|TMPDIR/],
  ] as const) {
    test(`${code} where VMs are ${isNamed ? '' : 'not '}jailed`, async () => {
      const directory = mkdtempSync(join(tmpdir(), 'snapfaas-private-'));
      try {
        await assert.rejects(
          openPrivate({ directory, isNamed }, () => Promise.reject(failure(code))),
          (error: Error) => {
            assert.match(error.message, setting);
            assert.doesNotMatch(error.message, others);
            assert.ok(error.message.includes(directory));
            return true;
          },
        );
        assert.deepEqual(readdirSync(directory), []);
      } finally {
        rmSync(directory, { recursive: true });
      }
    });
  }
}

test('a full directory for temporary files, which takes the place of one that cannot be written to', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-private-'));
  try {
    writeFileSync(join(directory, 'file'), '');
    const place = { directory: join(directory, 'file'), isNamed: false };
    await assert.rejects(
      openPrivate(place, () => Promise.reject(failure('ENOSPC'))),
      { message: /no space is left; free space there, or set TMPDIR to a directory on another file system/ },
    );
  } finally {
    rmSync(directory, { recursive: true });
  }
});
