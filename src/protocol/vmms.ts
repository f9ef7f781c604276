/** Runs in each program. The VMMs that a user can ask for, and what has to be known of each before one runs. */

/** In MiB. A guest needs this much to start; workers are counted by it. */
export const SMALLEST_VM_MIB = 128;

export interface VmmCapabilities {
  /** Each function has VMs of its own, made of kernel and root file system; else it is a plain process in the host's network. */
  readonly isolates: boolean;
  /** Its VMMs can be jailed, as `jailer` asks. */
  readonly jails: boolean;
  readonly snapshots: boolean;
  /** An idle machine can be paused, so that it takes no CPU time. */
  readonly pause: boolean;
  /** What it takes a function's files as: an ext4 image, or the directory itself. */
  readonly appfs: 'image' | 'directory';
}

/** In the order in which `auto` prefers them; it never takes one that does not isolate. */
export const VMMS = {
  // An idle vCPU is halted, and a VM that was paused loses its vsock in 1.16.1, the oldest version we take.
  firecracker: { isolates: true, jails: true, snapshots: true, pause: false, appfs: 'image' },
  qemu: { isolates: true, jails: false, snapshots: true, pause: true, appfs: 'image' },
  // An idle runtime waits in a read, which takes no CPU time.
  process: { isolates: false, jails: false, snapshots: false, pause: false, appfs: 'directory' },
} as const satisfies Readonly<Record<string, VmmCapabilities>>;

export type VmmName = keyof typeof VMMS;
export const VMM_NAMES = Object.keys(VMMS) as readonly VmmName[];

/** `--vmm`: `auto` becomes one of the others before anything is launched. */
export type VmmWish = 'auto' | VmmName;

/** What VMs can do that are asked for like this; with `auto` those of the VMM that it prefers. */
export function capabilitiesOf(wish: VmmWish): VmmCapabilities {
  return VMMS[wish === 'auto' ? 'firecracker' : wish];
}
