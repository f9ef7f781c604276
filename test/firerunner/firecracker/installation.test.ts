/** Which Firecracker and jailer are taken, and what is said of those that are not. */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { findFirecracker } from '../../../src/firerunner/firecracker/installation.ts';
import type { JailerSettings } from '../../../src/protocol/runner.ts';

const JAILER: JailerSettings = {
  ...{ path: null, firstUid: 100_000, uidCount: 10, gid: null, chrootBase: '/srv/jailer', cgroup: {} },
};

describe('firecracker installation', () => {
  let directory: string;
  const program = (name: string, text: string, mode = 0o755): string => {
    const path = join(directory, name);
    writeFileSync(path, text);
    chmodSync(path, mode);
    return path;
  };
  const says = (line: string): string => `#!/bin/sh\necho '${line}'\necho\necho more\n`;
  const find = (path: string, jailer: JailerSettings | null = null): ReturnType<typeof findFirecracker> =>
    findFirecracker({ path, prestarted: 0 }, jailer);

  beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'snapfaas-installation-'))));
  afterEach(() => rmSync(directory, { recursive: true }));

  test('the oldest version that will do, and newer ones, are taken', async () => {
    for (const version of ['1.16.1', '1.16.12', '1.17.0', '2.0.0']) {
      const path = program('firecracker', says(`Firecracker v${version}`));
      assert.deepEqual(await find(path), { path, version, jailerPath: null });
    }
  });

  test('an older version is refused with the reason', async () => {
    for (const version of ['1.16.0', '1.9.9', '0.25.0']) {
      const path = program('firecracker', says(`Firecracker v${version}`));
      await assert.rejects(find(path), {
        name: 'HostError',
        message: new RegExp(`is Firecracker ${version}; 1\\.16\\.1 or newer is needed: .*vsock`),
      });
    }
  });

  test('what cannot be run is refused with what to do', async () => {
    await assert.rejects(find(join(directory, 'absent')), /does not exist; correct the path/);
    await assert.rejects(find(program('locked', says('x'), 0o644)), /may not be executed/);
    // The header of a program for another processor.
    const foreign = Buffer.alloc(64);
    foreign.write('\x7fELF\x02\x01\x01', 'latin1');
    foreign.writeUInt16LE(2, 16);
    foreign.writeUInt16LE(183, 18);
    writeFileSync(program('foreign', ''), foreign);
    await assert.rejects(find(join(directory, 'foreign')), /a program for another processor; install the release for/);
    await assert.rejects(find(program('other', says('something else'))), /"Firecracker v…" was expected/);
    await assert.rejects(find(program('failing', '#!/bin/sh\nexit 3\n')), /--version failed/);
  });

  test('without one in PATH the message says where to get it', async () => {
    const { PATH } = process.env;
    process.env['PATH'] = directory;
    try {
      await assert.rejects(findFirecracker(null, null), /not in PATH: install version 1\.16\.1 or newer/);
      program('firecracker', says('Firecracker v1.16.1').replaceAll('echo', '/bin/echo'));
      assert.equal((await findFirecracker(null, null)).version, '1.16.1');
    } finally {
      process.env['PATH'] = PATH;
    }
  });

  test('the jailer beside it must be of the same version', async () => {
    const path = program('firecracker', says('Firecracker v1.16.1'));
    await assert.rejects(find(path, { ...JAILER, path: join(directory, 'jailer') }), /jailer does not exist/);
    program('jailer', says('Jailer v1.16.0'));
    await assert.rejects(find(path, JAILER), /is version 1\.16\.0 and .* is 1\.16\.1; install both of one release/);
    const jailerPath = program('jailer', says('Jailer v1.16.1'));
    assert.deepEqual(await find(path, JAILER), { path, version: '1.16.1', jailerPath });
  });
});
