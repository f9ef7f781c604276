/** Runs in firerunner and in `snapctr doctor`. Whether KVM is there, and whether it really runs a guest of ours. */
import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import type { VerdictCache } from './cache.ts';
import { keepingOf, PROBE_LIMIT_MS, probeGuest, remedyOf } from './probe.ts';
import { qemuVerdict, startQemuProbe } from './qemu.ts';
import { missingGuest, unusable, usable, type ProbeGuest, type Verdict } from './verdict.ts';

export const KVM_DEVICE = '/dev/kvm';

/** What helps where the device opens and guests do not run. */
export const BROKEN_KVM_REMEDY =
  'take a host whose KVM runs stock kernels: bare metal, or a VM whose own host offers full nested virtualization';

/** Whether the device opens for reading and writing. Says nothing of whether guests run. */
export function kvmDevice(path = KVM_DEVICE): Verdict {
  try {
    closeSync(openSync(path, constants.O_RDWR));
    return usable(`${path} opens`);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
    switch (code) {
      case 'ENOENT':
        return unusable(`${path} is not there`, missingDeviceRemedy());
      case 'EACCES':
      case 'EPERM':
        return unusable(
          `${path} may not be opened by this user (${code})`,
          `add the user to its group and log in again: usermod -aG kvm ${userName()}; in a container also pass the device`,
        );
      default:
        return unusable(`${path} cannot be opened (${code})`, missingDeviceRemedy());
    }
  }
}

/** Whether a guest runs under QEMU with KVM. Guests are probed once for each boot of the host. */
export async function kvmVerdict(guest: ProbeGuest | null, cache: VerdictCache): Promise<Verdict> {
  const device = kvmDevice();
  if (!device.usable) return device;
  const qemu = qemuVerdict();
  if (!qemu.usable) return qemu;
  const missing = missingGuest(guest);
  if (missing !== null || guest === null) return missing ?? device;
  return cache.find('kvm', { files: [guest.kernelPath, guest.initrdPath, qemu.finding] }, async () => {
    const failure = await probeGuest(() => startQemuProbe('kvm', guest), PROBE_LIMIT_MS);
    const verdict =
      failure === null
        ? usable('KVM ran a guest')
        : unusable(`${KVM_DEVICE} opens, but a guest under it ${failure.why}`, remedyOf(failure, BROKEN_KVM_REMEDY));
    return { verdict, keep: keepingOf(failure) };
  });
}

/** Without the processor's flags no module helps: this machine is a VM whose host keeps them to itself, or the firmware does. */
function missingDeviceRemedy(): string {
  const flags = /^flags\s*:(.*)$/m.exec(readText('/proc/cpuinfo'))?.[1]?.split(/\s+/) ?? [];
  if (flags.includes('vmx'))
    return 'load the module: modprobe kvm_intel; in a container, pass the device (--device /dev/kvm)';
  if (flags.includes('svm'))
    return 'load the module: modprobe kvm_amd; in a container, pass the device (--device /dev/kvm)';
  return 'switch virtualization on in the firmware, or, if this machine is a VM, nested virtualization on its host';
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A user without an entry in /etc/passwd, as in containers.
    return 'USER';
  }
}
