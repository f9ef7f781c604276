/** Runs in `snapctr doctor`. The VMMs: what is installed, and what `--vmm auto` makes of it. */
import { UnusableProgramError, versionLine } from '../../firerunner/programs/program-version.ts';
import { ok, problem, warning, type Check } from '../check.ts';
import { verdictFinding } from './kvm.ts';

export const firecrackerCheck: Check = {
  name: 'firecracker',
  async run({ proofs }) {
    const { installation, verdict } = await proofs.firecrackerSearch();
    if (installation === null) return verdictFinding(verdict);
    const { finding, ...proof } = await proofs.firecracker();
    return verdictFinding({ ...proof, finding: `${installation.path}: ${finding}` });
  },
};

export const qemuCheck: Check = {
  name: 'qemu',
  async run({ proofs }) {
    const found = proofs.qemu();
    if (!found.usable) return verdictFinding(found);
    try {
      return ok(`${found.finding}: ${await versionLine(found.finding)}`);
    } catch (error) {
      if (!(error instanceof UnusableProgramError)) throw error;
      return warning(error.finding, error.remedy);
    }
  },
};

/** The verdict over all: emulation, the last resort, is proved as well. */
export const vmmCheck: Check = {
  name: 'vmm',
  async run({ proofs }) {
    const ranking = await proofs.ranking();
    if (ranking.vmm === null) return problem(ranking.reason, 'do what the lines above say');
    if (ranking.vmm === 'firecracker' || ranking.accelerator === 'kvm') return ok(ranking.reason);
    const { usable, finding, remedy } = await proofs.emulation();
    return usable ? ok(`${ranking.reason}; ${finding}`) : problem(finding, remedy);
  },
};
