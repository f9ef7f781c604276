/** How the qemu driver tells an end of QEMU that the snapshot is to blame for from one that it is not. */
import assert from 'node:assert/strict';
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { Machine } from '../../../src/firerunner/machine.ts';
import { qemuDriver } from '../../../src/firerunner/qemu/driver.ts';
import { QEMU_COMMAND, QMP_FD } from '../../../src/firerunner/qemu/command-line.ts';
import type { MachineSpec } from '../../../src/protocol/runner.ts';
import { createStandIns, pathWith, type StandIns } from '../../support/stand-in.ts';

const SPEC: MachineSpec = {
  ...{ memoryMib: 128, vcpus: 1, kernelPath: '/k', initrdPath: '/i', rootfsPath: '/r', appfsPath: null },
  ...{ kernelArgs: '', runtime: 'python3', network: false },
};

describe('an end of QEMU while it loads', { timeout: 30_000 }, () => {
  const path = process.env['PATH'];
  let bin: StandIns;
  beforeEach(() => {
    bin = createStandIns();
    process.env['PATH'] = pathWith(bin.directory);
  });
  afterEach(() => {
    process.env['PATH'] = path;
    bin.remove();
  });

  /** QEMU greets, and does `then` at the first command. */
  const restoreWith = (then: string): Promise<Machine> =>
    restore(`echo '{"QMP": {}}' >&${QMP_FD}\nread -r command <&${QMP_FD}\n${then}`);

  const restore = async (script: string): Promise<Machine> => {
    bin.add(QEMU_COMMAND, script);
    const file = join(bin.directory, 'saved');
    writeFileSync(file, '');
    const fd = openSync(file, 'r');
    try {
      const saved = { state: { fd, path: null }, memory: { fd, path: null } };
      const surroundings = {
        ...{ directory: bin.directory, network: null, onChannel: () => undefined },
        signal: new AbortController().signal,
      };
      const { snapshots } = qemuDriver('tcg');
      assert.ok(snapshots !== null);
      return await snapshots.restore(SPEC, saved, surroundings);
    } finally {
      closeSync(fd);
    }
  };

  test('by a signal from outside is the host’s', async () => {
    for (const signal of ['KILL', 'TERM']) {
      const message = new RegExp(`was killed by SIG${signal}`);
      await assert.rejects(restoreWith(`kill -${signal} $$`), { name: 'HostError', message });
    }
  });

  test('before it takes commands is the host’s: it has not read the snapshot yet', async () => {
    for (const end of ['echo "cannot set up guest memory" >&2\nexit 1', 'kill -ABRT $$']) {
      await assert.rejects(restore(end), { name: 'HostError', message: /exited with status 1|SIGABRT/ });
    }
  });

  test('for want of memory, processes or descriptors is the host’s', async () => {
    const words = [
      "qemu-system-x86_64: cannot set up guest memory 'ram': Cannot allocate memory",
      'qemu-system-x86_64: GLib: ../../../glib/gmem.c:207: failed to allocate 53248 bytes',
      'qemu: qemu_thread_create: Resource temporarily unavailable',
      'qemu-system-x86_64: failed to open module: /usr/lib/accel-tcg.so: cannot open shared object file: Too many open files',
      'qemu-system-x86_64: error while loading shared libraries: libz.so.1: failed to map segment from shared object',
      'setpriv: error while loading shared libraries: libc.so.6: cannot open shared object file: Too many open files',
    ];
    for (const line of words) {
      await assert.rejects(restoreWith(`echo "${line}" >&2; exit 1`), { name: 'HostError', console: [line] }, line);
      await assert.rejects(restoreWith(`echo "${line}" >&2; kill -ABRT $$`), { name: 'HostError' }, line);
    }
  });

  test('is the snapshot’s, whatever the guest says of its own memory', async () => {
    const guest = '[    1.0] init: fork: Cannot allocate memory';
    await assert.rejects(restoreWith(`echo "${guest}"; exit 1`), { name: 'LaunchError', console: [guest] });
  });

  test('by a crash, or with a status, is the snapshot’s', async () => {
    await assert.rejects(restoreWith('kill -SEGV $$'), { name: 'LaunchError', message: /was killed by SIGSEGV/ });
    await assert.rejects(restoreWith('exit 1'), { name: 'LaunchError', message: /exited with status 1/ });
  });

  test('a QEMU that closes its socket and lives on is ended by us, which is not the host’s fault', async () => {
    await assert.rejects(restoreWith(`exec ${QMP_FD}>&-\nexec sleep 60`), {
      name: 'LaunchError',
      message: /QEMU ended/,
    });
  });
});
