/** The jailer needs root, as the real one does: without it these tests are skipped, and say so. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CONTROL_VSOCK_PORT, FUNCTION_VSOCK_PORT, FrameType } from '../../../src/protocol/guest.ts';
import { BenchOfMachines, boot, invoke, loadFunction, pauseAndSave, startFunction } from './bench-of-machines.ts';
import type { FakeProcess } from './fake-process.ts';

/** Of this run's own: others may test on the same host. */
const CGROUP = `snapfaas-test-${process.pid}`;
const UID = 64_123;
const GID = 64_124;
const skip = process.getuid?.() === 0 ? false : 'the jailer needs root';

let bench: BenchOfMachines;
let base: string;
before(async () => {
  bench = await BenchOfMachines.make();
  base = join(bench.directory, 'jails');
  mkdirSync(base);
});
after(() => bench.remove());

let jails = 0;

/** A jail's command line; the jail is below `root`. */
function jail(options: { readonly extra?: readonly string[]; readonly api?: string; readonly id?: string } = {}): {
  readonly args: string[];
  readonly root: string;
  readonly id: string;
} {
  const id = options.id ?? `jail-${++jails}`;
  const args = [
    ...['--id', id, '--exec-file', bench.programs.firecracker, '--uid', String(UID), '--gid', String(GID)],
    ...['--chroot-base-dir', base, '--cgroup-version', '2', ...(options.extra ?? [])],
    ...['--', '--api-sock', options.api ?? '/api.sock'],
  ];
  return { args, root: join(base, 'firecracker', id, 'root'), id };
}

/** The files a machine boots from, as copies: links out of a jail lead nowhere. */
function furnish(root: string): void {
  mkdirSync(root, { recursive: true });
  for (const [from, to] of [
    ['vmlinux', 'vmlinux'],
    ['initrd.cpio', 'initrd.cpio'],
    ['python3.ext4', 'rootfs.ext4'],
    ['python3-app.ext4', 'app.ext4'],
  ] as const) {
    cpSync(join(bench.directory, from), join(root, to));
    chownSync(join(root, to), UID, GID);
  }
}

async function started(options: Parameters<typeof jail>[0] = {}): Promise<FakeProcess> {
  const { args, root } = jail(options);
  furnish(root);
  const fake = bench.runJailer(args, root);
  await fake.listening();
  return fake;
}

async function failed(args: readonly string[], why: RegExp): Promise<void> {
  const fake = bench.runJailer(args, bench.directory);
  assert.equal((await fake.exited).status, 1);
  assert.match(fake.stderr, why);
}

