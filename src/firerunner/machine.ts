/**
 * Runs in firerunner. The one interface to every VMM. A driver starts a machine and ends it; it never knows a function:
 * what is loaded is said on the control channel, by `guest/guest-life.ts`.
 *
 * A driver's file says how a machine is booted, restored, paused, resumed, saved and killed. What it tells its VMM, and the
 * VMM's process, are beside it in its folder.
 */
import { messageOf } from '../protocol/errors.ts';
import type { FrameHeader, Frame } from '../protocol/frame.ts';
import type { GuestAddress, MachineSpec } from '../protocol/runner.ts';
import type { VmmName } from '../protocol/vmms.ts';
import { hasCode } from '../storage/error-code.ts';

export interface Driver {
  readonly name: VmmName;
  /** What a user should know at start, such as missing isolation; null if there is nothing to say. */
  readonly notice: string | null;
  /** Null: this driver has no snapshots. */
  readonly snapshots: SnapshotSupport | null;
  /**
   * Starts a machine. Resolves when its process runs and its channels can be written to; the guest may still be booting.
   *
   * @throws LaunchError if the VMM did not start; nothing is left running then.
   */
  boot(spec: MachineSpec, surroundings: Surroundings): Promise<Machine>;
  /** Ends what the driver keeps beside its machines, such as VMMs started ahead. Machines are ended by their launchers. */
  close(): Promise<void>;
}

export interface SnapshotSupport {
  /**
   * What a snapshot depends on beside the guest's files: version and settings of the VMM, the CPU. A snapshot is used
   * only where all of it is equal.
   */
  stamp(): Promise<Readonly<Record<string, string>>>;
  /**
   * Where the files of a `SavedMachine` must lie, under names, for the VMM to be given them; null: anywhere, without a name.
   */
  readonly filesDirectory: string | null;
  /**
   * Starts a machine where a snapshot left it. Resolves when it runs.
   *
   * @param spec as it was at the snapshot, but for the app file system, which may be another one of the same size.
   * @throws LaunchError if the VMM did not start or refuses the snapshot; nothing is left running then.
   */
  restore(spec: MachineSpec, saved: SavedMachine, surroundings: Surroundings): Promise<Machine>;
}

/** A snapshot as a driver takes it: files that nobody changes while they are used. */
export interface SavedMachine {
  /** Device state as the VMM wrote it. */
  readonly state: SavedFile;
  /** The guest's memory, mapped copy-on-write. */
  readonly memory: SavedFile;
}

export interface SavedFile {
  readonly fd: number;
  /** Its name, if it lies in `SnapshotSupport.filesDirectory`. */
  readonly path: string | null;
}

/** What a machine is given by whoever launches it. */
export interface Surroundings {
  /** The machine's own, for sockets; removed by the launcher once the machine has exited. */
  readonly directory: string;
  /** The end of the machine's network interface on the host; null if it has none (`MachineSpec.network`). */
  readonly network: NetworkAttachment | null;
  /**
   * Called with the address of the function channel as soon as it can be dialled. It must be dialled, once: a driver may wait
   * for it.
   */
  readonly onChannel: (guestAddress: GuestAddress) => void;
  /** Ends the boot early. */
  readonly signal: AbortSignal;
  /** For a machine whose snapshot is to be taken; only with a driver that has `snapshots`. */
  readonly savable?: {
    /**
     * A file of the guest's memory size that holds what its memory begins with: zeros, or the saved memory. It holds all of
     * the memory after `Machine.snapshot`; a driver may write to it before.
     */
    readonly memoryPath: string;
    /** Where `Machine.snapshot` writes the device state. */
    readonly statePath: string;
  };
}

export interface NetworkAttachment {
  /** A tap device of the host. */
  readonly tapName: string;
  /** The guest's address, six hex pairs with colons. */
  readonly mac: string;
}

