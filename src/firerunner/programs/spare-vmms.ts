/**
 * Runs in firerunner. VMM processes that were started ahead and wait to be told of a machine. None is bound to a function before it is
 * taken; each is used once.
 *
 * ```
 *   starting ──▶ waiting ──▶ taken          a launch that finds none waiting is given the next that is started
 *      └──▶ failed ◀──┘ ended               the next try is a single one, after a pause that doubles each time
 * ```
 */
import { abortReason, withAny } from '../../protocol/abort.ts';
import { messageOf } from '../../protocol/errors.ts';
import { LaunchError, type Machine } from '../machine.ts';

/** After one could not be started, or ended while it waited: the first pause and the longest, in ms. */
const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 60_000;
/** How long nothing is said after a failure was told, at first and at most, in ms; it doubles each time. */
const FIRST_SILENCE_MS = 60_000;
const LONGEST_SILENCE_MS = 3_600_000;

/** What is asked of a VMM that waits. */
export type SpareVmm = Pick<Machine, 'pid' | 'exited' | 'kill'>;

/** Is handed what was started, or null if that failed. */
type Taker<Vmm> = (vmm: Vmm | null) => void;

export interface SpareOptions<Vmm extends SpareVmm> {
  /** How many wait at most; see `resize`. */
  readonly size: number;
  /** Starts one; the signal calls it off. */
  readonly start: (signal: AbortSignal) => Promise<Vmm>;
  /** Tells the user why none are waiting; not again for a while. */
  readonly say: (text: string) => void;
  /** A clock that is never set, in ms. */
  readonly now: () => number;
}

export class SpareVmms<Vmm extends SpareVmm> {
  readonly #options: SpareOptions<Vmm>;
  #size: number;
  readonly #waiting: Vmm[] = [];
  readonly #starting = new Set<Promise<void>>();
  /** Of those that wait no more, and were not taken. */
  readonly #ends = new Set<Promise<void>>();
  /** Without those that have just arrived, which are in the set a moment longer. */
  #startingCount = 0;
  /** Launches that wait for one that is being started; never more than those. */
  readonly #takers: Taker<Vmm>[] = [];
  readonly #closing = new AbortController();
  #retry: NodeJS.Timeout | null = null;
  /** In a row, until one that was started ahead is of use. */
  #failures = 0;
  /** Until when nothing more is said, by `performance.now()`, and for how long next time. */
  #silentUntil = 0;
  #silenceMs = FIRST_SILENCE_MS;
  /** Whether the latest one failed. */
  #isFailing = false;

  constructor(options: SpareOptions<Vmm>) {
    this.#options = options;
    this.#size = options.size;
  }

