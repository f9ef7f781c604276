/** Runs in firerunner. What of a Firecracker process's output tells why it failed. */
import { ApiRefusal } from './api.ts';

/** As Firecracker begins its own lines: time, instance, thread. Source: its src/vmm/src/logger/logging.rs. */
const OWN_LINE = /^\S+ \[[A-Za-z0-9-]+:[^\]]+\] /;
/** What it warns of at each start, load or pause of a machine that is well. */
const ROUTINE = [
  'Received a VcpuEvent::Resume message with immediate_exit enabled',
  'Requested a vCPU run with immediate_exit enabled',
  'MSR_IA32_TSC_DEADLINE is 0, replacing with',
  'KVM_KVMCLOCK_CTRL call failed',
];
/** How it begins its copy of a refusal. */
const REFUSAL = 'Received Error. Status code:';

/**
 * @param lines the last ones of the process and its guest.
 * @param error what they are shown beside: a refusal is not told twice.
 */
export function tellingLines(lines: readonly string[], error: unknown = null): readonly string[] {
  const routine = error instanceof ApiRefusal ? [...ROUTINE, REFUSAL] : ROUTINE;
  return lines.filter((line) => {
    const prefix = OWN_LINE.exec(line)?.[0];
    return prefix === undefined || !routine.some((words) => line.startsWith(words, prefix.length));
  });
}
