import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { NotRegularError, readRegular, readRegularSync } from '../../src/storage/regular-file.ts';

test('regular file: it is read, also by a link, and a FIFO that nobody writes to is refused at once', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-regular-'));
  const [file, link, fifo] = [join(directory, 'file'), join(directory, 'link'), join(directory, 'fifo')];
  try {
    writeFileSync(file, 'text');
    symlinkSync(file, link);
    execFileSync('mkfifo', [fifo]);
    for (const path of [file, link]) {
      assert.equal((await readRegular(path)).toString(), 'text');
      assert.equal(readRegularSync(path).toString(), 'text');
    }
    for (const path of [fifo, directory]) {
      await assert.rejects(readRegular(path), NotRegularError);
      assert.throws(() => readRegularSync(path), NotRegularError);
    }
    await assert.rejects(readRegular(join(directory, 'none')), { code: 'ENOENT' });
  } finally {
    rmSync(directory, { recursive: true });
  }
});