describe('fake jailer', { skip }, () => {
  test('becomes Firecracker: same process, other user, clean environment, its own root', async () => {
    const fake = await started();
    const pid = fake.child.pid ?? 0;
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    assert.match(status, new RegExp(`^Uid:(\\t${UID}){4}$`, 'm'));
    assert.match(status, new RegExp(`^Gid:(\\t${GID}){4}$`, 'm'));
    assert.match(status, /^Groups:\t *$/m);
    assert.match(readFileSync(`/proc/${pid}/limits`, 'utf8'), /^Max open files +2048 +2048/m);
    assert.equal(readFileSync(join(fake.directory, 'firecracker.pid'), 'utf8'), String(pid));
    const names = readFileSync(`/proc/${pid}/environ`, 'utf8')
      .split('\0')
      .filter((line) => line !== '');
    assert.deepEqual(
      names.filter((line) => !line.startsWith('FAKE_') && !line.startsWith('PWD=')),
      [],
    );
    assert.equal(readlinkSync(`/proc/${pid}/cwd`), fake.directory);
    assert.equal(statSync(fake.directory).uid, UID);
    assert.equal(statSync(join(fake.directory, 'api.sock')).uid, UID);
    assert.match((await fake.request('GET', '/')).body, /"id":"jail-/);
  });

  test('a whole life inside: boot, invoke, snapshot, load in another jail', async () => {
    const first = await started();
    await boot(first);
    const control = await first.dialGuest(CONTROL_VSOCK_PORT);
    await control.next(FrameType.hello);
    await control.close();
    const files = await pauseAndSave(first, 'Full');
    assert.equal(statSync(files.memory).uid, UID);
    await first.kill();

    const { args, root } = jail();
    furnish(root);
    for (const [from, name] of [
      [files.state, 'state'],
      [files.memory, 'mem'],
    ] as const) {
      cpSync(from, join(root, name));
      chownSync(join(root, name), UID, GID);
    }
    const second = bench.runJailer(args, root);
    await second.listening();
    const load = {
      snapshot_path: '/state',
      mem_backend: { backend_type: 'File', backend_path: '/mem' },
      resume_vm: true,
    };
    await second.ok('PUT', '/snapshot/load', load);
    const again = await second.dialGuest(CONTROL_VSOCK_PORT);
    await loadFunction(again);
    await startFunction(again, false);
    assert.deepEqual(await invoke(await second.dialGuest(FUNCTION_VSOCK_PORT), 1), { n: 1, event: 1 });
  });

  test('paths do not lead out of the root', async () => {
    const fake = await started();
    const drive = { drive_id: 'rootfs', is_root_device: false, is_read_only: true };
    symlinkSync(join(bench.directory, 'python3.ext4'), join(fake.directory, 'outside.ext4'));
    symlinkSync('/rootfs.ext4', join(fake.directory, 'inside.ext4'));
    for (const [path, why] of [
      ['../../../../python3.ext4', /leads out of the jail/],
      [join(fake.directory, 'rootfs.ext4'), /No such file or directory \(os error 2\)/],
      ['outside.ext4', /No such file or directory \(os error 2\)/],
    ] as const) {
      const { status, body } = await fake.request('PUT', '/drives/rootfs', { ...drive, path_on_host: path });
      assert.equal(status, 400, path);
      assert.match(body, why);
    }
    for (const path of ['rootfs.ext4', '/rootfs.ext4', '/dev/../rootfs.ext4', 'inside.ext4']) {
      await fake.ok('PUT', '/drives/rootfs', { ...drive, path_on_host: path });
    }
  });

  test('files of root are not for the jailed', async () => {
    const fake = await started();
    cpSync(join(bench.directory, 'python3.ext4'), join(fake.directory, 'rooted.ext4'));
    execFileSync('chmod', ['600', join(fake.directory, 'rooted.ext4')]);
    const drive = { drive_id: 'rootfs', path_on_host: 'rooted.ext4', is_root_device: false, is_read_only: true };
    assert.match((await fake.request('PUT', '/drives/rootfs', drive)).body, /Permission denied \(os error 13\)/);
  });

  test('makes the devices, once: a jail is used once', async () => {
    const fake = await started();
    for (const name of ['dev/kvm', 'dev/net/tun']) {
      const made = statSync(join(fake.directory, name));
      assert.ok(made.isCharacterDevice());
      assert.equal(made.uid, UID);
    }
    await fake.kill();
    const { args } = jail({ id: fake.directory.split('/').at(-2) ?? '' });
    await failed(args, /mknod/);
  });

  test('makes cgroups of version 1 where they are asked for', async (context) => {
    const hierarchies = '/sys/fs/cgroup';
    if (!existsSync(join(hierarchies, 'pids', 'tasks'))) return context.skip('no cgroup hierarchies of version 1 here');
    const { root, id } = jail();
    furnish(root);
    const args = [
      ...['--id', id, '--exec-file', bench.programs.firecracker, '--uid', String(UID), '--gid', String(GID)],
      ...['--chroot-base-dir', base, '--parent-cgroup', CGROUP, '--cgroup', 'pids.max=100'],
      ...['--cgroup', 'memory.limit_in_bytes=536870912', '--', '--api-sock', 'api.sock'],
    ];
    const fake = bench.runJailer(args, root);
    const places = ['pids', 'memory'].map((name) => join(hierarchies, name, CGROUP, id));
    try {
      await fake.listening();
      assert.equal(readFileSync(join(places[0] ?? '', 'pids.max'), 'utf8'), '100\n');
      assert.equal(readFileSync(join(places[1] ?? '', 'memory.limit_in_bytes'), 'utf8'), '536870912\n');
      for (const place of places) {
        assert.ok(readFileSync(join(place, 'cgroup.procs'), 'utf8').split('\n').includes(String(fake.child.pid)));
      }
    } finally {
      await fake.kill();
      for (const place of places.filter((one) => existsSync(one))) {
        rmdirSync(place);
        rmdirSync(join(place, '..'));
      }
    }
  });

  test('with version 2 only moves into a parent that is there', async (context) => {
    const unified = ['/sys/fs/cgroup/unified', '/sys/fs/cgroup'].find((path) => existsSync(join(path, 'cgroup.procs')));
    if (unified === undefined) return context.skip('no cgroup hierarchy of version 2 here');
    await failed(jail({ extra: ['--parent-cgroup', 'snapfaas-none'] }).args, /Failed to write to .*cgroup\.procs/);
    const parent = join(unified, CGROUP);
    mkdirSync(parent);
    try {
      const fake = await started({ extra: ['--parent-cgroup', CGROUP] });
      assert.equal(readFileSync(join(parent, 'cgroup.procs'), 'utf8'), `${fake.child.pid}\n`);
      assert.deepEqual(
        readdirSync(parent, { withFileTypes: true }).filter((entry) => entry.isDirectory()),
        [],
      );
      await fake.kill();
    } finally {
      rmdirSync(parent);
    }
  });

  test('without limits the version of cgroups does not matter, with one it does', async () => {
    const version = (args: readonly string[], number: string): string[] =>
      args.map((word, index) => (args[index - 1] === '--cgroup-version' ? number : word));
    const plain = jail();
    furnish(plain.root);
    const fake = bench.runJailer(version(plain.args, '3'), plain.root);
    await fake.listening();
    await fake.kill();
    await failed(
      version(jail({ extra: ['--cgroup', 'pids.max=10'] }).args, '3'),
      /3 is an invalid cgroup version specifier/,
    );
  });

  test('sets limits', async () => {
    const fake = await started({ extra: ['--resource-limit', 'no-file=512', '--resource-limit', 'fsize=1048576'] });
    const limits = readFileSync(`/proc/${fake.child.pid}/limits`, 'utf8');
    assert.match(limits, /^Max open files +512 +512/m);
    assert.match(limits, /^Max file size +1048576 +1048576/m);
  });

  test('a file over the limit ends it with 151', async () => {
    const fake = await started({ extra: ['--resource-limit', 'fsize=1048576'] });
    await boot(fake);
    await (await fake.dialGuest(CONTROL_VSOCK_PORT)).next(FrameType.hello);
    await assert.rejects(pauseAndSave(fake, 'Full'));
    assert.equal((await fake.exited).status, 151);
  });

  test("a TAP device of another user is not the jailed one's", async () => {
    const taps = { theirs: `sj${process.pid}a`, own: `sj${process.pid}b` };
    execFileSync('ip', ['tuntap', 'add', 'dev', taps.theirs, 'mode', 'tap', 'user', String(UID + 10)]);
    execFileSync('ip', ['tuntap', 'add', 'dev', taps.own, 'mode', 'tap', 'user', String(UID)]);
    try {
      const fake = await started();
      const put = (tap: string): Promise<{ readonly status: number; readonly body: string }> =>
        fake.request('PUT', '/network-interfaces/eth0', { iface_id: 'eth0', host_dev_name: tap });
      assert.match((await put(taps.theirs)).body, /operation not permitted/);
      assert.equal((await put(taps.own)).status, 204);
    } finally {
      for (const name of Object.values(taps)) execFileSync('ip', ['link', 'del', name]);
    }
  });

  test('joins a network namespace', async () => {
    const name = `snapfaas-fake-${process.pid}`;
    execFileSync('ip', ['netns', 'add', name]);
    try {
      const fake = await started({ extra: ['--netns', `/run/netns/${name}`] });
      const joined = readlinkSync(`/proc/${fake.child.pid}/ns/net`);
      assert.notEqual(joined, readlinkSync('/proc/self/ns/net'));
      execFileSync('ip', ['-n', name, 'tuntap', 'add', 'dev', 'snaptap0', 'mode', 'tap']);
      await fake.ok('PUT', '/network-interfaces/eth0', { iface_id: 'eth0', host_dev_name: 'snaptap0' });
      await fake.kill();
    } finally {
      execFileSync('ip', ['netns', 'del', name]);
    }
  });

  test('refuses bad command lines', async () => {
    const { args } = jail();
    const without = (name: string): string[] => args.toSpliced(args.indexOf(name), 2);
    for (const name of ['--id', '--exec-file', '--uid', '--gid'])
      await failed(without(name), /required, but not found/);
    await failed(['--unknown', ...args], /wasn't expected/);
    await failed(jail({ extra: ['--resource-limit', 'cpu=1'] }).args, /Invalid resource argument/);
    await failed(jail({ extra: ['--cgroup', 'pids.max'] }).args, /Invalid format for cgroups/);
    await failed(jail({ extra: ['--parent-cgroup', '../up'] }).args, /Parent cgroup path is invalid/);
    await failed(jail({ id: 'under_score' }).args, /Invalid instance ID/);
    await failed(jail({ extra: ['--daemonize'] }).args, /cuts the process off/);
    const noBase = args.map((word) => (word === base ? join(base, 'none') : word));
    await failed(noBase, /ENOENT/);
    const badUid = args.map((word) => (word === String(UID) ? 'root' : word));
    await failed(badUid, /Invalid uid/);
  });

  test('passes on the id by itself: a second one is refused', async () => {
    const { args, root } = jail();
    furnish(root);
    const fake = bench.runJailer([...args, '--id', 'again'], root);
    assert.equal((await fake.exited).status, 153);
  });

  test('tells its version', async () => {
    const fake = bench.runJailer(['--version'], bench.directory);
    assert.deepEqual([(await fake.exited).status, fake.stdout], [0, 'Jailer v1.16.1\n\n']);
  });
});
