import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { Finding } from '../../src/doctor/check.ts';
import { configurationCheck } from '../../src/doctor/checks/configuration.ts';
import { initrdCheck, kernelCheck, rootFileSystemsCheck } from '../../src/doctor/checks/guest-files.ts';
import { buildToolsCheck, nodeFinding, systemFinding } from '../../src/doctor/checks/host.ts';
import { cgroupsCheck, openFilesCheck } from '../../src/doctor/checks/limits.ts';
import { hugePagesCheck, memoryCheck, swapCheck } from '../../src/doctor/checks/memory.ts';
import { cacheDirectoryCheck } from '../../src/doctor/checks/cache-directory.ts';
import { runDirectoryCheck } from '../../src/doctor/checks/run-directory.ts';
import { snapshotDirectoryCheck } from '../../src/doctor/checks/snapshot-directory.ts';
import { firecrackerCheck, qemuCheck, vmmCheck } from '../../src/doctor/checks/vmms.ts';
import { NO_SETTINGS } from '../../src/protocol/vmm-settings.ts';
import type { JailerSettings } from '../../src/protocol/vmm-settings.ts';
import { createStandIns, elfHeader, pathWith, type StandIns } from '../support/stand-in.ts';
import { assertFinding, createHost, type TestHost } from './context.ts';

const [X86_64, AARCH64] = [62, 183];

