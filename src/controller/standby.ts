/**
 * Runs in snapctr. Launches VMs ahead of requests, within a memory budget: for each function that can be restored and has
 * no idle VM, one that is restored, rehearsed and idle. Such a VM is an idle VM like any other: it is evicted when its
 * memory is needed. The functions used last come first.
 */
import type { Logger } from './log.ts';
import type { Vm } from './vm.ts';
import type { FunctionVms } from './vm-pool.ts';

/** Launching ahead waits until nothing has happened for this long, to stay out of the way of requests, in ms. */
const QUIET_MS = 50;

export interface StandbyOptions {
  /** Memory for VMs that wait for their first request, in MiB. */
  readonly budgetMib: number;
  /** Starts a VM in free memory and resolves when it is idle; null if there is no room. */
  readonly launchAhead: (fn: FunctionVms) => Promise<Vm | null>;
  /** Ends an idle VM. */
  readonly dismiss: (vm: Vm) => void;
  /** Whether a request waits for a VM to be launched. */
  readonly isBusy: () => boolean;
  readonly logger: Logger;
}

export class Standby {
  readonly #options: StandbyOptions;
  /** Functions that can be restored, those used last at the end. */
  readonly #candidates = new Set<FunctionVms>();
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
    if (this.#options.budgetMib === 0 || this.#candidates.has(fn)) return;
    // In front of those that have been used: the order of the configuration among the others.
    const used = [...this.#candidates];
    this.#candidates.clear();
    for (const one of [fn, ...used]) this.#candidates.add(one);
    this.#schedule();
  }

  /** A request has taken a VM of the function, launched ahead or not. */
  onTaken(fn: FunctionVms, vm: Vm): void {
    this.#forget(vm);
    if (!this.#candidates.delete(fn)) return;
    this.#candidates.add(fn);
    this.#schedule();
  }

  /** A VM has ended, and memory may be free. */
  onGone(vm: Vm): void {
    this.#forget(vm);
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
    this.#isLaunching = true;
    try {
      const vm = await this.#options.launchAhead(fn);
      if (vm === null) return;
      // It may have been taken, or have ended, by now.
      if (vm.state === 'idle' && vm.isUnused) {
        this.#waiting.set(vm, fn);
        this.#waitingMib += vm.memoryMib;
      }
      this.#schedule();
    } catch (error) {
      // Requests for it tell the client why; ahead of them it is not tried again until the next one.
      this.#candidates.delete(fn);
      this.#options.logger.debug({ function: fn.config.name, err: error }, 'no VM could be launched ahead');
    } finally {
      this.#isLaunching = false;
    }
  }

  /** The function used last that has no VM to spare, if the budget allows one; one used before makes room if need be. */
  #next(): FunctionVms | null {
    const byUse = [...this.#candidates].reverse();
    for (const fn of byUse) {
      if (fn.hasIdle || fn.unclaimed.size > 0) continue;
      const needed = this.#waitingMib + fn.config.memoryMib - this.#options.budgetMib;
      if (needed <= 0) return fn;
      const rank = byUse.indexOf(fn);
      const lessUsed = [...this.#waiting].filter(([, other]) => byUse.indexOf(other) > rank);
      const spare = lessUsed.reduce((sum, [vm]) => sum + vm.memoryMib, 0);
      if (spare < needed) continue;
      let freed = 0;
      for (const [vm] of lessUsed.sort(([, a], [, b]) => byUse.indexOf(b) - byUse.indexOf(a))) {
        if (freed >= needed) break;
        freed += vm.memoryMib;
        this.#options.dismiss(vm);
      }
      return fn;
    }
    return null;
  }
}
