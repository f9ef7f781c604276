/** Runs in snapctr. What is due later, the earliest first: a binary heap. */

export class DueQueue<T> {
  readonly #heap: { readonly at: number; readonly item: T }[] = [];

  get size(): number {
    return this.#heap.length;
  }

  /** When the first one is due; null: there is none. */
  get nextAt(): number | null {
    return this.#heap[0]?.at ?? null;
  }

  add(at: number, item: T): void {
    const heap = this.#heap;
    let index = heap.push({ at, item }) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (this.#at(parent) <= at) break;
      this.#swap(index, parent);
      index = parent;
    }
  }

  /** The first one, if it is due. */
  take(now: number): T | null {
    const [first] = this.#heap;
    if (first === undefined || first.at > now) return null;
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return first.item;
    this.#heap[0] = last;
    this.#sink();
    return first.item;
  }

  #sink(): void {
    for (let index = 0; ;) {
      const left = 2 * index + 1;
      const least = this.#at(left + 1) < this.#at(left) ? left + 1 : left;
      if (this.#at(least) >= this.#at(index)) return;
      this.#swap(index, least);
      index = least;
    }
  }

  #at(index: number): number {
    return this.#heap[index]?.at ?? Infinity;
  }

  #swap(one: number, other: number): void {
    const [a, b] = [this.#heap[one], this.#heap[other]];
    if (a === undefined || b === undefined) return;
    this.#heap[one] = b;
    this.#heap[other] = a;
  }
}
