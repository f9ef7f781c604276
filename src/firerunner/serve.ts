/**
 * Runs in firerunner. The front door for snapctr: launch commands come in as JSON lines on stdin, events leave as JSON
 * lines on stdout (`protocol/runner.ts`). End of stdin means snapctr is gone, whatever it died of.
 */
import { availableParallelism } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import { withAny } from '../protocol/abort.ts';
import type { LogHeader, RuntimeExitHeader } from '../protocol/guest.ts';
import { obeyUntilSilent } from '../protocol/served.ts';
import {
  LAUNCH_TURN_LIMIT_MS,
  MAX_RUNNER_LINE_BYTES,
  type GuestAddress,
  type LaunchSpec,
  type RunnerCommand,
  type RunnerEvent,
} from '../protocol/runner.ts';
import { VMMS } from '../protocol/vmms.ts';
import { HostError, LaunchError, type Driver } from './machine.ts';
import { launchFailure, LaunchTimeoutError, launchVm, type Launch, type RunningVm } from './launch.ts';
import { Semaphore } from './semaphore.ts';
import type { TapPool } from './network/tap-pool.ts';
import { messageOf } from '../protocol/errors.ts';
import type { RetentionLimits } from '../storage/retention.ts';
import type { RunDirectory } from './run-directory.ts';
import { Snapshots, type HeldSnapshot, type Restorable } from './snapshots/snapshots.ts';
import type { VmmChoice } from './vmm-choice.ts';

/** Restores under way at once: each keeps a core busy until its VM runs, so that more would only slow each other down. */
const RESTORES_AT_ONCE = availableParallelism();
/** The same for boots and imports, and for builds, which last for seconds: they have turns of their own. */
const TURNS_AT_ONCE = availableParallelism();
/** An import that lasts longer may only be waiting: it goes on beside the next one's turn, in ms. */
const LONGEST_IMPORT_TURN_MS = 10_000;

/** Tells snapctr; resolves when the event has left this process. */
type Emit = (event: RunnerEvent) => Promise<void>;

interface ServedVm {
  /** Ends the launch if it is still under way. */
  readonly launching: AbortController;
  running: RunningVm | null;
  /** What it was restored from; null if it was booted. */
  restored: Restorable | null;
}

/** Serves until stdin ends; then every VM is killed, its directory removed, and the promise resolves. */
export async function serve(
  choice: VmmChoice,
  directory: RunDirectory,
  taps: TapPool | null,
  streams: { stdin: Readable; stdout: Writable },
): Promise<void> {
  const emit: Emit = (event) =>
    new Promise((resolve) => streams.stdout.write(`${JSON.stringify(event)}\n`, () => resolve()));
  const server = new Server(choice.driver, directory, taps, emit);
  // Without a reader there is nobody to tell; the end of stdin follows.
  streams.stdout.on('error', () => undefined);
  server.announce(choice.reason);
  const served = { name: 'firerunner', ends: 'all VMs are ended', maxLineBytes: MAX_RUNNER_LINE_BYTES };
  await obeyUntilSilent(served, streams.stdin, (command) => server.obey(command as RunnerCommand));
  await server.close();
}

class Server {
  readonly #driver: Driver;
  readonly #directory: RunDirectory;
  readonly #taps: TapPool | null;
  readonly #emit: Emit;
  readonly #snapshots: Snapshots;
  readonly #vms = new Map<string, ServedVm>();
  /** What was prepared, by the names that snapctr gave. */
  readonly #prepared = new Map<string, LaunchSpec>();
  readonly #ends = new Set<Promise<void>>();
  readonly #restores = new Semaphore(RESTORES_AT_ONCE);
  readonly #turns = new Semaphore(TURNS_AT_ONCE);
  readonly #closing = new AbortController();

  constructor(driver: Driver, directory: RunDirectory, taps: TapPool | null, emit: Emit) {
    this.#driver = driver;
    this.#directory = directory;
    this.#taps = taps;
    this.#emit = emit;
    this.#snapshots = new Snapshots(driver, directory, taps, this.#closing.signal, { turns: this.#turns });
  }

  announce(reason: string): void {
    const { name, notice } = this.#driver;
    const { pause: canPause, snapshots: canRestore } = VMMS[name];
    void this.#emit({ event: 'serving', vmm: name, reason, notice, canPause, canRestore });
  }

