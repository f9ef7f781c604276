/**
 * Runs in snapctr. One microVM as the controller sees it: it holds one function and runs one request at a time, or up to as many as it
 * has slots. Busy is one that has a request, or more.
 *
 * ```
 *   launching ──ready──▶ busy ⇄ idle (paused or not)
 *       │                 │      │
 *       └──failed─────────┴──────┴──killed, lost──▶ dead ──process ended──▶ gone
 * ```
 */
import { SnapfaasError, messageOf } from '../../protocol/errors.ts';
import { FunctionChannel } from '../../protocol/function-channel.ts';
import { FunctionError, Invoker, vmLost, type InvokeResult } from '../../protocol/invoker.ts';
import type { GuestAddress, LaunchFailure, LaunchTimings, ReadyVm } from '../../protocol/runner.ts';
import type { RuntimeExitHeader } from '../../protocol/guest.ts';
import type { VmLog } from '../../logs/vm-log.ts';
import { slotsOf, type FunctionVersion } from '../../registry/function-version.ts';
import type { FunctionUse } from './function-use.ts';
import { VmPlace, type FunctionVms } from './function-vms.ts';
import type { IdleVm } from './keep-alive.ts';
import { VmLife, type VmRecord } from './vm-life.ts';
import { InvocationOutput, RecentInvocations } from '../invocation-log.ts';
import type { Logger } from '../log.ts';
import { rehearse } from './rehearsal.ts';
import type { VmEvents } from '../runner/runner-client.ts';
import type { Invocation, LambdaInvocation, StartKind } from '../task.ts';

export type VmState = 'launching' | 'busy' | 'idle' | 'dead';

/** A runtime that said it ends may take this long to do it, in ms. */
const EXIT_PATIENCE_MS = 500;

/** What the pool does for a VM. */
export interface VmOwner {
  /** Asks firerunner to end the VM's process. */
  kill(vm: Vm): void;
  /** Asks firerunner to take the CPU from the VM, and to give it back. */
  pause(vm: Vm): void;
  resume(vm: Vm): void;
  /** The VM broke while it was idle; it is killed next. */
  onLost(vm: Vm): void;
  /** The VM was not restored from its function's snapshot, and why. */
  onFallback(vm: Vm, reason: string): void;
}

export class Vm implements IdleVm<Vm>, VmEvents {
  previous: Vm | null = null;
  next: Vm | null = null;
  /** The pool's. */
  readonly place = new VmPlace(this);
  /** The pool's: when it was ready, and when it became idle, by the pool's clock. */
  readyAt = 0;
  idleSince = 0;
  /** When firerunner was asked for it, and when it was its turn there, by `performance.now()`; 0 before. */
  startedAt = 0;
  turnAt = 0;
  /** Why it was booted although there is a source of snapshots for it. */
  fallback: string | null = null;
  /** Of its VMM, once it is ready; null: it was not, or had ended by then. */
  pid: number | null = null;
  /** When firerunner was last asked to give its CPU back, by `performance.now()`, and how long that took, in ms; null: it is not known yet. */
  #resumedAt = 0;
  #wakeMs: number | null = null;
  /** The pool's: it ended to make room for others. */
  isEvicted = false;
  /** The pool's: why it ended, or for whom it was evicted. */
  endReason = '';
  /** The pool's, of the version that it holds. */
  readonly fn: FunctionVms;
  /** The pool's: it serves this tenant only; null: it has served none, or its function has no tenants. */
  tenant: string | null = null;
  /** Requests that it may have at once. */
  readonly slots: number;
  /** The pool's: requests that have it, or wait for its launch. */
  taken = 0;
  /** What its function uses of the host. */
  readonly holder: FunctionUse;
  readonly id: string;
  readonly function: FunctionVersion;
  readonly memoryMib: number;
  readonly hasTap: boolean;
  /** Launched before anybody asked for it: then it rehearses before it is ready. */
  readonly isAhead: boolean;
  /** Resolves when the function can be invoked; rejects with a SnapfaasError if the launch failed. */
  readonly ready: Promise<LaunchTimings>;
  /** Resolves when the VM's process has ended and its directory is removed. */
  readonly gone: Promise<void>;
  protected readonly life: VmLife;
  readonly #owner: VmOwner;
  readonly #logger: Logger;
  /** Null: what the function prints is not kept. */
  readonly #log: VmLog | null;
  #state: VmState = 'launching';
  /** The function channel, dialled as soon as firerunner names it. */
  #connecting: Promise<FunctionChannel> | null = null;
  #invoker: Invoker | null = null;
  #resolveReady: (timings: LaunchTimings) => void = () => undefined;
  #rejectReady: (error: SnapfaasError) => void = () => undefined;
  #resolveGone: () => void = () => undefined;
  /** Runs while a dead VM's runtime ends by itself. */
  #exitLimit: NodeJS.Timeout | null = null;
  readonly #invocations = new RecentInvocations();
  /** What the import and the hooks printed. */
  readonly #launchOutput = new InvocationOutput();
  #timings: LaunchTimings | null = null;
  /** firerunner was asked to give its CPU back and has not said that it did: what is sent meanwhile may not be read. */
  #isResuming = false;

