/**
 * Runs in snapctr. Launches VMs ahead of requests, within a memory budget: of each function that can be restored as many as its requests
 * need at once, restored, rehearsed and idle; of one that was not asked for yet, one. As long as memory is plentiful each has another one
 * beside those that are in use. Such a VM is an idle VM like any other: it is evicted when its memory is needed. Functions that are due,
 * since they are called in a rhythm, come first, when they are; then those used last.
 */
import type { Logger } from '../log.ts';
import type { Clock, Timer } from './clock.ts';
import type { Vm } from './vm.ts';
import type { FunctionVms } from './function-vms.ts';
import type { NotAhead } from './launch-cause.ts';
import { DueQueue } from '../due-queue.ts';
import { LinkedList, type ListNode } from './linked-list.ts';

/**
 * Launching ahead begins this long after whatever calls for it, to stay out of the way of the request behind it, in ms. A
 * function's VM that was taken for less may be idle again soon: no other is launched beside it.
 */
const QUIET_MS = 50;
/** A VM for a function that is due is there this long before, and beside twice the time of its start, in ms. */
const DUE_LEAD_MS = 1000;
/** Nobody waits longer for a function that was due and did not come, in ms. */
const OVERDUE_MS = 5000;

/** Another VM is needed if this part of the requests came while there were more than those that there are can have. */
const NEEDED_SHARE = 0.03;

export interface StandbyOptions {
  /** Memory for VMs that wait for their first request, in MiB. */
  readonly budgetMib: number;
  /** Starts a VM in free memory and resolves when it is idle; null if there is no tap for it. */
  readonly launchAhead: (fn: FunctionVms) => Promise<Vm | null>;
  /** Memory that no VM has, in MiB. */
  readonly freeMib: () => number;
  /** Ends an idle VM. */
  readonly dismiss: (vm: Vm) => void;
  /** Whether a request waits for a VM to be launched. */
  readonly isBusy: () => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

export class Standby {
  readonly #options: StandbyOptions;
  /** What is known of functions that can be restored, or have been asked for. */
  readonly #candidates = new Map<FunctionVms, Candidate>();
  /**
   * Those that can be restored and did not fail, by what a VM of theirs takes, so that those for which there is no room are
   * passed over all at once; in each list the function used last comes first, then those that were never used.
   */
  readonly #lists = new Map<string, CandidateList>();
  /** How many functions could be restored so far, and how often any was used: both count up, and tell who comes first. */
  #restorable = 0;
  #uses = 0;
  /** No VM with a tap can be launched, until one may be free again. */
  #isOutOfTaps = false;
  /** Functions by when a VM is to be launched for their next request; what has changed since is passed over. */
  readonly #due = new DueQueue<{ readonly candidate: Candidate; readonly dueAt: number }>();
  #dueTimer: Timer | null = null;
  /** VMs that have served nobody yet. */
  readonly #waiting = new Map<Vm, Candidate>();
  #waitingMib = 0;
  #timer: Timer | null = null;
  #isLaunching = false;
  #closed = false;

  constructor(options: StandbyOptions) {
    this.#options = options;
  }

  /** VMs that wait for their first request. */
  get size(): number {
    return this.#waiting.size;
  }

  /** The function can be restored from now on. */
  addCandidate(fn: FunctionVms): void {
    if (this.#options.budgetMib === 0) return;
    const candidate = this.#candidateOf(fn);
    candidate.isRestorable = true;
    // Behind all that were used, in the order in which they became restorable.
    if (candidate.rank === null) candidate.rank = -(this.#restorable += 1);
    this.#list(candidate);
    this.#schedule();
  }

  /** None is to be launched for it any more. */
  removeCandidate(fn: FunctionVms): void {
    const candidate = this.#candidates.get(fn);
    if (candidate === undefined) return;
    this.#unlist(candidate);
    this.#candidates.delete(fn);
  }

  /** Why no VM of the function waits for its first request. */
  whyNone(fn: FunctionVms): NotAhead {
    const { budgetMib, freeMib } = this.#options;
    if (budgetMib === 0) return 'off';
    const candidate = this.#candidates.get(fn);
    if (candidate?.isRestorable !== true) return 'no_snapshot';
    if (candidate.list === null) return 'launch_failed';
    const { memoryMib, hasTap } = fn.share;
    if (hasTap && this.#isOutOfTaps) return 'no_tap';
    if (memoryMib > Math.min(budgetMib, freeMib())) return 'no_memory';
    return this.#needsVm(fn) || this.#isRoomy ? 'not_yet' : 'not_expected';
  }

  /** A request has taken a VM of the function, launched ahead or not. */
  onTaken(fn: FunctionVms, vm: Vm): void {
    if (this.#options.budgetMib === 0) return;
    this.#forget(vm);
    if (fn.isRetired) return;
    const candidate = this.#candidateOf(fn);
    this.#unlist(candidate);
    candidate.rank = this.#uses += 1;
    candidate.usedAt = this.#options.clock.now();
    if (!candidate.isRestorable) return;
    this.#list(candidate);
    this.#await(candidate);
    this.#schedule();
  }

  /** A VM has ended, and memory may be free. */
  onGone(vm: Vm): void {
    this.#forget(vm);
    if (vm.hasTap) this.#isOutOfTaps = false;
    this.#schedule();
  }

  close(): void {
    this.#closed = true;
    this.#dueTimer?.cancel();
    this.#timer?.cancel();
  }

  #candidateOf(fn: FunctionVms): Candidate {
    let candidate = this.#candidates.get(fn);
    if (candidate === undefined) this.#candidates.set(fn, (candidate = new Candidate(fn)));
    return candidate;
  }

  #list(candidate: Candidate): void {
    if (candidate.list !== null) return;
    const { memoryMib, hasTap } = candidate.fn.share;
    const key = `${memoryMib} ${hasTap}`;
    let list = this.#lists.get(key);
    if (list === undefined) this.#lists.set(key, (list = new CandidateList(memoryMib, hasTap)));
    list.insert(candidate);
  }

  #unlist(candidate: Candidate): void {
    candidate.list?.remove(candidate);
  }

  #forget(vm: Vm): void {
    if (this.#waiting.delete(vm)) this.#waitingMib -= vm.memoryMib;
  }

  /** A VM is to be there when the function is due again. */
  #await(candidate: Candidate): void {
    const { dueAt } = candidate.fn.use.demand;
    if (dueAt === null || candidate.dueAt === dueAt) return;
    candidate.dueAt = dueAt;
    this.#due.add(candidate.launchAt, { candidate, dueAt });
    this.#watchDue();
  }

