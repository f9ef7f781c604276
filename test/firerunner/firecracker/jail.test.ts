/** Firecracker in jails, with a stand-in for its jailer that makes everything but the change of the root directory. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { jailerArguments } from '../../../src/firerunner/firecracker/jail.ts';
import type { JailerSettings } from '../../../src/protocol/vmm-settings.ts';
import { until } from '../../end-to-end/processes.ts';
import { FIRERUNNER, IMAGES, PROJECT_ROOT } from '../../support/snapctr.ts';
import { Host } from './hosts.ts';
import { leftIn, makeChrootBase, untilNothingIsLeftIn } from './jails.ts';

const isRoot = process.getuid?.() === 0;
const skip = isRoot ? false : 'jails need root';

test('the jailer is told everything, and Firecracker only where its socket is', () => {
  const settings: JailerSettings = {
    ...{ path: null, firstUid: 100_000, uidCount: 10, gid: null, chrootBase: '/srv/jailer', cgroup: {} },
  };
  assert.deepEqual(
    jailerArguments({
      ...{
        id: 'snapfaas-12-345-1',
        uid: 100_003,
        gid: 100_003,
        settings,
        firecracker: '/usr/bin/firecracker',
        cgroups: null,
      },
    }),
    [
      ...['--id', 'snapfaas-12-345-1', '--exec-file', '/usr/bin/firecracker', '--uid', '100003', '--gid', '100003'],
      ...['--chroot-base-dir', '/srv/jailer', '--', '--api-sock', 'api.sock', '--level', 'Warning'],
    ],
  );
});

test('without root it says what a jail needs', { skip: isRoot ? false : 'to be another user needs root' }, () => {
  const settings = { jailer: { firstUid: 100_000, uidCount: 2, chrootBase: '/srv/jailer' } };
  const flags = ['--serve', '--vmm', 'firecracker', '--vmm-settings', JSON.stringify(settings)];
  const directory = mkdtempSync('/tmp/snapfaas-jail-');
  try {
    chmodSync(directory, 0o777);
    // Copies of the stand-ins say their version, and that is all that is asked of them.
    for (const [name, title] of [
      ['firecracker', 'Firecracker'],
      ['jailer', 'Jailer'],
    ] as const) {
      execFileSync('sh', [
        '-c',
        `printf '#!/bin/sh\\necho "${title} v1.16.1"\\n' > "$1"; chmod 755 "$1"`,
        'sh',
        join(directory, name),
      ]);
    }
    const { status, stderr } = spawnSync(
      'setpriv',
      ['--reuid', '65534', '--regid', '65534', '--clear-groups', '--', process.execPath, FIRERUNNER, ...flags],
      {
        encoding: 'utf8',
        cwd: PROJECT_ROOT,
        env: { PATH: `${directory}:/usr/bin:/bin`, SNAPFAAS_RUN_DIR: join(directory, 'run') },
        input: '',
      },
    );
    assert.match(stderr, /the jailer needs root: .*run snapctr as root, or leave `jailer` out/);
    assert.equal(status, 4);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

describe('a jailed Firecracker', { skip, timeout: 300_000 }, () => {
  let base: string;
  let host: Host;
  const jailer = (changes: Partial<JailerSettings> = {}): JailerSettings => ({
    ...{ path: null, firstUid: 200_000, uidCount: 8, gid: null, chrootBase: base, cgroup: {} },
    ...changes,
  });

  beforeEach(() => (base = makeChrootBase()));
  afterEach(async () => {
    await host.close();
    await untilNothingIsLeftIn(base);
    rmSync(base, { recursive: true });
  });

  const jailOf = (uid: number): string => {
    const jails = readdirSync(join(base, 'firecracker')).map((id) => join(base, 'firecracker', id, 'root'));
    const jail = jails.find((path) => statSync(path).uid === uid);
    assert.ok(jail !== undefined, `no jail of user ${uid}`);
    return jail;
  };

  test('runs each VM as a user of its own, on links to the files that all share', async () => {
    host = await Host.open({ jailer: jailer() });
    const { restorable, close } = await host.prepare();
    const vms = await Promise.all([host.launch(restorable), host.launch(restorable)]);
    const starts = vms.map(({ vm }) =>
      host
        .journal()
        .find(({ event, pid, program }) => event === 'start' && program === 'firecracker' && pid === vm.machine.pid),
    );
    const uids = starts.map((start) => Number(start?.['uid']));
    assert.equal(new Set(uids).size, 2);
    for (const [index, uid] of uids.entries()) {
      assert.ok(uid >= 200_000 && uid < 200_008, String(uid));
      assert.equal(starts[index]?.['gid'], uid);
      const names = starts[index]['environment'] as readonly string[];
      // The shell that stands in for the program sets PWD.
      const inherited = names.filter((name) => !name.startsWith('FAKE_') && name !== 'PWD');
      assert.deepEqual(inherited, []);
      const jail = jailOf(uid);
      const rootfs = statSync(join(jail, 'rootfs.ext4'));
      assert.equal(rootfs.ino, statSync(join(IMAGES, 'runtimefs/python3.ext4')).ino);
      const memory = statSync(join(jail, 'memory'));
      assert.equal(memory.mode & 0o777, 0o444);
      assert.equal(memory.uid, 0);
      assert.deepEqual(await vms[index]?.invoke(1), { echo: 1, calls: 1 });
    }
    const inodes = uids.map((uid) => statSync(join(jailOf(uid), 'memory')).ino);
    assert.equal(inodes[0], inodes[1], 'both map one file');
    assert.deepEqual(host.said, []);
    await Promise.all(vms.map(({ vm }) => vm.kill()));
    // What ran in the stand-in's guest ends a moment after it.
    await until('only the snapshot is left', () => leftIn(base).every((name) => name.startsWith('snapfaas/files/')));
    await close();
  });

  test('Firecracker may be named by a link: the jailer makes its jails by what it leads to', async () => {
    host = await Host.open({ jailer: jailer(), linksTo: 'firecracker-v1.16.1-x86_64' });
    const { vm, invoke } = await host.launch(null);
    assert.deepEqual(await invoke(1), { echo: 1, calls: 1 });
    assert.equal(readdirSync(join(base, 'firecracker-v1.16.1-x86_64')).length, 1);
    await vm.kill();
    assert.deepEqual(readdirSync(join(base, 'firecracker-v1.16.1-x86_64')), []);
  });

  test('a VMM that dies is called by its own name, not by that of the jailer', async () => {
    host = await Host.open({ jailer: jailer() });
    const { vm } = await host.launch(null);
    process.kill(vm.machine.pid ?? assert.fail(), 'SIGKILL');
    const { reason } = await vm.machine.exited;
    assert.match(reason, /^\/\S+\/firecracker was killed by SIGKILL$/);
    // As long as it may be either, both are named.
    host.setFault({ at: 'listen', do: 'exit', status: 148 });
    await assert.rejects(host.launch(null), {
      message: /\/jailer, or \S+\/firecracker in its jail, exited with status 148/,
    });
  });

  test('nobody else may read what is kept of a VM', async () => {
    host = await Host.open({ jailer: jailer() });
    await (await host.prepare()).close();
    const store = host.spec.snapshots?.kind === 'store' ? host.spec.snapshots.directory : assert.fail();
    const names = readdirSync(store, { recursive: true, encoding: 'utf8' });
    assert.ok(names.some((name) => name.endsWith('/state')));
    for (const name of names) {
      const { mode, uid } = statSync(join(store, name));
      assert.deepEqual([name, mode & 0o077, uid], [name, 0, 0]);
    }
  });

  test('a snapshot made in a jail loads without one', async () => {
    host = await Host.open({ jailer: jailer() });
    await (await host.prepare()).close();
    const open = await Host.open();
    try {
      const { restorable, close } = await open.prepareFrom(host);
      assert.equal(
        open.journal().some(({ event }) => event === 'snapshot'),
        false,
      );
      const { vm, invoke } = await open.launch(restorable);
      assert.deepEqual(await invoke(1), { echo: 1, calls: 1 });
      await vm.kill();
      await close();
    } finally {
      await open.close();
    }
  });

  test('a range of users that is used up is an error, until a VM ends', async () => {
    host = await Host.open({ jailer: jailer({ uidCount: 2 }) });
    const vms = await Promise.all([host.launch(null), host.launch(null)]);
    await assert.rejects(host.launch(null), {
      name: 'HostError',
      message:
        /all 2 users of `uid_range` 200000-200001 are taken by VMs, and VMMs that wait for one; give it more users/,
    });
    await vms[0].vm.kill();
    const third = await host.launch(null);
    assert.deepEqual(await third.invoke(1), { echo: 1, calls: 1 });
    await Promise.all([vms[1].vm.kill(), third.vm.kill()]);
  });

  test('VMMs that are started ahead leave no launch without a user', async () => {
    host = await Host.open({ jailer: jailer({ uidCount: 2 }), prestarted: 2 });
    const { vm, invoke } = await host.launch(null);
    assert.deepEqual(await invoke(1), { echo: 1, calls: 1 });
    await vm.kill();
  });

  test('images on another file system are copied, and that is said once', async () => {
    const { base: elsewhere, unmount } = mountTmpfs('1g');
    try {
      base = elsewhere;
      host = await Host.open({ jailer: jailer() });
      for (let round = 0; round < 2; round += 1) {
        const { vm, invoke } = await host.launch(null);
        assert.deepEqual(await invoke(1), { echo: 1, calls: 1 });
        await vm.kill();
      }
      await (await host.prepare()).close();
      const built = host.said.filter((text) => text.includes('memory of a VM'));
      assert.equal(built.length, 1, 'two layers are built, and it is said once that memory is copied for that');
      const about = host.said.filter((text) => text.includes('python3.ext4'));
      assert.equal(about.length, 1);
      assert.match(
        about[0] ?? '',
        /is copied to .*files, for jails to have links to it: it is not on the file system of `chroot_base`/,
      );
      await host.driver.close();
      await untilNothingIsLeftIn(base);
    } finally {
      base = makeChrootBase();
      unmount();
    }
  });

  test('a full chroot base is an error that says so, and leaves nothing', async () => {
    const { base: full, unmount } = mountTmpfs('4m');
    try {
      base = full;
      host = await Host.open({ jailer: jailer() });
      await assert.rejects(host.launch(null), {
        name: 'HostError',
        message: /`chroot_base` \S+ is full; make room there, or put it on the file system of the images/,
      });
      await host.driver.close();
      await untilNothingIsLeftIn(base);
    } finally {
      base = makeChrootBase();
      unmount();
    }
  });

  test('an image that others may not read is copied', async () => {
    host = await Host.open({ jailer: jailer() });
    const secret = join(host.directory, 'secret.ext4');
    copyFileSync(host.spec.machine.appfsPath ?? '', secret);
    chmodSync(secret, 0o600);
    const { vm, invoke } = await host.launch(null, { appfsPath: secret });
    assert.deepEqual(await invoke(1), { echo: 1, calls: 1 });
    assert.match(host.said.join('\n'), /secret\.ext4 is copied to .*: other users may not read it/);
    await vm.kill();
  });

  test('a chroot base too long for sockets is refused', async () => {
    host = await Host.open();
    await assert.rejects(Host.open({ jailer: jailer({ chrootBase: join(base, 'x'.repeat(60)) }) }), {
      message: /`chroot_base` .* is too long: sockets in its jails would have paths of \d+ bytes, 107 are possible/,
    });
  });

  describe('with limits', () => {
    const group = '/sys/fs/cgroup/memory/snapfaas';
    const noGroups = existsSync('/sys/fs/cgroup/memory/cgroup.procs') ? false : 'no cgroup v1 hierarchy for memory';

    test('has a cgroup of its own, which goes with it', { skip: noGroups }, async () => {
      host = await Host.open({ jailer: jailer({ cgroup: { 'memory.limit_in_bytes': '536870912' } }) });
      const { vm } = await host.launch(null);
      const [id = ''] = readdirSync(join(base, 'firecracker'));
      assert.equal(
        execFileSync('cat', [join(group, id, 'memory.limit_in_bytes')], { encoding: 'utf8' }).trim(),
        '536870912',
      );
      assert.match(
        execFileSync('cat', [join(group, id, 'cgroup.procs')], { encoding: 'utf8' }),
        new RegExp(`^${vm.machine.pid ?? ''}$`, 'm'),
      );
      await vm.kill();
      assert.equal(existsSync(join(group, id)), false);
    });
  });

  test('a firerunner that was killed together with its janitor is cleaned up after by the next one', async () => {
    const code = `
      import { Host } from ${JSON.stringify(join(import.meta.dirname, 'hosts.ts'))};
      const host = await Host.open({ jailer: ${JSON.stringify(jailer())} });
      await host.launch(null);
      console.log('launched', host.vmms()[0]);
      setInterval(() => {}, 1000);
    `;
    const child = spawnSync(
      'sh',
      [
        '-c',
        // The janitor first: it would do its work when its firerunner ends.
        '"$0" --import tsx --input-type=module -e "$1" & pid=$!; ' +
          'tries=0; while [ $tries -lt 300 ]; do for janitor in $(pgrep -P $pid sh); do ' +
          'grep -q snapfaas-jail-janitor /proc/$janitor/cmdline && found=$janitor; done; ' +
          '[ -n "$found" ] && ls "$2"/firecracker/*/pid >/dev/null 2>&1 && ls "$2"/firecracker/*/root/v.sock >/dev/null 2>&1 && break; ' +
          'sleep 0.1; tries=$((tries + 1)); done; kill -9 $found $pid; wait $pid; true',
        process.execPath,
        code,
        base,
      ],
      { encoding: 'utf8', cwd: PROJECT_ROOT, timeout: 60_000 },
    );
    assert.equal(child.status, 0, child.stderr);
    assert.notDeepEqual(leftIn(base), [], 'there is something to clean up');
    host = await Host.open({ jailer: jailer() });
    await untilNothingIsLeftIn(base);
  });

  test('a jail that cannot be removed keeps its user from other VMs, and that is said', async () => {
    host = await Host.open({ jailer: jailer({ uidCount: 1 }) });
    const { vm } = await host.launch(null);
    const [name] = readdirSync(join(base, 'firecracker'));
    const inside = join(base, 'firecracker', name ?? assert.fail(), 'root', 'held');
    mkdirSync(inside);
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', inside]);
    try {
      await vm.kill();
      await until('it is said', () =>
        host.said.some((text) => /the jail .* cannot be removed, and user 200000/.test(text)),
      );
      await assert.rejects(host.launch(null), { message: /all 1 users of `uid_range`/ });
    } finally {
      execFileSync('umount', [inside]);
    }
    await host.driver.close();
    rmSync(join(base, 'firecracker', name ?? ''), { recursive: true, force: true });
  });

  function mountTmpfs(size: string): { readonly base: string; unmount(): void } {
    const directory = mkdtempSync('/tmp/snapfaas-tmpfs-');
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', directory]);
    rmSync(base, { recursive: true });
    return {
      base: directory,
      unmount: () => {
        execFileSync('umount', [directory]);
        rmSync(directory, { recursive: true });
      },
    };
  }
});
