/**
 * Runs in snapctr. Keeps VMs of versions with provisioned concurrency. Such a VM is one like any other of its version: it is
 * counted, launched ahead, paused while it is idle, and taken by whoever comes. Only eviction passes it over, as long as its
 * version has no more VMs than are kept of it (`FunctionVms.provisioned`); one that is gone is replaced. One is launched after
 * the other, in turn between versions, and takes the memory of idle VMs that nobody keeps.
 *
 * ```
 *   update ──▶ granted ──▶ launching … ──▶ all ready ──an alias moves──▶ launching …: each new one lets an old one go
 *      └──▶ refused: more than may be provisioned; granted when others are given up
 * ```
 */
import { messageOf } from '../../protocol/errors.ts';
import type { ProvisionedState } from '../../registry/provisioning.ts';
import type { Logger } from '../log.ts';
import type { FunctionVms } from './function-vms.ts';
import type { Vm } from './vm.ts';

/** How often it is tried again where VMs are missing, beside all that happens, in ms. */
const TICK_MS = 250;
/** After a VM that failed the next one of its version is launched this much later, and twice as much each time, in ms. */
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 60_000;

export interface ProvisionedVmsOptions {
  /** Memory of all VMs that are kept, in MiB. */
  readonly budgetMib: number;
  /** Whether a launch could succeed, and the version's snapshot is not just being made. */
  readonly mayLaunch: (fn: FunctionVms) => boolean;
  /** Launches a VM; resolves when it is idle or taken. Null: there is no room for it now. */
  readonly launch: (fn: FunctionVms) => Promise<Vm> | null;
  /** A clock that never goes back, in ms. */
  readonly now: () => number;
  readonly logger: Logger;
}

/** VMs of one version that are to be kept. */
export interface ProvisionedShare {
  /** Null: the version is not ready yet, or cannot run. */
  readonly fn: FunctionVms | null;
  readonly count: number;
}

/** What is asked for by a qualifier of a function. */
export interface Provision {
  readonly qualifier: string;
  readonly shares: readonly ProvisionedShare[];
  /** Why a version of it cannot run; null: it can, or will. */
  readonly problem: string | null;
}

