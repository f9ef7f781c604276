/** Runs in firerunner and in `snapctr doctor`. Firecracker among the VMMs. */
import { ASKED_FOR, type Vmm } from '../vmm.ts';
import { usable } from '../probes/result.ts';
import { DirectoriesOnDemand, openFirecracker } from './open.ts';
import { probeFirecracker, searchFirecracker } from './probe.ts';

export const firecracker: Vmm = {
  title: 'Firecracker',
  on({ settings, guest, probes, directory, say }) {
    const directories = new DirectoriesOnDemand(settings.jailer, directory, say);
    return {
      async find() {
        const { installation, result } = await searchFirecracker(settings);
        return result ?? usable(installation.path);
      },
      // What is missing is said when it is opened.
      check: () => Promise.resolve(ASKED_FOR),
      probe: async () => ({ ...(await probeFirecracker(settings, guest, directories, probes)), accelerator: null }),
      open: () => openFirecracker(settings, directories, say),
      close: () => directories.close(),
    };
  },
};
