import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { without } from '../../src/control/changes.ts';
import { ControlError, hostFailed } from '../../src/control/control-error.ts';
import { openDataDirectory } from '../../src/control/data-directory.ts';
import { openRecordFiles, RecordStoreError } from '../../src/registry/record-files.ts';
import { temporaryDirectory } from '../images/temporary.ts';
import { oneByOne } from '../support/one-by-one.ts';
import { recordStoreContract } from './record-store.contract.ts';
import { functionRecord } from './records.ts';

recordStoreContract('record files', async () => {
  const directory = await temporaryDirectory();
  const reopen = () => openRecordFiles(directory);
  return { store: await reopen(), reopen };
});

const DAMAGES: readonly (readonly [what: string, text: string, words: RegExp])[] = [
  ['nothing', '', /is damaged: Unexpected end/],
  ['half of it', JSON.stringify(functionRecord('f')).slice(0, 300), /is damaged: /],
  ['zeros, as after a crash', '\0'.repeat(512), /is damaged: /],
  ['another value', '[]', /is damaged: the record: .*expected object/],
  ['a member of another type', JSON.stringify({ ...functionRecord('f'), lastNumber: 'x' }), /lastNumber/],
  ['a member that is missing', JSON.stringify({ ...functionRecord('f'), aliases: undefined }), /aliases/],
  ['a member of a release to come', JSON.stringify({ ...functionRecord('f'), future: 1 }), /future/],
  ['no version at all', JSON.stringify({ ...functionRecord('f'), latest: null, wanted: null }), /neither/],
  [
    'a digest that leads elsewhere',
    JSON.stringify(functionRecord('f')).replaceAll('a'.repeat(64), '../../x'),
    /sha256/,
  ],
  ['the record of another', JSON.stringify(functionRecord('g')), /the record of another name, "g"/],
];

describe('damaged records', () => {
  for (const [what, text, words] of DAMAGES) {
    test(`${what}: the others are read, and it stays until it is deleted or put anew`, async () => {
      const directory = await temporaryDirectory();
      const store = await openRecordFiles(directory);
      await store.functions.put(functionRecord('ok'));
      const path = join(directory, 'functions', 'f.json');
      writeFileSync(path, text);
      const { records, damaged } = await store.functions.load();
      assert.deepEqual(records, [functionRecord('ok')]);
      assert.equal(damaged[0]?.name, 'f');
      assert.match(damaged[0].problem, words);
      assert.match(damaged[0].problem, /restore it from a copy/);
      await store.functions.delete('f');
      assert.equal(readFileSync(`${path}.damaged`, 'utf8'), text);
      assert.deepEqual((await store.functions.load()).damaged, []);
    });
  }

  test('what is no file of a record is left alone', async () => {
    const directory = await temporaryDirectory();
    const store = await openRecordFiles(directory);
    mkdirSync(join(directory, 'functions', 'directory.json'));
    for (const name of ['README', '.hidden.json', 'a b.json']) writeFileSync(join(directory, 'functions', name), 'x');
    const { records, damaged } = await store.functions.load();
    assert.deepEqual([records, damaged.map(({ name }) => name)], [[], ['directory']]);
  });
});

describe('the schema of records', () => {
  const write = (directory: string, text: string): void => writeFileSync(join(directory, 'registry.json'), text);

  test('one of a newer release is refused, and nothing is touched', async () => {
    const directory = await temporaryDirectory();
    write(directory, '{"schema": 2}');
    await assert.rejects(openRecordFiles(directory), (error: Error) => {
      assert.ok(error instanceof RecordStoreError);
      assert.match(error.message, /written by a newer snapctr \(schema 2, this one knows 1\)/);
      return true;
    });
    assert.deepEqual(readdirSync(directory), ['registry.json']);
  });

  test('one of an older release is migrated step by step, and what a crash came into is done again', async () => {
    const directory = await temporaryDirectory();
    await openRecordFiles(directory);
    const done: string[] = [];
    let crashes = true;
    const second = (): Promise<void> => {
      done.push('2 to 3');
      return crashes ? Promise.reject(new Error('killed')) : Promise.resolve();
    };
    const migrations = [() => Promise.resolve(void done.push('1 to 2')), second];
    await assert.rejects(openRecordFiles(directory, migrations), /killed/);
    crashes = false;
    await openRecordFiles(directory, migrations);
    await openRecordFiles(directory, migrations);
    assert.deepEqual(done, ['1 to 2', '2 to 3', '2 to 3']);
    assert.equal(readFileSync(join(directory, 'registry.json'), 'utf8'), '{"schema":3}');
  });

  test('records without a schema, or with one that says nothing, are not guessed at', async () => {
    const directory = await temporaryDirectory();
    const store = await openRecordFiles(directory);
    await store.functions.put(functionRecord('f'));
    for (const text of ['', '{}', '{"schema": 0}', '{"schema": "1"}', 'null']) {
      write(directory, text);
      await assert.rejects(openRecordFiles(directory), /registry\.json is damaged/);
    }
    execFileSync('rm', [join(directory, 'registry.json')]);
    await assert.rejects(openRecordFiles(directory), /registry\.json is missing/);
  });
});

