import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ProbeCache } from '../../../src/firerunner/probes/cache.ts';
import { rankVmms, type Candidate, type Ranking } from '../../../src/firerunner/probes/ranking.ts';
import { unusable, usable, type ProbeResult, type VmmProbe } from '../../../src/firerunner/probes/result.ts';
import { candidatesOn } from '../../../src/firerunner/vmms.ts';
import { NO_SETTINGS } from '../../../src/protocol/vmm-settings.ts';
import { VMMS } from '../../../src/protocol/vmms.ts';

const NO_FIRECRACKER = unusable('firecracker is not in PATH', 'install version 1.16.1');
const NO_QEMU = unusable('qemu-system-x86_64 is not in PATH', 'apt-get install qemu-system-x86');
const WITH_KVM: VmmProbe = { ...usable('KVM ran a guest'), accelerator: 'kvm' };
const EMULATED: VmmProbe = { ...usable('/dev/kvm is not there'), accelerator: 'tcg' };

/** @param asked gets the names of the VMMs that were probed. */
function rank(
  firecracker: ProbeResult,
  qemu: ProbeResult | VmmProbe,
  { jailed = false, asked = [] }: { readonly jailed?: boolean; readonly asked?: string[] } = {},
): Promise<Ranking<Candidate>> {
  const found = { firecracker, qemu };
  const candidates = (['firecracker', 'qemu'] as const).map((name) => ({
    name,
    title: name === 'qemu' ? 'QEMU' : 'Firecracker',
    capabilities: VMMS[name],
    probe(): Promise<VmmProbe> {
      asked.push(name);
      return Promise.resolve({ accelerator: null, ...found[name] });
    },
  }));
  return rankVmms(candidates, jailed);
}

const summary = ({ taken, accelerator, reason }: Ranking<Candidate>): readonly unknown[] => [
  taken?.name,
  accelerator,
  reason,
];

test('ranking: Firecracker is taken where it ran a guest, and nothing else is probed', async () => {
  const asked: string[] = [];
  const reason = 'firecracker: Firecracker 1.16.1 ran a guest';
  const ranking = await rank(usable('Firecracker 1.16.1 ran a guest'), WITH_KVM, { asked });
  assert.deepEqual(summary(ranking), ['firecracker', null, reason]);
  assert.deepEqual(asked, ['firecracker']);
});

test('ranking: then QEMU with KVM, and it says why not Firecracker', async () => {
  const reason = 'qemu with kvm: KVM ran a guest; not firecracker: firecracker is not in PATH';
  assert.deepEqual(summary(await rank(NO_FIRECRACKER, WITH_KVM)), ['qemu', 'kvm', reason]);
});

test('ranking: then QEMU with emulation, and it says why not KVM', async () => {
  const reason = 'qemu with tcg: /dev/kvm is not there; not firecracker: firecracker is not in PATH';
  assert.deepEqual(summary(await rank(NO_FIRECRACKER, EMULATED)), ['qemu', 'tcg', reason]);
});

test('ranking: with neither it names every remedy, and that --vmm process works, but never takes it', async () => {
  const { taken, reason } = await rank(NO_FIRECRACKER, NO_QEMU);
  assert.equal(taken, null);
  for (const result of [NO_FIRECRACKER, NO_QEMU]) {
    assert.ok(reason.includes(`${result.finding} (${result.remedy ?? ''})`), reason);
  }
  assert.match(reason, /--vmm process runs functions as plain processes, without isolation/);
});

test('ranking: with a jail asked for, nothing takes the place of Firecracker', async () => {
  const asked: string[] = [];
  const { taken, reason } = await rank(NO_FIRECRACKER, WITH_KVM, { jailed: true, asked });
  assert.equal(taken, null);
  assert.match(
    reason,
    /^Firecracker cannot be used: firecracker is not in PATH \(install .*\)\. QEMU would run .* without the jail/,
  );
  assert.deepEqual(asked, ['firecracker']);
});

test('ranking: those that may be taken isolate, and the best comes first', () => {
  const host = {
    settings: NO_SETTINGS,
    accelerator: 'auto',
    guest: null,
    directory: null,
    say: () => undefined,
  } as const;
  const candidates = candidatesOn({ ...host, probes: new ProbeCache('reuse') });
  assert.deepEqual(
    candidates.map(({ name }) => name),
    ['firecracker', 'qemu'],
  );
});
