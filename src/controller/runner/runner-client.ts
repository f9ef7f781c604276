/**
 * Runs in snapctr. snapctr's side of `firerunner --serve`: hands it every launch and kill, passes its events to the VM they
 * belong to, and starts another one when it is lost, for as long as it takes:
 *
 * ```
 *   starting ──▶ serving ──lost──▶ pause, longer after each failure ──▶ starting …
 * ```
 */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  LAUNCH_TURN_LIMIT_MS,
  MAX_RUNNER_LINE_BYTES,
  type GuestAddress,
  type LaunchFailure,
  type LaunchSpec,
  type ReadyVm,
  type RunnerCommand,
  type RunnerEvent,
} from '../../protocol/runner.ts';
import type { RuntimeExitHeader } from '../../protocol/guest.ts';
import { messageOf } from '../../protocol/errors.ts';
import type { VmmName } from '../../protocol/vmms.ts';
import type { RetentionLimits } from '../../storage/retention.ts';
import type { Logger } from '../log.ts';
import { SERVING_TIMES, ServingProcess, type ServedEvent, type ServingTimes } from '../serving-process.ts';

/** Pause before another one is started after the first loss, and the longest; each is twice as long as the one before, in ms. */
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 30_000;
/** One that has served for so long was no failure to start: the next pause is the first again, in ms. */
const STABLE_MS = 30_000;
/** After the end of its stdin firerunner kills its VMs and ends; then it is killed, in ms. */
const CLOSE_PATIENCE_MS = 3000;
/**
 * A launch has its own limits in firerunner: one before its turn comes, and then one for each part of what it tries, a restore, a
 * boot, an import. On top of these it may wait for files. Beyond all that firerunner has forgotten it.
 */
const LAUNCH_LIMIT_SHARES = 3;
const LAUNCH_SLACK_MS = 10_000;
/** How long a VM may take to end, in ms. */
const KILL_LIMIT_MS = 10_000;

type FirerunnerProcess = ServingProcess<RunnerCommand, RunnerEvent>;

/** What a VM wants to hear. `onGone` is the last call, and comes exactly once for every launch. */
export interface VmEvents {
  onChannel(guestAddress: GuestAddress): void;
  /** It is the launch's turn; called again for another attempt. */
  onLaunching(): void;
  onReady(ready: ReadyVm): void;
  /** firerunner has not launched it in any time it may take; it is to be killed. */
  onLaunchOverdue(reason: string): void;
  /** A resume was carried out. */
  onResumed(): void;
  onLog(request: number, stream: 'stdout' | 'stderr', text: string): void;
  /** No more output of this invocation will come. */
  onLogEnd(request: number): void;
  onRuntimeExited(reason: string, exit: RuntimeExitHeader): void;
  onGone(reason: string, failure: LaunchFailure | null): void;
}

/** What runs the VMs. `notice`: what a user should know of it, such as no isolation; null: nothing. */
export interface RunnerDriver {
  readonly vmm: VmmName;
  readonly notice: string | null;
}

/** What firerunner can do with the VMM it chose. */
export interface RunnerAbilities {
  /** Idle VMs can be paused, and should be: they take CPU time otherwise. */
  readonly canPause: boolean;
  readonly canRestore: boolean;
}

/**
 * What is heard of the preparation of a function's snapshot. Exactly one of the last two comes for each `prepare`, unless
 * the client is closed before.
 */
export interface PreparationEvents {
  onPreparing(text: string): void;
  onPreparationLog(stream: 'stdout' | 'stderr', text: string): void;
  onPrepared(layer: string, builtMs: number | null): void;
  /** @param retryInMs after which firerunner tries again; null: it is gone. */
  onUnprepared(failure: LaunchFailure, retryInMs: number | null): void;
}

/** A VM that firerunner was told to launch and has not reported as gone. */
interface KnownVm {
  readonly events: VmEvents;
  readonly bootTimeoutMs: number;
  /** Runs while it is launched, or killed. */
  limit: NodeJS.Timeout | null;
  isReady: boolean;
  isKilled: boolean;
}

