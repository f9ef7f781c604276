/**
 * Runs in firerunner. Bounds how much work of a kind goes on at once; the rest waits in order, what somebody waits for
 * (`foreground`) before what is done ahead (`background`). Of every few turns one is for the latter, so that it comes to an
 * end: it is what spares the former their work.
 */
export type Rank = 'foreground' | 'background';

/** Turns for the foreground in a row, while the background waits. */
const FOREGROUND_IN_A_ROW = 3;

export class Semaphore {
  readonly #most: number;
  /** In order, each with what begins it. */
  readonly #waiting: Readonly<Record<Rank, Set<() => void>>> = { foreground: new Set(), background: new Set() };
  #running = 0;
  #inARow = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /**
   * Waits for a turn.
   *
   * @returns how to give it back; calls after the first do nothing.
   * @throws the signal's reason if it aborts before.
   */
  async acquire({ rank = 'foreground', signal }: { readonly rank?: Rank; readonly signal?: AbortSignal } = {}): Promise<
    () => void
  > {
    signal?.throwIfAborted();
    if (this.#running < this.#most) this.#running += 1;
    else await this.#turn(this.#waiting[rank], signal);
    let isReleased = false;
    return () => {
      if (isReleased) return;
      isReleased = true;
      this.#next();
    };
  }

  /** Runs `work` in its turn. */
  async run<T>(work: () => Promise<T>, rank: Rank = 'foreground'): Promise<T> {
    const release = await this.acquire({ rank });
    try {
      return await work();
    } finally {
      release();
    }
  }

  #turn(waiting: Set<() => void>, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const begin = (): void => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      };
      const onAbort = (): void => {
        waiting.delete(begin);
        reject(signal?.reason instanceof Error ? signal.reason : new Error('it was called off'));
      };
      waiting.add(begin);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** The turn that was given back is the next one's. */
  #next(): void {
    const { foreground, background } = this.#waiting;
    const isForeground = foreground.size > 0 && (background.size === 0 || this.#inARow < FOREGROUND_IN_A_ROW);
    this.#inARow = isForeground ? this.#inARow + 1 : 0;
    const waiting = isForeground ? foreground : background;
    for (const begin of waiting) {
      waiting.delete(begin);
      return begin();
    }
    this.#running -= 1;
  }
}
