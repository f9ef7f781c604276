/** Runs in `snapctr doctor`. KVM twice: the device, and a real guest under it, because the one does not follow from the other. */
import { KVM_DEVICE } from '../../firerunner/probes/kvm-device.ts';
import type { ProbeResult } from '../../firerunner/probes/result.ts';
import { ok, skipped, warning, type Check, type Finding } from '../check.ts';

export function probeFinding({ usable, finding, remedy }: ProbeResult): Finding {
  return usable ? ok(finding) : warning(finding, remedy);
}

export const kvmDeviceCheck: Check = { name: 'kvm-device', run: ({ probes }) => probeFinding(probes.kvmDevice()) };

export const kvmGuestCheck: Check = {
  name: 'kvm-guest',
  async run({ probes }) {
    if (!probes.kvmDevice().usable) return skipped(`no guest can be tried without ${KVM_DEVICE}`);
    const firecracker = await probes.probe('firecracker');
    if (firecracker.usable) return ok(firecracker.finding);
    const { installation } = await probes.firecrackerSearch();
    if (!probes.qemu().usable && installation === null)
      return skipped('neither Firecracker nor QEMU is there to try a guest');
    return probeFinding(probes.qemu().usable ? await probes.kvm() : firecracker);
  },
};