export class RunnerClient {
  readonly #command: readonly string[];
  readonly #logger: Logger;
  readonly #times: ServingTimes;
  readonly #vms = new Map<string, KnownVm>();
  readonly #preparations = new Map<string, PreparationEvents>();
  readonly #removals: ((more: boolean) => void)[] = [];
  #removedLayers = 0;
  #runner: FirerunnerProcess | null = null;
  /** One that does not take commands yet. */
  #starting: FirerunnerProcess | null = null;
  /** What a launch is told while there is none. */
  #absence = 'firerunner was not started';
  /** Losses and failed starts in a row. */
  #failures = 0;
  readonly #closing = new AbortController();
  #abilities: RunnerAbilities = { canPause: false, canRestore: false };
  #driver: RunnerDriver | null = null;
  /** Called each time a firerunner takes commands; another one after the first knows nothing of what that one prepared. */
  onServing: () => void = () => undefined;
  /** Called when one is lost, before its VMs are told. */
  onLost: () => void = () => undefined;

  /** @param command firerunner's program and arguments, `--serve` included. */
  constructor(command: readonly string[], logger: Logger, times: ServingTimes = SERVING_TIMES) {
    this.#command = command;
    this.#logger = logger;
    this.#times = times;
  }

  get abilities(): RunnerAbilities {
    return this.#abilities;
  }

  /** What runs the VMs; null before the first firerunner took commands. */
  get driver(): RunnerDriver | null {
    return this.#driver;
  }

  /** Process id of firerunner; null while there is none. */
  get pid(): number | null {
    return this.#runner?.pid ?? null;
  }

  /** Why nothing can be launched now; null if it can. */
  get outage(): string | null {
    if (this.#runner === null) return this.#absence;
    return this.#runner.isAnswering ? null : 'firerunner does not answer';
  }

  /**
   * Resolves when firerunner takes commands.
   *
   * @throws Error with firerunner's own words if it ends before.
   */
  async start(): Promise<void> {
    const runner = new ServingProcess<RunnerCommand, RunnerEvent>(
      { name: 'firerunner', command: this.#command, maxLineBytes: MAX_RUNNER_LINE_BYTES },
      this.#logger,
      (event) => this.#dispatch(event),
      this.#times,
    );
    this.#starting = runner;
    try {
      const { vmm, reason, notice, canPause, canRestore } = await runner.serving;
      this.#logger.info({ vmm }, reason);
      if (notice !== null) this.#logger.warn({ vmm }, notice);
      this.#abilities = { canPause, canRestore };
      this.#driver = { vmm, notice };
    } finally {
      this.#starting = null;
    }
    this.#runner = runner;
    this.onServing();
    const servedSince = performance.now();
    void runner.lost.then((reason) => {
      if (performance.now() - servedSince >= STABLE_MS) this.#failures = 0;
      this.#onLost(runner, reason);
    });
  }

  launch(vm: string, spec: LaunchSpec, events: VmEvents): void {
    const runner = this.#runner;
    if (runner === null) {
      const message = this.#absence;
      queueMicrotask(() => events.onGone(message, { kind: 'vmm', message, console: [] }));
      return;
    }
    const known: KnownVm = { events, bootTimeoutMs: spec.bootTimeoutMs, limit: null, isReady: false, isKilled: false };
    this.#vms.set(vm, known);
    this.#limitLaunch(known, 2 * LAUNCH_TURN_LIMIT_MS + LAUNCH_SLACK_MS);
    runner.send({ op: 'launch', vm, spec });
  }

  #limitLaunch(known: KnownVm, limitMs: number): void {
    const seconds = Math.round(limitMs / 1000);
    this.#setLimit(known, limitMs, () =>
      known.events.onLaunchOverdue(`firerunner did not launch the VM within ${seconds} s`),
    );
  }

