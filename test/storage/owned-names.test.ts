import assert from 'node:assert/strict';
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import fc from 'fast-check';
import { OwnedNames } from '../../src/storage/owned-names.ts';
import { ourselves, ownerFromTag, ownerTag } from '../../src/storage/owner.ts';

const NAMES = new OwnedNames('.snapfaas-test-');
/** No process has this id. */
const DEAD = '4194305-17';

describe('owned names', () => {
  let directory: string;
  beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'snapfaas-names-'))));
  afterEach(() => rmSync(directory, { recursive: true }));
  const add = (...names: readonly string[]): void => {
    for (const name of names) mkdirSync(join(directory, name, 'inner'), { recursive: true });
  };

  test('what processes have left that are gone is removed, files and directories, with what is in them', async () => {
    const abandoned = [`.snapfaas-test-${DEAD}`, `.snapfaas-test-${DEAD}-1f.x`, `.snapfaas-test-${process.pid}-1-a`];
    add(...abandoned);
    writeFileSync(join(directory, `.snapfaas-test-${DEAD}-file`), '');
    const ours = [await NAMES.make(), await NAMES.make('rest-1')];
    add(...ours);
    assert.deepEqual(
      [...(await NAMES.removeAbandoned(directory))].sort(),
      [...abandoned, `.snapfaas-test-${DEAD}-file`].sort(),
    );
    assert.deepEqual(readdirSync(directory).sort(), ours.sort());
  });

  test('names of others are left alone, however much they look like ours', async () => {
    const others = [
      '2024-05-01',
      '7-keepme',
      DEAD,
      `${DEAD}-x`,
      `test-${DEAD}`,
      `snapfaas-test-${DEAD}`,
      `.snapfaas-${DEAD}`,
      `.snapfaas-other-${DEAD}`,
      `x.snapfaas-test-${DEAD}`,
      `.snapfaas-test-${DEAD}x`,
      `.snapfaas-test-${DEAD}-`,
      `.snapfaas-test-${DEAD}-of_a person`,
      `.snapfaas-test-${DEAD}\n`,
      '.snapfaas-test-4194305',
      '.snapfaas-test-04194305-17',
      '.snapfaas-test-0-17',
      '.snapfaas-test-4194305-017',
      '.snapfaas-test--17',
      '.snapfaas-test-4194305-17.bak',
      '.snapfaas-test-41943050000-17',
      '.SNAPFAAS-test-4194305-17',
    ];
    add(...others);
    assert.deepEqual(await NAMES.removeAbandoned(directory), []);
    assert.deepEqual(readdirSync(directory).sort(), others.sort());
  });

  test('a symbolic link is left alone, and so is what it leads to', async () => {
    add('precious');
    symlinkSync('precious', join(directory, `.snapfaas-test-${DEAD}`));
    symlinkSync('nothing', join(directory, `.snapfaas-test-${DEAD}-dangling`));
    assert.deepEqual(await NAMES.removeAbandoned(directory), []);
    assert.equal(readdirSync(directory).length, 3);
  });

  test('a link inside of what is removed is not followed', async () => {
    add('precious', `.snapfaas-test-${DEAD}`);
    symlinkSync(join(directory, 'precious'), join(directory, `.snapfaas-test-${DEAD}`, 'link'));
    await NAMES.removeAbandoned(directory);
    assert.deepEqual(readdirSync(directory), ['precious']);
    assert.ok(existsSync(join(directory, 'precious/inner')));
  });

  test(
    "another user's is left alone, whatever its name says",
    { skip: process.getuid?.() !== 0 && 'only root can give files away' },
    async () => {
      add(`.snapfaas-test-${DEAD}`);
      chownSync(join(directory, `.snapfaas-test-${DEAD}`), 12_345, 12_345);
      assert.deepEqual(await NAMES.removeAbandoned(directory), []);
      assert.equal(readdirSync(directory).length, 1);
    },
  );

  test('a name tells its owner, and nothing but such a name has one', async () => {
    assert.deepEqual(NAMES.ownerOf(await NAMES.make('a.b-c')), await ourselves());
    const pid = fc.integer({ min: 1, max: 4_194_304 });
    const started = fc.oneof(fc.constant(null), fc.integer({ min: 1 }).map(String));
    fc.assert(
      fc.property(pid, started, (...of) => {
        const owner = { pid: of[0], started: of[1] };
        assert.deepEqual(ownerFromTag(ownerTag(owner)), owner);
      }),
    );
    fc.assert(
      fc.property(fc.string(), (name) => {
        const found = ownerFromTag(name);
        if (found !== null) assert.match(name, /^\d+-\d+(-|$)/);
      }),
    );
  });
});
