/** Runs in snapctr. The last summaries, bounded in number and bytes. */
import { bytesOf, type InvocationSummary } from './invocation-summary.ts';

export class SummaryRing implements Iterable<InvocationSummary> {
  readonly #items: (InvocationSummary | null)[];
  readonly #maxBytes: number;
  #next = 0;
  #length = 0;
  #bytes = 0;

  constructor(capacity: number, maxBytes: number) {
    this.#items = new Array<InvocationSummary | null>(capacity).fill(null);
    this.#maxBytes = maxBytes;
  }

  get length(): number {
    return this.#length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  add(summary: InvocationSummary): void {
    const { length } = this.#items;
    if (this.#length === length) this.#dropOldest();
    this.#items[this.#next] = summary;
    this.#next = (this.#next + 1) % length;
    this.#length += 1;
    this.#bytes += bytesOf(summary);
    while (this.#bytes > this.#maxBytes) this.#dropOldest();
  }

  *[Symbol.iterator](): Generator<InvocationSummary> {
    for (const item of this.#items) if (item !== null) yield item;
  }

  #dropOldest(): void {
    const { length } = this.#items;
    const place = (this.#next + length - this.#length) % length;
    const summary = this.#items[place];
    this.#items[place] = null;
    this.#length -= 1;
    this.#bytes -= summary == null ? 0 : bytesOf(summary);
  }
}
