import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { buildContainer } from '../../src/builder/container.ts';
import { temporaryDirectory } from '../images/temporary.ts';
import { makeTar, writeLayout } from '../support/container-images.ts';

let place: string;
let before: string | undefined;
beforeEach(async () => {
  place = await temporaryDirectory();
  before = process.env['XDG_CACHE_HOME'];
  process.env['XDG_CACHE_HOME'] = join(place, 'cache');
});
afterEach(() => {
  if (before === undefined) delete process.env['XDG_CACHE_HOME'];
  else process.env['XDG_CACHE_HOME'] = before;
});

const attributesOf = (directory: string): string | null => {
  try {
    return execFileSync('lsattr', ['-d', directory], { encoding: 'utf8', stdio: 'pipe' }).split(' ')[0] ?? null;
  } catch {
    return null;
  }
};

test('container: images are made in directories that ext4 keeps apart from each other', async (t) => {
  const layout = join(place, 'layout');
  writeLayout(layout, { layers: [makeTar([{ path: 'bootstrap', content: '#!/bin/sh\n', mode: 0o755 }])] });
  const observer = { onProgress: () => undefined, onNote: () => undefined };
  const { path } = await buildContainer(`oci:${layout}`, observer, new AbortController().signal);
  assert.ok(existsSync(path));
  const attributes = attributesOf(dirname(dirname(path)));
  if (attributes === null || !attributesOf(place)?.includes('e')) return t.skip('this is no ext4');
  assert.match(attributes, /T/);
});
