/** Runs in snapctr. Who yields to whom; of those that may go, the order says which one does. */
import { createOrder, type EvictionOrder } from './eviction-orders.ts';
import type { AheadClaim, Claim, Holder, IdleVm, KeepAlivePolicy } from './keep-alive.ts';
import type { Lack, Share } from './ledger.ts';
import { LinkedList } from './linked-list.ts';

/** Each request that a VM has served earns it twice the time of its start to wait for the next one, up to ten times. */
const STARTS_EARNED_BY_USE = 2;
const MOST_STARTS_EARNED = 10;
/** However long its start took, a VM that is idle for this long is not needed, in ms. */
const LONGEST_KEEP_MS = 10_000;
/** A request waits as long as a start takes for a VM in use before another function's is ended; at most this long, in ms. */
const LONGEST_PATIENCE_MS = 250;
/** A VM that no request has to wait for is worth so many times as much as those that are ended for it: guesses are wrong, and starts cost. */
const GAIN_OF_AHEAD = 2;
/** The same of another one beside those that a function has: how often it is used is known less, and its start takes the processor from them. */
const GAIN_OF_ANOTHER = 50;

/**
 * A function that has many VMs yields to one that has fewer, and a VM that is in use stays:
 *
 * ```
 *   an idle VM                                   makes room for a function
 *   ───────────────────────────────────────────  ─────────────────────────────────────────────────────
 *   that is not needed                           any; those of the least value go first
 *   of a function that keeps at least as much    without a VM, or whose request has waited for a start's time
 *     as the other one will have then
 *   of anybody                                   without a VM, whose request has waited for a start's time
 * ```
 *
 * A function whose own VMs will have served what waits within a start's time evicts nothing for it, unless what another VM saves is
 * worth more: the start would only take the processor from them, and its VM be idle when it is ready.
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
  readonly #order: EvictionOrder<V>;
  #idleMib = 0;
  #idleTaps = 0;

  /** @param now a clock that never goes back, in ms. */
  constructor(now: () => number, order: EvictionOrder<V> = createOrder('demand')) {
    this.#now = now;
    this.#order = order;
  }

  get idleMib(): number {
    return this.#idleMib;
  }

  add(vm: V): void {
    this.#idle.append(vm);
    this.#order.onIdle?.(vm);
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

  awaitsOwn(claim: Claim): boolean {
    return claim.own !== null && Math.max(claim.own.servesInMs, claim.own.stalledMs) < patienceMs(claim);
  }

  victims(lack: Lack, claim: Claim): readonly V[] {
    if (!this.couldYield(lack)) return [];
    const { own } = claim;
    if (own !== null && this.awaitsOwn(claim)) {
      return this.#unneeded(lack, { ...claim, savesMs: own.servesInMs * own.busyShare }, GAIN_OF_ANOTHER);
    }
    const chosen = new Choice<V>();
    for (let needsTap = lack.tap; needsTap || chosen.memoryMib < lack.memoryMib; needsTap = false) {
      const vm = this.#worst(claim, chosen, needsTap);
      if (vm === null) return [];
      chosen.add(vm);
    }
    return [...chosen.vms];
  }

  victimsAhead(lack: Lack, claim: AheadClaim): readonly V[] {
    return this.#unneeded(lack, claim, GAIN_OF_AHEAD);
  }

  onEvicted(vm: V): void {
    this.#order.onEvicted?.(vm);
  }

  /** Only what is not needed and worth so many times less than what is launched for it. */
  #unneeded(lack: Lack, claim: AheadClaim, gain: number): readonly V[] {
    const now = this.#now();
    const value = this.#order.valueAhead?.(claim, now) ?? 0;
    const chosen = new Choice<V>();
    for (let needsTap = lack.tap; needsTap || chosen.memoryMib < lack.memoryMib; needsTap = false) {
      const vm = this.#leastNeeded(now, chosen, needsTap);
      if (vm === null || this.#order.valueOf(vm, now) * gain > value) return [];
      chosen.add(vm);
    }
    return [...chosen.vms];
  }

  /** The next to go, beside those that were chosen; null if no other one may. */
  #worst(claim: Claim, chosen: Choice<V>, withTap: boolean): V | null {
    const now = this.#now();
    return this.#leastNeeded(now, chosen, withTap) ?? this.#richest(now, claim, chosen, withTap);
  }

  /** The one of the least value that is not needed; null: all are. */
  #leastNeeded(now: number, chosen: Choice<V>, withTap: boolean): V | null {
    let worst: V | null = null;
    let least = Infinity;
    for (let vm = this.#idle.first; vm !== null; vm = vm.next) {
      if (!chosen.mayTake(vm) || (withTap && !vm.hasTap) || isNeeded(vm, now)) continue;
      const value = this.#order.valueOf(vm, now);
      // Of equals the first one, which has been idle for longest.
      if (value >= least) continue;
      worst = vm;
      least = value;
    }
    return worst;
  }

  /** The one whose function keeps most without it, if it has to yield to this claim. */
  #richest(now: number, claim: Claim, chosen: Choice<V>, withTap: boolean): V | null {
    const isPatient = claim.waitedMs >= patienceMs(claim);
    const hasNone = claim.holder.heldMib === 0;
    if (!(hasNone || isPatient)) return null;
    const claimedMib = claim.holder.heldMib + claim.memoryMib;
    let richest: V | null = null;
    let mostMib = -Infinity;
    for (let vm = this.#idle.first; vm !== null; vm = vm.next) {
      if (!chosen.mayTake(vm) || (withTap && !vm.hasTap) || now - vm.readyAt < vm.startMs) continue;
      const keepsMib = chosen.heldMib(vm.holder) - vm.memoryMib;
      const isOwed = hasNone || (claim.isNewTenant && vm.holder === claim.holder);
      if (!(isOwed && isPatient) && keepsMib < claimedMib) continue;
      // Of equals the first one, which has been idle for longest.
      if (richest !== null && keepsMib <= mostMib) continue;
      richest = vm;
      mostMib = keepsMib;
    }
    return richest;
  }
}

function patienceMs({ startMs }: Claim): number {
  return Math.min(startMs ?? LONGEST_PATIENCE_MS, LONGEST_PATIENCE_MS);
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
