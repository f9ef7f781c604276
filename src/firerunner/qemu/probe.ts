/** Runs in firerunner and in `snapctr doctor`. Whether QEMU is there, and whether it runs a guest: with KVM, or without any help of the host. */
import type { QemuAccelerator } from '../../protocol/runner.ts';
import { findProgram } from '../programs/find-program.ts';
import { startVmmProcess, type VmmProcess } from '../programs/vmm-process.ts';
import type { ProbeCache } from '../probes/cache.ts';
import { keepOf, PROBE_LIMIT_MS, probeGuest, remedyOf, type ProbeFailure } from '../probes/guest.ts';
import { BROKEN_KVM_REMEDY, KVM_DEVICE, kvmDevice } from '../probes/kvm-device.ts';
import { missingGuest, unusable, usable, type ProbeGuest, type ProbeResult } from '../probes/result.ts';
import { QEMU_COMMAND } from './command-line.ts';

/** Emulation needs 2 to 4 s for a boot on an idle host; in ms. */
const EMULATED_PROBE_LIMIT_MS = 60_000;

/** Whether QEMU is installed. */
export function findQemu(): ProbeResult {
  const path = findProgram(QEMU_COMMAND);
  return path === null
    ? unusable(`${QEMU_COMMAND} is not in PATH`, 'install it: apt-get install qemu-system-x86')
    : usable(path);
}

/** Whether a guest runs under QEMU with KVM. Guests are probed once for each boot of the host. */
export async function probeKvm(guest: ProbeGuest | null, cache: ProbeCache): Promise<ProbeResult> {
  const device = kvmDevice();
  if (!device.usable) return device;
  const qemu = findQemu();
  if (!qemu.usable) return qemu;
  const missing = missingGuest(guest);
  if (missing !== null || guest === null) return missing ?? device;
  return cache.find('kvm', { files: [guest.kernelPath, guest.initrdPath, qemu.finding] }, async () => {
    const failure = await probeGuest(() => startQemuProbe('kvm', guest), PROBE_LIMIT_MS);
    const result = failure === null ? usable('KVM ran a guest') : blamed(failure, guest);
    return { result, keep: keepOf(failure) };
  });
}

/** QEMU's own words about what it was given, before any guest runs. */
const QEMU_REFUSES = /^(?:failed: )?qemu(?:-system-\S+)?: (?!.*(?:kvm|vcpu|msr|cpuid))/i;
/** Those of them that are about the kernel or the initial RAM disk. */
const GUEST_REFUSED = /kernel|initrd|bzimage|PVH|\belf\b/i;

/** What failed: not all that keeps a guest from running under KVM is KVM. */
function blamed(failure: ProbeFailure, { kernelPath, initrdPath }: ProbeGuest): ProbeResult {
  if (QEMU_REFUSES.test(failure.why)) {
    const isGuest =
      GUEST_REFUSED.test(failure.why) || [kernelPath, initrdPath].some((path) => failure.why.includes(path));
    return isGuest
      ? unusable(
          `QEMU refuses the guest that is to prove KVM: a guest ${failure.why}`,
          remedyOf(failure, 'build it again: snapctr images build kernel --force'),
        )
      : unusable(
          `QEMU refuses to start a guest that is to prove KVM: a guest ${failure.why}`,
          remedyOf(failure, 'mend what it names, or install QEMU again: apt-get install --reinstall qemu-system-x86'),
        );
  }
  return unusable(`${KVM_DEVICE} opens, but a guest under it ${failure.why}`, remedyOf(failure, BROKEN_KVM_REMEDY));
}

/** Whether a guest runs under software emulation: the last resort, which only broken images or a broken QEMU take away. */
export async function probeEmulation(guest: ProbeGuest | null): Promise<ProbeResult> {
  const qemu = findQemu();
  if (!qemu.usable) return qemu;
  const missing = missingGuest(guest);
  if (missing !== null || guest === null) return missing ?? qemu;
  const failure = await probeGuest(() => startQemuProbe('tcg', guest), EMULATED_PROBE_LIMIT_MS);
  const rebuild = 'mend what it names; if that is the guest, build it again: snapctr images build --force';
  return failure === null
    ? usable('QEMU ran a guest under emulation')
    : unusable(`a guest under emulation ${failure.why}`, remedyOf(failure, rebuild));
}

/** QEMU with a guest that says its word on QEMU's stdout and powers off. */
export function startQemuProbe(accelerator: QemuAccelerator, guest: ProbeGuest): Promise<VmmProcess> {
  return startVmmProcess(
    QEMU_COMMAND,
    [
      ...['-machine', 'q35', '-accel', accelerator, '-cpu', accelerator === 'kvm' ? 'host' : 'max'],
      ...['-smp', '1', '-m', '128M', '-nodefaults', '-no-user-config', '-nographic', '-no-reboot'],
      ...['-kernel', guest.kernelPath, '-initrd', guest.initrdPath],
      ...['-append', 'console=ttyS0 quiet reboot=t panic=-1 snapfaas.probe'],
      ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], cwd: '/' },
  );
}
