/** Runs in `snapctr doctor`. Limits that the system sets to processes: open files, and cgroups as their keeper. */
import { join } from 'node:path';
import { HostError } from '../../firerunner/machine.ts';
import { cgroupPlan } from '../../firerunner/firecracker/cgroups.ts';
import { SMALLEST_VM_MIB } from '../../protocol/vmms.ts';
import { ok, skipped, warning, type Check } from '../check.ts';
import { readHostFile } from '../context.ts';
import { availableMib } from './memory.ts';

/** Sockets, pipes and files that snapctr or firerunner have open for a VM. */
const DESCRIPTORS_PER_VM = 10;
/** Beside those for VMs: connections of clients, snapshots, log. */
const OTHER_DESCRIPTORS = 256;

export const openFilesCheck: Check = {
  name: 'open-files',
  run(context) {
    const limits = readHostFile(context, '/proc/self/limits');
    const [, soft, hard] = /^Max open files\s+(\d+|unlimited)\s+(\d+|unlimited)/m.exec(limits) ?? [];
    const memoryMib = context.subject.memoryMib ?? availableMib(context);
    if (soft === undefined || hard === undefined || memoryMib === null) return skipped('the host does not tell');
    const vms = Math.floor(memoryMib / SMALLEST_VM_MIB);
    const needed = vms * DESCRIPTORS_PER_VM + OTHER_DESCRIPTORS;
    const detail = `${hard} for each process`;
    // Node raises its own soft limit to the hard one.
    if (hard === 'unlimited' || Number(hard) >= needed) return ok(detail);
    return warning(
      `${detail}; ${vms} VMs, which ${memoryMib} MiB hold, need about ${needed}`,
      `raise the limit: ulimit -Hn ${needed}, or LimitNOFILE=${needed} in a unit of systemd`,
    );
  },
};

export const cgroupsCheck: Check = {
  name: 'cgroups',
  async run(context) {
    const controllers = readHostFile(context, '/sys/fs/cgroup/cgroup.controllers').trim();
    const version = controllers === '' ? 'version 1, or none' : `version 2 with ${controllers}`;
    const limits = context.subject.settings.jailer?.cgroup ?? {};
    if (Object.keys(limits).length === 0) return ok(`${version}; only limits of jailed VMs need them`);
    try {
      const plan = await cgroupPlan(limits, join(context.hostRoot, '/proc/mounts'));
      return ok(`${version}; the limits of jailed VMs are set in ${plan?.parents.join(', ') ?? 'none'}`);
    } catch (error) {
      if (!(error instanceof HostError)) throw error;
      return warning(`${version}: ${error.message}`, 'mend the limits in `jailer: {cgroup: …}`, or leave them out');
    }
  },
};
