import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rankVmms, type Prospects } from '../../../src/firerunner/probes/ranking.ts';
import { unusable, usable, type Verdict } from '../../../src/firerunner/probes/result.ts';

const NO_FIRECRACKER = unusable('firecracker is not in PATH', 'install version 1.16.1');
const NO_KVM = unusable('/dev/kvm is not there', 'modprobe kvm_intel');
const NO_QEMU = unusable('qemu-system-x86_64 is not in PATH', 'apt-get install qemu-system-x86');

/** @param asked gets the names of the verdicts that were asked for. */
function prospects(firecracker: Verdict, kvm: Verdict, qemu: Verdict, asked: string[] = []): Prospects {
  const tell = <T>(name: string, verdict: T): T => {
    asked.push(name);
    return verdict;
  };
  return {
    jailed: false,
    firecracker: () => Promise.resolve(tell('firecracker', firecracker)),
    kvm: () => Promise.resolve(tell('kvm', kvm)),
    qemu: () => tell('qemu', qemu),
  };
}

test('ranking: Firecracker is taken where it ran a guest, and nothing else is probed', async () => {
  const asked: string[] = [];
  const ran = usable('Firecracker 1.16.1 ran a guest');
  assert.deepEqual(await rankVmms(prospects(ran, usable('KVM ran a guest'), usable('/usr/bin/qemu'), asked)), {
    vmm: 'firecracker',
    reason: 'firecracker: Firecracker 1.16.1 ran a guest',
  });
  assert.deepEqual(asked, ['firecracker']);
});

test('ranking: then QEMU with KVM, and it says why not Firecracker', async () => {
  const ranking = await rankVmms(prospects(NO_FIRECRACKER, usable('KVM ran a guest'), usable('/usr/bin/qemu')));
  assert.deepEqual(ranking, {
    vmm: 'qemu',
    accelerator: 'kvm',
    reason: 'qemu with kvm: KVM ran a guest; not firecracker: firecracker is not in PATH',
  });
});

test('ranking: then QEMU with emulation, and it says why not KVM', async () => {
  const ranking = await rankVmms(prospects(NO_FIRECRACKER, NO_KVM, usable('/usr/bin/qemu')));
  assert.deepEqual(ranking, {
    vmm: 'qemu',
    accelerator: 'tcg',
    reason: 'qemu with tcg: /dev/kvm is not there; not firecracker: firecracker is not in PATH',
  });
});

test('ranking: with neither it names every remedy, and that --vmm process works, but never takes it', async () => {
  const { vmm, reason } = await rankVmms(prospects(NO_FIRECRACKER, NO_KVM, NO_QEMU));
  assert.equal(vmm, null);
  for (const verdict of [NO_FIRECRACKER, NO_QEMU]) {
    assert.ok(reason.includes(`${verdict.finding} (${verdict.remedy ?? ''})`), reason);
  }
  assert.match(reason, /--vmm process runs functions as plain processes, without isolation/);
});

test('ranking: with a jail asked for, nothing takes the place of Firecracker', async () => {
  const asked: string[] = [];
  const others = prospects(NO_FIRECRACKER, usable('KVM ran a guest'), usable('/usr/bin/qemu'), asked);
  const { vmm, reason } = await rankVmms({ ...others, jailed: true });
  assert.equal(vmm, null);
  assert.match(
    reason,
    /^Firecracker cannot be used: firecracker is not in PATH \(install .*\)\. QEMU would run .* without the jail/,
  );
  assert.deepEqual(asked, ['firecracker']);
});
