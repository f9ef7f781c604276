/**
 * Runs in snapctr. Finds a VM for a request: a busy one of the function that has a free slot, where VMs have several; else an idle one,
 * else a launch that has a free slot or that nobody waits for any more, else a new one in free memory, else a new one in the memory of
 * idle VMs that may be evicted for it (`keep-alive.ts`). So few VMs are filled up, and the others are idle, and can be paused or evicted.
 *
 * ```
 *   acquire ──▶ Lease ──▶ use ──▶ VM idle, killed, or still busy with others ──▶ onRoom
 *      └──▶ null: the request waits in the channel, which asks again
 * ```
 */
import { SnapfaasError } from '../../protocol/errors.ts';
import { abortError } from '../../protocol/invoker.ts';
import type { LaunchTimings } from '../../protocol/runner.ts';
import type { FunctionVersion } from '../../registry/function-version.ts';
import { Demand } from './demand.ts';
import { noRoom, tooManyAtOnce } from './exhaustion.ts';
import { FunctionUse } from './function-use.ts';
import { FunctionVms, type LaunchWaiter } from './function-vms.ts';
import { IdlePauser } from './idle-pauser.ts';
import type { EvictedVm, LaunchCause, NotAhead } from './launch-cause.ts';
import type { Claim, KeepAlivePolicy } from './keep-alive.ts';
import type { Lack, Ledger } from './ledger.ts';
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
  readonly ledger: Ledger;
  readonly policy: KeepAlivePolicy<Vm>;
  /** A new VM in state `launching`, not started yet. `isAhead`: nobody has asked for it yet. */
  readonly createVm: (fn: FunctionVms, isAhead: boolean) => Vm;
  readonly startVm: (vm: Vm) => void;
  readonly onLaunched?: (vm: Vm, timings: LaunchTimings) => void;
  /** A VM was launched or taken for a request; called before it is used. */
  readonly onTaken?: (fn: FunctionVms, vm: Vm) => void;
  readonly onGone?: (vm: Vm) => void;
  /** A VM became idle, has a free slot, or has given its share back. Called when the books are in order again. */
  readonly onRoom?: (vm: Vm) => void;
  /** With this VM gone its version has fewer than are kept. To be acted on later: the books are not in order just now. */
  readonly onShort?: (vm: Vm) => void;
  /** Why a VM has to be launched for a request that could have been launched before. */
  readonly whyNotAhead?: (fn: FunctionVms) => NotAhead;
  /** The last VM of a version that was retired is gone. */
  readonly onDrained?: (fn: FunctionVms) => void;
  /** A clock that never goes back, in ms; the policy's. */
  readonly now: () => number;
}

/** A VM that one request has a slot of, or, where there is only one, has to itself: it was idle or shared until now, or is being launched. */
export interface Lease {
  readonly fn: FunctionVms;
  readonly vm: Vm;
  /** Null: the function has no tenants. */
  readonly tenant: string | null;
  /** Null: its VM was there, or was being launched for another request that is gone. */
  readonly cause: LaunchCause | null;
}

/** A VM for a request, and how it came to be. */
interface ReadyFor {
  readonly vm: Vm;
  readonly start: StartKind;
}

export type VmCounts = Readonly<Record<string, Partial<Record<VmState, number>>>>;

/** For whom VMs are launched that were promised: it comes before everybody who has something, and has waited for long. */
const PROMISED = {
  holder: { heldMib: 0, demand: new Demand() },
  waitedMs: Infinity,
  isNewTenant: false,
  own: null,
} as const;

const LAUNCH_FAILED = 'its launch failed';

/** What is told of a function that lacks nothing just now. */
const NO_LACK: Lack = { memoryMib: 0, tap: false };

const NO_VMS: readonly Vm[] = [];

