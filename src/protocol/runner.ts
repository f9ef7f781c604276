/**
 * Runs in snapctr and in firerunner. What snapctr and `firerunner --serve` say to each other: one JSON object per
 * line, commands on firerunner's stdin, events on its stdout. End of stdin means snapctr is gone: firerunner kills
 * every VM and removes its directories.
 */
import type { FunctionFailure, LogHeader, RuntimeExitHeader } from './guest.ts';
import type { RuntimeName } from './runtimes.ts';
import type { VmmName } from './vmms.ts';

/** How QEMU runs the guest's instructions: hardware virtualisation or software emulation. */
export type QemuAccelerator = 'kvm' | 'tcg';

/** How long a launch waits for a snapshot that is being made, and again for its turn, before its own time begins; in ms. */
export const LAUNCH_TURN_LIMIT_MS = 300_000;

/** One VM to launch: the machine, the function it will hold, and how long it may take to come up. */
export interface LaunchSpec {
  readonly machine: MachineSpec;
  readonly function: FunctionSpec;
  /** For the machine to come up, and again for the import, from when it is the launch's turn; in ms. */
  readonly bootTimeoutMs: number;
  /** Where its snapshot comes from; null: the VM is booted. */
  readonly snapshots: SnapshotSource | null;
}

/**
 * `store`: layers that firerunner makes and checks by itself, in this directory. `layers`: directories of layers made by
 * hand, each on top of the one before; never changed, and an error if they do not fit.
 */
export type SnapshotSource =
  | { readonly kind: 'store'; readonly directory: string }
  | { readonly kind: 'layers'; readonly directories: readonly string[] };

export interface MachineSpec {
  readonly memoryMib: number;
  readonly vcpus: number;
  /** Uncompressed Linux kernel (ELF). Absolute path, like all paths here. */
  readonly kernelPath: string;
  /** Initial RAM disk with init and the virtio modules. */
  readonly initrdPath: string;
  /** Root file system with a runtime, ext4. */
  readonly rootfsPath: string;
  /** The function's files: an ext4 image, or for the `process` driver a directory. Null: none. */
  readonly appfsPath: string | null;
  /** Appended to the driver's own kernel command line. */
  readonly kernelArgs: string;
  /** The runtime in the root file system, which the `process` driver starts itself; null: none of ours, or it is not known. */
  readonly runtime: RuntimeName | null;
  /** Whether it has a network interface. Which one of the host's is at its other end is firerunner's choice. */
  readonly network: boolean;
}

/** What a function has started in its container image; null: what the image says itself. */
export interface ContainerSettings {
  readonly entryPoint: readonly string[] | null;
  readonly command: readonly string[] | null;
  readonly workingDirectory: string | null;
}

export interface FunctionSpec {
  readonly name: string;
  /** `$LATEST`, or the number it was published under. */
  readonly version: string;
  /** `file.function`; null: the original's `workload` and `handle`. */
  readonly handler: string | null;
  readonly environment: Readonly<Record<string, string>>;
  /** Its ARN without a qualifier. */
  readonly arn: string;
  /** Absent: its files are no container image. */
  readonly container?: ContainerSettings;
  /** Of an application on a port. */
  readonly web?: WebSpec;
}

/** `command`: how it is started, in the function's directory; a program in PATH, or with a slash. */
export interface WebSpec {
  readonly port: number;
  readonly command: readonly string[];
  /** Requests that it gets at once. */
  readonly maxConcurrency: number;
}

/** Longest line either side sends, in bytes. */
export const MAX_RUNNER_LINE_BYTES = 8 * 1024 * 1024;

export type RunnerCommand =
  | { readonly op: 'launch'; readonly vm: string; readonly spec: LaunchSpec }
  | { readonly op: 'kill'; readonly vm: string }
  /** Takes the CPU away from an idle VM; `resume` goes out before its next invocation. `hasServed`: it had one already. */
  | { readonly op: 'pause'; readonly vm: string; readonly hasServed: boolean }
  /** Answered by `resumed`. */
  | { readonly op: 'resume'; readonly vm: string }
  /** Answered by `pong`; see `serving-process.ts` and `served.ts` for what becomes of a side that falls silent. */
  | { readonly op: 'ping' }
  /** Makes a function's snapshot ready for launches, building what is missing. Answered by `prepared` or `unprepared`, again whenever that changes. */
  | { readonly op: 'prepare'; readonly snapshot: string; readonly spec: LaunchSpec }
  /** Nothing is launched any more from what was prepared under this name; nothing more is said of it. */
  | { readonly op: 'forget'; readonly snapshot: string }
  /** Removes layers of a store that nobody needs. Answered by `layers-removed`. */
  | { readonly op: 'remove-layers'; readonly directory: string; readonly maxBytes: number; readonly maxAgeMs: number };