  /** @param now the clock of its record, in ms. */
  constructor(
    id: string,
    fn: FunctionVms,
    owner: VmOwner,
    logger: Logger,
    isAhead = false,
    log: VmLog | null = null,
    now: () => number = sinceEpoch,
  ) {
    const { config, use } = fn;
    this.id = id;
    this.life = new VmLife(now);
    this.fn = fn;
    this.holder = use;
    this.function = config;
    this.slots = slotsOf(config);
    this.isAhead = isAhead;
    this.memoryMib = config.memoryMib;
    this.hasTap = config.network;
    this.#owner = owner;
    this.#logger = logger;
    this.#log = log;
    this.ready = new Promise((resolve, reject) => {
      this.#resolveReady = resolve;
      this.#rejectReady = reject;
    });
    this.gone = new Promise((resolve) => (this.#resolveGone = resolve));
  }

  get state(): VmState {
    return this.#state;
  }

  /** The pool's moves between `busy` and `idle`; a dead VM stays dead. */
  setState(state: 'busy' | 'idle'): void {
    if (this.#state === 'dead') throw new Error(`VM ${this.id} is dead and cannot become ${state}`);
    this.#state = state;
    this.life.becomes(state);
  }

  /** Whether it may get another request beside those that it has. */
  get hasSlot(): boolean {
    return this.taken < this.slots;
  }

  /** What it prints cannot be told apart by request. */
  get isShared(): boolean {
    return this.slots > 1;
  }

  /** No request has been sent to it yet. */
  get isUnused(): boolean {
    return this.life.uses === 0;
  }

  /** Requests that were sent to it. */
  get uses(): number {
    return this.life.uses;
  }

  /** When its launch began, in ms since 1970. */
  get launchedAtMs(): number {
    return Math.round(this.life.launchedMs);
  }

  /** What was done with it, if it ends now. */
  get record(): VmRecord {
    const { times } = this.life;
    return {
      vm: this.id,
      function: this.function.name,
      version: this.function.version,
      memory_mib: this.memoryMib,
      ahead: this.isAhead,
      start: times.ready_ms === null ? null : (this.timings?.kind ?? null),
      ...times,
      evicted: this.isEvicted,
      end: this.endReason,
    };
  }

  /** How the VM came to be, as the next request on it sees it. */
  get startKind(): StartKind {
    return this.isUnused ? (this.#timings?.kind ?? 'cold') : 'warm';
  }

  /** From firerunner's start of the launch until the function could be invoked, in ms; 0 until then. */
  get startMs(): number {
    if (this.#timings === null) return 0;
    const { spawnMs, bootMs, loadMs, resumeMs } = this.#timings;
    return spawnMs + bootMs + loadMs + resumeMs;
  }

  /** The part of its start that a request can have waited for, in ms. */
  get launchMs(): number {
    return this.isAhead ? 0 : this.startMs;
  }

  pause(): void {
    this.life.pauses();
    this.#owner.pause(this);
  }

  resume(): void {
    this.life.resumes();
    this.#isResuming = true;
    this.#resumedAt = performance.now();
    this.#wakeMs = null;
    this.#owner.resume(this);
  }

  onResumed(): void {
    this.#isResuming = false;
    this.#wakeMs = performance.now() - this.#resumedAt;
  }

  /** Whether it was paused, and may be still. */
  get isWaking(): boolean {
    return this.#isResuming;
  }

  /** How long it took last to have its CPU again, in ms; null: it has not yet. */
  get wakeMs(): number | null {
    return this.#wakeMs;
  }

  /** It is its turn at firerunner. */
  onLaunching(): void {
    if (this.turnAt === 0) this.turnAt = performance.now();
  }

  /** How it came up; null until it is ready. */
  get timings(): LaunchTimings | null {
    return this.#timings;
  }

  /**
   * Runs the function once; see `Invoker.invoke`. The VM must be `busy`.
   *
   * @param tail gets what the function prints meanwhile; nothing where several may run at once.
   * @param trace takes the place of what the caller told of its trace.
   */
  invoke(
    id: string,
    { payload, lambda }: Pick<Invocation, 'payload' | 'lambda'>,
    signal: AbortSignal,
    tail: InvocationOutput | null = null,
    trace?: string,
  ): Promise<InvokeResult> {
    if (this.#invoker === null) {
      tail?.end();
      return Promise.reject(vmLost(this.function.name, 'it ended before the request'));
    }
    this.life.begins();
    this.#invocations.begin(id, this.isShared ? null : tail);
    if (this.isShared) tail?.end();
    const answer =
      lambda === undefined
        ? this.#invoker.invoke(
            id,
            payload,
            signal,
            trace === undefined ? undefined : { header: { strict: true, trace }, sink: null },
          )
        : this.#invoker.invoke(id, payload, signal, {
            header: headerOf(lambda.header, tail !== null && !this.isShared, trace),
            sink: lambda.sink,
          });
    if (this.#log !== null) this.#logTimes(this.#log, id, answer);
    if (!this.#isResuming) return answer;
    return answer.catch((error: unknown) => {
      throw this.#truthOf(error);
    });
  }

  #logTimes(log: VmLog, id: string, answer: Promise<InvokeResult>): void {
    const launch = this.#invocations.count === 1 ? this.#timings : null;
    const begunAt = performance.now();
    log.begun(id);
    const answered = (): void => {
      log.answered(id, { durationMs: performance.now() - begunAt, memoryMib: this.memoryMib, launch });
    };
    answer.then(answered, answered);
  }

  /** A VM that stood still for all of its time did not run over it. */
  #truthOf(error: unknown): unknown {
    const isTimeout = error instanceof SnapfaasError && error.code === 'function_timeout';
    if (!isTimeout || !this.#isResuming) return error;
    return vmLost(this.function.name, 'it was paused, and was not resumed within the timeout of the request');
  }

  /** False once the VM must not get another request: it died, or an invocation failed by more than the function. */
  get isReusable(): boolean {
    return this.#invoker !== null && this.#invoker.isReusable;
  }

  /** Ends the VM at once; whatever it runs fails with `error`. */
  kill(error: SnapfaasError): void {
    if (this.#state === 'dead') return;
    const isExiting = this.#invoker?.isExiting === true;
    this.#die(error);
    // What the function printed last is on its way while its runtime ends.
    if (isExiting) this.#exitLimit = setTimeout(() => this.#killExiting(), EXIT_PATIENCE_MS);
    else this.#owner.kill(this);
  }

  #killExiting(): void {
    if (this.#exitLimit === null) return;
    clearTimeout(this.#exitLimit);
    this.#exitLimit = null;
    this.#owner.kill(this);
  }

  #die(error: SnapfaasError): void {
    const launching = this.#state === 'launching';
    this.#state = 'dead';
    this.life.becomes(null);
    this.#connecting?.then((channel) => channel.close()).catch(() => undefined);
    if (launching) this.#rejectReady(error);
    this.#invoker?.interrupt(error);
    this.#invoker = null;
  }

  onChannel(guestAddress: GuestAddress): void {
    this.#connecting = FunctionChannel.connect(guestAddress, this.slots);
    this.#connecting.catch(() => undefined);
  }

  onReady({ timings, fallback, pid }: ReadyVm): void {
    this.#timings = timings;
    this.fallback = fallback;
    this.pid = pid;
    if (fallback !== null) this.#owner.onFallback(this, fallback);
    const connecting = this.#connecting ?? Promise.reject(new Error('firerunner named no function channel'));
    connecting.then(
      (channel) => {
        if (this.#state !== 'launching') return;
        this.#invoker = new Invoker(channel, this.function.name, this.function.timeoutMs);
        channel.onBroken = (error) => this.#lostWhileIdle(error.message);
        if (!this.isAhead) return this.#becomeReady(timings);
        // For firerunner the launch is over by now: nobody else ends a VM that does not answer.
        rehearse(channel).then(
          () => this.#becomeReady(timings),
          (error: unknown) => this.kill(vmLost(this.function.name, messageOf(error))),
        );
      },
      (error: unknown) => this.kill(launchError(messageOf(error), [])),
    );
  }

  onLaunchOverdue(reason: string): void {
    this.kill(launchError(reason, []));
  }

  #becomeReady(timings: LaunchTimings): void {
    if (this.#state !== 'launching') return;
    this.#state = 'busy';
    this.life.becomes('busy');
    this.#resolveReady(timings);
  }

  onLog(request: number, stream: 'stdout' | 'stderr', output: string): void {
    const printed = this.#invocations.add(request, output);
    if (printed === null) return;
    if (this.#state === 'launching') this.#launchOutput.add(printed.text);
    const { text, isCut } = printed;
    const id = this.isShared ? null : printed.id;
    this.#log?.printed(id, text);
    const fields = { function: this.function.name, vm: this.id, stream, text, ...(isCut ? { cut: true } : {}) };
    this.#logger.info(id === null ? fields : { ...fields, request: id }, 'function output');
  }

  onLogEnd(request: number): void {
    this.#invocations.end(request);
  }

  onRuntimeExited(reason: string, exit: RuntimeExitHeader): void {
    this.#killExiting();
    if (this.#invoker?.runtimeEnded(reason, exit) === true) return;
    // firerunner's launch is over: it is just being connected to, or rehearses.
    if (this.#state === 'launching') this.kill(launchError(reason, []));
    else this.#lostWhileIdle(reason);
  }

  onGone(reason: string, failure: LaunchFailure | null): void {
    if (this.#state === 'launching') {
      this.#die(failure === null ? launchError(reason, []) : launchFailureError(failure, this.#launchOutput.text));
    } else if (this.#invoker?.interrupt(vmLost(this.function.name, reason)) !== true) {
      this.#lostWhileIdle(reason);
    }
    if (this.#exitLimit !== null) clearTimeout(this.#exitLimit);
    this.#exitLimit = null;
    this.#invocations.endAll();
    this.#log?.close();
    this.#resolveGone();
  }

  /** A VM that breaks while it is busy is discarded by the request on it; an idle one has only its owner. */
  #lostWhileIdle(reason: string): void {
    if (this.#state !== 'idle') return;
    // No request tells of it.
    this.#logger.warn({ vm: this.id, function: this.function.name, reason }, 'idle VM lost');
    this.#owner.onLost(this);
    this.kill(vmLost(this.function.name, reason));
  }
}

/** Asking for it costs more than the time itself. */
const { timeOrigin } = performance;
/** In ms, without the jumps of the host's clock. */
const sinceEpoch = (): number => timeOrigin + performance.now();

function headerOf(header: LambdaInvocation['header'], wantsLogEnd: boolean, trace: string | undefined) {
  if (!wantsLogEnd && trace === undefined) return header;
  return { ...header, ...(wantsLogEnd ? { log_end: true } : {}), ...(trace === undefined ? {} : { trace }) };
}

function launchFailureError(failure: LaunchFailure, printed: string): SnapfaasError {
  if (failure.kind === 'function') return new FunctionError(failure.failure, printed);
  return launchError(failure.message, failure.console);
}

function launchError(message: string, console: readonly string[]): SnapfaasError {
  return new SnapfaasError('vm_launch_failed', message, { details: console.length === 0 ? {} : { console } });
}
