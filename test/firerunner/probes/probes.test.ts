/**
 * Stand-ins from PATH take the place of QEMU, the fake that of Firecracker, so that each end of a probe is had on any host. Where
 * /dev/kvm does not open there is no probe, and the tests of probes under KVM say so.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { DirectoriesOnDemand } from '../../../src/firerunner/firecracker/open.ts';
import { openRunDirectory, type RunDirectory } from '../../../src/firerunner/run-directory.ts';
import { ProbeCache } from '../../../src/firerunner/probes/cache.ts';
import { probeFirecracker } from '../../../src/firerunner/firecracker/probe.ts';
import { kvmDevice, rightsRemedy } from '../../../src/firerunner/probes/kvm-device.ts';
import { probeEmulation, findQemu, probeKvm } from '../../../src/firerunner/qemu/probe.ts';
import type { ProbeGuest, ProbeResult } from '../../../src/firerunner/probes/result.ts';
import { NO_SETTINGS } from '../../../src/protocol/vmm-settings.ts';
import { childrenOf, commandOf, until } from '../../end-to-end/processes.ts';
import { createStandIns, elfHeader, pathWith, type StandIns } from '../../support/stand-in.ts';
import { installFakeFirecracker } from '../../support/firecracker/install.ts';

const deviceFinding = kvmDevice();
const withKvm = { skip: deviceFinding.usable ? false : `no probe without KVM: ${deviceFinding.finding}` };

describe('probes', { timeout: 60_000 }, () => {
  const path = process.env['PATH'];
  let bin: StandIns;
  let place: string;
  let guest: ProbeGuest;
  let cache: ProbeCache;
  let directory: RunDirectory;
  beforeEach(async () => {
    bin = createStandIns();
    process.env['PATH'] = pathWith(bin.directory);
    place = mkdtempSync(join(tmpdir(), 'snapfaas-probes-'));
    guest = { kernelPath: join(place, 'kernel'), initrdPath: join(place, 'initrd') };
    // What the fake takes for a guest; nothing of it is booted.
    writeFileSync(guest.kernelPath, elfHeader(62));
    writeFileSync(guest.initrdPath, '070701');
    cache = new ProbeCache('reuse', join(place, 'probes'));
    directory = await openRunDirectory({ SNAPFAAS_RUN_DIR: join(place, 'run') });
  });
  afterEach(async () => {
    assert.deepEqual(readdirSync(directory.path), [], 'the probe removes its directory');
    directory.close();
    await until('nothing of a probe runs any more', () => {
      const left = childrenOf(process.pid).filter((pid) => commandOf(pid).join(' ').includes(bin.directory));
      return left.length === 0;
    });
    process.env['PATH'] = path;
    delete process.env['FAKE_FIRECRACKER_FAULT'];
    bin.remove();
    rmSync(place, { recursive: true });
  });

  const qemu = (body: string): string => bin.add('qemu-system-x86_64', body);
  const firecracker = (): Promise<ProbeResult> =>
    probeFirecracker(NO_SETTINGS, guest, new DirectoriesOnDemand(null, directory.path, () => undefined), cache);

  test('the KVM device: not there, not ours, not a device; each has another remedy', () => {
    const missing = kvmDevice(join(place, 'kvm'));
    assert.match(missing.finding, /\/kvm is not there$/);
    assert.match(missing.remedy ?? '', /modprobe kvm_|nested virtualization/);
    // Nobody may write to it, root neither.
    const locked = kvmDevice('/sys/kernel/uevent_seqnum');
    assert.match(locked.finding, /may not be opened by this user \(EACCES\)/);
    if (process.getuid?.() === 0) assert.match(locked.remedy ?? '', /^in a container, pass the device/);
    else assert.match(locked.remedy ?? '', /it is of user 0 and group root, mode 444: as root, chgrp kvm/);
    assert.match(kvmDevice(place).finding, /cannot be opened \(EISDIR\)/);
  });

  const GROUPS = 'root:x:0:\nkvm:x:104:late,other\nvirt:x:36:\n';
  for (const [what, device, user, remedy] of [
    [
      'of a group',
      [0, 104, 0o660],
      ['me', 1000, [1000]],
      /^add the user to its group and log in again: usermod -aG kvm me;/,
    ],
    ['of another group', [0, 36, 0o660], ['me', 1000, [1000]], /usermod -aG virt me;/],
    ['of a group without a name', [0, 4711, 0o660], ['me', 1000, [1000]], /usermod -aG 4711 me;/],
    [
      'of a group of before this login',
      [0, 104, 0o660],
      ['late', 1000, [1000]],
      /^log in again, .* late was added to the group kvm/,
    ],
    [
      'of root alone',
      [0, 0, 0o600],
      ['me', 1000, [1000]],
      /^it is of user 0 and group root, mode 600: as root, chgrp kvm/,
    ],
    [
      'of the group root',
      [0, 0, 0o660],
      ['me', 1000, [1000]],
      /^it is of user 0 and group root, mode 660: as root, chgrp kvm/,
    ],
    [
      'of a group without rights',
      [0, 104, 0o600],
      ['me', 1000, [1000]],
      /^it is of user 0 and group kvm, mode 600: as root, chgrp/,
    ],
    [
      'of its own group without rights',
      [0, 104, 0o640],
      ['me', 1000, [104]],
      /^it is of user 0 and group kvm, mode 640: as root/,
    ],
    ['open to its group', [0, 104, 0o660], ['me', 1000, [1000, 104]], /^in a container, pass the device/],
    ['open to all', [0, 104, 0o666], ['me', 1000, [1000]], /^in a container, pass the device/],
    ['and a root of a container', [0, 104, 0o600], ['root', 0, [0]], /^in a container, pass the device/],
  ] as const) {
    test(`a KVM device ${what}: the remedy fits`, () => {
      const [uid, gid, mode] = device;
      const [name, ownUid, gids] = user;
      assert.match(
        rightsRemedy('/dev/kvm', { uid, gid, mode: 0o20000 | mode }, { name, uid: ownUid, gids }, GROUPS),
        remedy,
      );
    });
  }

  for (const [line, finding, remedy] of [
    ['qemu: could not load kernel', /^QEMU refuses the guest/, /snapctr images build kernel/],
    [
      'qemu-system-x86_64: Error loading uncompressed kernel without PVH ELF Note',
      /^QEMU refuses the guest/,
      /images build/,
    ],
    ['qemu-system-x86_64: linux kernel too old to load a ram disk', /^QEMU refuses the guest/, /images build/],
    ["qemu-system-x86_64: unable to find CPU model 'host'", /^QEMU refuses to start a guest/, /install QEMU again/],
    ['qemu-system-x86_64: -accel kvm: Could not access KVM kernel module', /^\/dev\/kvm opens, but/, /nested/],
    ['qemu-system-x86_64: error: failed to set MSR 0x38d', /^\/dev\/kvm opens, but/, /nested/],
    ['Kernel panic - not syncing: no init', /^\/dev\/kvm opens, but/, /nested/],
  ] as const) {
    test(`what keeps a guest from running under KVM is blamed: ${line}`, withKvm, async () => {
      qemu(`echo "${line}" >&2; exit 1`);
      const result = await probeKvm(guest, cache);
      assert.match(result.finding, finding);
      assert.ok(result.finding.includes(line), result.finding);
      assert.match(result.remedy ?? '', remedy);
    });
  }

  test('QEMU that is not in PATH: how to install it', () => {
    process.env['PATH'] = bin.directory;
    assert.deepEqual(findQemu(), {
      usable: false,
      finding: 'qemu-system-x86_64 is not in PATH',
      remedy: 'install it: apt-get install qemu-system-x86',
    });
  });

  test('without a guest nothing is probed, and the missing file is named', withKvm, async () => {
    qemu('echo snapfaas-probe-ok');
    assert.match((await probeKvm(null, cache)).finding, /^no guest is at hand/);
    rmSync(guest.initrdPath);
    const result = await probeKvm(guest, cache);
    assert.match(result.finding, /\/initrd cannot be read/);
    assert.match(result.remedy ?? '', /snapctr images build kernel/);
    assert.deepEqual((await probeEmulation(guest)).usable, false);
  });

  test('a guest that speaks under QEMU and KVM proves KVM, though the VMM does not end', withKvm, async () => {
    qemu('echo "$@" | grep -q -- "-accel kvm" && echo "[    1.9] init: snapfaas-probe-ok"; exec tail -f /dev/null');
    assert.deepEqual(await probeKvm(guest, cache), { usable: true, finding: 'KVM ran a guest', remedy: null });
  });

  test('a word that comes in pieces, or at the very end, is heard', withKvm, async () => {
    qemu('printf snapfaas-; sleep 0.2; printf probe-ok');
    assert.equal((await probeKvm(guest, cache)).usable, true);
  });

  test('a VMM that ends is quoted with the line that says most', withKvm, async () => {
    qemu('echo "SeaBIOS"; echo "qemu: error: failed to set MSR" >&2; echo "core dumped" >&2; exit 134');
    const result = await probeKvm(guest, cache);
    assert.equal(
      result.finding,
      '/dev/kvm opens, but a guest under it failed: qemu: error: failed to set MSR (qemu-system-x86_64 exited with status 134)',
    );
    assert.match(result.remedy ?? '', /nested virtualization/);
    qemu('exit 7');
    const silent = await probeKvm(guest, new ProbeCache('renew', join(place, 'probes')));
    assert.match(silent.finding, /failed: qemu-system-x86_64 exited with status 7$/);
  });

  test('a guest that stays silent is given up after 5 s, killed, and not tried again', withKvm, async () => {
    qemu('exec tail -f /dev/null');
    const begin = performance.now();
    const result = await probeKvm(guest, cache);
    assert.match(result.finding, /did not come up within 5000 ms$/);
    assert.ok(performance.now() - begin < 15_000);
    const again = performance.now();
    assert.match((await probeKvm(guest, cache)).finding, /found out earlier and kept in /);
    assert.ok(performance.now() - again < 4000);
  });

  test('a VMM that cannot even be started is a result, not an error', async () => {
    qemu('exit 0');
    // Without setpriv nothing can be started.
    process.env['PATH'] = bin.directory;
    const { usable, finding, remedy } = await probeEmulation(guest);
    assert.deepEqual(
      [usable, finding],
      [false, 'a guest under emulation could not be started: setpriv could not be started: spawn setpriv ENOENT'],
    );
    assert.equal(remedy, 'install setpriv, which starts VMMs: apt-get install util-linux');
  });

  test('a guest under emulation is asked in the same way', async () => {
    qemu('echo "$@" | grep -q -- "-accel tcg" && echo snapfaas-probe-ok');
    assert.equal((await probeEmulation(guest)).usable, true);
    qemu('echo "Kernel panic - not syncing: no init"');
    assert.match((await probeEmulation(guest)).finding, /under emulation failed: Kernel panic/);
  });

  test('Firecracker that is missing or too old is a result, not an error', async () => {
    process.env['PATH'] = bin.directory;
    assert.equal((await firecracker()).finding, 'firecracker is not in PATH');
    bin.add('firecracker', 'echo "Firecracker v1.10.0"');
    assert.match((await firecracker()).finding, /is Firecracker 1\.10\.0/);
  });

  test('a guest that speaks under Firecracker proves it; the result is kept', withKvm, async () => {
    await installFakeFirecracker(bin.directory);
    const ran = { usable: true, finding: 'Firecracker 1.16.1 ran a guest', remedy: null };
    assert.deepEqual(await firecracker(), ran);
    assert.match((await firecracker()).finding, /ran a guest \(found out earlier/);
  });

  test('a request that Firecracker refuses is told with its reason', withKvm, async () => {
    await installFakeFirecracker(bin.directory);
    process.env['FAKE_FIRECRACKER_FAULT'] = JSON.stringify({
      ...{ at: 'PUT /actions', do: 'refuse', text: 'Cannot open /dev/kvm' },
    });
    const { usable, finding } = await firecracker();
    assert.equal(usable, false);
    assert.match(finding, /could not be started: Firecracker refused PUT \/actions \(400\): Cannot open \/dev\/kvm/);
  });

  for (const [what, fault, words] of [
    [
      'ends before its API is up',
      { at: 'listen', do: 'exit', status: 148 },
      /exited with status 148 \(a system call that/,
    ],
    [
      'ends in place of an answer',
      { at: 'PUT /boot-source', do: 'exit', status: 1 },
      /exited with status 1 \(a general/,
    ],
    ['never opens its API', { at: 'listen', do: 'hang' }, /did not come up within 5000 ms$/],
    ['never answers', { at: 'PUT /actions', do: 'hang' }, /did not come up within 5000 ms$/],
    ['answers with something else', { at: 'PUT /actions', do: 'garbage', text: 'oops' }, /refused PUT \/actions.*oops/],
  ] as const) {
    test(`a Firecracker that ${what}: told, and given up within the limit`, withKvm, async () => {
      await installFakeFirecracker(bin.directory);
      process.env['FAKE_FIRECRACKER_FAULT'] = JSON.stringify(fault);
      const begin = performance.now();
      const { usable, finding, remedy } = await firecracker();
      assert.equal(usable, false);
      assert.match(finding, words);
      assert.notEqual(remedy, null);
      assert.ok(performance.now() - begin < 15_000);
    });
  }

  test('a jailer without root: jails were not tried, and why', async () => {
    await installFakeFirecracker(bin.directory);
    const jailer = { path: null, firstUid: 9, uidCount: 1, gid: null, chrootBase: join(place, 'jail'), cgroup: {} };
    const { getuid } = process;
    process.getuid = () => 1000;
    try {
      const directories = new DirectoriesOnDemand(jailer, directory.path, () => undefined);
      const { finding, remedy } = await probeFirecracker({ ...NO_SETTINGS, jailer }, guest, directories, cache);
      assert.equal(finding, 'jails were not tried: the jailer needs root, and this is user 1000');
      assert.match(remedy ?? '', /as root.*or leave out `jailer`/);
    } finally {
      if (getuid !== undefined) process.getuid = getuid;
    }
  });
});