export interface Machine {
  readonly control: ControlChannel;
  /** The VMM's process; null if it has ended already. */
  readonly pid: number | null;
  /** When this launch had a VMM process that took commands, by `performance.now()`. */
  readonly spawnedAt: number;
  /** Resolves once, when the VMM process has ended and was reaped. Never rejects. */
  readonly exited: Promise<MachineExit>;
  /** The last lines of the guest's console and of the VMM's own messages, oldest first. */
  consoleTail(): readonly string[];
  /** Takes the CPU away until `resume`; the guest's clocks go on. Without effect where the VMM cannot pause (`VmmCapabilities.pause`). */
  pause(): void;
  resume(): void;
  /**
   * Stops the machine for good and writes its device state; its memory is then complete in its file. Only for a machine
   * with `Surroundings.savable`, which is killed next.
   *
   * @throws LaunchError with the VMM's reason.
   */
  snapshot(): Promise<void>;
  /** Ends the machine at once. Resolves with `exited`. */
  kill(): Promise<MachineExit>;
}

export interface MachineExit {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  /** One sentence for a log or an error message. */
  readonly reason: string;
}

/** The control channel of `protocol/guest.ts`. Handlers are set before the first turn of the event loop ends. */
export interface ControlChannel {
  send(type: number, header?: FrameHeader, payload?: Uint8Array): void;
  /** Nothing more is read until `resume`, so that the guest has to wait. A few frames that were read before may still come. */
  pause(): void;
  resume(): void;
  onFrame: (frame: Frame) => void;
  /** The channel ended or the guest broke the protocol; no frame follows. */
  onClosed: (reason: string) => void;
}

/** A machine did not come up. Carries the VMM's last words. */
export class LaunchError extends Error {
  override readonly name: string = 'LaunchError';
  readonly console: readonly string[];

  constructor(message: string, options: { console?: readonly string[]; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.console = options.console ?? [];
  }
}

/** The host lacks something that any machine needs: neither the guest nor its snapshot is at fault. */
export class HostError extends LaunchError {
  override readonly name = 'HostError';

  static from(cause: unknown, message = messageOf(cause)): HostError {
    return new HostError(message, { console: cause instanceof LaunchError ? cause.console : [], cause });
  }
}

/** What the operating system says of processes, memory, descriptors and disks that it is short of. */
const SHORTAGES = ['EAGAIN', 'EMFILE', 'ENFILE', 'ENOMEM', 'ENOBUFS', 'ENOSPC', 'EDQUOT'] as const;

/** Whether it was the host that lacked something, by the error or by what caused it. */
export function isHosts(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof HostError || hasCode(cause, ...SHORTAGES)) return true;
  }
  return false;
}

/**
 * The same in a VMM's last words, among those of its guest: they begin with the program, or with `setpriv` or the shell that
 * it is started by.
 */
const SHORTAGE_LINE =
  /^\S*(?:qemu|setpriv|sh)[^:]*: .*(?:Cannot allocate memory|Resource temporarily unavailable|Too many open files|No space left on device|failed to allocate \d+ bytes|failed to map segment)/;

/**
 * What other processes end one by, among them the kernel when memory runs out, or when a page of a mapped file cannot be had because
 * its disk is full or broken (SIGBUS): the files that VMMs map are never cut. A VMM's own faults have other signals.
 */
const SIGNALS_FROM_OUTSIDE: ReadonlySet<NodeJS.Signals> = new Set([
  'SIGBUS',
  'SIGHUP',
  'SIGINT',
  'SIGKILL',
  'SIGQUIT',
  'SIGTERM',
]);

/**
 * The end of a machine as the error of whoever needed it. Only for an end that we did not bring about.
 *
 * @param console its last words.
 */
export function exitError({ signal, reason }: MachineExit, console: readonly string[]): LaunchError {
  const isFromOutside = signal !== null && SIGNALS_FROM_OUTSIDE.has(signal);
  const isShort = console.some((line) => SHORTAGE_LINE.test(line));
  return isFromOutside || isShort ? new HostError(reason, { console }) : new LaunchError(reason, { console });
}