  /**
   * One that waits; or the next that is started, which is there sooner than a new one and may have the last free user; else
   * a new one.
   *
   * @throws as its start, or the signal's reason.
   */
  async take(signal: AbortSignal): Promise<Vmm> {
    const vmm = await this.takeStarted(signal);
    return vmm ?? withAny([signal, this.#closing.signal], (any) => this.#options.start(any));
  }

  /** The same, but null where that would be a new one. @throws the signal's reason. */
  async takeStarted(signal: AbortSignal): Promise<Vmm | null> {
    const vmm = this.#takeWaiting() ?? (await this.#nextStarted(signal));
    if (vmm !== null) this.#failures = 0;
    return vmm;
  }

  /** Starts as many as are missing, behind the back of whoever calls. */
  refill(): void {
    if (this.#closing.signal.aborted || this.#retry !== null) return;
    const size = this.#size;
    // What failed once is tried with one.
    const atOnce = this.#isFailing ? 1 : size;
    while (this.#waiting.length + this.#startingCount < size && this.#startingCount < atOnce) {
      this.#startingCount += 1;
      const starting = this.#add().finally(() => this.#starting.delete(starting));
      this.#starting.add(starting);
    }
  }

  /** From now on as many wait at most; those that are too many are ended. */
  resize(size: number): void {
    this.#size = size;
    for (const vmm of this.#waiting.splice(size)) this.#end(vmm);
  }

  /** Ends all that wait; nothing is left of them when it resolves. */
  async close(): Promise<void> {
    this.#closing.abort(new LaunchError('firerunner ends'));
    if (this.#retry !== null) clearTimeout(this.#retry);
    await Promise.all(this.#starting);
    for (const vmm of this.#waiting.splice(0)) this.#end(vmm);
    await Promise.all(this.#ends);
  }

  #end(vmm: Vmm): void {
    const end = vmm.kill().then(() => void this.#ends.delete(end));
    this.#ends.add(end);
  }

  #takeWaiting(): Vmm | null {
    let vmm = this.#waiting.shift();
    // One that has ended is only taken out of the list when its directory is gone.
    while (vmm?.pid === null) vmm = this.#waiting.shift();
    return vmm ?? null;
  }

  /** @returns null if none is being started for this launch, or that fails. @throws the signal's reason */
  #nextStarted(signal: AbortSignal): Promise<Vmm | null> {
    if (this.#takers.length >= this.#startingCount) return Promise.resolve(null);
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#takers.splice(this.#takers.indexOf(taker), 1);
        reject(abortReason(signal));
      };
      const taker: Taker<Vmm> = (vmm) => {
        signal.removeEventListener('abort', onAbort);
        resolve(vmm);
      };
      this.#takers.push(taker);
      signal.addEventListener('abort', onAbort, { once: true });
      if (signal.aborted) onAbort();
    });
  }

  async #add(): Promise<void> {
    let vmm: Vmm;
    try {
      vmm = await this.#options.start(this.#closing.signal);
    } catch (error) {
      // A launch that waits for it starts its own, and tells what is wrong.
      this.#arrived()?.(null);
      this.#failed(`no VMM can be started ahead: ${messageOf(error)}`);
      return;
    }
    const taker = this.#arrived();
    if (this.#closing.signal.aborted) {
      taker?.(null);
      await vmm.kill();
      return;
    }
    const wasFailing = this.#isFailing;
    this.#isFailing = false;
    if (taker !== undefined) taker(vmm);
    else if (this.#waiting.length < this.#size) this.#keep(vmm);
    else this.#end(vmm);
    if (wasFailing) this.refill();
  }

  /** @returns the launch that waits for what was just started, or was not. */
  #arrived(): Taker<Vmm> | undefined {
    this.#startingCount -= 1;
    return this.#takers.shift();
  }

  #keep(vmm: Vmm): void {
    this.#waiting.push(vmm);
    void vmm.exited.then(({ reason }) => {
      const index = this.#waiting.indexOf(vmm);
      if (index === -1) return;
      this.#waiting.splice(index, 1);
      this.#failed(`a VMM that was started ahead ended: ${reason}`);
    });
  }

  /** A host with room for one more now and then fails, and succeeds, as often as it is asked. */
  #tell(why: string): void {
    const now = this.#options.now();
    if (now < this.#silentUntil) return;
    // It has been well for as long as it was not to be told.
    if (now > this.#silentUntil + this.#silenceMs) this.#silenceMs = FIRST_SILENCE_MS;
    this.#options.say(`${why}; it is tried again in a while, and each launch tries for itself`);
    this.#silentUntil = now + this.#silenceMs;
    this.#silenceMs = Math.min(2 * this.#silenceMs, LONGEST_SILENCE_MS);
  }

  /** Not at once: what ended one may end the next as well. */
  #failed(why: string): void {
    if (this.#closing.signal.aborted) return;
    this.#isFailing = true;
    if (this.#retry !== null) return;
    this.#tell(why);
    const pauseMs = Math.min(FIRST_RETRY_MS * 2 ** this.#failures, LONGEST_RETRY_MS);
    this.#failures += 1;
    this.#retry = setTimeout(() => {
      this.#retry = null;
      this.refill();
    }, pauseMs);
    this.#retry.unref();
  }
}
