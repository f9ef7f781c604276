/** Runs in snapctr. The VMs of one version of a function, as the pool keeps them. */
import { slotsOf, type FunctionVersion } from '../../registry/function-version.ts';
import type { FunctionUse } from './function-use.ts';
import type { OwnVms } from './keep-alive.ts';
import type { Lacking, LastEnd } from './launch-cause.ts';
import type { Share } from './ledger.ts';
import { LinkedList, type ListNode } from './linked-list.ts';
import type { Vm } from './vm.ts';

/** Weight of the newest in the mean of the times that requests took. */
const NEWEST_WEIGHT = 1 / 8;
/** What the first request on a restored VM does beside its own work lasts about as long as the start, in emulation; twice that at most. */
const FIRST_RUN_STARTS = 2;

/** A request that waits for a launch. */
export interface LaunchWaiter {
  /** What is launched for it; launches change hands, so that the oldest request gets the first VM. */
  vm: Vm;
  /** Null: its function has no tenants. */
  readonly tenant: string | null;
  /** Called with the VM that it gets, or with why its launch failed. */
  readonly take: (vm: Vm) => void;
  readonly fail: (error: Error) => void;
}

/** A VM's place among those of its function that can take a request: its own links have it in the list of all idle VMs. */
export class VmPlace implements ListNode<VmPlace> {
  previous: VmPlace | null = null;
  next: VmPlace | null = null;
  /** Where it is; null: it can take none now. */
  list: LinkedList<VmPlace> | null = null;
  readonly vm: Vm;

  constructor(vm: Vm) {
    this.vm = vm;
  }
}

/**
 * What the pool knows of one version of a function. Everything a warm request touches is in this object and its VM, so that it costs
 * the same among ten thousand functions.
 */
export class FunctionVms {
  readonly config: FunctionVersion;
  /** What it uses together with the other versions of its function. */
  readonly use: FunctionUse;
  /** What each of its VMs takes of the host. */
  readonly share: Share;
  /** No VM is launched for it any more; those it has serve what they were launched for, and end. */
  isRetired = false;
  /** VMs whose process may still exist. */
  vms = 0;
  /** Those of them that were not killed or lost, and of these those that launch. */
  alive = 0;
  launching = 0;
  /** So many of them are kept, whoever needs room; see `provisioned.ts`. */
  provisioned = 0;
  /** How long its last start took, in ms; null before the first. */
  startMs: number | null = null;
  /** How long its last requests took on VMs that had served before, in ms; a guess until there was one, and null before that. */
  runMs: number | null = null;
  #isRunMsGuessed = true;
  /** When one of its VMs was ready last, or a request on one ended, by the pool's clock. */
  movedAt = -Infinity;
  /** When one of its requests found no room that could not be made, by the pool's clock. */
  hopelessSince: number | null = null;
  /** What its last request lacked that got no VM. */
  lacking: Lacking = 'deployment';
  /** How one of its VMs ended last. */
  lastEnd: LastEnd | null = null;
  /** Launches whose client hung up, for whoever comes next; they count as in use. */
  readonly unclaimed = new Set<Vm>();
  /** Requests that wait for a launch, oldest first; each would rather have a VM that is free before. */
  readonly awaitingLaunch = new Set<LaunchWaiter>();
  /** The next request gets the first. */
  readonly #idle = new TenantLists();
  /** Those that have requests and free slots: the one that had none free last comes first, so that it is filled up again. */
  readonly #open = new TenantLists();
  /** Launches that requests wait for, and that have free slots. */
  readonly #openLaunches = new LinkedList<VmPlace>();
  /** How many each tenant has, idle or not; tenants without any are not there. */
  readonly #tenants = new Map<string, number>();

  constructor(config: FunctionVersion, use: FunctionUse) {
    this.config = config;
    this.use = use;
    this.share = { memoryMib: config.memoryMib, hasTap: config.network };
  }

  /** Those that can take requests, or have one. */
  get ready(): number {
    return this.alive - this.launching;
  }

