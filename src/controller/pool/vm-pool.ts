/**
 * Runs in snapctr. Finds a VM for every request: an idle one of the function, else a new one in free memory, else a new
 * one in the memory of idle VMs of other functions, else `resource_exhausted`.
 */
import { SnapfaasError } from '../../protocol/errors.ts';
import { abortError, NotBegunError } from '../../protocol/invoker.ts';
import type { LaunchTimings } from '../../protocol/runner.ts';
import type { FunctionConfig } from '../config/config.ts';
import { noRoom, tooManyAtOnce } from './exhaustion.ts';
import { FunctionVms } from './function-vms.ts';
import { IdlePauser } from './idle-pauser.ts';
import type { KeepAlivePolicy } from './keep-alive.ts';
import type { Ledger } from './ledger.ts';
import type { StartKind } from '../task.ts';
import type { Vm, VmState } from './vm.ts';

/** How long a launch waits for what killed VMs still hold, in ms. */
const SETTLE_LIMIT_MS = 10_000;

/** What the pool counts; monotonic. */
export interface PoolCounters {
  launches: number;
  evictions: number;
  reuses: number;
}

export interface VmPoolOptions {
  readonly functions: ReadonlyMap<string, FunctionConfig>;
  readonly ledger: Ledger;
  readonly policy: KeepAlivePolicy<Vm>;
  /** A new VM in state `launching`, not started yet. `isAhead`: nobody has asked for it yet. */
  readonly createVm: (fn: FunctionConfig, isAhead: boolean) => Vm;
  readonly startVm: (vm: Vm) => void;
  readonly onLaunched?: (vm: Vm, timings: LaunchTimings) => void;
  /** A VM was launched or taken for a request; called before it is used. */
  readonly onTaken?: (fn: FunctionVms, vm: Vm) => void;
  readonly onGone?: (vm: Vm) => void;
}

export type VmCounts = Readonly<Record<string, Partial<Record<VmState, number>>>>;

export class VmPool {
  readonly counters: PoolCounters = { launches: 0, evictions: 0, reuses: 0 };
  readonly #options: VmPoolOptions;
  readonly #functions = new Map<string, FunctionVms>();
  /** Every VM whose process may still exist. */
  readonly #vms = new Set<Vm>();
  /** Those of them that are dead, so that their shares count as dying. */
  readonly #dying = new Set<Vm>();
  /** Null where idle VMs cost nothing. */
  #pauser: IdlePauser<Vm> | null = null;
  /** Launches that a request waits for, or began. */
  #launching = 0;
  #closed = false;

  constructor(options: VmPoolOptions) {
    this.#options = options;
    for (const config of options.functions.values()) {
      this.#functions.set(config.name, new FunctionVms(config));
    }
  }

  /** Launches under way that were not made ahead. */
  get launching(): number {
    return this.#launching;
  }

  /** From now on VMs that stay idle are paused. */
  pauseIdleVms(): void {
    this.#pauser ??= new IdlePauser();
  }

  /** @throws SnapfaasError `function_not_found`. */
  find(name: string): FunctionVms {
    const fn = this.#functions.get(name);
    if (fn !== undefined) return fn;
    throw new SnapfaasError('function_not_found', `there is no function ${JSON.stringify(name)} in the configuration`);
  }

