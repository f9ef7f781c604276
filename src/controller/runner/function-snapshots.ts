/**
 * Runs in snapctr. Follows the snapshots of the functions' versions, which firerunner makes: has all of them made ready when
 * it starts, tells of progress and failures in the log, and of every reason for a boot instead of a restore once.
 */
import type { LaunchFailure } from '../../protocol/runner.ts';
import type { FunctionVersion } from '../../registry/function-version.ts';
import type { Logger } from '../log.ts';
import type { PreparationEvents } from './runner-client.ts';

export interface FunctionSnapshotsOptions {
  /** @param id unique for ever among those that were asked for. */
  readonly prepare: (id: string, fn: FunctionVersion, events: PreparationEvents) => void;
  /** No VM of it will be launched any more. */
  readonly forget: (id: string) => void;
  /** The version can be restored. */
  readonly onReady: (fn: FunctionVersion) => void;
  /** What is known of the version's snapshot has changed. */
  readonly onState?: (fn: FunctionVersion) => void;
  readonly logger: Logger;
}

/** So many functions are asked for at once; then the event loop has its turn. */
const ASKED_AT_ONCE = 50;
/** Reasons that are remembered; they may name single VMs, so that there is no end of them. */
const MAX_LOGGED = 10_000;

export type SnapshotState = 'preparing' | 'ready' | 'failed';

/** The snapshot of one version. */
interface Followed {
  readonly id: string;
  /** In which it was asked for last. */
  round: object | null;
  /** Null: nobody was there who could be asked. */
  state: SnapshotState | null;
  /** Wait for the first verdict: null if it can be restored, else why its VMs are booted. */
  readonly waiting: ((failure: LaunchFailure | null) => void)[];
}

const NOBODY: LaunchFailure = { kind: 'vmm', message: 'no snapshots are made', console: [] };

export class FunctionSnapshots {
  readonly #options: FunctionSnapshotsOptions;
  /** In the order in which they were added. */
  readonly #followed = new Map<FunctionVersion, Followed>();
  #added = 0;
  /** Of asking for all of them; null: nobody is there who could be asked. */
  #round: object | null = null;
  readonly #counts: Record<SnapshotState, number> = { preparing: 0, ready: 0, failed: 0 };
  /** Reasons for a boot that were logged, by function. */
  readonly #logged = new Set<string>();

  constructor(options: FunctionSnapshotsOptions) {
    this.#options = options;
  }

