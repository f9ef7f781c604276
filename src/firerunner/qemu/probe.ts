/** Runs in firerunner and in `snapctr doctor`. Whether QEMU is there, and whether it runs a guest without any help of the host. */
import type { QemuAccelerator } from '../../protocol/runner.ts';
import { QEMU_COMMAND } from './command-line.ts';
import { findProgram } from '../programs/find-program.ts';
import { startVmmProcess, type VmmProcess } from '../programs/vmm-process.ts';
import { probeGuest, remedyOf } from '../probes/guest.ts';
import { missingGuest, unusable, usable, type ProbeGuest, type Verdict } from '../probes/result.ts';

/** Emulation needs 2 to 4 s for a boot on an idle host; in ms. */
const EMULATED_PROBE_LIMIT_MS = 60_000;

/** Whether QEMU is installed. */
export function qemuVerdict(): Verdict {
  const path = findProgram(QEMU_COMMAND);
  return path === null
    ? unusable(`${QEMU_COMMAND} is not in PATH`, 'install it: apt-get install qemu-system-x86')
    : usable(path);
}

/** Whether a guest runs under software emulation: the last resort, which only broken images or a broken QEMU take away. */
export async function emulationVerdict(guest: ProbeGuest | null): Promise<Verdict> {
  const qemu = qemuVerdict();
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
