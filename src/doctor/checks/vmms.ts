/** Runs in `snapctr doctor`. The VMMs: what is installed, and what `--vmm auto` makes of it. */
import { ok, problem, type Check } from '../check.ts';
import { probeFinding } from './kvm.ts';

export const firecrackerCheck: Check = {
  name: 'firecracker',
  async run({ probes }) {
    const found = await probes.find('firecracker');
    if (!found.usable) return probeFinding(found);
    const { finding, ...proof } = await probes.probe('firecracker');
    return probeFinding({ ...proof, finding: `${found.finding}: ${finding}` });
  },
};

/** Whether it runs guests is the matter of `kvm-guest`, and of `vmm`. */
export const qemuCheck: Check = { name: 'qemu', run: async ({ probes }) => probeFinding(await probes.find('qemu')) };

/** The result over all: emulation, the last resort, is proved as well. */
export const vmmCheck: Check = {
  name: 'vmm',
  async run({ probes }) {
    const ranking = await probes.ranking();
    if (ranking.taken === null) return problem(ranking.reason, 'do what the lines above say');
    if (ranking.accelerator !== 'tcg') return ok(ranking.reason);
    const { usable, finding, remedy } = await probes.emulation();
    return usable ? ok(`${ranking.reason}; ${finding}`) : problem(finding, remedy);
  },
};