  obey(command: RunnerCommand): void {
    switch (command.op) {
      case 'launch':
        return this.#untilEnd(this.#launch(command.vm, command.spec));
      case 'prepare':
        return this.#untilEnd(this.#prepare(command.snapshot, command.spec));
      case 'forget':
        return this.#forget(command.snapshot);
      case 'kill': {
        const served = this.#vms.get(command.vm);
        return served === undefined ? undefined : this.#kill(served);
      }
      case 'pause': {
        const served = this.#vms.get(command.vm);
        if (served === undefined || served.running === null) return;
        return this.#pause(served, served.running, command.hasServed);
      }
      case 'resume': {
        const running = this.#vms.get(command.vm)?.running ?? null;
        if (running === null) return;
        running.resume();
        return void this.#emit({ event: 'resumed', vm: command.vm });
      }
      case 'remove-layers':
        return this.#untilEnd(this.#removeLayers(command.directory, command));
      case 'ping':
        return void this.#emit({ event: 'pong' });
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error('firerunner ends'));
    for (const served of this.#vms.values()) this.#kill(served);
    await Promise.all(this.#ends);
    await this.#snapshots.close();
  }

  #untilEnd(work: Promise<void>): void {
    const end = work.finally(() => this.#ends.delete(end));
    this.#ends.add(end);
  }

  #kill(served: ServedVm): void {
    if (served.running === null) served.launching.abort(new Error('the launch was called off'));
    else void served.running.kill();
  }

  /** The first VM of a layer that falls idle shows what an invocation touches; one that only rehearsed does not. */
  #pause(served: ServedVm, running: RunningVm, hasServed: boolean): void {
    running.machine.pause();
    if (hasServed && served.restored !== null) this.#snapshots.recordWorkingSet(served.restored, running.machine);
  }

