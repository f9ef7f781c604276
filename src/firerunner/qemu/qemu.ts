/** Runs in firerunner and in `snapctr doctor`. QEMU among the VMMs: two ways to run guests, by what was proved of KVM. */
import { UnusableProgramError, versionLine } from '../programs/program-version.ts';
import { unusable, usable, type VmmProbe } from '../probes/result.ts';
import type { Vmm } from '../vmm.ts';
import { qemuDriver } from './driver.ts';
import { GenericVmms } from './generic-vmms.ts';
import { findQemu, probeKvm } from './probe.ts';

export const qemu: Vmm = {
  title: 'QEMU',
  on({ accelerator, guest, probes, settings, directory, say }) {
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
      open(proved) {
        const on = proved ?? 'tcg';
        const size = settings.qemu?.prestarted ?? 0;
        const generic =
          size === 0 || directory === null ? null : new GenericVmms({ accelerator: on, size, directory, say });
        return Promise.resolve(qemuDriver(on, generic));
      },
      close: () => Promise.resolve(),
    };
  },
};
