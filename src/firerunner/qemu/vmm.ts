/**
 * Runs in firerunner. One QEMU process, from its start to its end, whatever machine it is or will be:
 *
 * ```
 *   start ──▶ greets: takes commands ──▶ its machine is told of, if it was not at the start ──▶ loaded, or boots ──▶ ended
 *      └── any failure, or kill ─────────────────────────────────────────────────────────────────▶
 * ```
 */
import type { StdioOptions } from 'node:child_process';
import type { Duplex } from 'node:stream';
import { untilAborted, withAny } from '../../protocol/abort.ts';
import { messageOf } from '../../protocol/errors.ts';
import { FrameSocket } from '../guest/frame-socket.ts';
import { exitError, HostError, LaunchError, type MachineExit } from '../machine.ts';
import { ConsoleTail, startVmmProcess, untilEndedByItself, type VmmProcess } from '../programs/vmm-process.ts';
import { CONTROL_FD, QEMU_COMMAND, QMP_FD, STATE_IN_FD } from './command-line.ts';
import { Qmp } from './qmp.ts';

/** What QEMU inherits beside its sockets. */
export interface Inherited {
  /** The device state: a file, or a socket pair that it is written to. */
  readonly state: number | 'pipe' | 'ignore';
  readonly memory: number | 'ignore';
}

export class QemuVmm {
  readonly qmp: Qmp;
  /** Speaks to the guest, once there is one. */
  readonly control: FrameSocket;
  /** Resolves when the process has ended and was reaped. Never rejects. */
  readonly exited: Promise<MachineExit>;
  readonly #process: VmmProcess;
  readonly #tail = new ConsoleTail();
  /** Aborted by the end of the process, which is the reason. */
  readonly #ended = new AbortController();

  private constructor(vmm: VmmProcess, inherited: Inherited) {
    this.#process = vmm;
    this.exited = vmm.exited;
    this.#tail.watch(vmm.child.stdout);
    this.#tail.watch(vmm.child.stderr);
    void vmm.exited.then((exit) => this.#ended.abort(exitError(exit, this.#tail.lines())));
    this.qmp = new Qmp(this.#pairEnd(QMP_FD));
    this.control = new FrameSocket(this.#pairEnd(CONTROL_FD));
    // What breaks it off is the end of the process, or told by QEMU.
    if (inherited.state === 'pipe') this.stateIn.on('error', () => undefined);
  }

  /**
   * Starts the process; resolves when it has opened its sockets and takes commands.
   *
   * @throws HostError with the process's last words: before it greets it has taken memory, files and taps, and read nothing of a
   * snapshot. The signal's reason. No process is left then.
   */
  static async start(args: readonly string[], inherited: Inherited, signal: AbortSignal): Promise<QemuVmm> {
    signal.throwIfAborted();
    const stdio: StdioOptions = ['ignore', 'pipe', 'pipe', 'pipe', 'pipe', inherited.state, inherited.memory];
    // One heap: each further one would keep memory that an idle VM has no use for.
    const env = { ...process.env, MALLOC_ARENA_MAX: '1' };
    const vmm = new QemuVmm(await startVmmProcess(QEMU_COMMAND, args, { stdio, cwd: '/', env }), inherited);
    try {
      await vmm.untilEnd(signal, (end) => untilAborted(vmm.qmp.greeting, end));
    } catch (error) {
      throw signal.aborted ? error : HostError.from(error);
    }
    return vmm;
  }

  get pid(): number | null {
    const { exitCode, signalCode, pid } = this.#process.child;
    return exitCode === null && signalCode === null ? (pid ?? null) : null;
  }

  consoleTail(): readonly string[] {
    return this.#tail.lines();
  }

  /** Takes the CPU away until `resume`. */
  pause(): void {
    this.#process.child.kill('SIGSTOP');
  }

  resume(): void {
    this.#process.child.kill('SIGCONT');
  }

  /** Resolves with `exited`. */
  kill(): Promise<MachineExit> {
    return this.#process.kill();
  }

  /** Where the device state is written to; only if a pair was inherited. */
  get stateIn(): Duplex {
    return this.#pairEnd(STATE_IN_FD);
  }

  /**
   * Runs `work` with a signal that is also aborted by the end of the process. If it fails, QEMU is ended, and what is thrown tells
   * most: how the process ended, if that broke it off; else the failure.
   *
   * @throws LaunchError, or the signal's reason.
   */
  async untilEnd<T>(signal: AbortSignal, work: (end: AbortSignal) => Promise<T>): Promise<T> {
    try {
      return await withAny([signal, this.#ended.signal], work);
    } catch (error) {
      const reason = await this.#endFor(error);
      if (signal.aborted) throw signal.reason;
      throw reason;
    }
  }

  /** Ends QEMU. @returns how it ended, if it did so by itself and thereby broke something off; else that error. */
  async #endFor(error: unknown): Promise<unknown> {
    if (error instanceof LaunchError) {
      await this.kill();
      return error;
    }
    if (this.#pairEnd(QMP_FD).destroyed) await untilEndedByItself(this.#process);
    const own: unknown = this.#ended.signal.reason;
    await this.kill();
    if (own instanceof LaunchError) return own;
    const last: unknown = this.#ended.signal.reason;
    return new LaunchError(messageOf(error), {
      console: last instanceof LaunchError ? last.console : [],
      cause: error,
    });
  }

  /** Our end of a socket pair whose other end QEMU inherited. */
  #pairEnd(fd: number): Duplex {
    const end = this.#process.child.stdio[fd];
    if (end === null || end === undefined || !('write' in end) || !('read' in end)) {
      throw new LaunchError(`no socket was opened for descriptor ${fd} of ${QEMU_COMMAND}`);
    }
    return end as Duplex;
  }
}
