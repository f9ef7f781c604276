/**
 * Runs in snapctr. Which idle VMs stay and which make room. A policy keeps its own books of the idle VMs, so that taking
 * one and giving it back cost the same however many there are.
 */
import type { Lack, Share } from './ledger.ts';
import { LinkedList, type ListNode } from './linked-list.ts';

/** What a policy knows of the function that a VM belongs to, or that asks for room. */
export interface Holder {
  /** Memory of all its VMs, in MiB. */
  readonly heldMib: number;
}

/** What a policy knows of a VM. */
export interface IdleVm<Self> extends ListNode<Self>, Share {
  readonly holder: Holder;
  /** The VMs of its version: so many of them may be evicted. */
  readonly fn: { readonly spare: number };
  /** How long its start took, in ms. */
  readonly startMs: number;
  /** Requests it has served. */
  readonly uses: number;
  /** When it was ready, and when it became idle, by the policy's clock. */
  readonly readyAt: number;
  readonly idleSince: number;
}

/** A function asks for room for another VM. */
export interface Claim extends Share {
  readonly holder: Holder;
  /** It is for a tenant that has no VM of the function. */
  readonly isNewTenant: boolean;
  /** How long its oldest request has waited, in ms. */
  readonly waitedMs: number;
  /** How long a start of one of its VMs takes, in ms; null if that is not known yet. */
  readonly startMs: number | null;
}

export interface KeepAlivePolicy<V> {
  /** Memory of all idle VMs, in MiB. */
  readonly idleMib: number;
  /** Memory of those that may be evicted at all, in MiB; costs as much as there are idle VMs. */
  readonly evictableMib: number;
  /** The VM has become idle. */
  add(vm: V): void;
  /** The VM is idle no more: it was taken, evicted or lost. */
  remove(vm: V): void;
  /** Whether all idle VMs that may be evicted together hold what is lacking. */
  couldYield(lack: Lack): boolean;
  /**
   * The worst idle VMs that together hold at least what is lacking; as few as the order allows. Empty if those that may
   * be evicted for this claim would not be enough: then evicting any would help nobody.
   */
  victims(lack: Lack, claim: Claim): readonly V[];
}

/** Each request that a VM has served earns it twice the time of its start to wait for the next one, up to ten times. */
const STARTS_EARNED_BY_USE = 2;
const MOST_STARTS_EARNED = 10;
/** However long its start took, a VM that is idle for this long is not needed, in ms. */
const LONGEST_KEEP_MS = 10_000;
/** A request waits as long as a start takes for a VM in use before another function's is ended; at most this long, in ms. */
const LONGEST_PATIENCE_MS = 250;

/**
 * A function that has many VMs yields to one that has fewer, and a VM that is in use stays:
 *
 * ```
 *   an idle VM                                   makes room for a function
 *   ───────────────────────────────────────────  ─────────────────────────────────────────────────────
 *   that is not needed                           any; those that have been idle for longest go first
 *   of a function that keeps at least as much    without a VM, or whose request has waited for a start's time
 *     as the other one will have then
 *   of anybody                                   without a VM, whose request has waited for a start's time
 * ```
 *
 * Not needed: idle for longer than its requests have earned. The last two rows hold for VMs that have been up for as long
 * as their start took; otherwise functions that evict each other would do nothing but start. The second row ends where
 * memory is shared evenly: no VM moves back and forth. A tenant without a VM has the rights of
 * a function without one towards the VMs of its own function. Of a version with provisioned concurrency so many VMs stay as were
 * provisioned, whatever the rows say.
 */
export class FairShare<V extends IdleVm<V>> implements KeepAlivePolicy<V> {
  /** The one that became idle last at the end. */
  readonly #idle = new LinkedList<V>();
  readonly #now: () => number;
  #idleMib = 0;
  #idleTaps = 0;

  /** @param now a clock that never goes back, in ms. */
  constructor(now: () => number) {
    this.#now = now;
  }

  get idleMib(): number {
    return this.#idleMib;
  }

  add(vm: V): void {
    this.#idle.append(vm);
    this.#idleMib += vm.memoryMib;
    if (vm.hasTap) this.#idleTaps += 1;
  }

