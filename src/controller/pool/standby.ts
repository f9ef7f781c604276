/**
 * Runs in snapctr. Launches VMs ahead of requests, within a memory budget: for each function that can be restored and has
 * no idle VM, one that is restored, rehearsed and idle. Such a VM is an idle VM like any other: it is evicted when its
 * memory is needed. The functions used last come first.
 */
import type { Logger } from '../log.ts';
import type { Vm } from './vm.ts';
import type { FunctionVms } from './function-vms.ts';

/**
 * Launching ahead begins this long after whatever calls for it, to stay out of the way of the request behind it, in ms. A
 * function's VM that was taken for less may be idle again soon: no other is launched beside it.
 */
const QUIET_MS = 50;

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
  /** A clock that never goes back, in ms. */
  readonly now: () => number;
  readonly logger: Logger;
}

export class Standby {
  readonly #options: StandbyOptions;
  /** Functions that can be restored, in the order in which they became so. */
  readonly #candidates = new Set<FunctionVms>();
  /** Functions that have been asked for, those asked for last at the end, and when. */
  readonly #used = new Map<FunctionVms, number>();
  /** Functions that could not be launched ahead, until they are asked for again. */
  readonly #failing = new Set<FunctionVms>();
  /** Functions that found no tap for their VM, until one may be free again. */
  readonly #withoutTap = new Set<FunctionVms>();
  /** VMs that have served nobody yet. */
  readonly #waiting = new Map<Vm, FunctionVms>();
  #waitingMib = 0;
  #timer: NodeJS.Timeout | null = null;
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
    this.#candidates.add(fn);
    this.#failing.delete(fn);
    this.#schedule();
  }

  /** A request has taken a VM of the function, launched ahead or not. */
  onTaken(fn: FunctionVms, vm: Vm): void {
    if (this.#options.budgetMib === 0) return;
    this.#forget(vm);
    this.#used.delete(fn);
    this.#used.set(fn, this.#options.now());
    this.#failing.delete(fn);
    if (this.#candidates.has(fn)) this.#schedule();
  }

  /** A VM has ended, and memory may be free. */
  onGone(vm: Vm): void {
    this.#forget(vm);
    if (vm.hasTap) this.#withoutTap.clear();
    this.#schedule();
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #forget(vm: Vm): void {
    if (this.#waiting.delete(vm)) this.#waitingMib -= vm.memoryMib;
  }

  #schedule(): void {
    if (this.#closed || this.#candidates.size === 0 || this.#timer !== null) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      void this.#fill();
    }, QUIET_MS).unref();
  }

  async #fill(): Promise<void> {
    if (this.#closed || this.#isLaunching) return;
    if (this.#options.isBusy()) return this.#schedule();
    const fn = this.#next();
    if (fn === null) return;
    if (fn === 'later') return this.#schedule();
    this.#isLaunching = true;
    try {
      const vm = await this.#options.launchAhead(fn);
      if (vm === null) this.#withoutTap.add(fn);
      // It may have been taken, or have ended, by now.
      else if (vm.state === 'idle' && vm.isUnused) {
        this.#waiting.set(vm, fn);
        this.#waitingMib += vm.memoryMib;
      }
    } catch (error) {
      // Requests for it tell the client why; ahead of them it is not tried again until the next one.
      this.#failing.add(fn);
      this.#options.logger.debug({ function: fn.config.name, err: error }, 'no VM could be launched ahead');
    } finally {
      this.#isLaunching = false;
    }
    this.#schedule();
  }

  /**
   * The function used last that has no VM to spare, if the budget allows one; one used before makes room if need be. `later`:
   * only functions that were asked for just now.
   */
  #next(): FunctionVms | 'later' | null {
    let isAnyRestless = false;
    const byUse = [...this.#used.keys()].reverse().filter((fn) => this.#candidates.has(fn));
    for (const fn of this.#candidates) if (!this.#used.has(fn)) byUse.push(fn);
    const heldMib = new Map<FunctionVms, number>();
    for (const [vm, fn] of this.#waiting) heldMib.set(fn, (heldMib.get(fn) ?? 0) + vm.memoryMib);
    /** Held for functions that were used before the one looked at. */
    let spareMib = this.#waitingMib;
    for (const fn of byUse) {
      spareMib -= heldMib.get(fn) ?? 0;
      if (fn.hasIdle || fn.unclaimed.size > 0 || fn.isAtLimit || this.#isPassedOver(fn)) continue;
      if (this.#missingMib(fn) > spareMib) continue;
      if (this.#options.now() - (this.#used.get(fn) ?? -Infinity) < QUIET_MS) {
        isAnyRestless = true;
        continue;
      }
      if (this.#missingMib(fn) > 0) this.#makeRoom(fn, byUse);
      return fn;
    }
    return isAnyRestless ? 'later' : null;
  }

  #isPassedOver(fn: FunctionVms): boolean {
    return this.#failing.has(fn) || this.#withoutTap.has(fn);
  }

  /** What the budget and the free memory lack for another VM of the function; 0 or less if they lack nothing. */
  #missingMib({ config }: FunctionVms): number {
    const { budgetMib, freeMib } = this.#options;
    return Math.max(this.#waitingMib + config.memoryMib - budgetMib, config.memoryMib - freeMib());
  }

  /** Dismisses VMs of the functions that were used least recently. */
  #makeRoom(fn: FunctionVms, byUse: readonly FunctionVms[]): void {
    const rank = new Map(byUse.map((one, i) => [one, i]));
    const leastUsedFirst = [...this.#waiting].sort(([, a], [, b]) => (rank.get(b) ?? 0) - (rank.get(a) ?? 0));
    for (const [vm] of leastUsedFirst) {
      if (this.#missingMib(fn) <= 0) return;
      this.#forget(vm);
      this.#options.dismiss(vm);
    }
  }
}
