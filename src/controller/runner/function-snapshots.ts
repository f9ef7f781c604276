/**
 * Runs in snapctr. Follows the snapshots of the functions, which firerunner makes: has all of them made ready when it
 * starts, tells of progress and failures in the log, and of every reason for a boot instead of a restore once.
 */
import type { FunctionConfig } from '../config/config.ts';
import type { Logger } from '../log.ts';
import type { PreparationEvents } from './runner-client.ts';

export interface FunctionSnapshotsOptions {
  readonly functions: ReadonlyMap<string, FunctionConfig>;
  readonly prepare: (fn: FunctionConfig, events: PreparationEvents) => void;
  /** The function can be restored. */
  readonly onReady: (fn: FunctionConfig) => void;
  readonly logger: Logger;
}

/** So many functions are asked for at once; then the event loop has its turn. */
const ASKED_AT_ONCE = 50;
/** Reasons that are remembered; they may name single VMs, so that there is no end of them. */
const MAX_LOGGED = 10_000;

type State = 'preparing' | 'ready' | 'failed';

export class FunctionSnapshots {
  readonly #options: FunctionSnapshotsOptions;
  readonly #states = new Map<string, State>();
  /** Of asking for all of them; null: nobody is there who could be asked. */
  #round: object | null = null;
  readonly #counts: Record<State, number> = { preparing: 0, ready: 0, failed: 0 };
  /** Reasons for a boot that were logged, by function. */
  readonly #logged = new Set<string>();

  constructor(options: FunctionSnapshotsOptions) {
    this.#options = options;
  }

  /** Has the snapshot of every function made ready, in the order of the configuration. Another call begins anew. */
  prepareAll(): void {
    const { functions } = this.#options;
    for (const fn of functions.values()) this.#setState(fn, 'preparing');
    const round = {};
    this.#round = round;
    const rest = functions.values();
    const askForSome = (): void => {
      if (this.#round !== round) return;
      for (let i = 0; i < ASKED_AT_ONCE; i += 1) {
        const { value, done } = rest.next();
        if (done === true) return;
        this.#prepare(value, round);
      }
      setImmediate(askForSome);
    };
    askForSome();
  }

  /** Whoever was asked is gone: no snapshot is being made, and none is ready. */
  onLost(): void {
    this.#round = null;
    for (const fn of this.#options.functions.values()) {
      if (this.#states.has(fn.name)) this.#setState(fn, 'failed');
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
  counts(): Readonly<Record<State, number>> {
    return { ...this.#counts };
  }

  #setState(fn: FunctionConfig, state: State): void {
    const before = this.#states.get(fn.name);
    if (before !== undefined) this.#counts[before] -= 1;
    this.#counts[state] += 1;
    this.#states.set(fn.name, state);
  }

  #prepare(fn: FunctionConfig, round: object): void {
    const { prepare, onReady, logger } = this.#options;
    /** Of the last failure; the same one again is news to nobody. */
    let told: string | null = null;
    prepare(fn, {
      onPreparing: (text) => {
        this.#setState(fn, 'preparing');
        logger.info({ function: fn.name }, `snapshot: ${text}`);
      },
      onPreparationLog: (stream, text) => logger.info({ function: fn.name, stream, text }, 'function output'),
      onPrepared: (layer, builtMs) => {
        told = null;
        this.#setState(fn, 'ready');
        const how = builtMs === null ? 'was there' : `built in ${(builtMs / 1000).toFixed(1)} s`;
        logger.info({ function: fn.name, layer, ready: this.#counts.ready }, `snapshot ready: ${how}`);
        onReady(fn);
      },
      onUnprepared: (failure, retryInMs) => {
        // `onLost` has counted all of them, and why is told once.
        if (retryInMs === null || this.#round !== round) return;
        this.#setState(fn, 'failed');
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
