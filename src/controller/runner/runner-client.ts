/**
 * Runs in snapctr. snapctr's side of `firerunner --serve`: starts it, hands it every launch and kill, passes its events
 * to the VM they belong to, and starts it again should it die.
 */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type {
  GuestAddress,
  LaunchFailure,
  LaunchSpec,
  LaunchTimings,
  RunnerCommand,
  RunnerEvent,
} from '../../protocol/runner.ts';
import type { RuntimeExitHeader } from '../../protocol/guest.ts';
import type { Logger } from '../log.ts';

/** A firerunner that dies this often within the window below is not started again. */
const MAX_RESTARTS = 5;
const RESTART_WINDOW_MS = 30_000;
/** Its last lines on stderr, kept for error messages. */
const STDERR_LINES = 20;
/** After the end of its stdin firerunner kills its VMs and ends; then it is killed, in ms. */
const CLOSE_PATIENCE_MS = 3000;

/** What a VM wants to hear. `onGone` is the last call, and comes exactly once for every launch. */
export interface VmEvents {
  onChannel(guestAddress: GuestAddress): void;
  onReady(timings: LaunchTimings, fallback: string | null): void;
  onLog(request: number, stream: 'stdout' | 'stderr', text: string): void;
  /** No more output of this invocation will come. */
  onLogEnd(request: number): void;
  onRuntimeExited(reason: string, exit: RuntimeExitHeader): void;
  onGone(reason: string, failure: LaunchFailure | null): void;
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
  onUnprepared(failure: LaunchFailure): void;
}

export class RunnerClient {
  readonly #command: readonly string[];
  readonly #logger: Logger;
  readonly #vms = new Map<string, VmEvents>();
  #child: ChildProcessWithoutNullStreams | null = null;
  /** A firerunner that does not take commands yet. */
  #starting: ChildProcessWithoutNullStreams | null = null;
  /** What a launch is told while there is no firerunner. */
  #outage = 'firerunner was not started';
  #restarts: number[] = [];
  #closing = false;
  readonly #preparations = new Map<string, PreparationEvents>();
  #abilities: RunnerAbilities = { canPause: false, canRestore: false };
  /** Called each time a firerunner takes commands; another one after the first knows nothing of what that one prepared. */
  onServing: () => void = () => undefined;

  /** @param command firerunner's program and arguments, `--serve` included. */
  constructor(command: readonly string[], logger: Logger) {
    this.#command = command;
    this.#logger = logger;
  }

  get abilities(): RunnerAbilities {
    return this.#abilities;
  }

  /** Process id of firerunner; null while there is none. */
  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  /**
   * Resolves when firerunner takes commands.
   *
   * @throws Error with firerunner's own words if it ends before.
   */
  async start(): Promise<void> {
    const [program, ...args] = this.#command;
    if (program === undefined) throw new Error('no firerunner command given');
    // A group of its own: a terminal's Ctrl-C is for snapctr, which drains first.
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
    this.#starting = child;
    const lastWords: string[] = [];
    createInterface({ input: child.stderr }).on('line', (line) => {
      lastWords.push(line);
      if (lastWords.length > STDERR_LINES) lastWords.shift();
      this.#logger.warn({ firerunner: child.pid }, line);
    });
    // A write to a firerunner that has just died; its end is handled below.
    child.stdin.on('error', () => undefined);
    const ended = new Promise<string>((resolve) => {
      child.once('error', (error) => resolve(`firerunner could not be started: ${error.message}`));
      child.once('close', (status, signal) => {
        const how = signal === null ? `status ${String(status)}` : signal;
        resolve([`firerunner ended with ${how}`, ...lastWords].join('\n'));
      });
    });
    const serving = new Promise<null>((resolve) => {
      createInterface({ input: child.stdout }).on('line', (line) => {
        const event = parseEvent(line);
        if (event === null) {
          this.#logger.warn(
            { firerunner: child.pid, bytes: line.length },
            'firerunner broke off in the middle of a line',
          );
        } else if (event.event === 'serving') {
          this.#logger.info({ vmm: event.vmm }, event.reason);
          if (event.notice !== null) this.#logger.warn({ vmm: event.vmm }, event.notice);
          this.#abilities = { canPause: event.canPause, canRestore: event.canRestore };
          resolve(null);
        } else {
          this.#dispatch(event);
        }
      });
    });
    const failure = await Promise.race([serving, ended]);
    this.#starting = null;
    if (failure !== null) throw new Error(failure);
    this.#child = child;
    this.onServing();
    void ended.then((reason) => this.#onEnded(child, reason));
  }

