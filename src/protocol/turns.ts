/** Runs in snapctr. Work on the same thing, one after the other, in the order in which it was asked for. */
export class Turns<K> {
  /** The work that was asked for last; it never rejects. */
  readonly #last = new Map<K, Promise<unknown>>();

  /** Things that are worked on. */
  get size(): number {
    return this.#last.size;
  }

  /** Runs `work` when all that was asked for before is done, however it ended. */
  take<T>(key: K, work: () => Promise<T>): Promise<T> {
    const done = (this.#last.get(key) ?? Promise.resolve()).then(work);
    const settled = done.then(
      () => undefined,
      () => undefined,
    );
    this.#last.set(key, settled);
    void settled.then(() => {
      if (this.#last.get(key) === settled) this.#last.delete(key);
    });
    return done;
  }

  /** Resolves when nothing is worked on. */
  async idle(): Promise<void> {
    while (this.#last.size > 0) await Promise.all(this.#last.values());
  }
}
