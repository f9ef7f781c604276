import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, test } from 'node:test';
import { PackageStore } from '../../src/packages/store.ts';
import { temporaryDirectory } from '../images/temporary.ts';

async function* parts(...texts: readonly string[]): AsyncGenerator<Buffer> {
  for (const text of texts) yield await Promise.resolve(Buffer.from(text));
}

async function* breakingOff(): AsyncGenerator<Buffer> {
  yield Buffer.from('half');
  throw await Promise.resolve(new Error('the client is gone'));
}

describe('package store', () => {
  let directory: string;
  let store: PackageStore;
  beforeEach(async () => {
    directory = join(await temporaryDirectory(), 'packages');
    store = new PackageStore(directory, { maxBytes: 10, quotaBytes: 20 });
  });

  test('keeps a package by its content, once', async () => {
    const hash = createHash('sha256').update('abcdef').digest();
    const stored = await store.add(parts('abc', 'def'));
    const path = join(directory, `${hash.toString('hex')}.zip`);
    assert.deepEqual(stored, { path, sha256: hash.toString('hex'), codeSha256: hash.toString('base64'), bytes: 6 });
    assert.equal(readFileSync(path, 'utf8'), 'abcdef');
    assert.deepEqual(await store.add(parts('abcdef')), stored);
    assert.equal(readdirSync(directory).length, 1);
  });

  test('what is empty, too large, broken off or called off leaves nothing', async () => {
    await assert.rejects(store.add(parts()), { code: 'empty' });
    await assert.rejects(store.add(parts('abcdef', 'ghijk')), { code: 'too_large' });
    await assert.rejects(store.add(breakingOff()), /the client is gone/);
    await assert.rejects(store.add(parts('a'), AbortSignal.abort()), { name: 'AbortError' });
    assert.deepEqual(readdirSync(directory), []);
  });

  test('takes no more than its quota, and again when something is removed', async () => {
    const { sha256 } = await store.add(parts('aaaaaaaaaa'));
    const other = await store.add(parts('bbbbbbb'));
    await assert.rejects(store.add(parts('cccc')), { code: 'store_full' });
    assert.deepEqual(await store.removeUnused(new Set([other.sha256]), 60_000), [], 'too young');
    assert.deepEqual(await store.removeUnused(new Set([other.sha256]), 0), [sha256]);
    await store.add(parts('cccc'));
    assert.deepEqual(readFileSync(store.pathOf(other.sha256), 'utf8'), 'bbbbbbb');
  });

  test('there may be nothing to remove yet', async () => {
    assert.deepEqual(await store.removeUnused(new Set(), 0), []);
  });
});