  /**
   * The only way to a VM: acquires one, lets `use` work with it, and releases it; a VM that is of no more use then is
   * discarded. `use` is called again, with another VM, if the first one turns out to have ended before it began.
   *
   * @throws SnapfaasError `resource_exhausted`, `vm_launch_failed`, `function_error` (from the import), and whatever
   * `use` throws.
   */
  async withVm<T>(fn: FunctionVms, signal: AbortSignal, use: (vm: Vm, start: StartKind) => Promise<T>): Promise<T> {
    let unclaimed = fn.hasIdle ? null : fn.takeUnclaimed();
    if (unclaimed === null) {
      if (fn.isAtLimit) throw tooManyAtOnce(fn.config);
      fn.inUse += 1;
    }
    try {
      for (;;) {
        const idle = unclaimed === null ? this.#takeIdle(fn) : null;
        const vm = idle ?? (await this.#awaitLaunch(fn, unclaimed ?? (await this.#launch(fn)), signal));
        unclaimed = null;
        this.#options.onTaken?.(fn, vm);
        const start = vm.startKind;
        try {
          return await this.#lend(fn, vm, start, use);
        } catch (error) {
          // What an earlier invocation has left behind ended it: not this one's doing, so it gets another VM. A VM that
          // nobody has used has no such excuse.
          if (!(error instanceof NotBegunError) || start !== 'warm') throw error;
        }
      }
    } finally {
      fn.inUse -= 1;
    }
  }

  async #lend<T>(fn: FunctionVms, vm: Vm, start: StartKind, use: (vm: Vm, start: StartKind) => Promise<T>): Promise<T> {
    try {
      const result = await use(vm, start);
      this.#giveBack(fn, vm);
      return result;
    } catch (error) {
      // The function's own failure leaves its VM in order; the VM knows.
      if (error instanceof SnapfaasError) this.#giveBack(fn, vm, error);
      else this.#discard(vm, SnapfaasError.from(error));
      throw error;
    }
  }