  kill(vm: string): void {
    const runner = this.#runner;
    const known = this.#vms.get(vm);
    if (runner === null || known === undefined || known.isKilled) return;
    known.isKilled = true;
    this.#setLimit(known, KILL_LIMIT_MS, () => this.#onKillOverdue(runner, vm, known));
    runner.send({ op: 'kill', vm });
  }

  pause(vm: string, hasServed: boolean): void {
    this.#send({ op: 'pause', vm, hasServed });
  }

  resume(vm: string): void {
    this.#send({ op: 'resume', vm });
  }

  /** Has a function's snapshot made ready; `events` are told whenever that changes. One preparation of a name at a time. */
  prepare(snapshot: string, spec: LaunchSpec, events: PreparationEvents): void {
    if (this.#runner === null) {
      const message = this.#absence;
      queueMicrotask(() => events.onUnprepared({ kind: 'vmm', message, console: [] }, null));
      return;
    }
    this.#preparations.set(snapshot, events);
    this.#send({ op: 'prepare', snapshot, spec });
  }

  /** No VM will be launched from it any more; its events are told nothing more. */
  forget(snapshot: string): void {
    if (this.#preparations.delete(snapshot)) this.#send({ op: 'forget', snapshot });
  }

  /** Layers that were removed because nobody needed them, since the start. */
  get removedLayers(): number {
    return this.#removedLayers;
  }

  /**
   * Removes layers of snapshots that nobody needs, in the background.
   *
   * @returns whether there is more to remove; false as well if there is no firerunner.
   */
  removeLayers(directory: string, limits: RetentionLimits): Promise<boolean> {
    if (this.#runner === null) return Promise.resolve(false);
    return new Promise((resolve) => {
      this.#removals.push(resolve);
      this.#send({ op: 'remove-layers', directory, ...limits });
    });
  }

  /**
   * Ends firerunner, and with it every VM. Resolves in some seconds, whatever it does; then every VM was reported as gone.
   *
   * @param patienceMs how long it may take to end by itself.
   */
  async close(patienceMs = CLOSE_PATIENCE_MS): Promise<void> {
    this.#closing.abort();
    // One that is just being started has no VMs yet.
    await Promise.all([this.#starting?.close(0), this.#runner?.close(patienceMs)]);
  }

  #send(command: RunnerCommand): void {
    this.#runner?.send(command);
  }

  #setLimit(known: KnownVm, limitMs: number, onOverdue: () => void): void {
    if (known.limit !== null) clearTimeout(known.limit);
    known.limit = setTimeout(onOverdue, limitMs).unref();
  }

  /**
   * A launch that goes on after it was called off is one that firerunner has lost sight of: another one must do its work. A VM that
   * ran, and whose process does not end, is the kernel's: its memory stays in the books.
   */
  #onKillOverdue(runner: FirerunnerProcess, vm: string, known: KnownVm): void {
    const seconds = KILL_LIMIT_MS / 1000;
    if (!known.isReady) return runner.fail(`firerunner did not call off the launch of ${vm} within ${seconds} s`);
    this.#logger.error({ vm }, `the VM was killed ${seconds} s ago and has not ended; its memory is still in use`);
  }

  #forget(vm: string, known: KnownVm): VmEvents {
    if (known.limit !== null) clearTimeout(known.limit);
    this.#vms.delete(vm);
    return known.events;
  }

