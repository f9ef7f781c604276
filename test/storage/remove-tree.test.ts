import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { removeTree } from '../../src/storage/remove-tree.ts';

const root = mkdtempSync(join(tmpdir(), 'snapfaas-test-'));
after(() => rmSync(root, { recursive: true }));

test('removing a tree: all of it goes, links are not followed, and what is not there is no error', async () => {
  const [kept, tree] = [join(root, 'kept'), join(root, 'tree')];
  mkdirSync(kept);
  writeFileSync(join(kept, 'file'), '');
  for (let i = 0; i < 100; i += 1) {
    mkdirSync(join(tree, `${i % 10}`, 'inner', `${i}`), { recursive: true });
    writeFileSync(join(tree, `${i % 10}`, `${i}`), '');
  }
  symlinkSync(kept, join(tree, 'directory'));
  symlinkSync('nothing', join(tree, 'dangling'));
  await removeTree(tree);
  assert.equal(existsSync(tree), false);
  assert.deepEqual(readdirSync(kept), ['file']);

  symlinkSync(kept, tree);
  await removeTree(tree);
  await removeTree(tree);
  await removeTree(join(kept, 'file'));
  assert.deepEqual([readdirSync(root), readdirSync(kept)], [['kept'], []]);
  await assert.rejects(removeTree(join('/proc', String(process.pid), 'status')), { code: /^(EPERM|EACCES|ENOTDIR)$/ });
});

test('removing a tree: the event loop goes on, however many files there are', async () => {
  const tree = join(root, 'many');
  mkdirSync(tree);
  const files = 3200;
  for (let i = 0; i < files; i += 1) writeFileSync(join(tree, `${i}`), '');
  let turns = 0;
  const count = (): void => {
    turns += 1;
    if (existsSync(tree)) setImmediate(count);
  };
  setImmediate(count);
  await removeTree(tree);
  // At least one for each lot that is removed at once.
  assert.ok(turns >= files / 32, String(turns));
});
