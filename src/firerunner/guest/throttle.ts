/**
 * Runs in firerunner. Holds a guest, or a VMM, back that says more than is taken: it is not read for a while, so that it has to
 * wait, as a function does at its next print. Each has an allowance of its own; one that uses it up costs itself alone.
 *
 * ```
 *   flowing ──too much that has not left, or too much in too short a time──▶ held ──both are over──▶ flowing
 * ```
 */
/** Of one guest, on its way to whoever reads it, in bytes. */
const MAX_WAITING_BYTES = 256 * 1024;
/** What a guest may say in the long run, in bytes for each second, and at once after a silence. */
const BYTES_PER_S = 1024 * 1024;
const BURST_BYTES = 2 * 1024 * 1024;
/** Each message costs its reader this much beside its bytes. */
const MESSAGE_BYTES = 256;

/** A stream or a channel that can be left unread. */
export interface Source {
  pause(): unknown;
  resume(): unknown;
}

export class Throttle {
  readonly #source: Source;
  #waitingBytes = 0;
  /** What may be said at once, at `#countedAt` by `performance.now()`. */
  #allowance = BURST_BYTES;
  #countedAt = performance.now();
  #timer: NodeJS.Timeout | null = null;
  #isHeld = false;
  #isOpen = false;

  constructor(source: Source) {
    this.#source = source;
  }

  /** The guest has said something. */
  charge(bytes: number): void {
    const now = performance.now();
    const earned = ((now - this.#countedAt) / 1000) * BYTES_PER_S;
    this.#allowance = Math.min(BURST_BYTES, this.#allowance + earned) - bytes - MESSAGE_BYTES;
    this.#countedAt = now;
    this.#update();
  }

  /** So much of it is on its way until `left` resolves. */
  wait(bytes: number, left: Promise<void>): void {
    this.#waitingBytes += bytes;
    this.#update();
    void left.then(() => {
      this.#waitingBytes -= bytes;
      this.#update();
    });
  }

  /** The guest has ended: what it said last is read without delay. */
  open(): void {
    this.#isOpen = true;
    this.#update();
  }

  #update(): void {
    const isOver = this.#allowance < 0 || this.#waitingBytes > MAX_WAITING_BYTES;
    if (isOver && !this.#isOpen) return this.#hold();
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (!this.#isHeld) return;
    this.#isHeld = false;
    this.#source.resume();
  }

  #hold(): void {
    if (!this.#isHeld) this.#source.pause();
    this.#isHeld = true;
    if (this.#allowance >= 0 || this.#timer !== null) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = null;
        this.charge(-MESSAGE_BYTES);
      },
      Math.ceil((-this.#allowance / BYTES_PER_S) * 1000) + 1,
    ).unref();
  }
}
