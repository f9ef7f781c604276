/**
 * Runs in snapctr. Which idle VMs stay and which make room. A policy keeps its own books of the idle VMs, so that taking
 * one and giving it back cost the same however many there are.
 */
import type { Lack, Share } from './ledger.ts';
import { LinkedList, type ListNode } from './linked-list.ts';

/** What a policy knows of a VM. */
export interface IdleVm<Self> extends ListNode<Self>, Share {}

export interface KeepAlivePolicy<V> {
  /** Memory of all idle VMs, in MiB. */
  readonly idleMib: number;
  /** The VM has become idle. */
  add(vm: V): void;
  /** The VM is idle no more: it was taken, evicted or lost. */
  remove(vm: V): void;
  /**
   * The worst idle VMs that together hold at least what is lacking; as few as the order allows. Empty if all idle VMs
   * together would not be enough: then evicting any would help nobody.
   */
  victims(lack: Lack): readonly V[];
}

/** Evicts the VM that has been idle for longest. */
export class LeastRecentlyUsed<V extends IdleVm<V>> implements KeepAlivePolicy<V> {
  readonly #idle = new LinkedList<V>();
  #idleMib = 0;

  get idleMib(): number {
    return this.#idleMib;
  }

  add(vm: V): void {
    this.#idle.append(vm);
    this.#idleMib += vm.memoryMib;
  }

  remove(vm: V): void {
    this.#idle.remove(vm);
    this.#idleMib -= vm.memoryMib;
  }

  victims(lack: Lack): readonly V[] {
    if (lack.memoryMib > this.#idleMib) return [];
    const withTap = lack.tap ? this.#longestIdleWithTap() : null;
    if (lack.tap && withTap === null) return [];
    const victims = withTap === null ? [] : [withTap];
    let gainedMib = withTap?.memoryMib ?? 0;
    for (let vm = this.#idle.first; vm !== null && gainedMib < lack.memoryMib; vm = vm.next) {
      if (vm === withTap) continue;
      victims.push(vm);
      gainedMib += vm.memoryMib;
    }
    return victims;
  }

  #longestIdleWithTap(): V | null {
    let vm = this.#idle.first;
    while (vm !== null && !vm.hasTap) vm = vm.next;
    return vm;
  }
}
