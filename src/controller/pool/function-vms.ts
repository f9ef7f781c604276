/** Runs in snapctr. The VMs of one version of a function, as the pool keeps them. */
import type { FunctionVersion } from '../../registry/function-version.ts';
import type { FunctionUse } from './function-use.ts';
import type { Lacking, LastEnd } from './launch-cause.ts';
import type { Share } from './ledger.ts';
import { LinkedList, type ListNode } from './linked-list.ts';
import type { Vm } from './vm.ts';

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

/** A VM's place among the idle VMs of its function: its own links have it in the list of all idle VMs. */
export class IdlePlace implements ListNode<IdlePlace> {
  previous: IdlePlace | null = null;
  next: IdlePlace | null = null;
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
  /** The next request gets the first; these have served no tenant. */
  readonly #idle = new LinkedList<IdlePlace>();
  /** Those that are a tenant's; tenants without any are not there. */
  readonly #idleOf = new Map<string, LinkedList<IdlePlace>>();
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

  /** Whether there is one that any request can take. */
  get hasIdle(): boolean {
    return this.#idle.first !== null;
  }

  /** One that has served comes back first; one that was launched ahead waits behind all of them. */
  pushIdle(vm: Vm): void {
    const idle = this.#listOf(vm.tenant);
    if (vm.isUnused) idle.append(vm.idlePlace);
    else idle.prepend(vm.idlePlace);
  }

  /** The one that the next request would get, else that of some tenant. */
  get firstIdle(): Vm | null {
    const [ofSome] = this.#idleOf.values();
    return (this.#idle.first ?? ofSome?.first)?.vm ?? null;
  }

  /** @param tenant gets one that is its own, else one that is nobody's yet. */
  popIdle(tenant: string | null = null): Vm | null {
    const own = tenant === null ? null : (this.#idleOf.get(tenant)?.first?.vm ?? null);
    if (own === null) return this.#idle.takeFirst()?.vm ?? null;
    this.removeIdle(own);
    return own;
  }

  #listOf(tenant: string | null): LinkedList<IdlePlace> {
    if (tenant === null) return this.#idle;
    let list = this.#idleOf.get(tenant);
    if (list === undefined) this.#idleOf.set(tenant, (list = new LinkedList()));
    return list;
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
    return Math.max(this.#tenants.size, this.#idleOf.size);
  }

  /** Who waits for this launch; undefined: it is unclaimed. */
  waiterFor(vm: Vm): LaunchWaiter | undefined {
    for (const waiter of this.awaitingLaunch) if (waiter.vm === vm) return waiter;
    return undefined;
  }

  /** A launch is over: the oldest request that waits gets the VM, and whose it was waits for the oldest one's launch. */
  onLaunched(vm: Vm): void {
    const own = this.waiterFor(vm);
    const [oldest] = this.awaitingLaunch;
    if (own === undefined || oldest === undefined) return;
    own.vm = oldest.vm;
    oldest.vm = vm;
    oldest.take(vm);
  }

  takeUnclaimed(): Vm | null {
    for (const vm of this.unclaimed) {
      this.unclaimed.delete(vm);
      return vm;
    }
    return null;
  }

  /** For evicted and lost VMs; the VM must be idle. */
  removeIdle(vm: Vm): void {
    const list = this.#listOf(vm.tenant);
    list.remove(vm.idlePlace);
    if (vm.tenant !== null && list.first === null) this.#idleOf.delete(vm.tenant);
  }
}
