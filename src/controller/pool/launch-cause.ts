/** Runs in snapctr. Why a request got no VM yet, or had one launched: what is told of it later. */

/** What a request lacks that got no VM when it was its turn. `own_vm`: one that its function has, sooner than memory for another one. */
export type Lacking = 'concurrency_limit' | 'own_vm' | 'memory' | 'tap' | 'deployment';

/**
 * Why no VM of a function waits for its first request. `not_expected`: its requests have not needed as many at once;
 * `not_yet`: one is due, or just launched.
 */
export type NotAhead = 'off' | 'no_snapshot' | 'launch_failed' | 'no_memory' | 'no_tap' | 'not_expected' | 'not_yet';

/** How a VM of a version ended last. */
export interface LastEnd {
  /** For whom it was evicted, or why it is of no more use. */
  readonly reason: string;
  readonly isEvicted: boolean;
  /** Ms since 1970. */
  readonly at: number;
}

/** An idle VM that was ended to make room. */
export interface EvictedVm {
  readonly vm: string;
  readonly function: string;
  readonly version: string;
}

/** Why a request had a VM launched. */
export interface LaunchCause {
  /** Those of its version that were busy, or launching. */
  readonly busyVms: number;
  /** Null: none has ended yet. */
  readonly lastEnd: LastEnd | null;
  readonly notAhead: NotAhead | null;
  readonly evicted: readonly EvictedVm[];
}
