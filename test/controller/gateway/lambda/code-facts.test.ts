import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { CodeFactsCache } from '../../../../src/controller/gateway/lambda/code-facts.ts';
import type { FunctionVersion } from '../../../../src/registry/function-version.ts';
import { functionConfig } from '../../../support/scripted-guests.ts';

const FILES = 300;

function createApp(context: TestContext): { readonly path: string; readonly fn: FunctionVersion } {
  const path = mkdtempSync(join(tmpdir(), 'snapfaas-facts-'));
  context.after(() => rmSync(path, { recursive: true }));
  for (let n = 0; n < FILES; n += 1) {
    mkdirSync(join(path, `d${n % 7}`), { recursive: true });
    writeFileSync(join(path, `d${n % 7}`, `${n}.js`), 'x'.repeat(n));
  }
  return { path, fn: functionConfig('app', { runtime: 'python3', appfs: { kind: 'directory', path } }) };
}

test('code facts: others have their turn while many files are looked at, and it is done once', async (context) => {
  const { fn } = createApp(context);
  const facts = new CodeFactsCache('host');
  let turns = 0;
  let isDone = false;
  const count = (): void => {
    turns += 1;
    if (!isDone) setImmediate(count);
  };
  setImmediate(count);
  const [first, second] = await Promise.all([facts.of(fn), facts.of(fn)]);
  isDone = true;
  assert.ok(turns >= FILES, `${turns} turns`);
  assert.equal(first, second);
  assert.equal(first, await facts.of(fn));
  assert.equal(first.bytes, (FILES * (FILES - 1)) / 2);
  assert.match(first.runtime, /^python3(\.\d+)?$/);
});

test('code facts: the digest is that of the files, whoever asks, and another one for other files', async (context) => {
  const { path, fn } = createApp(context);
  const ask = (): ReturnType<CodeFactsCache['of']> => new CodeFactsCache('host').of(fn);
  const before = await ask();
  assert.deepEqual(await ask(), before);
  const time = new Date('2031-02-03T04:05:06Z');
  utimesSync(join(path, 'd1', '1.js'), time, time);
  const after = await ask();
  assert.notEqual(after.sha256, before.sha256);
  assert.deepEqual(after.modified, time);
});

test('code facts: a function without files has none', async () => {
  const fn = functionConfig('gone', { runtime: 'nodejs', appfs: { kind: 'image', path: '/nonexistent' } });
  assert.equal((await new CodeFactsCache('images').of(fn)).bytes, 0);
});
