/** Runs in firerunner. Firecracker's exit codes in words. Source: `FcExitCode` in Firecracker's `vmm` crate. */
import type { MachineExit } from '../machine.ts';

/** Firecracker handles this signal, and ends with a status instead. */
export const SIGBUS_STATUS = 149;

const MEANINGS: ReadonlyMap<number, string> = new Map([
  [0, 'the guest stopped: by itself, by a panic, or by a fault of its processor that it could not handle'],
  [1, 'a general error'],
  [2, 'an unexpected error'],
  [148, 'a system call that its seccomp filter does not allow'],
  [SIGBUS_STATUS, 'SIGBUS: memory that could not be read, or a file that has become shorter'],
  [150, 'SIGSEGV'],
  [151, 'SIGXFSZ: a file grew over its limit'],
  [152, 'a bad configuration'],
  [153, 'bad arguments'],
  [154, 'SIGXCPU: out of CPU time'],
  [155, 'SIGPIPE: nobody read what it wrote'],
  [156, 'SIGHUP'],
  [157, 'SIGILL'],
]);

/** The end of a Firecracker process in one sentence. */
export function describeExit({ status, reason }: MachineExit): string {
  const meaning = status === null ? undefined : MEANINGS.get(status);
  return meaning === undefined ? reason : `${reason} (${meaning})`;
}
