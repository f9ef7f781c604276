/**
 * Runs in snapctr and in firerunner. How the host runs VMs: the controller's file says it in its own form
 * (`controller/config/vmm.ts`), firerunner is told as JSON (`--vmm-settings`). What a value may be is here, for both.
 */
import { z } from 'zod';

/** What firerunner is told of the host once, at its start, as JSON (`--vmm-settings`). */
export interface VmmSettings {
  readonly qemu: QemuSettings | null;
  readonly firecracker: FirecrackerSettings | null;
  /** Null: Firecracker runs as firerunner's own user, without a jail. */
  readonly jailer: JailerSettings | null;
  /** Null: no VM gets a network interface. */
  readonly network: NetworkSettings | null;
}

export interface QemuSettings {
  /** VMM processes that are kept waiting for a VM to load, at most. */
  readonly prestarted: number;
}

export interface FirecrackerSettings {
  /** The program; null: `firecracker` from PATH. */
  readonly path: string | null;
  /** VMM processes that are kept waiting for a VM to load. */
  readonly prestarted: number;
}

/** How every VM is run under Firecracker's jailer. */
export interface JailerSettings {
  /** The program; null: `jailer` beside Firecracker, or from PATH. */
  readonly path: string | null;
  /** Each VM runs as another user, from `firstUid` on. */
  readonly firstUid: number;
  readonly uidCount: number;
  /** Group of all VMs; null: the number of the VM's user. */
  readonly gid: number | null;
  /** Jails are directories below this one. Absolute. */
  readonly chrootBase: string;
  /** Files of each VM's cgroup and what is written to them, such as `memory.max`. */
  readonly cgroup: Readonly<Record<string, string>>;
}

/** The host's end of the VMs' networks. */
export interface NetworkSettings {
  /** Names of tap devices that exist, one for each VM that may run with a network at once. */
  readonly taps: readonly string[];
  /** IPv4 network in CIDR notation that the addresses of hosts and guests are taken from, two for each tap (`tap-addresses.ts`). */
  readonly subnet: string;
  /** IPv4 address of the guests' name server; null: they resolve no names. */
  readonly dns: string | null;
}

/** Users below it belong to the system; ids are 32 bits, of which the last is none. */
export const SMALLEST_UID = 1000;
export const LARGEST_UID = 2 ** 32 - 2;
/** VMM processes that wait, at most. */
export const MAX_PRESTARTED = 1000;
/** Such as `memory.max`. */
export const CGROUP_FILE = /^[a-z]+(\.[A-Za-z0-9_]+)+$/;
/** The jailer takes FILE=VALUE apart at every `=`, and wants two parts that are not empty. */
export const CGROUP_VALUE = /^[^=]+$/;

const path = z.string().min(1);
const prestarted = z.number().int().min(0).max(MAX_PRESTARTED).default(0);
const id = z.number().int().min(SMALLEST_UID).max(LARGEST_UID);

/** What is not said is as good as null. */
export const vmmSettingsSchema: z.ZodType<VmmSettings> = z.strictObject({
  qemu: z.strictObject({ prestarted }).nullable().default(null),
  firecracker: z
    .strictObject({
      path: path.nullable().default(null),
      prestarted,
    })
    .nullable()
    .default(null),
  jailer: z
    .strictObject({
      path: path.nullable().default(null),
      firstUid: id,
      uidCount: z.number().int().min(1),
      gid: id.nullable().default(null),
      chrootBase: path.startsWith('/'),
      cgroup: z.record(z.string().regex(CGROUP_FILE), z.string().regex(CGROUP_VALUE)).default({}),
    })
    .refine(({ firstUid, uidCount }) => firstUid + uidCount - 1 <= LARGEST_UID, {
      path: ['uidCount'],
      error: `there are no users above ${LARGEST_UID}`,
    })
    .nullable()
    .default(null),
  network: z
    .strictObject({ taps: z.array(path).min(1), subnet: z.cidrv4(), dns: z.ipv4().nullable().default(null) })
    .nullable()
    .default(null),
});

export const NO_SETTINGS: VmmSettings = { qemu: null, firecracker: null, jailer: null, network: null };