  /** Has the snapshot of every version made ready, in their order. Another call begins anew. */
  prepareAll(): void {
    for (const [fn, followed] of this.#followed) this.#setState(fn, followed, 'preparing');
    const round = {};
    this.#round = round;
    const rest = this.#followed.entries();
    const askForSome = (): void => {
      if (this.#round !== round) return;
      for (let i = 0; i < ASKED_AT_ONCE; i += 1) {
        const { value, done } = rest.next();
        if (done === true) return;
        const [fn, followed] = value;
        if (followed.round !== round) this.#prepare(fn, followed, round);
      }
      setImmediate(askForSome);
    };
    askForSome();
  }

  /** Follows another version; its snapshot is made ready, if snapshots are made at all. */
  add(fn: FunctionVersion): void {
    if (this.#followed.has(fn)) return;
    const followed: Followed = { id: `${fn.name}#${(this.#added += 1)}`, round: null, state: null, waiting: [] };
    this.#followed.set(fn, followed);
    if (this.#round === null) return;
    this.#setState(fn, followed, 'preparing');
    this.#prepare(fn, followed, this.#round);
  }

  /** Nothing will be launched for it any more. */
  remove(fn: FunctionVersion): void {
    const followed = this.#followed.get(fn);
    if (followed === undefined) return;
    this.#setState(fn, followed, null);
    this.#settle(followed, NOBODY);
    this.#followed.delete(fn);
    this.#options.forget(followed.id);
  }

  /** Whether the version is followed: VMs of it may be launched. */
  has(fn: FunctionVersion): boolean {
    return this.#followed.has(fn);
  }

  /** Null: none is made. */
  stateOf(fn: FunctionVersion): SnapshotState | null {
    return this.#followed.get(fn)?.state ?? null;
  }

  /** Whether VMs of the version can be restored. */
  isReady(fn: FunctionVersion): boolean {
    return this.#followed.get(fn)?.state === 'ready';
  }

  /** Whether its snapshot is being made, or is asked for. */
  isPreparing(fn: FunctionVersion): boolean {
    return this.#followed.get(fn)?.state === 'preparing';
  }

  /** Resolves with why VMs of the version are booted, once that is known; null: they can be restored. */
  async settled(fn: FunctionVersion): Promise<LaunchFailure | null> {
    const followed = this.#followed.get(fn);
    if (followed === undefined || followed.state === null || followed.state === 'failed') return NOBODY;
    if (followed.state === 'ready') return null;
    return new Promise((resolve) => followed.waiting.push(resolve));
  }

  /** Whoever was asked is gone: no snapshot is being made, and none is ready. */
  onLost(): void {
    this.#round = null;
    for (const [fn, followed] of this.#followed) {
      if (followed.state !== null) this.#setState(fn, followed, 'failed');
      this.#settle(followed, NOBODY);
    }
  }

  /** A VM of the function could not be restored from the function's snapshot. */
  onFallback(fn: string, reason: string): void {
    const line = `${fn}\n${reason}`;
    if (this.#logged.has(line)) return;
    this.#logged.add(line);
    for (const oldest of this.#logged) {
      if (this.#logged.size <= MAX_LOGGED) break;
      this.#logged.delete(oldest);
    }
    this.#options.logger.warn({ function: fn, reason }, 'cold start without the snapshot of the function');
  }

  /** Kept up to date with each change: it is asked for at every step of 10,000 functions. */
  counts(): Readonly<Record<SnapshotState, number>> {
    return { ...this.#counts };
  }

  #setState(fn: FunctionVersion, followed: Followed, state: SnapshotState | null): void {
    if (followed.state !== null) this.#counts[followed.state] -= 1;
    if (state !== null) this.#counts[state] += 1;
    followed.state = state;
    this.#options.onState?.(fn);
  }

  #settle({ waiting }: Followed, failure: LaunchFailure | null): void {
    for (const tell of waiting.splice(0)) tell(failure);
  }

  #prepare(fn: FunctionVersion, followed: Followed, round: object): void {
    const { prepare, onReady, logger } = this.#options;
    followed.round = round;
    /** Of the last failure; the same one again is news to nobody. */
    let told: string | null = null;
    prepare(followed.id, fn, {
      onPreparing: (text) => {
        this.#setState(fn, followed, 'preparing');
        logger.info({ function: fn.name }, `snapshot: ${text}`);
      },
      onPreparationLog: (stream, text) => logger.info({ function: fn.name, stream, text }, 'function output'),
      onPrepared: (layer, builtMs) => {
        told = null;
        this.#setState(fn, followed, 'ready');
        const how = builtMs === null ? 'was there' : `built in ${(builtMs / 1000).toFixed(1)} s`;
        logger.info({ function: fn.name, layer, ready: this.#counts.ready }, `snapshot ready: ${how}`);
        this.#settle(followed, null);
        onReady(fn);
      },
      onUnprepared: (failure, retryInMs) => {
        // `onLost` has counted all of them, and why is told once.
        if (retryInMs === null || this.#round !== round) return;
        this.#setState(fn, followed, 'failed');
        this.#settle(followed, failure);
        const what =
          failure.kind === 'function'
            ? `the function does not load: ${failure.failure.message}`
            : `no snapshot could be made: ${failure.message}`;
        const level = told === what ? 'debug' : 'error';
        told = what;
        const next = ` for now; tried again in ${Math.ceil(retryInMs / 1000)} s`;
        logger[level]({ function: fn.name, failure }, `${what}; its VMs start without one${next}`);
      },
    });
  }
}
