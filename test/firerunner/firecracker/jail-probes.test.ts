/** Probes of Firecracker where jails are asked for: a guest runs in one, or the result says what to mend. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { jailPlaceFault, mountOf } from '../../../src/firerunner/firecracker/jail-place.ts';
import { kvmDevice } from '../../../src/firerunner/probes/kvm-device.ts';
import type { ProbeResult } from '../../../src/firerunner/probes/result.ts';
import { NO_SETTINGS } from '../../../src/protocol/vmm-settings.ts';
import type { JailerSettings } from '../../../src/protocol/vmm-settings.ts';
import { installFakeFirecracker } from '../../support/firecracker/install.ts';
import { PROJECT_ROOT } from '../../support/snapctr.ts';
import { createStandIns, elfHeader, pathWith, type StandIns } from '../../support/stand-in.ts';
import { untilNothingIsLeftIn } from './jails.ts';

const FIXTURE = join(import.meta.dirname, 'fixtures', 'probe.ts');
/** Of a `chroot_base` that has no room for a socket in a jail below it, however short this process's number is, in bytes. */
const TOO_LONG = 90;

function reasonToSkip(): string | false {
  if (process.getuid?.() !== 0) return 'jails need root';
  const { usable, finding } = kvmDevice();
  return usable ? false : `no probe without KVM: ${finding}`;
}

test('the mount of a path is the closest one above it, and of two at one place the later one', () => {
  const lines = [
    '20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw',
    '21 20 0:30 / /no where\\040ever rw - tmpfs tmpfs rw',
    '22 20 0:31 / /proc rw,nosuid,noexec - proc proc rw',
    '23 20 0:32 / /proc rw,nodev - tmpfs tmpfs rw',
    '24 20 0:33 / /pro rw - tmpfs tmpfs rw',
  ].join('\n');
  assert.equal(mountOf('/no where ever/x', lines.replace('/no where', '/no\\040where'))?.point, '/');
  assert.deepEqual(mountOf('/proc/not-there/x', lines)?.options, ['rw', 'nodev']);
  assert.equal(mountOf('/process', lines)?.point, '/');
  assert.equal(mountOf('/proc', ''), null);
  const { finding, remedy } = jailPlaceFault('/proc/not-there', lines) ?? {};
  assert.match(finding ?? '', /can open \/dev\/kvm: \/proc is mounted with nodev$/);
  assert.match(remedy ?? '', /remount,dev \/proc\), or name another place with `chroot_base`/);
  assert.equal(jailPlaceFault('/srv', lines), null);
});

