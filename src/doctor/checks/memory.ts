/** Runs in `snapctr doctor`. The host's memory: enough for VMs, whether it may get to the disk, and huge pages. */
import { SMALLEST_VM_MIB } from '../../protocol/vmms.ts';
import { ok, problem, warning, type Check } from '../check.ts';
import { readHostFile, type DoctorContext } from '../context.ts';

/** A number of /proc/meminfo, in MiB where it has a unit there; null if it is not there. */
function memInfo(context: DoctorContext, field: string): number | null {
  const [, number, unit] =
    new RegExp(`^${field}:\\s*(\\d+)( kB)?$`, 'm').exec(readHostFile(context, '/proc/meminfo')) ?? [];
  if (number === undefined) return null;
  return unit === undefined ? Number(number) : Math.floor(Number(number) / 1024);
}

/** What VMs may take now, in MiB; null if the host does not tell. */
export function availableMib(context: DoctorContext): number | null {
  const available = memInfo(context, 'MemAvailable');
  // A limit of the cgroup this runs in, as in containers; without one it is a number beyond any memory.
  const limitMib = Math.floor(process.constrainedMemory() / 1024 / 1024);
  return available === null || limitMib === 0 ? available : Math.min(available, limitMib);
}

export const memoryCheck: Check = {
  name: 'memory',
  run(context) {
    const [available, total, wanted] = [availableMib(context), memInfo(context, 'MemTotal'), context.subject.memoryMib];
    if (available === null || total === null) {
      return warning('the host does not tell how much memory it has', 'mount /proc');
    }
    const free = `${available} of ${total} MiB available`;
    if (available < SMALLEST_VM_MIB) {
      return problem(`${free}; the smallest VM has ${SMALLEST_VM_MIB}`, 'end other programs, or take a larger host');
    }
    if (wanted === null) return ok(`${free}; leave some of it to the VMMs when you choose --mem`);
    if (wanted > total)
      return problem(`${free}; --mem ${wanted} is more than the host has`, `give at most --mem ${total}`);
    if (wanted > available) {
      return warning(
        `${free}; --mem ${wanted} is more than that`,
        `give less than --mem ${available}, or end other programs`,
      );
    }
    return ok(`${free}; --mem ${wanted} is within it`);
  },
};

export const swapCheck: Check = {
  name: 'swap',
  run(context) {
    const swap = memInfo(context, 'SwapTotal');
    if (swap === null || swap === 0) return ok('none: the memory of VMs never gets to a disk by it');
    return warning(
      `${swap} MiB: the memory of idle VMs, with what their functions keep there, may get to the disk`,
      'switch it off (swapoff -a), or encrypt it',
    );
  },
};

export const hugePagesCheck: Check = {
  name: 'huge-pages',
  run(context) {
    const [pages, size] = [memInfo(context, 'HugePages_Total'), memInfo(context, 'Hugepagesize')];
    if (pages === null || size === null || pages === 0) return ok('none reserved, and none needed');
    return ok(`${pages} of ${size} MiB are reserved; VMs here do not use them, so they are lost to VMs`);
  },
};
