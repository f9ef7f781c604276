/**
 * Runs in snapctr. Which idle VMs stay and which make room. A policy keeps its own books of the idle VMs, so that taking
 * one and giving it back cost the same however many there are.
 */
import type { Demand } from './demand.ts';
import type { Lack, Share } from './ledger.ts';
import type { ListNode } from './linked-list.ts';

/** What a policy knows of the function that a VM belongs to, or that asks for room. */
export interface Holder {
  /** Memory of all its VMs, in MiB. */
  readonly heldMib: number;
  /** When it is likely to be asked for next. */
  readonly demand: Demand;
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

/** What a function that asks for another VM has already. */
export interface OwnVms {
  /** When they will have served all that waits for them, in ms from now; 0 while that is not known. */
  readonly servesInMs: number;
  /** For how long none of them was ready or given back while the request waited, in ms. */
  readonly stalledMs: number;
  /** How much of the time they are all busy, from 0 to 1. */
  readonly busyShare: number;
}

/** A function asks for room for another VM. */
export interface Claim extends Share {
  readonly holder: Holder;
  /** It is for a tenant that has no VM of the function. */
  readonly isNewTenant: boolean;
  /** Null: it has no VM that could serve the request. */
  readonly own: OwnVms | null;
  /** How long its oldest request has waited, in ms. */
  readonly waitedMs: number;
  /** How long a start of one of its VMs takes, in ms; null if that is not known yet. */
  readonly startMs: number | null;
}

/** A VM is to be launched that no request has to wait for. */
export interface AheadClaim extends Share {
  readonly holder: Holder;
  /** What it will save a request, in ms. */
  readonly savesMs: number;
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
  /** Whether a request had better wait for its function's own VMs, than for others to be evicted for it. */
  awaitsOwn(claim: Claim): boolean;
  /**
   * The worst idle VMs that together hold at least what is lacking; as few as the order allows. Empty if those that may
   * be evicted for this claim would not be enough: then evicting any would help nobody.
   */
  victims(lack: Lack, claim: Claim): readonly V[];
  /** The same for a VM that nobody has to wait for: only VMs that are not needed, and worth much less than that one will be. */
  victimsAhead(lack: Lack, claim: AheadClaim): readonly V[];
  /** The VM was one of the victims and goes; called before `remove`. */
  onEvicted(vm: V): void;
}
