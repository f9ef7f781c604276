import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { ProbeCache, type ProbeKey, type Keep } from '../../../src/firerunner/probes/cache.ts';
import { unusable, usable, type ProbeResult } from '../../../src/firerunner/probes/result.ts';

const GOOD = usable('it ran');
const BAD = unusable('it failed', 'mend it');

describe('probe cache', () => {
  let place: string;
  let directory: string;
  let guest: string;
  beforeEach(() => {
    place = mkdtempSync(join(tmpdir(), 'snapfaas-probes-'));
    directory = join(place, 'not', 'there', 'yet');
    guest = join(place, 'vmlinux');
    writeFileSync(guest, 'kernel');
  });
  afterEach(() => rmSync(place, { recursive: true }));

  const find = async (
    use: 'reuse' | 'renew',
    found: ProbeResult,
    { files = [guest], facts = [], keep = 'boot' }: Partial<ProbeKey & { readonly keep: Keep }> = {},
  ): Promise<[ProbeResult, boolean]> => {
    let isNew = false;
    const result = await new ProbeCache(use, directory).find('kvm', { files, facts }, () => {
      isNew = true;
      return Promise.resolve({ result: found, keep });
    });
    return [result, isNew];
  };

  test('finds out once, then tells the same with the file it is kept in', async () => {
    assert.deepEqual(await find('reuse', BAD), [BAD, true]);
    const [kept, isNew] = await find('reuse', GOOD);
    const [name = ''] = readdirSync(directory);
    assert.equal(isNew, false);
    assert.deepEqual([kept.usable, kept.remedy], [false, 'mend it']);
    assert.equal(
      kept.finding,
      `it failed (found out earlier and kept in ${join(directory, name)}; "snapctr doctor" tries again)`,
    );
  });

  test('a guest that has changed is another one', async () => {
    await find('reuse', BAD);
    utimesSync(guest, 1, 1);
    assert.deepEqual(await find('reuse', GOOD), [GOOD, true]);
    writeFileSync(guest, 'another kernel');
    assert.deepEqual(await find('reuse', GOOD), [GOOD, true]);
  });

  test('other settings are another case', async () => {
    await find('reuse', BAD, { facts: ['a', 'b'] });
    assert.deepEqual(await find('reuse', GOOD, { facts: ['ab', ''] }), [GOOD, true]);
    assert.deepEqual(await find('reuse', GOOD, { facts: ['a'] }), [GOOD, true]);
    assert.equal((await find('reuse', GOOD, { facts: ['a', 'b'] }))[1], false);
  });

  test('what a busy host may have caused is found out again after ten minutes', async (t) => {
    const now = 1_800_000_000_000;
    t.mock.timers.enable({ apis: ['Date'], now });
    await find('reuse', BAD, { keep: 'briefly' });
    t.mock.timers.setTime(now + 10 * 60_000 - 1);
    assert.equal((await find('reuse', GOOD))[1], false);
    t.mock.timers.setTime(now + 10 * 60_000);
    assert.deepEqual(await find('reuse', GOOD, { keep: 'briefly' }), [GOOD, true]);
    t.mock.timers.setTime(now);
    assert.deepEqual(await find('reuse', BAD), [BAD, true], 'a clock that was set back');
    t.mock.timers.setTime(now + 365 * 86_400_000);
    assert.equal((await find('reuse', GOOD))[1], false, 'what the host did not cause holds for the boot');
  });

  test('what is not to be kept is not, and what was kept before goes', async () => {
    await find('reuse', GOOD);
    assert.deepEqual(await find('renew', BAD, { keep: 'never' }), [BAD, true]);
    assert.deepEqual(readdirSync(directory), []);
    assert.deepEqual(await find('reuse', GOOD), [GOOD, true]);
  });

  test('renewing finds out again, and later starts are told the new result', async () => {
    await find('reuse', BAD);
    assert.deepEqual(await find('renew', GOOD), [GOOD, true]);
    const [kept, isNew] = await find('reuse', BAD);
    assert.deepEqual([kept.usable, isNew], [true, false]);
    assert.equal(readdirSync(directory).length, 1);
  });

  test('the name holds the boot of the host; results of earlier boots are removed', async () => {
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, 'kvm-11111111-2222-3333-4444-555555555555-0123456789ab.json'), JSON.stringify(GOOD));
    writeFileSync(join(directory, 'notes.json'), 'of a person');
    assert.deepEqual(await find('reuse', BAD), [BAD, true]);
    assert.equal(readFileSync(join(directory, 'notes.json'), 'utf8'), 'of a person');
    rmSync(join(directory, 'notes.json'));
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const names = readdirSync(directory);
    assert.equal(names.length, 1);
    assert.match(names[0] ?? '', new RegExp(`^kvm-${boot}-[0-9a-f]{12}\\.json$`));
  });

  test('a damaged file, and files that are not there, make it find out', async () => {
    await find('reuse', BAD);
    const [name = ''] = readdirSync(directory);
    for (const damaged of ['', '{"usable":', 'null', '[]', '{"usable":1,"finding":"x"}', '{"usable":true}']) {
      writeFileSync(join(directory, name), damaged);
      assert.deepEqual(await find('reuse', GOOD), [GOOD, true], damaged);
    }
    const missing = [join(place, 'nowhere')];
    assert.deepEqual(await find('reuse', BAD, { files: missing }), [BAD, true]);
    assert.deepEqual(await find('reuse', GOOD, { files: missing }), [GOOD, true]);
  });

  test('a directory that cannot be written costs only the keeping', async () => {
    writeFileSync(join(place, 'not'), 'a file in the way');
    assert.deepEqual(await find('reuse', BAD), [BAD, true]);
    assert.deepEqual(await find('reuse', GOOD), [GOOD, true]);
  });
});