describe('doctor', { timeout: 30_000 }, () => {
  const path = process.env['PATH'];
  let host: TestHost;
  let bin: StandIns;
  beforeEach(() => {
    host = createHost();
    bin = createStandIns();
  });
  afterEach(() => {
    process.env['PATH'] = path;
    host.remove();
    bin.remove();
  });

  const memInfo = (fields: Readonly<Record<string, string>>): string =>
    host.write(
      '/proc/meminfo',
      Object.entries(fields)
        .map(([name, value]) => `${name}:        ${value}\n`)
        .join(''),
    );

  test('node: a maintained one is right, what package.json asks for is enough, older is a problem', async () => {
    for (const version of ['22.0.0', '24.11.1', '25.0.0'])
      await assertFinding(nodeFinding(version), 'ok', /Node\.js 2/);
    for (const version of ['20.19.0', '20.20.2'])
      await assertFinding(nodeFinding(version), 'warning', /no security updates/, /22 or 24/);
    for (const version of ['20.18.3', '18.20.0', '19.99.0']) {
      await assertFinding(nodeFinding(version), 'problem', /20\.19 or newer is needed/, /nodejs\.org/);
    }
  });

  test('system: Linux on x86-64, and nothing else', async () => {
    await assertFinding(systemFinding('linux', 'x64'), 'ok', /^Linux .* on x64, \d+ processors$/);
    await assertFinding(systemFinding('linux', 'arm64'), 'problem', /on arm64.* need Linux on x86-64/, /take such/);
    await assertFinding(systemFinding('darwin', 'x64'), 'problem', /^darwin/, /take such/);
  });

  test('configuration: none, a good one, and one with every problem named', async () => {
    await assertFinding(configurationCheck.run(host.context()), 'skipped', /--config FILE/);
    const good = host.context({ configuration: { file: 'a.yaml', problems: [] }, functionCount: 3 });
    await assertFinding(configurationCheck.run(good), 'ok', /^a\.yaml, functions: 3$/);
    const bad = host.context({ configuration: { file: 'a.yaml', problems: ['a.yaml:1:1: x', 'a.yaml:2:1: y'] } });
    await assertFinding(configurationCheck.run(bad), 'problem', /:1:1: x; a\.yaml:2:1: y$/, /correct a\.yaml/);
  });

  test('build tools that are missing are named with what they do', async () => {
    process.env['PATH'] = bin.directory;
    await assertFinding(
      buildToolsCheck.run(host.context()),
      'warning',
      /gcc is missing \(it compiles/,
      /apt-get install .*gcc/,
    );
  });

  test('kernel: there, readable, an ELF file, for x86-64', async () => {
    const check = (kernelPath: string): Finding | Promise<Finding> =>
      kernelCheck.run(host.context({ guest: { kernelPath, initrdPath: '' } }));
    await assertFinding(kernelCheck.run(host.context()), 'skipped', /does not tell/);
    await assertFinding(check(join(host.root, 'none')), 'problem', /\/none does not exist$/, /images build kernel/);
    await assertFinding(check(host.root), 'problem', /cannot be read \(EISDIR\)/, /images build kernel/);
    await assertFinding(
      check(host.write('bzImage', 'MZ and so on, a compressed kernel')),
      'problem',
      /no unc/,
      /build/,
    );
    await assertFinding(check(host.write('arm', elfHeader(AARCH64))), 'problem', /is built for arm64/, /build/);
    await assertFinding(check(host.write('own', elfHeader(X86_64))), 'ok', /\/own, not built by snapctr images$/);
  });

  test('initial RAM disk: a cpio archive, packed or not', async () => {
    const check = (contents: string | Uint8Array): Finding | Promise<Finding> =>
      initrdCheck.run(host.context({ guest: { kernelPath: '', initrdPath: host.write('initrd', contents) } }));
    await assertFinding(check('0707010000'), 'ok', /\/initrd/);
    await assertFinding(check(Buffer.from('1f8b0800', 'hex')), 'ok', /\/initrd/);
    await assertFinding(check('07070'), 'problem', /no cpio archive/, /images build kernel/);
    await assertFinding(check(''), 'problem', /no cpio archive/, /images build kernel/);
  });

  test('root file systems: each must be ext4; those that are not are all named', async () => {
    const ext4 = Buffer.alloc(2048);
    ext4.writeUInt16LE(0xef53, 1024 + 56);
    const good = { path: host.write('good.ext4', ext4), runtime: 'python3' } as const;
    const bad = { path: host.write('bad.ext4', Buffer.alloc(2048)), runtime: 'nodejs' } as const;
    const missing = { path: join(host.root, 'missing.ext4'), runtime: null };
    await assertFinding(rootFileSystemsCheck.run(host.context({ rootFileSystems: [good] })), 'ok', /good\.ext4$/);
    await assertFinding(
      rootFileSystemsCheck.run(host.context({ rootFileSystems: [good, bad, missing] })),
      'problem',
      /bad\.ext4 is no ext4 file system; .*missing\.ext4 does not exist$/,
      /images build nodejs/,
    );
  });

  test('an image of another version of the project is to be built again', async () => {
    const kernelPath = host.write('vmlinux', elfHeader(X86_64));
    const inputs = { recipe: 'another', files: {}, packages: {} };
    const manifest = { format: 1, name: 'vmlinux', kind: 'kernel', inputs, inputs_digest: '', sha256: '', bytes: 64 };
    host.write('vmlinux.json', JSON.stringify(manifest));
    const context = host.context({ guest: { kernelPath, initrdPath: '' } });
    await assertFinding(kernelCheck.run(context), 'warning', /another version of this project/, /images build kernel/);
  });

  test('run directory: where it is, or why there is none', async () => {
    await assertFinding(runDirectoryCheck.run(host.context()), 'problem', /^there is none$/, /SNAPFAAS_RUN_DIR/);
  });

  test('a cache directory that cannot be made', async () => {
    const before = process.env['XDG_CACHE_HOME'];
    try {
      process.env['XDG_CACHE_HOME'] = host.root;
      await assertFinding(cacheDirectoryCheck.run(host.context()), 'ok', /\/snapfaas \(will be made\)$/);
      process.env['XDG_CACHE_HOME'] = host.write('file', '');
      await assertFinding(cacheDirectoryCheck.run(host.context()), 'problem', /file is a file/, /^set XDG_CACHE_HOME/);
    } finally {
      if (before === undefined) Reflect.deleteProperty(process.env, 'XDG_CACHE_HOME');
      else process.env['XDG_CACHE_HOME'] = before;
    }
  });

  test('Firecracker that is too old, and a QEMU that does not run: warnings with a remedy', async () => {
    process.env['PATH'] = pathWith(bin.directory);
    bin.add('firecracker', 'echo "Firecracker v1.9.0"');
    await assertFinding(
      firecrackerCheck.run(host.context()),
      'warning',
      /is Firecracker 1\.9\.0; 1\.16\.1 or newer/,
      /newer release/,
    );
    bin.add('qemu-system-x86_64', 'echo "cannot open shared object" >&2; exit 127');
    await assertFinding(
      qemuCheck.run(host.context()),
      'warning',
      /failed: cannot open shared object/,
      /install it again/,
    );
  });

  test('without any VMM: a problem that names all remedies, and --vmm process', async () => {
    process.env['PATH'] = bin.directory;
    const words = /firecracker is not in PATH \(install.*qemu-system-x86\).*--vmm process/;
    await assertFinding(vmmCheck.run(host.context()), 'problem', words, /lines above/);
  });

  test('with a jail asked for and no Firecracker: a problem, though QEMU is there', async () => {
    process.env['PATH'] = bin.directory;
    bin.add('qemu-system-x86_64', 'echo snapfaas-probe-ok');
    const context = host.context({ settings: { ...NO_SETTINGS, jailer: jailer() } });
    const words = /^Firecracker cannot be used: .*not in PATH \(install.*\)\. QEMU would run VMs without the jail/;
    await assertFinding(vmmCheck.run(context), 'problem', words, /lines above/);
  });

  test('without a guest nothing can run, even where QEMU is there', async () => {
    process.env['PATH'] = pathWith(bin.directory);
    bin.add('qemu-system-x86_64', 'echo snapfaas-probe-ok');
    await assertFinding(vmmCheck.run(host.context()), 'problem', /no guest is at hand/, /name a kernel/);
  });

  test('snapshot directory: written to, measured, left as it was', async () => {
    const snapshotDirectory = join(host.root, 'snapshots');
    const check = (functionCount: number): Finding | Promise<Finding> =>
      snapshotDirectoryCheck.run(host.context({ snapshotDirectory, functionCount }));
    await assertFinding(check(0), 'ok', /\/snapshots \(will be made\): \w+, \d+ MiB free, copies/);
    assert.equal(existsSync(snapshotDirectory), false);
    mkdirSync(snapshotDirectory);
    await assertFinding(check(0), 'ok', /\/snapshots: \w+, \d+ MiB free, copies/);
    assert.deepEqual(readdirSync(snapshotDirectory), []);
    await assertFinding(check(1e9), 'warning', /1000000000 functions need about \d+ MiB/, /snapshots prune/);
  });

  test('snapshot directory in memory is said to take memory', async (t) => {
    if (!existsSync('/dev/shm')) return t.skip('this host has no /dev/shm');
    const context = host.context({ snapshotDirectory: '/dev/shm/snapfaas-not-there' });
    await assertFinding(
      snapshotDirectoryCheck.run(context),
      'warning',
      /tmpfs, .*take memory of the host/,
      /on a disk/,
    );
  });

  test('snapshot directory that nobody can write: layers are used, others not made', async () => {
    const check = (snapshotDirectory: string): Finding | Promise<Finding> =>
      snapshotDirectoryCheck.run(host.context({ snapshotDirectory }));
    // Nobody may make anything there, root neither.
    await assertFinding(check('/proc'), 'warning', /^\/proc cannot be written \(\w+\): layers/, /another one/);
    await assertFinding(check('/proc/snapshots'), 'problem', /does not exist and cannot be made/, /another one/);
  });

  test('memory: beside the smallest VM, and beside --mem', async () => {
    const check = (memoryMib: number | null): Finding | Promise<Finding> =>
      memoryCheck.run(host.context({ memoryMib }));
    await assertFinding(check(null), 'warning', /does not tell/, /\/proc/);
    memInfo({ MemTotal: '1024000 kB', MemAvailable: '512000 kB' });
    await assertFinding(check(null), 'ok', /^500 of 1000 MiB available/);
    await assertFinding(check(500), 'ok', /within it/);
    await assertFinding(check(501), 'warning', /--mem 501 is more than that/, /less than --mem 500/);
    await assertFinding(check(1001), 'problem', /more than the host has/, /at most --mem 1000/);
    memInfo({ MemTotal: '1024000 kB', MemAvailable: '131071 kB' });
    await assertFinding(check(null), 'problem', /^127 of .* smallest VM has 128/, /larger host/);
  });

  test('swap and huge pages: what they mean for VMs', async () => {
    memInfo({ SwapTotal: '0 kB', HugePages_Total: '0', Hugepagesize: '2048 kB' });
    await assertFinding(swapCheck.run(host.context()), 'ok', /^none/);
    await assertFinding(hugePagesCheck.run(host.context()), 'ok', /^none reserved/);
    memInfo({ SwapTotal: '2048000 kB', HugePages_Total: '64', Hugepagesize: '2048 kB' });
    await assertFinding(swapCheck.run(host.context()), 'warning', /^2000 MiB: .*may get to the disk/, /swapoff -a/);
    await assertFinding(hugePagesCheck.run(host.context()), 'ok', /^64 of 2 MiB are reserved/);
  });

  test('open files: beside the VMs that memory holds', async () => {
    const limits = (hard: string): string =>
      host.write('/proc/self/limits', `Max open files   1024   ${hard}   files\n`);
    const check = (): Finding | Promise<Finding> => openFilesCheck.run(host.context({ memoryMib: 12_800 }));
    await assertFinding(check(), 'skipped', /does not tell/);
    limits('1256');
    await assertFinding(check(), 'ok', /^1256 for each/);
    limits('1255');
    await assertFinding(check(), 'warning', /100 VMs.*need about 1256/, /ulimit -Hn 1256/);
    limits('unlimited');
    await assertFinding(check(), 'ok', /unlimited/);
  });

  test('cgroups: only limits of jailed VMs need them, each with its controller', async () => {
    const check = (cgroup: Readonly<Record<string, string>> = {}): Finding | Promise<Finding> =>
      cgroupsCheck.run(host.context({ settings: { ...NO_SETTINGS, jailer: { ...jailer(), cgroup } } }));
    await assertFinding(check(), 'ok', /version 1, or none/);
    host.write('/proc/mounts', 'proc /proc proc rw 0 0\n');
    await assertFinding(check({ 'memory.max': '1G' }), 'warning', /no cgroup controller `memory`/, /jailer: \{cgroup/);
    host.write('/sys/fs/cgroup/cgroup.controllers', 'cpu memory pids\n');
    host.write('/proc/mounts', `cgroup2 ${join(host.root, '/sys/fs/cgroup')} cgroup2 rw 0 0\n`);
    await assertFinding(check({ 'memory.max': '1G' }), 'ok', /version 2 with cpu memory pids; .* set in .*\/cgroup/);
    await assertFinding(check({ 'io.max': '1' }), 'warning', /no cgroup controller `io`/, /jailer: \{cgroup/);
  });

  const jailer = (settings: Partial<JailerSettings> = {}): JailerSettings => ({
    path: null,
    firstUid: 200_000,
    uidCount: 100,
    gid: null,
    chrootBase: host.root,
    cgroup: {},
    ...settings,
  });
});

test('doctor: a check writes nothing but its sample', () => {
  const host = createHost();
  writeFileSync(join(host.root, 'mine'), 'x');
  void snapshotDirectoryCheck.run(host.context({ snapshotDirectory: host.root }));
  assert.deepEqual(readdirSync(host.root), ['mine']);
  host.remove();
});