/** How the host reaches a channel of a guest. */
export interface GuestAddress {
  /** A unix socket of the VMM. */
  readonly socketPath: string;
  /** The guest's port behind it, which the VMM connects to when it is asked (`vsock.ts`); null: the socket is the channel. */
  readonly vsockPort: number | null;
  /** The user whose the socket must be, for one that lies where a VMM of that user may write; absent: our own. */
  readonly ownerUid?: number;
}

/** How a VM came to life: `cold`: booted, and the function imported; `restored`: from a snapshot that holds the function. */
export type LaunchKind = 'cold' | 'restored';

/** How long each part of a launch took, in ms; together launch to `ready`. */
export interface LaunchTimings {
  readonly kind: LaunchKind;
  /** VMM process started and its sockets there. */
  readonly spawnMs: number;
  /** Kernel and init, up to the runtime's HELLO; 0 if restored. */
  readonly bootMs: number;
  /** Cold: app file system mounted and handler imported. Restored: the snapshot loaded, and the machine running. */
  readonly loadMs: number;
  /** Clock and random generators set, the function's hooks run. */
  readonly resumeMs: number;
}

/** What is known of a VM whose function may be invoked. */
export interface ReadyVm {
  readonly timings: LaunchTimings;
  /** Why it was booted although it has a source of snapshots; null: it was not, or has none. */
  readonly fallback: string | null;
  /** The VMM's process; null: it has ended already. */
  readonly pid: number | null;
}

/** Why a launch failed. `function`: the function's own import did; `vmm`: the machine or the host did. */
export type LaunchFailure =
  | { readonly kind: 'function'; readonly failure: FunctionFailure }
  | { readonly kind: 'vmm'; readonly message: string; readonly console: readonly string[] };

export type RunnerEvent =
  /** firerunner takes commands. `reason`: why this VMM; `notice`: what a user should know of it, such as no isolation. */
  | {
      readonly event: 'serving';
      readonly vmm: VmmName;
      readonly reason: string;
      readonly notice: string | null;
      readonly canPause: boolean;
      readonly canRestore: boolean;
    }
  | { readonly event: 'pong' }
  /** A paused VM has its CPU back. */
  | { readonly event: 'resumed'; readonly vm: string }
  /** It is the launch's turn: from now on its time counts. Again for another attempt. */
  | { readonly event: 'launching'; readonly vm: string }
  /** The function channel is there: to be dialled at once, the guest may wait for it. */
  | { readonly event: 'channel'; readonly vm: string; readonly guestAddress: GuestAddress }
  /** The function may be invoked. */
  | ({ readonly event: 'ready'; readonly vm: string } & ReadyVm)
  | { readonly event: 'failed'; readonly vm: string; readonly failure: LaunchFailure }
  /** Output of the function, decoded as UTF-8; broken sequences become U+FFFD. */
  | ({ readonly event: 'log'; readonly vm: string; readonly text: string } & LogHeader)
  /** No more output of this invocation will come; sent if there was any, or if the invocation asked for it. */
  | { readonly event: 'log-end'; readonly vm: string; readonly request: number }
  /** The runtime process inside the VM ended; the VM is of no more use. */
  | {
      readonly event: 'runtime-exited';
      readonly vm: string;
      readonly reason: string;
      readonly exit: RuntimeExitHeader;
    }
  /** The VM is gone, its directory removed. Sent once for every VM that was `ready`. */
  | { readonly event: 'exited'; readonly vm: string; readonly reason: string }
  /** @param names layers; `problem`: why it was given up, null if it was not. `more`: there is more to remove. */
  | {
      readonly event: 'layers-removed';
      readonly names: readonly string[];
      readonly more: boolean;
      readonly problem: string | null;
    }
  /** What is being done for a `prepare`. */
  | { readonly event: 'preparing'; readonly snapshot: string; readonly text: string }
  /** Output of the import and the hooks while a snapshot is made. */
  | ({ readonly event: 'preparation-log'; readonly snapshot: string; readonly text: string } & LogHeader)
  /** `builtMs`: how long the building took; null if the snapshot was there. */
  | { readonly event: 'prepared'; readonly snapshot: string; readonly layer: string; readonly builtMs: number | null }
  /** It is tried again after `retryInMs`, and so on: what comes of that is told by the same events. */
  | {
      readonly event: 'unprepared';
      readonly snapshot: string;
      readonly failure: LaunchFailure;
      readonly retryInMs: number;
    };