  #dispatch(event: ServedEvent<RunnerEvent>): void {
    if ('snapshot' in event) return this.#dispatchPreparation(event);
    if (event.event === 'layers-removed') {
      const { names, more, problem } = event;
      if (problem !== null) this.#logger.warn(`unused layers of snapshots cannot be removed: ${problem}`);
      else if (names.length > 0) this.#logger.info({ layers: names }, 'removed unused layers of snapshots');
      this.#removedLayers += names.length;
      return this.#removals.shift()?.(more);
    }
    const known = this.#vms.get(event.vm);
    if (known === undefined) return;
    const { events } = known;
    switch (event.event) {
      case 'launching':
        if (known.isKilled) return;
        events.onLaunching();
        return this.#limitLaunch(known, LAUNCH_LIMIT_SHARES * known.bootTimeoutMs + LAUNCH_SLACK_MS);
      case 'channel':
        return events.onChannel(event.guestAddress);
      case 'ready':
        known.isReady = true;
        if (!known.isKilled && known.limit !== null) clearTimeout(known.limit);
        return events.onReady(event);
      case 'resumed':
        return events.onResumed();
      case 'log':
        return events.onLog(event.request, event.stream, event.text);
      case 'log-end':
        return events.onLogEnd(event.request);
      case 'runtime-exited':
        return events.onRuntimeExited(event.reason, event.exit);
      case 'failed':
        return this.#forget(event.vm, known).onGone('the launch failed', event.failure);
      case 'exited':
        return this.#forget(event.vm, known).onGone(event.reason, null);
    }
  }

  #dispatchPreparation(event: Extract<RunnerEvent, { snapshot: string }>): void {
    const preparation = this.#preparations.get(event.snapshot);
    if (preparation === undefined) return;
    switch (event.event) {
      case 'preparing':
        return preparation.onPreparing(event.text);
      case 'preparation-log':
        return preparation.onPreparationLog(event.stream, event.text);
      case 'prepared':
        return preparation.onPrepared(event.layer, event.builtMs);
      case 'unprepared':
        return preparation.onUnprepared(event.failure, event.retryInMs);
    }
  }

  /** Every VM is lost with it. */
  #onLost(runner: FirerunnerProcess, reason: string): void {
    if (this.#runner !== runner) return;
    this.#runner = null;
    this.#absence = 'firerunner is not running';
    for (const settle of this.#removals.splice(0)) settle(false);
    this.onLost();
    const lost = [...this.#vms];
    const unprepared = [...this.#preparations.values()];
    this.#preparations.clear();
    const summary = reason.split('\n', 1)[0] ?? reason;
    for (const [vm, known] of lost) {
      this.#forget(vm, known).onGone(summary, { kind: 'vmm', message: summary, console: [] });
    }
    if (this.#closing.signal.aborted) return;
    for (const events of unprepared) events.onUnprepared({ kind: 'vmm', message: summary, console: [] }, null);
    this.#logger.error({ lostVms: lost.length }, reason);
    void this.#startAgain(runner);
  }

  /** Tries until one serves: what is missing now (processes, memory, a disk) may be there later. */
  async #startAgain(lost: FirerunnerProcess): Promise<void> {
    const { signal } = this.#closing;
    if (lost.pid !== null) {
      // Its VMs may hold their memory for as long as it lives.
      this.#absence = `firerunner (process ${lost.pid}) was killed and has not ended`;
      await Promise.race([lost.ended, aborted(signal)]);
    }
    while (!signal.aborted) {
      const pauseMs = pauseAfter(this.#failures);
      this.#failures += 1;
      const when =
        pauseMs < 1000 ? 'it is being started again' : `it is started again in ${Math.ceil(pauseMs / 1000)} s`;
      this.#absence = `firerunner is not running; ${when}`;
      await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
      if (isAborted(signal)) return;
      this.#absence = 'firerunner is not running; it is being started again';
      try {
        return await this.start();
      } catch (error) {
        if (isAborted(signal)) return;
        const failures = this.#failures;
        this.#logger.error({ failures, reason: messageOf(error) }, 'firerunner does not start; it is tried again');
      }
    }
  }
}

/** Doubled for each failure before; and by chance, so that the controllers of a fleet do not all try at once. */
function pauseAfter(failures: number): number {
  const longest = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(failures, 16));
  return longest * (0.5 + Math.random() / 2);
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** Looked at anew after each wait. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