test('a record of a release that knew no URLs has none', async () => {
  const directory = await temporaryDirectory();
  const store = await openRecordFiles(directory);
  const older = without(functionRecord('older'), 'urls');
  writeFileSync(join(directory, 'functions/older.json'), JSON.stringify(older));
  const { records, damaged } = await store.functions.load();
  assert.deepEqual([records, damaged], [[{ ...older, urls: {} }], []]);
});

test('a data directory is for one at a time', async () => {
  const directory = join(await temporaryDirectory(), 'data');
  const first = await openDataDirectory(directory);
  await assert.rejects(openDataDirectory(directory), /is used by another snapctr; name another one with --data-dir/);
  await first.close();
  await (await openDataDirectory(directory)).close();
  assert.deepEqual(readdirSync(directory).sort(), ['functions', 'layers', 'packages', 'registry.json', 'schedules']);
});

/** A file system of a few pages. */
function smallDisk(t: TestContext, directory: string): boolean {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', directory], { stdio: 'pipe' });
  } catch {
    t.skip('needs root and the right to mount a tmpfs');
    return false;
  }
  t.after(() => execFileSync('umount', [directory]));
  return true;
}

test('a full disk: whatever cannot be kept is refused, what was kept stays, and nothing half done is left', async (t) => {
  const directory = await temporaryDirectory();
  if (!smallDisk(t, directory)) return;
  const { records, packages, close } = await openDataDirectory(directory);
  await records.functions.put(functionRecord('f'));
  const freeBytes = (): number => statfsSync(directory).bfree * statfsSync(directory).bsize;
  // Leaves one page less each time, down to none: the write, the directory's new name or the package may be what fails.
  for (let round = 0; freeBytes() > 0; round += 1) {
    writeFileSync(join(directory, `ballast-${round}`), Buffer.alloc(4096));
    const large = functionRecord('f', { tags: { size: 'x'.repeat(20_000) } });
    const put = await records.functions.put(large).then(
      () => 'kept',
      (error: unknown) => (error as NodeJS.ErrnoException).code,
    );
    const { records: found, damaged } = await records.functions.load();
    assert.deepEqual([found.length, damaged], [1, []]);
    if (put === 'kept') assert.deepEqual(found, [large]);
    else assert.equal(put, 'ENOSPC');
    const received = await packages.receive(oneByOne([Buffer.alloc(20_000, round)])).then(
      (one) => one,
      (error: unknown) => (error as NodeJS.ErrnoException).code,
    );
    if (typeof received === 'object') await received.discard();
    else assert.equal(received, 'ENOSPC');
    const left = [...readdirSync(join(directory, 'functions')), ...readdirSync(join(directory, 'packages'))];
    assert.deepEqual(left, ['f.json']);
  }
  assert.equal(packages.usedBytes, 0);
  await close();
});

test('what the host refuses is an error that says so', async (t) => {
  const directory = await temporaryDirectory();
  if (!smallDisk(t, directory)) return;
  const { records, close } = await openDataDirectory(directory);
  const large = functionRecord('f', { tags: { size: 'x'.repeat(100_000) } });
  await assert.rejects(
    hostFailed(() => records.functions.put(large)),
    (error: unknown) => {
      assert.ok(error instanceof ControlError);
      assert.equal(error.code, 'host_failed');
      assert.match(error.message, /no space left on device/);
      return true;
    },
  );
  await close();
});
