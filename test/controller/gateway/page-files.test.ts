import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PageFiles } from '../../../src/controller/gateway/ui/page-files.ts';

test('page files: a page that was not built says what to do, and is there when it was; other names are refused', async (t) => {
  const place = mkdtempSync(join(tmpdir(), 'snapfaas-test-'));
  t.after(() => rmSync(place, { recursive: true }));
  const directory = join(place, 'ui');
  const files = new PageFiles(directory);
  await assert.rejects(files.answer('index.html', ''), { code: 'internal', message: /run "npm run build"/ });
  mkdirSync(directory);
  writeFileSync(join(directory, 'index.html'), '<!doctype html>');
  assert.equal((await files.answer('index.html', '')).status, 200);
  for (const name of ['../package.json', 'other.js', '']) {
    await assert.rejects(files.answer(name, ''), { code: 'bad_request' }, name);
  }
});
