/** What every store of records does; `reopen` is what a restart is. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { RecordStore } from '../../src/registry/record-store.ts';
import { functionRecord } from './records.ts';

export interface StoreUnderTest {
  readonly store: RecordStore;
  readonly reopen: () => Promise<RecordStore>;
}

export function recordStoreContract(what: string, open: () => Promise<StoreUnderTest>): void {
  test(`${what}: what was put is there after a restart, by name, as it was`, async () => {
    const { store, reopen } = await open();
    const records = ['b', 'a', 'A-_9'].map((name) => functionRecord(name));
    for (const record of records) await store.functions.put(record);
    await store.functions.put(functionRecord('a', { tags: {} }));
    const layer = { name: 'a', versions: [], lastVersion: 7 };
    await store.layers.put(layer);
    const again = await reopen();
    const { records: found, damaged } = await again.functions.load();
    assert.deepEqual(found, [functionRecord('A-_9'), functionRecord('a', { tags: {} }), functionRecord('b')]);
    assert.deepEqual(damaged, []);
    assert.deepEqual(await again.layers.load(), { records: [layer], damaged: [] });
  });

  test(`${what}: what was deleted is gone, and may be deleted again`, async () => {
    const { store, reopen } = await open();
    await store.functions.put(functionRecord('a'));
    await store.functions.delete('a');
    await store.functions.delete('a');
    await store.functions.delete('never');
    assert.deepEqual((await (await reopen()).functions.load()).records, []);
  });

  test(`${what}: after any changes there is what was put last under each name`, async () => {
    const name = fc.constantFrom('a', 'b', 'c');
    const change = fc.oneof(fc.record({ name, tag: fc.string({ unit: 'grapheme' }) }), fc.record({ name }));
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 12 }), async (changes) => {
        const { store, reopen } = await open();
        const expected = new Map<string, string>();
        for (const one of changes) {
          if ('tag' in one) {
            expected.set(one.name, one.tag);
            await store.functions.put(functionRecord(one.name, { tags: { tag: one.tag } }));
          } else {
            expected.delete(one.name);
            await store.functions.delete(one.name);
          }
        }
        const { records } = await (await reopen()).functions.load();
        assert.deepEqual(
          new Map(records.map((record) => [record.name, record.tags['tag']])),
          new Map([...expected].sort()),
        );
      }),
      { numRuns: 20 },
    );
  });
}