  async #prepare(snapshot: string, spec: LaunchSpec): Promise<void> {
    this.#prepared.set(snapshot, spec);
    const prepared = this.#snapshots.prepare(spec, {
      onProgress: (text) => void this.#emit({ event: 'preparing', snapshot, text }),
      onLog: (header, text) => this.#emit({ event: 'preparation-log', snapshot, text, ...header }),
      onPrepared: ({ layer, builtMs }) => void this.#emit({ event: 'prepared', snapshot, layer, builtMs }),
      onFailed: (error, retryInMs) => {
        void this.#emit({ event: 'unprepared', snapshot, failure: launchFailure(error), retryInMs });
      },
    });
    // The observer was told.
    await prepared.catch(() => undefined);
  }

  async #removeLayers(directory: string, limits: RetentionLimits): Promise<void> {
    try {
      const { removed, more } = await this.#snapshots.removeUnused(directory, limits);
      void this.#emit({ event: 'layers-removed', names: removed, more, problem: null });
    } catch (error) {
      void this.#emit({ event: 'layers-removed', names: [], more: false, problem: messageOf(error) });
    }
  }

  #forget(snapshot: string): void {
    const spec = this.#prepared.get(snapshot);
    if (spec === undefined) return;
    this.#prepared.delete(snapshot);
    this.#snapshots.forget(spec);
  }

  async #launch(vm: string, spec: LaunchSpec): Promise<void> {
    const served: ServedVm = { launching: new AbortController(), running: null, restored: null };
    this.#vms.set(vm, served);
    try {
      const { running, fallback } = await this.#start(vm, spec, served);
      served.running = running;
      // A kill that came when the launch was over but for this line had nothing to call off any more.
      if (served.launching.signal.aborted) void running.kill();
      void this.#emit({ event: 'ready', vm, timings: running.timings, fallback, pid: running.machine.pid });
      const exit = await running.exited;
      await this.#directory.remove(vm);
      void this.#emit({ event: 'exited', vm, reason: exit.reason });
    } catch (error) {
      await this.#directory.remove(vm);
      void this.#emit({ event: 'failed', vm, failure: launchFailure(error) });
    } finally {
      this.#vms.delete(vm);
    }
  }

  /** Restores if there is a snapshot, and boots if there is none or it turns out to be of no use. */
  async #start(
    vm: string,
    spec: LaunchSpec,
    served: ServedVm,
  ): Promise<{ readonly running: RunningVm; readonly fallback: string | null }> {
    const { signal } = served.launching;
    const observer = {
      onChannel: (guestAddress: GuestAddress): void => void this.#emit({ event: 'channel', vm, guestAddress }),
      onLog: (header: LogHeader, text: string) => this.#emit({ event: 'log', vm, text, ...header }),
      onLogEnd: (request: number) => (request > 0 ? this.#emit({ event: 'log-end', vm, request }) : null),
      onRuntimeExited: (reason: string, exit: RuntimeExitHeader): void => {
        if (served.running !== null) void this.#emit({ event: 'runtime-exited', vm, reason, exit });
      },
    };
    const launch = { vm, driver: this.#driver, spec, taps: this.#taps, observer, signal };
    const { snapshot, reason } = await inTime(signal, (patience) => this.#snapshots.forLaunch(spec, patience));
    let fallback = reason;
    if (snapshot !== null) {
      try {
        const attempt = await this.#restore(launch, snapshot);
        if (attempt.running !== null) {
          served.restored = snapshot.restorable;
          return { running: attempt.running, fallback };
        }
        await this.#directory.remove(vm);
        fallback = attempt.reason;
      } finally {
        snapshot.release();
      }
    }
    const running = await this.#inTurn(this.#turns, launch, async (turn) =>
      launchVm({ ...launch, ...turn, directory: await this.#directory.create(vm), from: null }),
    );
    return { running, fallback };
  }

  /** @returns the reason if it is the snapshot that is of no use; whatever else goes wrong is thrown. */
  async #restore(
    launch: TurnTaker & Omit<Launch, 'from' | 'directory' | 'onRunning' | 'onLoaded'>,
    snapshot: HeldSnapshot,
  ): Promise<{ readonly running: RunningVm } | { readonly running: null; readonly reason: string }> {
    const { restorable } = snapshot;
    const { holdsFunction } = restorable.guest;
    let isRunning = false;
    try {
      const running = await this.#inTurn(
        holdsFunction ? this.#restores : this.#turns,
        launch,
        async (turn, release) => {
          const onRunning = (): void => {
            isRunning = true;
            if (holdsFunction) release();
            else turn.onRunning();
          };
          restorable.readAhead();
          const directory = await this.#directory.create(launch.vm);
          return launchVm({ ...launch, ...turn, directory, from: restorable.guest, onRunning });
        },
      );
      snapshot.onRestored();
      return { running };
    } catch (error) {
      // Once it runs, a guest without its function can only fail by that function.
      const isItsFault =
        error instanceof LaunchError &&
        !(error instanceof LaunchTimeoutError || error instanceof HostError) &&
        (holdsFunction || !isRunning);
      if (!isItsFault || launch.signal.aborted) throw error;
      const reason = `its snapshot cannot be restored: ${error.message}`;
      snapshot.onRefused(reason);
      return { running: null, reason };
    }
  }

  /** Launches in turn, which is over when the function is imported, or its import lasts too long. */
  async #inTurn(
    turns: Semaphore,
    { vm, signal }: TurnTaker,
    launch: (turn: Turn, release: () => void) => Promise<RunningVm>,
  ): Promise<RunningVm> {
    const release = await inTime(signal, (patience) => turns.acquire({ signal: patience }));
    void this.#emit({ event: 'launching', vm });
    const timers: NodeJS.Timeout[] = [];
    const onRunning = (): void => void timers.push(setTimeout(release, LONGEST_IMPORT_TURN_MS));
    try {
      return await launch({ onRunning, onLoaded: release }, release);
    } finally {
      timers.forEach(clearTimeout);
      release();
    }
  }
}

/** A launch that waits for its turn. */
interface TurnTaker {
  readonly vm: string;
  readonly signal: AbortSignal;
}

/** What a launch tells of itself in its turn. */
type Turn = Required<Pick<Launch, 'onRunning' | 'onLoaded'>>;

/**
 * Waits for what comes before a launch's own time.
 *
 * @throws HostError if it does not come in time; the signal's reason.
 */
async function inTime<T>(outer: AbortSignal, wait: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const patience = new AbortController();
  const timer = setTimeout(() => {
    const seconds = LAUNCH_TURN_LIMIT_MS / 1000;
    patience.abort(new HostError(`the launch has waited for ${seconds} s: too many others are under way`));
  }, LAUNCH_TURN_LIMIT_MS);
  try {
    return await withAny([outer, patience.signal], wait);
  } finally {
    clearTimeout(timer);
  }
}