  remove(vm: V): void {
    this.#idle.remove(vm);
    this.#idleMib -= vm.memoryMib;
    if (vm.hasTap) this.#idleTaps -= 1;
  }

  get evictableMib(): number {
    return this.#evictable(Infinity, true).memoryMib;
  }

  couldYield({ memoryMib, tap }: Lack): boolean {
    if (memoryMib > this.#idleMib || (tap && this.#idleTaps === 0)) return false;
    const evictable = this.#evictable(memoryMib, tap);
    return memoryMib <= evictable.memoryMib && (evictable.hasTap || !tap);
  }

  /** What may be evicted, up to this. */
  #evictable(memoryMib: number, tap: boolean): Share {
    const chosen = new Choice<V>();
    let hasTap = false;
    for (let vm = this.#idle.first; vm !== null; vm = vm.next) {
      if (!chosen.mayTake(vm)) continue;
      chosen.add(vm);
      hasTap ||= vm.hasTap;
      if (chosen.memoryMib >= memoryMib && (hasTap || !tap)) break;
    }
    return { memoryMib: chosen.memoryMib, hasTap };
  }

  victims(lack: Lack, claim: Claim): readonly V[] {
    if (!this.couldYield(lack)) return [];
    const chosen = new Choice<V>();
    for (let needsTap = lack.tap; needsTap || chosen.memoryMib < lack.memoryMib; needsTap = false) {
      const vm = this.#worst(claim, chosen, needsTap);
      if (vm === null) return [];
      chosen.add(vm);
    }
    return [...chosen.vms];
  }

  /** The next to go, beside those that were chosen; null if no other one may. */
  #worst(claim: Claim, chosen: Choice<V>, withTap: boolean): V | null {
    const now = this.#now();
    const isPatient = claim.waitedMs >= Math.min(claim.startMs ?? LONGEST_PATIENCE_MS, LONGEST_PATIENCE_MS);
    const hasNone = claim.holder.heldMib === 0;
    const claimedMib = claim.holder.heldMib + claim.memoryMib;
    let worst: V | null = null;
    let worstKeepsMib = -Infinity;
    for (let vm = this.#idle.first; vm !== null; vm = vm.next) {
      if (!chosen.mayTake(vm) || (withTap && !vm.hasTap)) continue;
      if (!isNeeded(vm, now)) return vm;
      if (!(hasNone || isPatient) || now - vm.readyAt < vm.startMs) continue;
      const keepsMib = chosen.heldMib(vm.holder) - vm.memoryMib;
      const isOwed = hasNone || (claim.isNewTenant && vm.holder === claim.holder);
      if (!(isOwed && isPatient) && keepsMib < claimedMib) continue;
      // Of equals the first one, which has been idle for longest.
      if (worst !== null && keepsMib <= worstKeepsMib) continue;
      worst = vm;
      worstKeepsMib = keepsMib;
    }
    return worst;
  }
}

function isNeeded({ uses, startMs, idleSince }: Pick<IdleVm<unknown>, 'uses' | 'startMs' | 'idleSince'>, now: number) {
  const earned = startMs * Math.min(uses * STARTS_EARNED_BY_USE, MOST_STARTS_EARNED);
  return now - idleSince < Math.min(earned, LONGEST_KEEP_MS);
}

/** Victims so far, and what their functions would be left with. */
class Choice<V extends IdleVm<V>> {
  readonly vms = new Set<V>();
  memoryMib = 0;
  /** How many of each version. */
  readonly #counts = new Map<V['fn'], number>();

  /** False: it is chosen already, or its version would be left with fewer VMs than are kept of it. */
  mayTake(vm: V): boolean {
    const { spare } = vm.fn;
    return spare > 0 && !this.vms.has(vm) && (this.#counts.get(vm.fn) ?? 0) < spare;
  }

  add(vm: V): void {
    this.vms.add(vm);
    this.#counts.set(vm.fn, (this.#counts.get(vm.fn) ?? 0) + 1);
    this.memoryMib += vm.memoryMib;
  }

  heldMib(holder: Holder): number {
    let { heldMib } = holder;
    for (const vm of this.vms) if (vm.holder === holder) heldMib -= vm.memoryMib;
    return heldMib;
  }
}
