/** What comes back from a jail whose VMM was broken into. */
import assert from 'node:assert/strict';
import { existsSync, linkSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { takeBack } from '../../../src/firerunner/firecracker/jail-files.ts';

describe('files from a jail', () => {
  let directory: string;
  const at = (name: string): string => join(directory, name);
  beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'snapfaas-jail-files-'))));
  afterEach(() => rmSync(directory, { recursive: true }));

  test('a new file is taken, and one that was linked stays where it is', async () => {
    writeFileSync(at('state.new'), 'state');
    await takeBack(at('state.new'), at('state'));
    assert.equal(readFileSync(at('state'), 'utf8'), 'state');
    writeFileSync(at('memory'), 'memory');
    linkSync(at('memory'), at('memory.new'));
    await takeBack(at('memory.new'), at('memory'));
    assert.equal(readFileSync(at('memory'), 'utf8'), 'memory');
  });

  test('a symbolic link is not followed, and not kept', async () => {
    writeFileSync(at('secret'), 'of the host');
    for (const target of ['state', 'memory']) {
      symlinkSync(at('secret'), at(`${target}.new`));
      await assert.rejects(takeBack(at(`${target}.new`), at(target)), { message: /something else than a file/ });
      assert.equal(existsSync(at(target)), false);
    }
    assert.equal(readFileSync(at('secret'), 'utf8'), 'of the host');
  });

  test('neither is one that would have to be copied from another file system', async () => {
    const elsewhere = mkdtempSync('/dev/shm/snapfaas-jail-files-');
    try {
      symlinkSync('/etc/hostname', join(elsewhere, 'state.new'));
      await assert.rejects(takeBack(join(elsewhere, 'state.new'), at('state')));
      assert.equal(existsSync(at('state')), false);
      writeFileSync(join(elsewhere, 'memory.new'), 'memory');
      await takeBack(join(elsewhere, 'memory.new'), at('memory'));
      assert.equal(readFileSync(at('memory'), 'utf8'), 'memory');
    } finally {
      rmSync(elsewhere, { recursive: true });
    }
  });
});
