/**
 * Runs in the commands of people. Deploys a directory again whenever it changes:
 *
 * ```
 *             changed                    done
 *   waiting ──────────▶ deploying ─────────────────▶ waiting
 *                          │  ▲      changed meanwhile
 *                          └──┴── deploying once more
 * ```
 *
 * A deployment that fails is told, and what was deployed before goes on answering.
 */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { FileWatch } from '../storage/file-watch.ts';

/** A directory with very many files takes longer to watch; it is deployed meanwhile. */
const WATCH_LIMIT_MS = 2000;

export interface DevOptions {
  /** Tells what it does itself; what it throws has been told to nobody. */
  readonly deploy: () => Promise<void>;
  readonly onFailure: (error: unknown) => void;
  readonly onProblem: (message: string) => void;
  readonly signal: AbortSignal;
}

/** Resolves when the signal aborts and nothing is under way. */
export async function develop(directory: string, { deploy, onFailure, onProblem, signal }: DevOptions): Promise<void> {
  let changes = 0;
  let wake = (): void => undefined;
  const watch = new FileWatch({
    onProblem,
    onChange: () => {
      changes += 1;
      wake();
    },
  });
  const stopped = once(signal, 'abort').catch(() => undefined);
  try {
    watch.set([directory]);
    // A save while the first deployment reads the files would not be noticed.
    await Promise.race([watch.ready, stopped, sleep(WATCH_LIMIT_MS, undefined, { ref: false })]);
    for (let seen = -1; isWanted(signal);) {
      if (seen === changes) {
        const changed = new Promise<void>((resolve) => (wake = resolve));
        await Promise.race([changed, stopped]);
        continue;
      }
      seen = changes;
      try {
        await deploy();
      } catch (error) {
        if (isWanted(signal)) onFailure(error);
      }
    }
  } finally {
    await watch.close();
  }
}

function isWanted({ aborted }: AbortSignal): boolean {
  return !aborted;
}
