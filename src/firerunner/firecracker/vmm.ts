/**
 * Runs in firerunner. One Firecracker process, from its start to its end:
 *
 * ```
 *   start ──▶ API answers: waiting ──▶ boot requests, or load ──▶ its VM runs ──▶ ended ──▶ directory removed
 *      └── any failure, or kill ─────────────────────────────────────────────────▶
 * ```
 */
import type { StdioOptions } from 'node:child_process';
import { withAny, withLimit } from '../../protocol/abort.ts';
import { messageOf } from '../../protocol/errors.ts';
import { exitError, HostError, LaunchError, type MachineExit } from '../machine.ts';
import { ConsoleTail, startVmmProcess, untilEndedByItself, type VmmProcess } from '../programs/vmm-process.ts';
import { ApiRefusal, FirecrackerApi } from './api.ts';
import type { ApiRequest } from './bodies.ts';
import { tellingLines } from './console.ts';
import { describeExit, SIGBUS_STATUS } from './exit-status.ts';
import { apiOf, type VmmDirectory } from './vmm-directory.ts';

/** From the start of the process to an API that answers, in ms. */
const START_LIMIT_MS = 10_000;

/** A refusal for want of something of the host's, as Rust writes EAGAIN, ENOMEM, ENFILE, EMFILE, ENOSPC, ENOBUFS and EDQUOT. */
const SHORTAGE = /\(os error (?:11|12|23|24|28|105|122)\)/;

export class FirecrackerVmm {
  readonly directory: VmmDirectory;
  /** Resolves when the process has ended and its directory is removed. Never rejects. */
  readonly exited: Promise<MachineExit>;
  readonly #api: FirecrackerApi;
  readonly #process: VmmProcess;
  readonly #tail: ConsoleTail;
  readonly #ended: AbortSignal;

  private constructor(directory: VmmDirectory, api: FirecrackerApi, vmm: VmmProcess, tail: ConsoleTail) {
    this.directory = directory;
    this.#api = api;
    this.#process = vmm;
    this.#tail = tail;
    const ended = new AbortController();
    this.#ended = ended.signal;
    this.exited = vmm.exited.then(async (exit) => {
      const reason = describeExit(exit);
      ended.abort(exitError({ ...exit, reason }, tellingLines(tail.lines())));
      api.close();
      await directory.remove();
      return { ...exit, ...(exit.status === SIGBUS_STATUS ? { signal: 'SIGBUS' } : {}), reason };
    });
  }

  /**
   * Starts the process; resolves when its API answers.
   *
   * @param directory removed with the process, and also if there is none.
   * @throws LaunchError with the process's last words, or the signal's reason.
   */
  static async start(directory: VmmDirectory, signal: AbortSignal): Promise<FirecrackerVmm> {
    const [program, ...args] = directory.command;
    let vmm: VmmProcess;
    let isUp = false;
    try {
      signal.throwIfAborted();
      const options = { stdio: ['ignore', 'pipe', 'pipe'] satisfies StdioOptions, cwd: directory.path };
      vmm = await startVmmProcess(program, args, options, () => directory.programName(isUp));
    } catch (error) {
      await directory.remove();
      throw error;
    }
    const tail = new ConsoleTail();
    tail.watch(vmm.child.stdout);
    tail.watch(vmm.child.stderr);
    if (vmm.child.pid !== undefined) directory.onStarted(vmm.child.pid);
    const api = new FirecrackerApi(apiOf(directory));
    const started = new FirecrackerVmm(directory, api, vmm, tail);
    try {
      const untilUp = async (end: AbortSignal): Promise<void> => {
        await withLimit(START_LIMIT_MS, end, (any) =>
          api.untilUp(any).catch((error: unknown) => {
            const isLate = any.aborted && !end.aborted;
            throw isLate ? new Error(`Firecracker's API did not answer within ${START_LIMIT_MS} ms`) : error;
          }),
        );
        isUp = true;
      };
      // The signal of one that is started ahead lives as long as firerunner.
      await withAny([signal], (own) => started.untilEnd(own, untilUp));
    } catch (error) {
      // It was told nothing of a machine yet.
      throw error instanceof LaunchError ? HostError.from(error) : error;
    }
    return started;
  }

  get pid(): number | null {
    const { exitCode, signalCode, pid } = this.#process.child;
    return exitCode === null && signalCode === null ? (pid ?? null) : null;
  }

  consoleTail(): readonly string[] {
    return tellingLines(this.#tail.lines());
  }

  /** @throws as `FirecrackerApi.send`. */
  send(request: ApiRequest, signal: AbortSignal, limitMs?: number): Promise<void> {
    return this.#api.send(request, signal, limitMs);
  }

  /**
   * Runs `work` with a signal that is also aborted by the end of the process. If it fails, the process is ended and what is
   * thrown tells most: Firecracker's own refusal, else how the process ended, else the failure.
   */
  async untilEnd<T>(signal: AbortSignal, work: (end: AbortSignal) => Promise<T>): Promise<T> {
    try {
      return await work(AbortSignal.any([signal, this.#ended]));
    } catch (error) {
      const isAborted = signal.aborted;
      if (!isAborted && !(error instanceof ApiRefusal || error instanceof HostError))
        await untilEndedByItself(this.#process);
      const own: unknown = this.#ended.aborted ? this.#ended.reason : null;
      await this.kill();
      if (isAborted) throw signal.reason;
      if (error instanceof HostError) throw error;
      if (own instanceof LaunchError && !(error instanceof ApiRefusal)) throw own;
      const options = { console: tellingLines(this.#tail.lines(), error), cause: error };
      const isShort = error instanceof ApiRefusal && SHORTAGE.test(error.message);
      throw isShort ? new HostError(error.message, options) : new LaunchError(messageOf(error), options);
    }
  }

  /** Resolves with `exited`. */
  kill(): Promise<MachineExit> {
    void this.#process.kill();
    return this.exited;
  }
}
