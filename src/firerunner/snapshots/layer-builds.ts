/** Runs in firerunner. Where layers are built: with which driver, how many at once, what for, and until when. */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { LogHeader } from '../../protocol/guest.ts';
import type { LaunchSpec } from '../../protocol/runner.ts';
import type { Driver } from '../machine.ts';
import { Semaphore } from '../semaphore.ts';
import type { TapPool } from '../network/tap-pool.ts';
import type { RunDirectory } from '../run-directory.ts';
import type { BuildContext } from './builder.ts';
import { DamagedLayerError } from './layer.ts';
import { FileDigests } from './stamps.ts';
import type { EnsureOptions } from './store.ts';

/** Function layers being built at once: each VM that is built from keeps a core busy, and requests want one as well. */
const BUILDS_AT_ONCE = Math.max(1, availableParallelism() - 1);
/** A layer that turns out to be damaged when it is read is built again this often. */
const REBUILDS = 2;
/** What saving a layer is taken to last before the first one is measured, in ms. */
const FIRST_SAVING_MS = 3000;

export interface PrepareHooks {
  /** What is being done, such as "booting the base layer". */
  readonly onProgress?: (text: string) => void;
  /** Output of the function's import and hooks. */
  readonly onLog?: (header: LogHeader, text: string) => Promise<void> | null;
}

export class LayerBuilds {
  readonly driver: Driver;
  readonly digests = new FileDigests();
  /** Short, for sockets and files that are needed meanwhile. */
  readonly directory: string;
  readonly signal: AbortSignal;
  readonly #taps: TapPool | null;
  readonly #turns: Semaphore;
  readonly #builds = new Semaphore(BUILDS_AT_ONCE);
  /** How long the last function layer took from its function's import to being written, in ms. */
  savingMs = FIRST_SAVING_MS;
  #built = 0;

  /**
   * @param taps for machines with a network; null: there are none.
   * @param signal ends every build.
   * @param turns of all that keeps a processor busy for long.
   */
  constructor(driver: Driver, runDirectory: RunDirectory, taps: TapPool | null, signal: AbortSignal, turns: Semaphore) {
    this.#turns = turns;
    this.driver = driver;
    this.directory = runDirectory.path;
    this.#taps = taps;
    this.signal = signal;
  }

  /** Makes a function's layer when it is its turn: launches that somebody waits for go first. */
  runForFunction<T>(build: () => Promise<T>): Promise<T> {
    return this.#builds.run(() => this.#turns.run(build, 'background'));
  }

  /** Makes a base layer when it is its turn: launches wait for it. */
  runForBase<T>(build: () => Promise<T>): Promise<T> {
    return this.#turns.run(build);
  }

  context(spec: LaunchSpec, hooks: PrepareHooks): BuildContext {
    return {
      driver: this.driver,
      spec,
      runDirectory: join(this.directory, `build.${++this.#built}`),
      taps: this.#taps,
      onLog: (header, text) => hooks.onLog?.(header, text) ?? null,
      signal: this.signal,
    };
  }

  ensureOptions(hooks: PrepareHooks): EnsureOptions {
    return {
      signal: this.signal,
      onWait: (pid) => hooks.onProgress?.(`waiting for process ${pid}, which makes the same snapshot`),
      onDamaged: (error) => hooks.onProgress?.(error.message),
    };
  }
}

/**
 * Does `work`, and does it again after `onDamaged` if it meets a damaged layer.
 *
 * @throws DamagedLayerError if that does not help.
 */
export async function mendingDamage<T>(
  work: () => Promise<T>,
  onDamaged: (error: DamagedLayerError) => void,
): Promise<T> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof DamagedLayerError) || attempt >= REBUILDS) throw error;
      onDamaged(error);
    }
  }
}