export class VmPool {
  readonly counters: PoolCounters = { launches: 0, evictions: 0, reuses: 0 };
  readonly #options: VmPoolOptions;
  readonly #versions = new Map<FunctionVersion, FunctionVms>();
  readonly #uses = new Map<string, FunctionUse>();
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
  }

  /** Launches under way that were not made ahead. */
  get launching(): number {
    return this.#launching;
  }

  /** From now on VMs that stay idle are paused. */
  pauseIdleVms(): void {
    this.#pauser ??= new IdlePauser();
  }

  /** What a function of this name uses, and what its requests wait in turn by; the same object until `forget`. */
  useOf(name: string): FunctionUse {
    let use = this.#uses.get(name);
    if (use === undefined) this.#uses.set(name, (use = new FunctionUse(name)));
    return use;
  }

  /** Requests may ask for VMs of this version from now on; its function's limit is the one of the version added last. */
  add(version: FunctionVersion): FunctionVms {
    const use = this.useOf(version.name);
    use.concurrencyLimit = version.concurrencyLimit;
    const fn = new FunctionVms(version, use);
    this.#versions.set(version, fn);
    return fn;
  }

  /** Undefined: it was not added, or is retired. */
  find(version: FunctionVersion): FunctionVms | undefined {
    return this.#versions.get(version);
  }

  /** Its idle VMs end, and those that nobody waits for; requests that have a VM, or wait for its launch, go on. */
  retire(version: FunctionVersion): void {
    const fn = this.#versions.get(version);
    if (fn === undefined) return;
    this.#versions.delete(version);
    fn.isRetired = true;
    for (let vm = fn.firstIdle; vm !== null; vm = fn.firstIdle) {
      this.#forgetIdle(vm);
      this.#discard(vm, retired());
    }
    for (const vm of [...fn.unclaimed]) this.#discard(vm, retired());
    if (fn.vms === 0) this.#options.onDrained?.(fn);
  }

  /** There is no function of this name any more. */
  forget(name: string): void {
    this.#uses.delete(name);
  }

  /**
   * Whether a request of the function is worth waiting at all.
   *
   * @param expectedWaitMs when one of the function's requests will be done.
   * @throws SnapfaasError `resource_exhausted`: it runs as many as it may, or no VM of it would fit beside no other.
   */
  check(fn: FunctionVms, expectedWaitMs: () => number | null = () => null): void {
    if (fn.use.isAtLimit && fn.unclaimed.size === 0) throw tooManyAtOnce(fn.config, expectedWaitMs());
    if (!this.#options.ledger.couldHold(fn.share)) throw this.#noRoom(fn);
  }

  /**
   * A VM for a request, which is to be used (`use`) in any case; null if the request has to wait for one.
   *
   * @param waitedMs how long it has waited already; a longer wait gives it more rights.
   * @param tenant who it is for; null if and only if the function has no tenants.
   * @param waiting how many requests wait in the same turn, with this one.
   */
  acquire(fn: FunctionVms, waitedMs: number, tenant: string | null = null, waiting = 1): Lease | null {
    if (this.#closed || fn.isRetired) return null;
    let cause: LaunchCause | null = null;
    const { isolatesTenants = false } = fn.config;
    if (isolatesTenants !== (tenant !== null)) throw new Error(`bug: tenant ${String(tenant)} of ${fn.config.name}`);
    const { isAtLimit } = fn.use;
    const known = isAtLimit ? null : (this.#takeReady(fn, tenant) ?? fn.firstOpenLaunch());
    if (known === null) {
      // It counts as in use already.
      const unclaimed = fn.takeUnclaimed();
      if (unclaimed !== null) {
        this.#arrived(fn, waitedMs);
        this.#take(unclaimed);
        return { fn, vm: unclaimed, tenant, cause };
      }
      if (isAtLimit) {
        fn.lacking = 'concurrency_limit';
        return null;
      }
      const notAhead = this.#options.whyNotAhead?.(fn) ?? null;
      const evicted = this.#makeRoom(fn, waitedMs, tenant, waiting);
      if (evicted === null) return null;
      cause = { busyVms: fn.alive, lastEnd: fn.lastEnd, notAhead, evicted };
    }
    fn.use.inUse += 1;
    this.#arrived(fn, waitedMs);
    const vm = known ?? this.#launch(fn);
    this.#take(vm);
    return { fn, vm, tenant, cause };
  }

  /** A request that is counted as in use. Launches that nobody waits for are counted as well, and none of these. */
  #arrived({ use, unclaimed }: FunctionVms, waitedMs: number): void {
    use.demand.arrived(this.#options.now() - waitedMs, use.inUse - unclaimed.size);
  }

  /** A request has a slot of it, or waits for it. */
  #take(vm: Vm): void {
    vm.taken += 1;
    vm.fn.offer(vm);
  }

  /**
   * Why a request is not to wait any longer: for some time now the memory of all idle VMs would not have been enough, and
   * what runs may run for long. Null: it may still get a VM soon.
   */
  giveUp(fn: FunctionVms, patienceMs: number): SnapfaasError | null {
    const { hopelessSince } = fn;
    const isHopeless = hopelessSince !== null && this.#options.now() - hopelessSince >= patienceMs;
    return isHopeless && fn.use.inUse === 0 ? this.#noRoom(fn) : null;
  }

  /**
   * The only way to a VM: waits until it is ready, lets `use` work with it, and releases it; a VM that is of no more use
   * then is discarded, when the other requests on it are done.
   *
   * @throws SnapfaasError `vm_launch_failed`, `function_error` (from the import), and whatever `use` throws; NotBegunError
   * if a warm VM turns out to have ended before `use` began.
   */
  async use<T>(lease: Lease, signal: AbortSignal, use: (vm: Vm, start: StartKind) => Promise<T>): Promise<T> {
    const { fn, tenant } = lease;
    let ready: ReadyFor = { vm: lease.vm, start: lease.vm.startKind };
    try {
      if (lease.vm.state !== 'busy') ready = await this.#awaitLaunch(lease, signal);
    } catch (error) {
      fn.use.inUse -= 1;
      throw error;
    }
    const { vm, start } = ready;
    this.#options.onTaken?.(fn, vm);
    const begunAt = this.#options.now();
    let result: T;
    try {
      if (vm.tenant !== tenant) this.#giveTo(vm, tenant);
      result = await use(vm, start);
    } catch (error) {
      fn.ran(begunAt, this.#options.now(), start !== 'warm');
      fn.use.inUse -= 1;
      vm.taken -= 1;
      // The function's own failure leaves its VM in order; the VM knows.
      if (error instanceof SnapfaasError) this.#giveBack(fn, vm, error);
      else this.#discard(vm, SnapfaasError.from(error));
      throw error;
    }
    fn.ran(begunAt, this.#options.now(), start !== 'warm');
    fn.use.inUse -= 1;
    vm.taken -= 1;
    this.#giveBack(fn, vm);
    return result;
  }

  /** From now on the VM serves this tenant only. */
  #giveTo(vm: Vm, tenant: string | null): void {
    if (vm.tenant !== null || tenant === null || !vm.isUnused) {
      throw new Error(`bug: VM ${vm.id} has served another tenant`);
    }
    vm.fn.give(vm, tenant);
    // Others of this tenant may share it now.
    vm.fn.offer(vm);
    if (vm.hasSlot) this.#options.onRoom?.(vm);
  }

  /** One that has no launch before it; it is to be taken. */
  #takeReady(fn: FunctionVms, tenant: string | null): Vm | null {
    const open = fn.firstOpen(tenant);
    if (open === null) return this.#takeIdle(fn, tenant);
    this.counters.reuses += 1;
    return open;
  }

  #takeIdle(fn: FunctionVms, tenant: string | null): Vm | null {
    const vm = fn.popIdle(tenant);
    if (vm === null) return null;
    this.#options.policy.remove(vm);
    this.#pauser?.take(vm);
    vm.setState('busy');
    this.counters.reuses += 1;
    return vm;
  }

  /**
   * A request on it is done. What it has free goes to requests that wait for a launch; without any it is idle from now on. It is killed if
   * it is of no more use, as soon as no other request runs on it.
   */
  #giveBack(fn: FunctionVms, vm: Vm, error: SnapfaasError | null = null): void {
    if (!vm.isReusable) {
      fn.offer(vm);
      if (vm.taken === 0) this.#discard(vm, error ?? new SnapfaasError('vm_lost', 'its runtime ended'));
      return;
    }
    this.#serveWaiters(fn, vm);
    if (vm.taken > 0) fn.offer(vm);
    else if (fn.isRetired) return this.#discard(vm, retired());
    else this.#makeIdle(fn, vm);
    if (vm.hasSlot) this.#options.onRoom?.(vm);
  }

  #makeIdle(fn: FunctionVms, vm: Vm): void {
    vm.setState('idle');
    vm.idleSince = this.#options.now();
    fn.pushIdle(vm);
    this.#options.policy.add(vm);
    this.#pauser?.add(vm);
  }

  #serveWaiters(fn: FunctionVms, vm: Vm): void {
    for (const waiter of fn.awaitingLaunch) {
      if (!fn.takesMore(vm)) return;
      if (waiter.vm === vm || (vm.tenant !== null && vm.tenant !== waiter.tenant)) continue;
      this.counters.reuses += 1;
      vm.taken += 1;
      const launch = waiter.vm;
      waiter.take(vm);
      this.#leaveLaunch(fn, launch);
    }
  }

  /** A request does not wait for this launch any more. */
  #leaveLaunch(fn: FunctionVms, vm: Vm): void {
    vm.taken -= 1;
    fn.offer(vm);
    if (vm.taken === 0) this.#leaveUnclaimed(fn, vm);
  }

  /** Kills a VM; its share is free in the books at once. */
  #discard(vm: Vm, error: SnapfaasError, reason = error.message): void {
    const isNews = this.#markDying(vm, reason);
    vm.kill(error);
    if (isNews) this.#options.onRoom?.(vm);
  }

  /** False if it is dying already. @param isEvicted for whom `reason` says. */
  #markDying(vm: Vm, reason: string, isEvicted = false): boolean {
    if (!this.#vms.has(vm) || this.#dying.has(vm)) return false;
    this.#dying.add(vm);
    const { fn } = vm;
    fn.lastEnd = { reason, isEvicted, at: Date.now() };
    vm.endReason = reason;
    fn.use.heldMib -= vm.memoryMib;
    fn.alive -= 1;
    fn.takeBack(vm);
    fn.offer(vm);
    this.#options.ledger.markDying(vm);
    if (fn.alive < fn.provisioned) this.#options.onShort?.(vm);
    return true;
  }

  #onGone(vm: Vm): void {
    this.#markDying(vm, vm.readyAt === 0 ? LAUNCH_FAILED : 'its process ended');
    this.#dying.delete(vm);
    this.#vms.delete(vm);
    this.#options.ledger.ended(vm);
    this.#options.onGone?.(vm);
    const fn = vm.fn;
    fn.vms -= 1;
    if (fn.isRetired && fn.vms === 0) this.#options.onDrained?.(fn);
  }

  /**
   * Launches a VM that nobody has asked for yet, on what is free or held by VMs that are worth less. A request that comes meanwhile
   * takes it over.
   *
   * @returns the VM when it is idle or taken; null if there is no room, or the function could not use it.
   * @throws SnapfaasError as a launch does.
   */
  async launchAhead(fn: FunctionVms): Promise<Vm | null> {
    if (this.#closed || fn.isRetired || fn.use.isAtLimit || this.#reserveAhead(fn) === null) return null;
    const vm = this.#createAhead(fn);
    await this.#start(vm);
    await vm.ready;
    return vm;
  }

  /**
   * The same for a VM that is kept ready by promise: idle VMs make room for it, whose they may be.
   *
   * @returns null if there is no room just now, or the function could not use it.
   */
  launchProvisioned(fn: FunctionVms): Promise<Vm> | null {
    if (
      this.#closed ||
      fn.isRetired ||
      fn.use.isAtLimit ||
      this.#reserveFor(fn, { ...fn.share, ...PROMISED, startMs: fn.startMs }) === null
    )
      return null;
    const vm = this.#createAhead(fn);
    return this.#start(vm).then(() => vm.ready.then(() => vm));
  }

  #createAhead(fn: FunctionVms): Vm {
    const vm = this.#create(fn, true);
    this.#leaveUnclaimed(fn, vm);
    return vm;
  }

  /** Ends an idle VM, if it may be evicted. */
  dismiss(vm: Vm): void {
    if (vm.state === 'idle' && vm.fn.spare > 0) this.#evict(vm, 'a VM that is launched ahead for another function');
  }

  #launch(fn: FunctionVms): Vm {
    const vm = this.#create(fn, false);
    void this.#start(vm);
    return vm;
  }

  /** A VM whose share is reserved, not started yet. */
  #create(fn: FunctionVms, isAhead: boolean): Vm {
    const vm = this.#options.createVm(fn, isAhead);
    this.#vms.add(vm);
    fn.vms += 1;
    fn.alive += 1;
    fn.launching += 1;
    fn.use.heldMib += vm.memoryMib;
    this.counters.launches += 1;
    void vm.gone.then(() => this.#onGone(vm));
    if (!isAhead) this.#launching += 1;
    const settled = (): void => {
      if (!isAhead) this.#launching -= 1;
      fn.launching -= 1;
    };
    vm.ready.then(
      (timings) => {
        settled();
        vm.readyAt = this.#options.now();
        fn.movedAt = vm.readyAt;
        fn.startMs = vm.startMs;
        fn.offer(vm);
        this.#options.onLaunched?.(vm, timings);
      },
      () => {
        settled();
        if (this.#markDying(vm, LAUNCH_FAILED)) this.#options.onRoom?.(vm);
      },
    );
    return vm;
  }

  /** Starts a VM as soon as the host has what it was promised. */
  async #start(vm: Vm): Promise<void> {
    const isSettled = await this.#options.ledger.settled(SETTLE_LIMIT_MS);
    if (vm.state !== 'launching') return vm.onGone('it was never started', null);
    if (isSettled) {
      vm.startedAt = performance.now();
      return this.#options.startVm(vm);
    }
    const message = `VMs that were killed have not given back what they held within ${SETTLE_LIMIT_MS / 1000} s`;
    vm.onGone(message, { kind: 'vmm', message, console: [] });
  }

  /**
   * Waits for a launch, or for another VM of the function to be free before. If nobody waits for the launch any more, its VM
   * is for the next request, or becomes idle when it is ready.
   */
  #awaitLaunch({ fn, vm, tenant }: Lease, signal: AbortSignal): Promise<ReadyFor> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        fn.awaitingLaunch.delete(waiter);
        signal.removeEventListener('abort', onAbort);
      };
      const onAbort = (): void => {
        leave();
        this.#leaveLaunch(fn, waiter.vm);
        reject(abortError(signal));
      };
      const waiter: LaunchWaiter = {
        vm,
        tenant,
        take: (free) => {
          leave();
          // Those that are served together have all waited for its launch.
          resolve({ vm: free, start: free.startKind });
        },
        fail: (error) => {
          leave();
          reject(error);
        },
      };
      if (signal.aborted) return onAbort();
      fn.awaitingLaunch.add(waiter);
      signal.addEventListener('abort', onAbort, { once: true });
      vm.ready.then(
        () => {
          fn.onLaunched(vm);
          if (vm.taken > 0 && vm.isReusable) this.#serveWaiters(fn, vm);
          fn.offer(vm);
        },
        (error: unknown) => fn.waiterFor(vm)?.fail(SnapfaasError.from(error)),
      );
    });
  }

  /** The launch goes on: for the next request of the function, or to become idle. */
  #leaveUnclaimed(fn: FunctionVms, vm: Vm): void {
    fn.unclaimed.add(vm);
    fn.use.inUse += 1;
    const settle = (): void => {
      if (!fn.unclaimed.delete(vm)) return;
      fn.use.inUse -= 1;
      this.#giveBack(fn, vm);
    };
    vm.ready.then(settle, settle);
  }

  /** Makes room for another VM of the function, which a request waits for. Null: there is none, and nothing was evicted. */
  #makeRoom(fn: FunctionVms, waitedMs: number, tenant: string | null, waiting: number): readonly EvictedVm[] | null {
    const { ledger, policy, now } = this.#options;
    const lack = ledger.lack(fn.share);
    if (lack !== null) {
      const isHopeless = this.#launching === 0 && !policy.couldYield(lack);
      fn.hopelessSince = isHopeless ? (fn.hopelessSince ?? now()) : null;
    }
    const claim: Claim = {
      ...fn.share,
      holder: fn.use,
      waitedMs,
      startMs: fn.startMs,
      isNewTenant: tenant !== null && !fn.hasVmOf(tenant),
      own: fn.own(now(), waitedMs, tenant, waiting),
    };
    const evicted = this.#reserveFor(fn, claim);
    if (evicted !== null) fn.hopelessSince = null;
    else fn.lacking = policy.awaitsOwn(claim) ? 'own_vm' : lack?.tap === true ? 'tap' : 'memory';
    return evicted;
  }

  /** @returns what was evicted for a request, or a promise, of the function; null: there is no room, and nothing was. */
  #reserveFor(fn: FunctionVms, claim: Claim): readonly EvictedVm[] | null {
    return this.#reserve(fn, fn.config.name, (lack) => this.#options.policy.victims(lack, claim));
  }

  /** The same for a VM that nobody has asked for yet. */
  #reserveAhead(fn: FunctionVms): readonly EvictedVm[] | null {
    const { policy } = this.#options;
    const { startMs } = fn;
    return this.#reserve(fn, `a VM of ${fn.config.name} that is launched ahead`, (lack) =>
      startMs === null ? NO_VMS : policy.victimsAhead(lack, { ...fn.share, holder: fn.use, savesMs: startMs }),
    );
  }

  /** Reserves the share of another VM of the function; if that is lacking, the idle VMs go that are chosen, if any. */
  #reserve(fn: FunctionVms, forWhom: string, choose: (lack: Lack) => readonly Vm[]): readonly EvictedVm[] | null {
    const { ledger } = this.#options;
    const lack = ledger.lack(fn.share);
    const victims = lack === null ? NO_VMS : choose(lack);
    if (lack !== null && victims.length === 0) return null;
    for (const vm of victims) this.#evict(vm, forWhom);
    if (!ledger.tryReserve(fn.share)) throw new Error('the evicted VMs held less than they said');
    return victims.map(({ id, function: { name, version } }) => ({ vm: id, function: name, version }));
  }

  #noRoom(fn: FunctionVms): SnapfaasError {
    const { ledger, policy } = this.#options;
    return noRoom(fn.config, ledger.lack(fn.share) ?? NO_LACK, ledger, policy);
  }

  #evict(vm: Vm, forWhom: string): void {
    this.#options.policy.onEvicted(vm);
    this.#forgetIdle(vm);
    // Its share is spoken for: no room for others.
    this.#markDying(vm, forWhom, true);
    vm.isEvicted = true;
    vm.kill(new SnapfaasError('vm_lost', 'the VM was evicted'));
    this.counters.evictions += 1;
  }

  #forgetIdle(vm: Vm): void {
    this.#options.policy.remove(vm);
    this.#pauser?.forget(vm);
    vm.fn.removeIdle(vm);
  }

  /** An idle VM died by itself. */
  onLost(vm: Vm): void {
    this.#forgetIdle(vm);
    if (this.#markDying(vm, 'it ended by itself while it was idle')) this.#options.onRoom?.(vm);
  }

  /** Every VM whose process may still exist, in the order of their launches. */
  get vms(): Iterable<Vm> {
    return this.#vms;
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
      this.#discard(vm, reason, 'the controller shut down');
    }
    await Promise.all(vms.map((vm) => vm.gone));
  }
}

function retired(): SnapfaasError {
  return new SnapfaasError('vm_lost', 'its version of the function is not served any more');
}
