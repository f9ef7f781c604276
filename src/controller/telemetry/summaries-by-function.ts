/** Runs in snapctr. The last summaries of each function, bounded in number and bytes: also all together. */
import { LinkedList, type ListNode } from '../pool/linked-list.ts';
import { bytesOf, type InvocationSummary } from './invocation-summary.ts';

export interface SummaryLimits {
  readonly ofFunction: number;
  readonly ofAll: number;
  readonly bytes: number;
}

export class SummariesByFunction implements Iterable<InvocationSummary> {
  readonly #limits: SummaryLimits;
  /** Oldest first. */
  readonly #all = new LinkedList<Kept>();
  /** Those of each function, oldest first. */
  readonly #functions = new Map<string, Kept[]>();
  #bytes = 0;

  constructor(limits: SummaryLimits) {
    this.#limits = limits;
  }

  get length(): number {
    return this.#all.length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  add(summary: InvocationSummary): void {
    const kept = new Kept(summary);
    const own = this.#functions.get(summary.function);
    if (own === undefined) this.#functions.set(summary.function, [kept]);
    else own.push(kept);
    this.#all.append(kept);
    this.#bytes += bytesOf(summary);
    if (own !== undefined && own.length > this.#limits.ofFunction) this.#drop(own[0]);
    while (this.#all.length > this.#limits.ofAll || this.#bytes > this.#limits.bytes) this.#drop(this.#all.first);
  }

  *[Symbol.iterator](): Generator<InvocationSummary> {
    for (let kept = this.#all.first; kept !== null; kept = kept.next) yield kept.summary;
  }

  /** @param kept the oldest of its function. */
  #drop(kept: Kept | null | undefined): void {
    if (kept == null) return;
    this.#all.remove(kept);
    this.#bytes -= bytesOf(kept.summary);
    const own = this.#functions.get(kept.summary.function);
    own?.shift();
    if (own?.length === 0) this.#functions.delete(kept.summary.function);
  }
}

class Kept implements ListNode<Kept> {
  previous: Kept | null = null;
  next: Kept | null = null;
  readonly summary: InvocationSummary;

  constructor(summary: InvocationSummary) {
    this.summary = summary;
  }
}
