/** Runs in snapctr. Work that is done now and then, one after the other, and that nobody waits for. */
export class Periodic {
  readonly #everyMs: number;
  readonly #work: () => Promise<void>;
  #timer: NodeJS.Timeout | null = null;
  #isRunning = false;

  /** @param work never rejects. */
  constructor(everyMs: number, work: () => Promise<void>) {
    this.#everyMs = everyMs;
    this.#work = work;
  }

  /** Resolves after the first time. */
  start(): Promise<void> {
    this.#timer ??= setInterval(() => void this.run(), this.#everyMs).unref();
    return this.run();
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
  }

  /** At once, unless it is being done. */
  async run(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    await this.#work().finally(() => (this.#isRunning = false));
  }
}