export class ProvisionedVms {
  readonly #options: ProvisionedVmsOptions;
  /** By function and qualifier. */
  readonly #functions = new Map<string, ReadonlyMap<string, Kept>>();
  /** The versions of each function of which VMs are kept. */
  readonly #versions = new Map<string, ReadonlySet<FunctionVms>>();
  readonly #refused = new Set<Kept>();
  #grantedMib = 0;
  /** Versions that have fewer VMs than are kept of them, the one whose turn it is first. */
  readonly #short = new Set<FunctionVms>();
  readonly #troubles = new Map<FunctionVms, Trouble>();
  #isLaunching = false;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(options: ProvisionedVmsOptions) {
    this.#options = options;
  }

  /** What is asked for, of all functions, and how much of it is ready. */
  get counts(): { readonly requested: number; readonly available: number } {
    let requested = 0;
    let available = 0;
    for (const [name, kept] of this.#functions) {
      for (const { count, qualifier } of kept.values()) {
        requested += count;
        available += this.stateOf(name, qualifier).available;
      }
    }
    return { requested, available };
  }

  /** All that is asked for of a function from now on. VMs that are not kept any more are idle ones like others. */
  update(name: string, provisions: readonly Provision[]): void {
    const before = this.#functions.get(name);
    if (provisions.length === 0 && before === undefined) return;
    const after = new Map<string, Kept>();
    for (const provision of provisions) {
      const kept = before?.get(provision.qualifier) ?? new Kept(name, provision.qualifier);
      after.set(provision.qualifier, kept);
      this.#takeBack(kept);
      kept.become(provision);
      this.#grant(kept);
    }
    for (const kept of before?.values() ?? []) {
      if (after.has(kept.qualifier)) continue;
      this.#takeBack(kept);
      this.#refused.delete(kept);
    }
    if (after.size === 0) this.#functions.delete(name);
    else this.#functions.set(name, after);
    for (const kept of [...this.#refused]) if (this.#grant(kept)) this.#recount(kept.name);
    this.#recount(name);
    this.serve();
  }

  /** There must be one by this qualifier. */
  stateOf(name: string, qualifier: string): ProvisionedState {
    /** Of each version, for those before. */
    const spoken = new Map<FunctionVms, number>();
    for (const kept of this.#functions.get(name)?.values() ?? []) {
      let [allocated, available] = [0, 0];
      for (const { fn, count } of kept.isGranted ? kept.shares : []) {
        if (fn === null) continue;
        const before = spoken.get(fn) ?? 0;
        allocated += within(fn.alive - before, count);
        available += within(fn.ready - before, count);
        spoken.set(fn, before + count);
      }
      if (kept.qualifier === qualifier) return { allocated, available, problem: this.#problemOf(kept) };
    }
    return { allocated: 0, available: 0, problem: null };
  }

  /** With this VM gone its version has fewer than are kept. */
  onShort(vm: Vm): void {
    this.#short.add(vm.fn);
    // Whoever used one up wants another; one that ends by itself may do so again and again.
    if (vm.isUnused && vm.timings !== null) this.#failed(vm.fn, 'it ended by itself');
  }

  /** A VM is ready, whoever it was launched for. */
  onLaunched({ fn }: Vm): void {
    if (fn.provisioned > 0) this.#recount(fn.config.name);
  }

  /** There may be room, or something else that was missing. Costs next to nothing while no VM is missing. */
  serve(): void {
    if (this.#short.size === 0 || this.#isLaunching || this.#closed) return;
    /** No VM that takes as much finds room. */
    let tooLargeMib = Infinity;
    for (const fn of this.#short) {
      if (fn.alive >= fn.provisioned || fn.isRetired) {
        this.#short.delete(fn);
        continue;
      }
      if (fn.share.memoryMib >= tooLargeMib || fn.use.isAtLimit || !this.#mayLaunch(fn)) continue;
      const launch = this.#launch(fn);
      if (launch === null) {
        tooLargeMib = fn.share.memoryMib;
        continue;
      }
      // Behind the others.
      this.#short.delete(fn);
      this.#short.add(fn);
      this.#isLaunching = true;
      void launch
        .then(
          () => undefined,
          (error: unknown) => this.#failed(fn, messageOf(error)),
        )
        .finally(() => {
          this.#isLaunching = false;
          this.serve();
        });
      break;
    }
    this.#watch();
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #mayLaunch(fn: FunctionVms): boolean {
    const { mayLaunch, now } = this.#options;
    return now() >= (this.#troubles.get(fn)?.retryAt ?? 0) && mayLaunch(fn);
  }

  #launch(fn: FunctionVms): Promise<Vm> | null {
    const { launch } = this.#options;
    // Where old and new ones do not fit beside each other, an old one goes first.
    return launch(fn) ?? (this.#letOneGo(fn) ? launch(fn) : null);
  }

  /** @returns whether a VM was let go that was kept in place of one of this version. */
  #letOneGo(fn: FunctionVms): boolean {
    const { name } = fn.config;
    for (const kept of this.#functions.get(name)?.values() ?? []) {
      if (!kept.isGranted || !kept.shares.some((share) => share.fn === fn) || !kept.letOneGo()) continue;
      this.#recount(name);
      return true;
    }
    return false;
  }

  /** @returns whether there was room within the budget; else it waits for others to be given up. */
  #grant(kept: Kept): boolean {
    if (this.#grantedMib + kept.memoryMib > this.#options.budgetMib) {
      this.#refused.add(kept);
      return false;
    }
    this.#refused.delete(kept);
    this.#grantedMib += kept.memoryMib;
    kept.isGranted = true;
    return true;
  }

  #takeBack(kept: Kept): void {
    if (kept.isGranted) this.#grantedMib -= kept.memoryMib;
  }

  /** Sets how many VMs of each version are kept. */
  #recount(name: string): void {
    const counts = new Map<FunctionVms, number>();
    for (const kept of this.#functions.get(name)?.values() ?? []) {
      if (!kept.isGranted) continue;
      kept.letGo();
      for (const { fn, count } of [...kept.shares, ...kept.leaving]) {
        if (fn !== null) counts.set(fn, (counts.get(fn) ?? 0) + count);
      }
    }
    for (const fn of this.#versions.get(name) ?? []) {
      if (counts.has(fn)) continue;
      fn.provisioned = 0;
      this.#troubles.delete(fn);
    }
    for (const [fn, count] of counts) {
      fn.provisioned = count;
      if (fn.alive < count) this.#short.add(fn);
      const trouble = this.#troubles.get(fn);
      if (trouble !== undefined && fn.ready >= count) trouble.reason = null;
    }
    if (counts.size === 0) this.#versions.delete(name);
    else this.#versions.set(name, new Set(counts.keys()));
  }

  #failed(fn: FunctionVms, reason: string): void {
    const now = this.#options.now();
    const trouble = this.#troubles.get(fn) ?? { failures: 0, retryAt: 0, reason: null };
    // Several at once are one.
    if (this.#closed || now < trouble.retryAt || fn.isRetired) return;
    if (now - trouble.retryAt > LONGEST_PAUSE_MS) trouble.failures = 0;
    trouble.retryAt = now + Math.min(FIRST_PAUSE_MS * 2 ** trouble.failures, LONGEST_PAUSE_MS);
    trouble.failures += 1;
    trouble.reason = reason;
    this.#troubles.set(fn, trouble);
    const { name, version } = fn.config;
    this.#options.logger.warn({ function: name, version, reason }, 'a VM of provisioned concurrency failed');
  }

  #problemOf(kept: Kept): string | null {
    if (kept.problem !== null) return kept.problem;
    if (this.#refused.has(kept)) {
      const left = `${Math.max(0, this.#options.budgetMib - this.#grantedMib)} MB may be provisioned beside the others`;
      return `Its VMs take ${kept.memoryMib} MB, and ${left}; give the controller more with --mem, or ask for fewer.`;
    }
    for (const { fn } of kept.shares) {
      const reason = fn === null ? null : (this.#troubles.get(fn)?.reason ?? null);
      if (reason !== null) return `A VM of it failed, and is launched again later: ${reason}`;
    }
    return null;
  }

  #watch(): void {
    if (this.#short.size === 0 || this.#timer !== null || this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.serve();
    }, TICK_MS).unref();
  }
}

