/** Runs in firerunner and in `snapctr doctor`. Every VMM there is, in the order in which `--vmm auto` prefers them. */
import { VMM_NAMES, VMMS, type VmmName } from '../protocol/vmms.ts';
import { firecracker } from './firecracker/firecracker.ts';
import type { Candidate } from './probes/ranking.ts';
import { processes } from './process/process.ts';
import { qemu } from './qemu/qemu.ts';
import type { Vmm, VmmHost, VmmOnHost } from './vmm.ts';

export const VMM_TABLE: Readonly<Record<VmmName, Vmm>> = { firecracker, qemu, process: processes };

/** Those that `--vmm auto` may take: they isolate. */
export function candidatesOn(host: VmmHost): readonly (Candidate & VmmOnHost)[] {
  return VMM_NAMES.filter((name) => VMMS[name].isolates).map((name) => {
    const vmm = VMM_TABLE[name];
    return { name, title: vmm.title, capabilities: VMMS[name], ...vmm.on(host) };
  });
}