  #watchDue(): void {
    this.#dueTimer?.cancel();
    const { nextAt } = this.#due;
    this.#dueTimer = null;
    if (nextAt === null || this.#closed) return;
    this.#dueTimer = this.#options.clock.after(Math.max(0, nextAt - this.#options.clock.now()), () => {
      this.#dueTimer = null;
      this.#schedule();
    });
  }

  /** A function that is due soon and has no VM to spare; null: there is none. */
  #takeDue(): Candidate | null {
    const now = this.#options.clock.now();
    for (let due = this.#due.take(now); due !== null; due = this.#due.take(now)) {
      const { candidate, dueAt } = due;
      const isNews = candidate.dueAt === dueAt && candidate.list !== null && now < dueAt + OVERDUE_MS;
      if (!isNews || !mayHaveVm(candidate) || candidate.fn.hasIdle) continue;
      if (this.#isOutOfTaps && candidate.fn.share.hasTap) continue;
      return candidate;
    }
    return null;
  }

  #schedule(): void {
    if (this.#closed || this.#lists.size === 0 || this.#timer !== null) return;
    this.#timer = this.#options.clock.after(QUIET_MS, () => {
      this.#timer = null;
      void this.#fill();
    });
  }

  async #fill(): Promise<void> {
    if (this.#closed || this.#isLaunching) return;
    if (this.#options.isBusy()) return this.#schedule();
    const candidate = this.#takeDue() ?? this.#next();
    if (this.#dueTimer === null) this.#watchDue();
    if (candidate === null) return;
    if (candidate === 'later') return this.#schedule();
    const { fn } = candidate;
    this.#isLaunching = true;
    try {
      const vm = await this.#options.launchAhead(fn);
      if (vm === null) {
        if (fn.share.hasTap && !fn.isRetired) this.#isOutOfTaps = true;
        else this.#unlist(candidate);
        return this.#schedule();
      }
      // It may have been taken, or have ended, by now.
      if (vm.state === 'idle' && vm.isUnused) {
        this.#waiting.set(vm, candidate);
        this.#waitingMib += vm.memoryMib;
      }
    } catch (error) {
      // Requests for it tell the client why; ahead of them it is not tried again until the next one.
      this.#unlist(candidate);
      this.#options.logger.debug({ function: fn.config.name, err: error }, 'no VM could be launched ahead');
    } finally {
      this.#isLaunching = false;
    }
    this.#schedule();
  }

  /**
   * The function used last that wants a VM, if the budget allows one; one used before makes room if need be. `later`:
   * only functions that were asked for just now. Costs as much as there are VMs, however many functions there are.
   */
  #next(): Candidate | 'later' | null {
    let isAnyRestless = false;
    const lists = [...this.#lists.values()].filter(({ hasTap }) => !(hasTap && this.#isOutOfTaps));
    const heads = new Map(lists.map((list) => [list, list.candidates.first]));
    const lastUsedFirst = this.#waitingByUse();
    /** Held for functions that were used before the one looked at. */
    let spareMib = this.#waitingMib;
    let passed = 0;
    for (let list = foremost(heads); list !== null; list = foremost(heads)) {
      const candidate = heads.get(list);
      if (candidate === null || candidate === undefined) break;
      for (
        let held = lastUsedFirst[passed];
        (held?.rank ?? -Infinity) >= candidate.order;
        held = lastUsedFirst[passed]
      ) {
        spareMib -= held?.vm.memoryMib ?? 0;
        passed += 1;
      }
      if (this.#missingMib(list.memoryMib) > spareMib) {
        // Those behind it take as much, and have less to spare.
        heads.delete(list);
        continue;
      }
      heads.set(list, candidate.next);
      if (!this.#wantsVm(candidate)) continue;
      if (this.#options.clock.now() - candidate.usedAt < QUIET_MS) {
        isAnyRestless = true;
        continue;
      }
      this.#makeRoom(list.memoryMib, lastUsedFirst);
      return candidate;
    }
    return isAnyRestless ? 'later' : null;
  }

  /** Whether its next request, or several at once, would have to wait for a start. */
  #wantsVm(candidate: Candidate): boolean {
    const { fn } = candidate;
    if (!mayHaveVm(candidate)) return false;
    return this.#needsVm(fn) || (!fn.hasIdle && this.#isRoomy);
  }

  /** By what its requests have needed so far. */
  #needsVm(fn: FunctionVms): boolean {
    return fn.alive === 0 || fn.shareOverflowing >= NEEDED_SHARE;
  }

  /** Where memory is short, a launch for no reason is evicted before it is of use. */
  get #isRoomy(): boolean {
    return this.#options.freeMib() >= this.#options.budgetMib;
  }

  #waitingByUse(): readonly Waiting[] {
    const now = this.#options.clock.now();
    const waiting = [...this.#waiting].map(([vm, candidate]) => {
      return { vm, rank: candidate.isDue(now) ? Infinity : candidate.order };
    });
    return waiting.sort((a, b) => b.rank - a.rank);
  }

  /** What the budget and the free memory lack for another VM of this size; 0 or less if they lack nothing. */
  #missingMib(memoryMib: number): number {
    const { budgetMib, freeMib } = this.#options;
    return Math.max(this.#waitingMib + memoryMib - budgetMib, memoryMib - freeMib());
  }

  /** Dismisses VMs of the functions that were used least recently. */
  #makeRoom(memoryMib: number, lastUsedFirst: readonly Waiting[]): void {
    for (const { vm } of lastUsedFirst.toReversed()) {
      if (this.#missingMib(memoryMib) <= 0) return;
      this.#forget(vm);
      this.#options.dismiss(vm);
    }
  }
}