  launch(vm: string, spec: LaunchSpec, events: VmEvents): void {
    this.#vms.set(vm, events);
    if (this.#send({ op: 'launch', vm, spec })) return;
    this.#vms.delete(vm);
    const message = this.#outage;
    queueMicrotask(() => events.onGone(message, { kind: 'vmm', message, console: [] }));
  }

  kill(vm: string): void {
    this.#send({ op: 'kill', vm });
  }

  pause(vm: string, hasServed: boolean): void {
    this.#send({ op: 'pause', vm, hasServed });
  }

  resume(vm: string): void {
    this.#send({ op: 'resume', vm });
  }

  /** Has the snapshot of a function made ready; one preparation of a function at a time. */
  prepare(fn: string, spec: LaunchSpec, events: PreparationEvents): void {
    this.#preparations.set(fn, events);
    if (this.#send({ op: 'prepare', function: fn, spec })) return;
    this.#preparations.delete(fn);
    const message = this.#outage;
    queueMicrotask(() => events.onUnprepared({ kind: 'vmm', message, console: [] }));
  }

  /** Ends firerunner, and with it every VM. */
  async close(): Promise<void> {
    this.#closing = true;
    // One that is just being started again has no VMs yet.
    const starting = this.#starting;
    if (starting !== null) {
      const ended = once(starting, 'close').catch(() => undefined);
      killGroup(starting);
      await ended;
    }
    const child = this.#child;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.stdin.end();
    const patience = setTimeout(() => killGroup(child), CLOSE_PATIENCE_MS);
    await exited;
    clearTimeout(patience);
  }

  #send(command: RunnerCommand): boolean {
    return this.#child?.stdin.write(`${JSON.stringify(command)}\n`) !== undefined;
  }

  #dispatch(event: Exclude<RunnerEvent, { event: 'serving' }>): void {
    if ('function' in event) return this.#dispatchPreparation(event);
    const vm = this.#vms.get(event.vm);
    if (vm === undefined) return;
    switch (event.event) {
      case 'channel':
        return vm.onChannel(event.guestAddress);
      case 'ready':
        return vm.onReady(event.timings, event.fallback);
      case 'log':
        return vm.onLog(event.request, event.stream, event.text);
      case 'log-end':
        return vm.onLogEnd(event.request);
      case 'runtime-exited':
        return vm.onRuntimeExited(event.reason, event.exit);
      case 'failed':
        this.#vms.delete(event.vm);
        return vm.onGone('the launch failed', event.failure);
      case 'exited':
        this.#vms.delete(event.vm);
        return vm.onGone(event.reason, null);
    }
  }

  #dispatchPreparation(event: Extract<RunnerEvent, { function: string }>): void {
    const preparation = this.#preparations.get(event.function);
    if (preparation === undefined) return;
    switch (event.event) {
      case 'preparing':
        return preparation.onPreparing(event.text);
      case 'preparation-log':
        return preparation.onPreparationLog(event.stream, event.text);
      case 'prepared':
        this.#preparations.delete(event.function);
        return preparation.onPrepared(event.layer, event.builtMs);
      case 'unprepared':
        this.#preparations.delete(event.function);
        return preparation.onUnprepared(event.failure);
    }
  }

  /** firerunner died, and every VM with it: the kernel kills VMMs with their parent. */
  #onEnded(child: ChildProcessWithoutNullStreams, reason: string): void {
    if (this.#child !== child) return;
    this.#child = null;
    const lost = [...this.#vms.values()];
    const unprepared = [...this.#preparations.values()];
    this.#vms.clear();
    this.#preparations.clear();
    const summary = reason.split('\n', 1)[0] ?? reason;
    for (const vm of lost) vm.onGone(summary, { kind: 'vmm', message: summary, console: [] });
    if (this.#closing) return;
    for (const events of unprepared) events.onUnprepared({ kind: 'vmm', message: summary, console: [] });
    this.#logger.error({ lostVms: lost.length }, reason);
    const now = performance.now();
    this.#restarts = [...this.#restarts.filter((at) => now - at < RESTART_WINDOW_MS), now];
    if (this.#restarts.length > MAX_RESTARTS) {
      this.#outage = `firerunner died ${this.#restarts.length} times in ${RESTART_WINDOW_MS / 1000} s; start snapctr again`;
      this.#logger.fatal(this.#outage);
      return;
    }
    this.#outage = 'firerunner is not running; it is being started again';
    this.start().catch((error: unknown) => {
      if (this.#closing) return;
      this.#outage = 'firerunner died and does not start again; see the log, and start snapctr again';
      this.#logger.fatal({ err: error }, this.#outage);
    });
  }
}

/** Ends firerunner and the programs that it asks for their versions; VMMs and janitors have groups of their own. */
function killGroup({ pid }: ChildProcessWithoutNullStreams): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has just ended.
  }
}

/** Null for what a firerunner left half written when it was killed. */
function parseEvent(line: string): RunnerEvent | null {
  try {
    return JSON.parse(line) as RunnerEvent;
  } catch {
    return null;
  }
}
