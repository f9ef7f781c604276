/** Runs in snapctr and in its simulation. What was done with one VM, from its launch to its end. */
import type { StartKind } from '../task.ts';

/** What the memory of a VM is used for. `starting`: it is launched, and boots; `idle`: it is kept for requests that may come. */
export type MemoryUse = 'starting' | 'busy' | 'idle';
export const MEMORY_USES: readonly MemoryUse[] = ['busy', 'starting', 'idle'];

/** Times in ms: of a host since 1970, of a simulation since its beginning. */
export interface VmRecord {
  readonly vm: string;
  readonly function: string;
  readonly version: string;
  readonly memory_mib: number;
  /** Launched before anybody asked for it. */
  readonly ahead: boolean;
  /** Null: it never could serve. */
  readonly start: StartKind | null;
  readonly launched_ms: number;
  /** Null: it never could serve. */
  readonly ready_ms: number | null;
  /** Requests that were sent to it. */
  readonly uses: number;
  readonly first_use_ms: number | null;
  /** When it had no request any more after the last one. */
  readonly last_use_ms: number | null;
  /** How long it served, and how long it was kept for nothing; of that, how long without a CPU. */
  readonly busy_ms: number;
  readonly idle_ms: number;
  readonly paused_ms: number;
  readonly ended_ms: number;
  readonly evicted: boolean;
  /** Why it ended, or for whom it was evicted. */
  readonly end: string;
}

/** The part of a record that tells when, and how often. */
export type VmTimes = Pick<VmRecord, 'uses' | Extract<keyof VmRecord, `${string}_ms`>>;

export class VmLife {
  readonly #now: () => number;
  readonly launchedMs: number;
  /** Null: it is dead. */
  #use: MemoryUse | null = 'starting';
  #useSince: number;
  #busyMs = 0;
  #idleMs = 0;
  #readyMs: number | null = null;
  #uses = 0;
  #firstUseMs: number | null = null;
  #lastUseMs: number | null = null;
  /** Null: it has its CPU. */
  #pausedSince: number | null = null;
  #pausedMs = 0;

  /** It is launched. @param now the clock of its times. */
  constructor(now: () => number) {
    this.#now = now;
    this.launchedMs = this.#useSince = now();
  }

  get uses(): number {
    return this.#uses;
  }

  /** A request is sent to it. */
  begins(): void {
    this.#uses += 1;
    this.#firstUseMs ??= this.#now();
  }

  /** @param use null: it is dead, and stays so. @returns what its memory was used for until now. */
  becomes(use: MemoryUse | null): MemoryUse | null {
    const before = this.#use;
    if (before === null) return null;
    const now = this.#now();
    if (before === 'busy') this.#busyMs += now - this.#useSince;
    else if (before === 'idle') this.#idleMs += now - this.#useSince;
    this.#useSince = now;
    this.#use = use;
    if (before === 'starting' && use !== null) this.#readyMs = now;
    if (before === 'busy' && this.#uses > 0) this.#lastUseMs = now;
    if (use === null) this.resumes();
    return before;
  }

  pauses(): void {
    this.#pausedSince ??= this.#now();
  }

  resumes(): void {
    if (this.#pausedSince !== null) this.#pausedMs += this.#now() - this.#pausedSince;
    this.#pausedSince = null;
  }

  /** As if it ended now. */
  get times(): VmTimes {
    return {
      launched_ms: toMicros(this.launchedMs),
      ready_ms: toMicros(this.#readyMs),
      uses: this.#uses,
      first_use_ms: toMicros(this.#firstUseMs),
      last_use_ms: toMicros(this.#lastUseMs),
      busy_ms: toMicros(this.#busyMs),
      idle_ms: toMicros(this.#idleMs),
      paused_ms: toMicros(this.#pausedMs),
      ended_ms: toMicros(this.#now()),
    };
  }
}

/** Clocks tell less than they give digits. */
function toMicros<T extends number | null>(ms: T): T {
  return (ms === null ? null : Math.round(ms * 1000) / 1000) as T;
}