describe('a result on jails', { skip: reasonToSkip(), timeout: 120_000 }, () => {
  let bin: StandIns;
  let place: string;
  let base: string;

  before(async () => {
    bin = createStandIns();
    await installFakeFirecracker(bin.directory);
  });
  after(() => bin.remove());
  beforeEach(() => {
    place = mkdtempSync(join(tmpdir(), 'snapfaas-jail-probes-'));
    base = join(place, 'jails');
    mkdirSync(base);
    writeFileSync(join(place, 'kernel'), elfHeader(62));
    writeFileSync(join(place, 'initrd'), '070701');
  });
  afterEach(async () => {
    await untilNothingIsLeftIn(base);
    rmSync(place, { recursive: true });
  });

  /** @param prefix a command that runs the rest of its arguments. */
  const result = (changes: Partial<JailerSettings> = {}, prefix: readonly string[] = []): ProbeResult => {
    const jailer: JailerSettings = {
      ...{ path: null, firstUid: 300_000, uidCount: 4, gid: null, chrootBase: base, cgroup: {} },
      ...changes,
    };
    const guest = { kernelPath: join(place, 'kernel'), initrdPath: join(place, 'initrd') };
    const request = { settings: { ...NO_SETTINGS, jailer }, guest, cache: join(place, 'probes') };
    const [program = '', ...args] = [
      ...[...prefix, process.execPath, '--import', 'tsx', FIXTURE, JSON.stringify(request)],
    ];
    const env = { ...process.env, PATH: pathWith(bin.directory) };
    const { stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', cwd: PROJECT_ROOT, env });
    assert.notEqual(stdout, '', stderr);
    return JSON.parse(stdout) as ProbeResult;
  };
  /** With a file system of its own on the chroot base. */
  const onTmpfs = (options: string, changes: Partial<JailerSettings> = {}): ProbeResult =>
    result(changes, [
      ...['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@"', 'sh'],
      ...[options, base],
    ]);
  const kept = (): readonly string[] => {
    try {
      return readdirSync(join(place, 'probes'));
    } catch {
      return [];
    }
  };
  const assertUnusable = (found: ProbeResult, finding: RegExp, remedy: RegExp): void => {
    assert.equal(found.usable, false, JSON.stringify(found));
    assert.match(found.finding, finding);
    assert.match(found.remedy ?? '', remedy);
    // Who mends it changes what no key holds; the next start is to see it.
    assert.deepEqual(kept(), []);
  };

  test('a guest that ran in a jail proves it; the result goes for these settings and programs alone', () => {
    const ran = { usable: true, finding: 'Firecracker 1.16.1 ran a guest in a jail', remedy: null };
    assert.deepEqual(result(), ran);
    assert.match(result().finding, /ran a guest in a jail \(found out earlier/);
    assert.deepEqual(result({ firstUid: 300_001 }), ran);
    assert.deepEqual(result({ chrootBase: join(place, 'other') }), ran);
    // The same directory on another file system.
    assert.deepEqual(onTmpfs('size=64m'), ran);
    assert.equal(kept().length, 4);
  });

  test('a jailer that does not start the VMM', () => {
    const jailer = bin.add(
      'other-jailer',
      '[ "$1" = --version ] && echo "Jailer v1.16.1" && exit\necho "Error: no" >&2; exit 1',
    );
    assertUnusable(
      result({ path: jailer }),
      /^a guest in a jail under Firecracker 1\.16\.1 failed: Error: no \(.*other-jailer, or .* in its jail, exited with status 1/,
      /^mend what it names/,
    );
  });

  test('a chroot base whose sockets would have too long paths', () => {
    const chrootBase = join(place, 'x'.repeat(TOO_LONG - place.length - 1));
    assertUnusable(result({ chrootBase }), /`chroot_base` .* is too long: .*107 are possible$/, /^use a shorter dir/);
  });

  test('a chroot base that is a file', () => {
    assertUnusable(result({ chrootBase: '/etc/passwd' }), /ENOTDIR/, /^name another one with `chroot_base`$/);
  });

  test('a file system that forbids programs or devices', () => {
    assertUnusable(
      onTmpfs('nodev,noexec'),
      /can open \/dev\/kvm or be started: .*\/jails is mounted with nodev and noexec$/,
      /remount,dev,exec .*\/jails\), or name another place with `chroot_base`/,
    );
    // The stand-in never opens the device: here the mount alone tells.
    assertUnusable(onTmpfs('nodev'), /can open \/dev\/kvm: .* with nodev$/, /remount,dev /);
    assertUnusable(onTmpfs('noexec'), /can be started: .* with noexec$/, /remount,exec /);
  });

  test('a file system without room', () => {
    // The kernel does not fit; nor does, on a larger one, the VMM that the jailer copies.
    writeFileSync(join(place, 'kernel'), Buffer.concat([elfHeader(62), Buffer.alloc(1024 * 1024)]));
    assertUnusable(
      onTmpfs('size=64k'),
      /`chroot_base` .*\/jails is full$/,
      /^make room there, or put it on the file system of the images/,
    );
    writeFileSync(join(place, 'kernel'), elfHeader(62));
    assertUnusable(
      onTmpfs('size=8k'),
      /ENOSPC|no space left/i,
      /^make room in .*\/jails, or name a larger file system/,
    );
  });

  test('limits that the jailer, or the kernel, refuses', () => {
    for (const cgroup of [{ 'memory.limit_in_bytes': 'many' }, { 'nothing.max': '1' }]) {
      assertUnusable(result({ cgroup }), /cgroup/, /cgroup|leave the limit out/);
    }
  });
});
