/**
 * Runs in snapctr. Orders in which idle VMs go, of those that a policy lets go at all: the one of the least value first. Which one is
 * the default was decided by measurement (docs/decisions/0065-which-vm-to-keep.md).
 */
import type { Holder, IdleVm } from './keep-alive.ts';

/** What a value is made of, for a VM that is idle or may be launched. */
export interface Worth {
  readonly holder: Holder;
  /** What it saves a request, in ms: a start, or waiting for another VM. */
  readonly savesMs: number;
  readonly memoryMib: number;
}

export interface EvictionOrder<V> {
  /** The VM has become idle. */
  onIdle?(vm: V): void;
  /** It was evicted for its value, which was the least. */
  onEvicted?(vm: V): void;
  /** Costs the same however many VMs there are. @param now the policy's clock, in ms. */
  valueOf(vm: V, now: number): number;
  /** What a VM would be worth that is launched now, in the same measure. Absent: the order cannot tell. */
  valueAhead?(worth: Worth, now: number): number;
}

export const EVICTION_ORDERS = ['demand', 'greedy-dual', 'lru'] as const;
export type EvictionOrderName = (typeof EVICTION_ORDERS)[number];

export function createOrder<V extends IdleVm<V>>(name: EvictionOrderName): EvictionOrder<V> {
  switch (name) {
    case 'demand':
      return new ByDemand<V>();
    case 'greedy-dual':
      return new GreedyDual<V>();
    case 'lru':
      return { valueOf: (vm) => vm.idleSince };
  }
}

/** A function that is called in a rhythm and did not come is still waited for, for this part of its pause. */
const LATE_PART = 0.02;

/**
 * The time that a VM is expected to save in each ms that its memory is held: how likely it is used next, by the pauses between
 * requests so far, times what a start takes.
 */
class ByDemand<V extends IdleVm<V>> implements EvictionOrder<V> {
  valueOf(vm: V, now: number): number {
    const { demand } = vm.holder;
    // One that nobody has used yet waits for the request after the last one.
    const { holder, startMs: savesMs, memoryMib } = vm;
    return worthOf({ holder, savesMs, memoryMib }, now, vm.uses === 0 ? (demand.lastAt ?? vm.idleSince) : vm.idleSince);
  }

  valueAhead(worth: Worth, now: number): number {
    const { lastAt } = worth.holder.demand;
    return lastAt === null ? 0 : worthOf(worth, now, lastAt);
  }
}

function worthOf({ holder: { demand }, savesMs, memoryMib }: Worth, now: number, since: number): number {
  const { dueAt, lastAt } = demand;
  const isAwaited = dueAt !== null && lastAt !== null && now - dueAt <= (dueAt - lastAt) * LATE_PART;
  const perMs = isAwaited ? 1 / Math.max(savesMs, dueAt - now) : demand.usesPerMs(now - since);
  return (perMs * savesMs) / memoryMib;
}

/** Greedy-Dual-Size-Frequency (Fuerst and Sharma, "FaasCache", ASPLOS 2021): uses × start ÷ size, and a clock that ages all. */
class GreedyDual<V extends IdleVm<V>> implements EvictionOrder<V> {
  readonly #values = new WeakMap<V, number>();
  /** The value of the last one that was evicted. */
  #clock = 0;

  onIdle(vm: V): void {
    this.#values.set(vm, this.#clock + (Math.max(1, vm.uses) * vm.startMs) / vm.memoryMib);
  }

  onEvicted(vm: V): void {
    this.#clock = Math.max(this.#clock, this.valueOf(vm));
  }

  valueOf(vm: V): number {
    return this.#values.get(vm) ?? 0;
  }
}
