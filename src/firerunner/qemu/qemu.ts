/** Runs in firerunner and in `snapctr doctor`. QEMU among the VMMs: two ways to run guests, by what was proved of KVM. */
import { UnusableProgramError, versionLine } from '../programs/program-version.ts';
import { unusable, usable, type VmmProbe } from '../probes/result.ts';
import type { Vmm } from '../vmm.ts';
import { qemuDriver } from './driver.ts';
import { findQemu, probeKvm } from './probe.ts';

export const qemu: Vmm = {
  title: 'QEMU',
  on({ accelerator, guest, probes }) {
    const probe = async (): Promise<VmmProbe> => {
      const found = findQemu();
      if (!found.usable) return { ...found, accelerator: null };
      const kvm = await probeKvm(guest, probes);
      // Emulation needs nothing of the host.
      return { usable: true, finding: kvm.finding, remedy: null, accelerator: kvm.usable ? 'kvm' : 'tcg' };
    };
    return {
      async find() {
        const found = findQemu();
        if (!found.usable) return found;
        try {
          return usable(`${found.finding}: ${await versionLine(found.finding)}`);
        } catch (error) {
          if (!(error instanceof UnusableProgramError)) throw error;
          return unusable(error.finding, error.remedy);
        }
      },
      async check() {
        if (accelerator === 'auto') return probe();
        const found = findQemu();
        return found.usable
          ? { usable: true, finding: 'asked for', remedy: null, accelerator }
          : { ...found, accelerator };
      },
      probe,
      open: (proved) => Promise.resolve(qemuDriver(proved ?? 'tcg')),
      close: () => Promise.resolve(),
    };
  },
};
