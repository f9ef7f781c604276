/** The live page as `npm run build` makes it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { PROJECT_ROOT } from '../support/snapctr.ts';

const MAX_SCRIPT_BYTES = 150_000;

test('the live page: its script is small, it names its own files only, and nothing of it is inline', () => {
  execFileSync(process.execPath, [join(PROJECT_ROOT, 'scripts', 'build-page.mjs')]);
  const page = join(PROJECT_ROOT, 'dist', 'ui', 'page');
  const names = readdirSync(page);
  const scripts = names.filter((name) => name.endsWith('.js'));
  assert.equal(scripts.length, 1);
  const bytes = scripts.reduce((sum, name) => sum + gzipSync(readFileSync(join(page, name))).length, 0);
  assert.ok(bytes <= MAX_SCRIPT_BYTES, `${bytes} bytes`);
  const html = readFileSync(join(page, 'index.html'), 'utf8');
  const named = [...html.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, path = '']) => path);
  assert.deepEqual(
    named.map((path) => path.replace('/ui/', '')).sort(),
    names.filter((name) => name !== 'index.html').sort(),
  );
  assert.doesNotMatch(html, /<script>|<style|\son\w+=|style=/);
});
