import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { makeDirectory, makeWritableDirectory } from '../../src/storage/make-directory.ts';

const directory = mkdtempSync(join(tmpdir(), 'snapfaas-directories-'));
after(() => rmSync(directory, { recursive: true }));

test('a directory is made with those above it, and may be there already', async () => {
  const path = join(directory, 'a/b/c');
  await makeDirectory(path, 0o700);
  await makeDirectory(path, 0o700);
  assert.equal(statSync(path).mode & 0o777, 0o700);
});

test('what cannot be made says where, why and what to do', async () => {
  const file = join(directory, 'file');
  writeFileSync(file, '');
  for (const [path, reason] of [
    [file, 'a file is in its place'],
    [join(file, 'below'), 'a file is in its way'],
    // Node's own recursive mkdir never comes back from here.
    ['/proc/snapfaas/deep', 'nothing can be made there'],
  ] as const) {
    await assert.rejects(makeWritableDirectory(path, 'name another one'), (error) => {
      assert.ok(error instanceof Error);
      assert.equal(error.name, 'DirectoryError');
      assert.ok(error.message.startsWith(path), error.message);
      assert.ok(error.message.endsWith(`(${reason}); name another one`), error.message);
      return true;
    });
  }
});
