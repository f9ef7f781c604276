/** Runs in `snapctr doctor`. KVM twice: the device, and a real guest under it, because the one does not follow from the other. */
import { KVM_DEVICE } from '../../firerunner/probes/kvm.ts';
import type { Verdict } from '../../firerunner/probes/result.ts';
import { ok, skipped, warning, type Check, type Finding } from '../check.ts';

export function verdictFinding({ usable, finding, remedy }: Verdict): Finding {
  return usable ? ok(finding) : warning(finding, remedy);
}

export const kvmDeviceCheck: Check = { name: 'kvm-device', run: ({ proofs }) => verdictFinding(proofs.kvmDevice()) };

export const kvmGuestCheck: Check = {
  name: 'kvm-guest',
  async run({ proofs }) {
    if (!proofs.kvmDevice().usable) return skipped(`no guest can be tried without ${KVM_DEVICE}`);
    const firecracker = await proofs.firecracker();
    if (firecracker.usable) return ok(firecracker.finding);
    const { installation } = await proofs.firecrackerSearch();
    if (!proofs.qemu().usable && installation === null)
      return skipped('neither Firecracker nor QEMU is there to try a guest');
    return verdictFinding(proofs.qemu().usable ? await proofs.kvm() : firecracker);
  },
};
