/**
 * Runs in snapctr. Whether a version that is to take another one's place loads:
 *
 * ```
 *   snapshot ──made──▶ it does
 *      │ └─────it does not load──▶ refused
 *      └──none, or not in time──▶ a VM is launched, and ended ──▶ it does, or refused
 * ```
 *
 * A firerunner that is lost meanwhile tells nothing: the next one is asked, and a version with which two of them were lost is
 * refused. The VM is beside the books, as those are that snapshots are made of: it is gone when it is up.
 */
import { SnapfaasError } from '../protocol/errors.ts';
import type { FunctionFailure } from '../protocol/guest.ts';
import { FunctionError } from '../protocol/invoker.ts';
import type { LaunchFailure } from '../protocol/runner.ts';
import type { FunctionVersion } from '../registry/function-version.ts';

/** A snapshot that is not there after this time, such as one of a thousand that are made at once, is not waited for, in ms. */
const SNAPSHOT_PATIENCE_MS = 120_000;
/** Losses of firerunner with which a version is refused. */
const MAX_LOSSES = 2;

export interface LoadCheckOptions {
  /** How the making of the version's snapshot ended; null: it is there. */
  readonly snapshotSettled: (version: FunctionVersion) => Promise<LaunchFailure | null>;
  /** Whether anybody waits for the version; false: it was discarded. */
  readonly isWanted: (version: FunctionVersion) => boolean;
  /** Launches a VM of the version, and ends it. @throws FunctionError if it does not load; SnapfaasError */
  readonly tryOut: (version: FunctionVersion) => Promise<void>;
  /** How often firerunner was lost so far. */
  readonly losses: () => number;
  /** Resolves when a firerunner takes commands. */
  readonly serving: () => Promise<void>;
}

export class LoadCheck {
  readonly #options: LoadCheckOptions;

  constructor(options: LoadCheckOptions) {
    this.#options = options;
  }

  /**
   * Resolves when the version loads, or nobody waits for it any more.
   *
   * @throws SnapfaasError `function_error` if it does not load; `vm_launch_failed` if that cannot be found out.
   */
  async run(version: FunctionVersion): Promise<void> {
    const { isWanted, losses } = this.#options;
    for (let lost = 1; ; lost += 1) {
      const before = losses();
      try {
        return await this.#ask(version);
      } catch (error) {
        if (!isWanted(version)) return;
        if (error instanceof FunctionError) throw doesNotLoad(error.failure);
        if (losses() === before) throw error;
        if (lost < MAX_LOSSES) continue;
        const message = `firerunner was lost ${lost} times while its code was loaded; try it again`;
        throw new SnapfaasError('vm_launch_failed', message, { cause: error });
      }
    }
  }

  /** @throws FunctionError if it does not load; another SnapfaasError if that cannot be told. */
  async #ask(version: FunctionVersion): Promise<void> {
    const { serving, snapshotSettled, losses, tryOut } = this.#options;
    await serving();
    const before = losses();
    const failure = await inTime(snapshotSettled(version));
    if (failure === null) return;
    if (failure === 'late') return tryOut(version);
    if (failure.kind === 'function') throw new FunctionError(failure.failure);
    if (losses() !== before) throw new SnapfaasError('vm_launch_failed', failure.message);
    await tryOut(version);
  }
}

function inTime<T>(settled: Promise<T>): Promise<T | 'late'> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve('late'), SNAPSHOT_PATIENCE_MS).unref();
    settled.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

function doesNotLoad({ type, message }: FunctionFailure): SnapfaasError {
  return new SnapfaasError('function_error', `it does not load: ${type}: ${message}`);
}
