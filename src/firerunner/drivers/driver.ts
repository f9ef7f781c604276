/**
 * Runs in firerunner. The one interface to every VMM. A driver starts a machine and ends it; it never knows a function:
 * what is loaded is said on the control channel, by `launch.ts`.
 *
 * A driver is one file with the functions in this order: build the arguments, boot, kill.
 */
import type { FrameHeader, Frame } from '../../protocol/frame.ts';
import type { MachineSpec, VmmName } from '../../protocol/runner.ts';

export interface Driver {
  readonly name: VmmName;
  /** What a user should know at start, such as missing isolation; null if there is nothing to say. */
  readonly notice: string | null;
  /**
   * Starts a machine. Resolves when its process runs and its channels can be written to; the guest may still be booting.
   *
   * @throws LaunchError if the VMM did not start; nothing is left running then.
   */
  boot(spec: MachineSpec, surroundings: Surroundings): Promise<Machine>;
}

/** What a machine is given by whoever launches it. */
export interface Surroundings {
  /** The machine's own, for sockets; removed by the launcher once the machine has exited. */
  readonly directory: string;
  /**
   * Called with the path of a unix socket that leads to the function channel, as soon as it can be dialled. It must be
   * dialled, once: a driver may wait for it.
   */
  readonly onChannel: (guestAddress: string) => void;
  /** Ends the boot early. */
  readonly signal: AbortSignal;
}

export interface Machine {
  readonly control: ControlChannel;
  /** Resolves once, when the VMM process has ended and was reaped. Never rejects. */
  readonly exited: Promise<MachineExit>;
  /** The last lines of the guest's console and of the VMM's own messages, oldest first. */
  consoleTail(): readonly string[];
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
  onFrame: (frame: Frame) => void;
  /** The channel ended or the guest broke the protocol; no frame follows. */
  onClosed: (reason: string) => void;
}

/** A machine did not come up. Carries the VMM's last words. */
export class LaunchError extends Error {
  override readonly name = 'LaunchError';
  readonly console: readonly string[];

  constructor(message: string, options: { console?: readonly string[]; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.console = options.console ?? [];
  }
}