  /** Those that may be evicted, if they are idle. */
  get spare(): number {
    return Math.max(0, this.alive - this.provisioned);
  }

  /**
   * A request has ended.
   *
   * @param isFirst its VM had served nobody. Such a request also does what a restored VM has not done yet: reads pages, translates code,
   * connects. Of later ones it tells only what is beyond that.
   */
  ran(fromMs: number, toMs: number, isFirst: boolean): void {
    this.movedAt = toMs;
    const tookMs = toMs - fromMs;
    if (isFirst) {
      if (this.#isRunMsGuessed) this.runMs = Math.max(0, tookMs - FIRST_RUN_STARTS * (this.startMs ?? 0));
      return;
    }
    const before = this.#isRunMsGuessed ? null : this.runMs;
    this.runMs = before === null ? tookMs : before + (tookMs - before) * NEWEST_WEIGHT;
    this.#isRunMsGuessed = false;
  }

  /**
   * What a request can expect of the VMs that there are; null: there are none that could serve it.
   *
   * @param tenant null: it has none.
   * @param waiting so many wait with it, beside those that wait for launches.
   */
  own(now: number, waitedMs: number, tenant: string | null, waiting: number): OwnVms | null {
    // Those that launch will not have served much by then.
    const vms = tenant === null ? this.ready || this.alive : (this.#tenants.get(tenant) ?? 0);
    if (vms === 0) return null;
    const eachMs = (this.runMs ?? 0) / (vms * slotsOf(this.config));
    return {
      servesInMs: (waiting + this.awaitingLaunch.size) * eachMs,
      stalledMs: Math.min(waitedMs, now - this.movedAt),
      busyShare: Math.min(1, this.use.demand.usesPerMs(0) * eachMs),
    };
  }

  /** The share of its function's requests that came while there were more than its VMs can have at once, from 0 to 1. */
  get shareOverflowing(): number {
    return this.use.demand.shareOf(this.alive * slotsOf(this.config) + 1);
  }

  /** Whether there is an idle one that any request can take. */
  get hasIdle(): boolean {
    return this.#idle.ofNobody.first !== null;
  }

  /** Whether there is a busy one that any request can share. */
  get hasOpen(): boolean {
    return this.#open.ofNobody.first !== null;
  }

  /** One that has served comes back first; one that was launched ahead waits behind all of them. */
  pushIdle(vm: Vm): void {
    leave(vm.place);
    enter(vm.place, this.#idle.of(vm.tenant), vm.isUnused);
  }

  /** The one that the next request would get, else that of some tenant. */
  get firstIdle(): Vm | null {
    return this.#idle.first;
  }

  /** @param tenant gets one that is its own, else one that is nobody's yet. */
  popIdle(tenant: string | null = null): Vm | null {
    const vm = this.#idle.firstFor(tenant) ?? this.#idle.firstFor(null);
    if (vm !== null) this.removeIdle(vm);
    return vm;
  }

  /** For evicted and lost VMs; the VM must be idle. */
  removeIdle(vm: Vm): void {
    this.#idle.of(vm.tenant).remove(vm.place);
    vm.place.list = null;
    this.#idle.tidy(vm.tenant);
  }

  /** Whether it could have another request beside those that it has. Of whose tenant it is to be is known when its first one has begun. */
  takesMore(vm: Vm): boolean {
    if (vm.taken === 0) return true;
    return vm.hasSlot && (vm.tenant !== null || this.config.isolatesTenants !== true);
  }

  /** To be called when the number of its requests, or what it may have, has changed; one that is idle is offered anyway. */
  offer(vm: Vm): void {
    const { place, tenant } = vm;
    if (vm.state === 'idle') return;
    const isOffered = vm.taken > 0 && this.takesMore(vm) && (vm.state === 'launching' || vm.isReusable);
    const list = !isOffered ? null : vm.state === 'launching' ? this.#openLaunches : this.#open.of(tenant);
    if (place.list === list) return;
    leave(place);
    if (list !== null) enter(place, list, list === this.#openLaunches);
    this.#open.tidy(tenant);
  }

  /** A busy one that can have another request of this tenant; it is to be taken. */
  firstOpen(tenant: string | null): Vm | null {
    for (let vm = this.#open.firstFor(tenant); vm !== null; vm = this.#open.firstFor(tenant)) {
      if (vm.isReusable) return vm;
      this.offer(vm);
    }
    return null;
  }

  /** A launch that another request can wait for as well. */
  firstOpenLaunch(): Vm | null {
    for (let first = this.#openLaunches.first; first !== null; first = this.#openLaunches.first) {
      if (first.vm.state === 'launching') return first.vm;
      this.offer(first.vm);
    }
    return null;
  }

  hasVmOf(tenant: string): boolean {
    return this.#tenants.has(tenant);
  }

  /** The VM is this tenant's from now on. */
  give(vm: Vm, tenant: string): void {
    vm.tenant = tenant;
    this.#tenants.set(tenant, (this.#tenants.get(tenant) ?? 0) + 1);
  }

  /** The VM is about to end. */
  takeBack({ tenant }: Vm): void {
    if (tenant === null) return;
    const rest = (this.#tenants.get(tenant) ?? 0) - 1;
    if (rest > 0) this.#tenants.set(tenant, rest);
    else this.#tenants.delete(tenant);
  }

  /** Tenants that something is known of. */
  get tenantCount(): number {
    return Math.max(this.#tenants.size, this.#idle.tenants, this.#open.tenants);
  }

  /** Who has waited longest of those that wait for this launch; undefined: nobody does. */
  waiterFor(vm: Vm): LaunchWaiter | undefined {
    for (const waiter of this.awaitingLaunch) if (waiter.vm === vm) return waiter;
    return undefined;
  }

  /** A launch is over: as many requests get the VM as waited for it, the oldest, and whose it was wait for the launches of those. */
  onLaunched(vm: Vm): void {
    const waiting = [...this.awaitingLaunch];
    const own = waiting.filter((waiter) => waiter.vm === vm);
    const oldest = waiting.slice(0, own.length);
    const launches = oldest.filter((waiter) => waiter.vm !== vm).map((waiter) => waiter.vm);
    for (const waiter of own) if (!oldest.includes(waiter)) waiter.vm = launches.shift() ?? waiter.vm;
    for (const waiter of oldest) {
      waiter.vm = vm;
      waiter.take(vm);
    }
  }

  takeUnclaimed(): Vm | null {
    for (const vm of this.unclaimed) {
      this.unclaimed.delete(vm);
      return vm;
    }
    return null;
  }
}

/** VMs that can take requests: of nobody yet, and of each tenant. */
class TenantLists {
  readonly ofNobody = new LinkedList<VmPlace>();
  /** Tenants without any are not there. */
  readonly #ofTenants = new Map<string, LinkedList<VmPlace>>();

  /** That of some tenant, if there is none of nobody's. */
  get first(): Vm | null {
    const [ofSome] = this.#ofTenants.values();
    return (this.ofNobody.first ?? ofSome?.first)?.vm ?? null;
  }

  get tenants(): number {
    return this.#ofTenants.size;
  }

  /** @param tenant null: nobody's. */
  firstFor(tenant: string | null): Vm | null {
    return (tenant === null ? this.ofNobody : this.#ofTenants.get(tenant))?.first?.vm ?? null;
  }

  /** To enter one; `tidy` is to be called when one has left. */
  of(tenant: string | null): LinkedList<VmPlace> {
    if (tenant === null) return this.ofNobody;
    let list = this.#ofTenants.get(tenant);
    if (list === undefined) this.#ofTenants.set(tenant, (list = new LinkedList()));
    return list;
  }

  tidy(tenant: string | null): void {
    if (tenant !== null && this.#ofTenants.get(tenant)?.first === null) this.#ofTenants.delete(tenant);
  }
}

function enter(place: VmPlace, list: LinkedList<VmPlace>, isLast: boolean): void {
  place.list = list;
  if (isLast) list.append(place);
  else list.prepend(place);
}

function leave(place: VmPlace): void {
  place.list?.remove(place);
  place.list = null;
}