  #takeIdle(fn: FunctionVms): Vm | null {
    const vm = fn.popIdle();
    if (vm === null) return null;
    this.#options.policy.remove(vm);
    this.#pauser?.take(vm);
    vm.setState('busy');
    this.counters.reuses += 1;
    return vm;
  }

  /** The VM is idle from now on, or killed if it is of no more use. */
  #giveBack(fn: FunctionVms, vm: Vm, error: SnapfaasError | null = null): void {
    if (!vm.isReusable) return this.#discard(vm, error ?? new SnapfaasError('vm_lost', 'its runtime ended'));
    vm.setState('idle');
    fn.pushIdle(vm);
    this.#options.policy.add(vm);
    this.#pauser?.add(vm);
  }

  /** Kills a VM; its share is free in the books at once. */
  #discard(vm: Vm, error: SnapfaasError): void {
    this.#markDying(vm);
    vm.kill(error);
  }

  #markDying(vm: Vm): void {
    if (!this.#vms.has(vm) || this.#dying.has(vm)) return;
    this.#dying.add(vm);
    this.#options.ledger.markDying(vm);
  }

  #onGone(vm: Vm): void {
    this.#markDying(vm);
    this.#dying.delete(vm);
    this.#vms.delete(vm);
    this.#options.ledger.ended(vm);
    this.#options.onGone?.(vm);
  }

  /**
   * Launches a VM that nobody has asked for yet, on what is free. A request that comes meanwhile takes it over.
   *
   * @returns the VM when it is idle or taken; null if there is no room, or the function could not use it.
   * @throws SnapfaasError as a launch does.
   */
  async launchAhead(fn: FunctionVms): Promise<Vm | null> {
    if (this.#closed || fn.isAtLimit || this.#options.ledger.lack(fn.share) !== null) return null;
    const vm = this.#create(fn, true);
    this.#leaveUnclaimed(fn, vm);
    await this.#start(vm);
    await vm.ready;
    return vm;
  }

  /** Ends an idle VM. */
  dismiss(vm: Vm): void {
    if (vm.state === 'idle') this.#evict(vm);
  }

  async #launch(fn: FunctionVms): Promise<Vm> {
    const vm = this.#create(fn, false);
    await this.#start(vm);
    return vm;
  }

  /** A VM with its share reserved, not started yet. */
  #create(fn: FunctionVms, isAhead: boolean): Vm {
    if (this.#closed) throw new SnapfaasError('shutting_down', 'the controller is shutting down');
    this.#makeRoom(fn);
    const vm = this.#options.createVm(fn.config, isAhead);
    this.#vms.add(vm);
    this.counters.launches += 1;
    void vm.gone.then(() => this.#onGone(vm));
    if (!isAhead) this.#launching += 1;
    const settled = (): void => {
      if (!isAhead) this.#launching -= 1;
    };
    vm.ready.then(
      (timings) => {
        settled();
        this.#options.onLaunched?.(vm, timings);
      },
      () => {
        settled();
        this.#markDying(vm);
      },
    );
    return vm;
  }

  /** Starts a VM as soon as the host has what it was promised. */
  async #start(vm: Vm): Promise<void> {
    const isSettled = await this.#options.ledger.settled(SETTLE_LIMIT_MS);
    if (vm.state !== 'launching') return vm.onGone('it was never started', null);
    if (isSettled) return this.#options.startVm(vm);
    const message = `VMs that were killed have not given back what they held within ${SETTLE_LIMIT_MS / 1000} s`;
    vm.onGone(message, { kind: 'vmm', message, console: [] });
  }

  /** If nobody waits for the launch any more, its VM is for the next request, or becomes idle when it is ready. */
  #awaitLaunch(fn: FunctionVms, vm: Vm, signal: AbortSignal): Promise<Vm> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#leaveUnclaimed(fn, vm);
        reject(abortError(signal));
      };
      if (signal.aborted) return onAbort();
      signal.addEventListener('abort', onAbort, { once: true });
      const over = vm.ready.finally(() => signal.removeEventListener('abort', onAbort));
      over.then(() => resolve(vm), reject);
    });
  }

  /** The launch goes on: for the next request of the function, or to become idle. */
  #leaveUnclaimed(fn: FunctionVms, vm: Vm): void {
    fn.unclaimed.add(vm);
    fn.inUse += 1;
    const settle = (): void => {
      if (!fn.unclaimed.delete(vm)) return;
      fn.inUse -= 1;
      this.#giveBack(fn, vm);
    };
    vm.ready.then(settle, settle);
  }

  /**
   * Reserves the share of another VM of the function, evicting idle VMs if need be.
   *
   * @throws SnapfaasError `resource_exhausted`; nothing was evicted then.
   */
  #makeRoom(fn: FunctionVms): void {
    const { ledger, policy } = this.#options;
    const lack = ledger.lack(fn.share);
    if (lack !== null) {
      const victims = policy.victims(lack);
      if (victims.length === 0) throw noRoom(fn.config, lack, ledger, policy);
      for (const vm of victims) this.#evict(vm);
    }
    if (!ledger.tryReserve(fn.share)) throw new Error('the evicted VMs held less than they said');
  }

  #evict(vm: Vm): void {
    this.#forgetIdle(vm);
    this.#discard(vm, new SnapfaasError('vm_lost', 'the VM was evicted'));
    this.counters.evictions += 1;
  }

  #forgetIdle(vm: Vm): void {
    this.#options.policy.remove(vm);
    this.#pauser?.forget(vm);
    this.find(vm.function.name).removeIdle(vm);
  }

  /** An idle VM died by itself. */
  onLost(vm: Vm): void {
    this.#forgetIdle(vm);
    this.#markDying(vm);
  }

  /** VMs by function and state; functions without any are left out. */
  counts(): VmCounts {
    const counts: Record<string, Partial<Record<VmState, number>>> = Object.create(null) as Record<string, never>;
    for (const vm of this.#vms) {
      const states = (counts[vm.function.name] ??= {});
      states[vm.state] = (states[vm.state] ?? 0) + 1;
    }
    return counts;
  }

  /** Kills every VM and launches no more; resolves when all are gone. */
  async close(reason: SnapfaasError): Promise<void> {
    this.#closed = true;
    const vms = [...this.#vms];
    for (const vm of vms) {
      if (vm.state === 'idle') this.#forgetIdle(vm);
      this.#discard(vm, reason);
    }
    await Promise.all(vms.map((vm) => vm.gone));
  }
}