/** VMs that are kept for one qualifier. */
class Kept implements Provision {
  readonly name: string;
  readonly qualifier: string;
  shares: readonly ProvisionedShare[] = [];
  /** Versions that it led to before: their VMs stay until those of the new ones are ready. */
  leaving: readonly ProvisionedShare[] = [];
  problem: string | null = null;
  isGranted = false;

  constructor(name: string, qualifier: string) {
    this.name = name;
    this.qualifier = qualifier;
  }

  get count(): number {
    return countOf(this.shares);
  }

  get memoryMib(): number {
    return this.shares.reduce((sum, { fn, count }) => sum + count * (fn?.share.memoryMib ?? 0), 0);
  }

  become({ shares, problem }: Provision): void {
    const stays = ({ fn }: ProvisionedShare): boolean => shares.some((share) => share.fn === fn);
    const before = this.isGranted ? [...this.shares, ...this.leaving] : [];
    this.isGranted = false;
    this.leaving = before.filter((share) => share.fn !== null && !stays(share));
    this.shares = shares;
    this.problem = problem;
  }

  /** Lets go as many of the old ones as there are new ones. */
  letGo(): void {
    const missing = this.shares.reduce((sum, { fn, count }) => sum + count - within(fn?.ready ?? 0, count), 0);
    this.#leave(missing);
  }

  letOneGo(): boolean {
    const before = countOf(this.leaving);
    this.#leave(before - 1);
    return before > 0;
  }

  #leave(most: number): void {
    if (this.leaving.length === 0) return;
    let rest = Math.max(0, most);
    this.leaving = this.leaving
      .filter(({ fn }) => fn?.isRetired === false)
      .map(({ fn, count }) => {
        const stay = Math.min(count, rest);
        rest -= stay;
        return { fn, count: stay };
      })
      .filter(({ count }) => count > 0);
  }
}

/** What is known of a version whose VMs failed. */
interface Trouble {
  failures: number;
  retryAt: number;
  /** Null: all that are kept of it are ready again. */
  reason: string | null;
}

function countOf(shares: readonly ProvisionedShare[]): number {
  return shares.reduce((sum, { count }) => sum + count, 0);
}

function within(value: number, most: number): number {
  return Math.max(0, Math.min(value, most));
}
