import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, test } from 'node:test';
import fc from 'fast-check';
import { PackageStore } from '../../src/packages/store.ts';
import { temporaryDirectory } from '../images/temporary.ts';

async function* parts(...texts: readonly string[]): AsyncGenerator<Buffer> {
  for (const text of texts) yield await Promise.resolve(Buffer.from(text));
}

async function* breakingOff(): AsyncGenerator<Buffer> {
  yield Buffer.from('half');
  throw await Promise.resolve(new Error('the client is gone'));
}

const digest = (text: string): string => createHash('sha256').update(text).digest('hex');

describe('package store', () => {
  const limits = { maxBytes: 10, quotaBytes: 20 };
  let directory: string;
  let store: PackageStore;
  beforeEach(async () => {
    directory = join(await temporaryDirectory(), 'packages');
    store = await PackageStore.open(directory, limits);
  });
  const keep = async (text: string): Promise<string> => {
    const received = await store.receive(parts(text));
    await received.keep();
    return received.sha256;
  };

  test('a package has its name only when it is kept, and once', async () => {
    const received = await store.receive(parts('abc', 'def'));
    assert.deepEqual([received.sha256, received.bytes], [digest('abcdef'), 6]);
    assert.equal(store.has(received.sha256), false);
    await received.keep();
    assert.equal(readFileSync(store.pathOf(received.sha256), 'utf8'), 'abcdef');
    await received.discard();
    assert.equal(await keep('abcdef'), received.sha256);
    assert.deepEqual([readdirSync(directory).length, store.usedBytes], [1, 6]);
  });

  test('what is empty, too large, broken off, called off or discarded leaves nothing', async () => {
    await assert.rejects(store.receive(parts()), { code: 'empty' });
    await assert.rejects(store.receive(parts('abcdef', 'ghijk')), { code: 'too_large' });
    await assert.rejects(store.receive(breakingOff()), /the client is gone/);
    await assert.rejects(store.receive(parts('a'), AbortSignal.abort()), { name: 'AbortError' });
    const received = await store.receive(parts('abc'));
    await received.discard();
    await received.discard();
    assert.deepEqual([readdirSync(directory), store.usedBytes], [[], 0]);
  });

  test('takes no more than its quota, also of those that come at once, and again when something is removed', async () => {
    const first = await keep('aaaaaaaaaa');
    const received = await store.receive(parts('bbbbbbb'));
    await assert.rejects(store.receive(parts('cccc')), { code: 'store_full' });
    await received.discard();
    await store.release(first);
    const third = await keep('cccc');
    assert.equal(readFileSync(store.pathOf(third), 'utf8'), 'cccc');
  });

  test('what a process that is gone was receiving is removed, and what nobody holds after that', async () => {
    const held = await keep('held');
    await keep('unheld');
    writeFileSync(join(directory, '.snapfaas-package-999999999-1-x'), 'half');
    const next = await PackageStore.open(directory, limits);
    next.hold(held);
    assert.deepEqual(await next.removeAllUnheld(), [digest('unheld')]);
    assert.deepEqual([readdirSync(directory), next.usedBytes], [[`${held}.zip`], 4]);
  });

  test('whoever holds and releases, in whatever order, a package is there exactly as long as it is held', async () => {
    const steps = fc.array(fc.tuple(fc.constantFrom('a', 'b'), fc.constantFrom('keep', 'hold', 'release')), {
      maxLength: 20,
    });
    await fc.assert(
      fc.asyncProperty(steps, async (asked) => {
        const own = await PackageStore.open(join(await temporaryDirectory(), 'packages'), limits);
        const holders = new Map<string, number>();
        // All at once: what is kept again while it is being removed is there.
        const done: Promise<void>[] = [];
        for (const [text, what] of asked) {
          const count = holders.get(text) ?? 0;
          if (what !== 'keep' && count === 0) continue;
          holders.set(text, count + (what === 'release' ? -1 : 1));
          if (what === 'hold') own.hold(digest(text));
          else if (what === 'release') done.push(own.release(digest(text)));
          else {
            await Promise.resolve();
            const received = await own.receive(parts(text));
            done.push(received.keep());
          }
        }
        await Promise.all(done);
        for (const text of ['a', 'b']) {
          const isThere = readdirSync(join(own.pathOf('x'), '..')).includes(`${digest(text)}.zip`);
          assert.equal(isThere, (holders.get(text) ?? 0) > 0, text);
          assert.equal(own.has(digest(text)), isThere);
        }
      }),
      { numRuns: 50 },
    );
  });
});
