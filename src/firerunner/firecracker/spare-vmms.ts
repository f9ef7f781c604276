/**
 * Runs in firerunner. Firecracker processes that were started ahead and wait on their API sockets. None is bound to a
 * function, or a kind of machine, before it is taken; each is used once.
 */
import { LaunchError } from '../drivers/driver.ts';
import type { FirecrackerVmm } from './vmm.ts';

/** After one could not be started, or ended while it waited, in ms. */
const RETRY_MS = 1000;

export class SpareVmms {
  readonly #size: number;
  readonly #start: (signal: AbortSignal) => Promise<FirecrackerVmm>;
  readonly #waiting: FirecrackerVmm[] = [];
  readonly #starting = new Set<Promise<void>>();
  readonly #closing = new AbortController();
  #retry: NodeJS.Timeout | null = null;

  /**
   * @param size how many wait at most.
   * @param start starts one; the signal calls it off.
   */
  constructor(size: number, start: (signal: AbortSignal) => Promise<FirecrackerVmm>) {
    this.#size = size;
    this.#start = start;
  }

  /** How many wait now. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** One that waits, or else a new one. @throws as its start. */
  async take(signal: AbortSignal): Promise<FirecrackerVmm> {
    let vmm = this.#waiting.shift();
    // One that has ended is only taken out of the list when its home is gone.
    while (vmm?.pid === null) vmm = this.#waiting.shift();
    return vmm ?? this.#start(AbortSignal.any([signal, this.#closing.signal]));
  }

  /** Starts as many as are missing, behind the back of whoever calls. */
  refill(): void {
    if (this.#closing.signal.aborted || this.#retry !== null) return;
    while (this.#waiting.length + this.#starting.size < this.#size) {
      const starting = this.#add().finally(() => this.#starting.delete(starting));
      this.#starting.add(starting);
    }
  }

  /** Ends all that wait; nothing is left of them when it resolves. */
  async close(): Promise<void> {
    this.#closing.abort(new LaunchError('firerunner ends'));
    if (this.#retry !== null) clearTimeout(this.#retry);
    await Promise.all(this.#starting);
    await Promise.all(this.#waiting.splice(0).map((vmm) => vmm.kill()));
  }

  async #add(): Promise<void> {
    try {
      const vmm = await this.#start(this.#closing.signal);
      if (this.#closing.signal.aborted) {
        await vmm.kill();
        return;
      }
      this.#waiting.push(vmm);
      void vmm.exited.then(() => this.#onExited(vmm));
    } catch {
      // A launch that finds none starts its own, and tells what is wrong.
      this.#retryLater();
    }
  }

  #onExited(vmm: FirecrackerVmm): void {
    const index = this.#waiting.indexOf(vmm);
    if (index === -1) return;
    this.#waiting.splice(index, 1);
    // Not at once: what ended it may end the next one as well.
    this.#retryLater();
  }

  #retryLater(): void {
    if (this.#retry !== null || this.#closing.signal.aborted) return;
    this.#retry = setTimeout(() => {
      this.#retry = null;
      this.refill();
    }, RETRY_MS);
    this.#retry.unref();
  }
}