/** A VM that waits for its first request, and the rank of its function. */
interface Waiting {
  readonly vm: Vm;
  readonly rank: number;
}

/** A function that can be restored, or has been asked for. */
class Candidate implements ListNode<Candidate> {
  previous: Candidate | null = null;
  next: Candidate | null = null;
  readonly fn: FunctionVms;
  isRestorable = false;
  /** Where it is to be found; null: it cannot be restored, or failed, until it is asked for again. */
  list: CandidateList | null = null;
  /** Greater ones come first: above 0 used, below 0 never used; null: neither used nor restorable. */
  rank: number | null = null;
  /** When it was asked for last, by the clock. */
  usedAt = -Infinity;
  /** When its next request is due, by its rhythm; null: it has none. */
  dueAt: number | null = null;

  constructor(fn: FunctionVms) {
    this.fn = fn;
  }

  /** When a VM for its next request is to be launched; `dueAt` is known. */
  get launchAt(): number {
    return (this.dueAt ?? Infinity) - DUE_LEAD_MS - 2 * (this.fn.startMs ?? 0);
  }

  /** Its next request may come at any moment. */
  isDue(now: number): boolean {
    return this.dueAt !== null && now >= this.launchAt && now < this.dueAt + OVERDUE_MS;
  }

  get order(): number {
    return this.rank ?? -Infinity;
  }
}

/** Functions whose VMs take the same share of the host. */
class CandidateList {
  readonly memoryMib: number;
  readonly hasTap: boolean;
  /** The one used last first. */
  readonly candidates = new LinkedList<Candidate>();

  constructor(memoryMib: number, hasTap: boolean) {
    this.memoryMib = memoryMib;
    this.hasTap = hasTap;
  }

  /** In its place. The one used last is the first, and one never used the last: only one used before is looked for. */
  insert(candidate: Candidate): void {
    const { candidates } = this;
    candidate.list = this;
    if (candidates.last === null || candidates.last.order > candidate.order) return candidates.append(candidate);
    let next = candidates.first;
    while (next !== null && next.order > candidate.order) next = next.next;
    if (next === null) candidates.append(candidate);
    else candidates.insertBefore(candidate, next);
  }

  remove(candidate: Candidate): void {
    candidate.list = null;
    this.candidates.remove(candidate);
  }
}

/** None is launched for it just now, or has room for the next request among others, and it may have another one. */
function mayHaveVm({ fn }: Candidate): boolean {
  return !fn.hasOpen && fn.unclaimed.size === 0 && !fn.use.isAtLimit;
}

/** The list whose next candidate comes before those of the others; null: there is none. */
function foremost(heads: ReadonlyMap<CandidateList, Candidate | null>): CandidateList | null {
  let foremostList: CandidateList | null = null;
  let most = -Infinity;
  for (const [list, head] of heads) {
    if (head === null || head.order < most) continue;
    most = head.order;
    foremostList = list;
  }
  return foremostList;
}
