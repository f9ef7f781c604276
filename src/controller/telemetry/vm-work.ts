/** Runs in snapctr. What the process of a VM has cost the host, as the kernel counts it. */
import { readFile } from 'node:fs/promises';

/** From the start of the VMM on. A snapshot's memory is mapped, so a page that a restored guest touches first is a fault. */
export interface VmWork {
  /** Processor time in ms, of the VMM and of its guest; under software emulation most of a start is translating the guest's code. */
  readonly cpuMs: number;
  /** Pages of 4 KiB that were first touched, or copied because they were written to. */
  readonly faults: number;
  /** Those of them that had to be read from a disk. */
  readonly diskFaults: number;
}

/** Of the kernel's counters of processor time, which are 100 a second whatever it is built for (proc(5), `sysconf(_SC_CLK_TCK)`). */
const TICK_MS = 10;
/** Members of `/proc/PID/stat` behind the name in brackets, which may hold anything (proc_pid_stat(5)). */
const MINFLT = 7;
const MAJFLT = 9;
const UTIME = 11;
const STIME = 12;

/** Null: there is no such process, or its VM has ended. */
export async function readVmWork(pid: number): Promise<VmWork | null> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'latin1');
    const members = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const at = (member: number): number => Number(members[member]);
    return {
      cpuMs: (at(UTIME) + at(STIME)) * TICK_MS,
      faults: at(MINFLT) + at(MAJFLT),
      diskFaults: at(MAJFLT),
    };
  } catch {
    return null;
  }
}
