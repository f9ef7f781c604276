/**
 * Runs in snapctr. The last invocations, for whoever asks why one was slow or failed:
 *
 * ```
 *   add ──┬── refused, without a VM      the last of them
 *         ├── notable: started, waited,  the last of each function, and of all
 *         │   slow, failed on a VM
 *         └── else: warm and fast        the last of them
 * ```
 *
 * So a flood of one kind drives out none of the others. All of it is in memory, within bounds; nothing outlives snapctr.
 */
import type { InvocationSummary } from './invocation-summary.ts';
import { SummariesByFunction } from './summaries-by-function.ts';
import { SummaryRing } from './summary-ring.ts';

const MAX_WARM = 4096;
const MAX_REFUSED = 1024;
const MAX_NOTABLE = 4096;
const MAX_NOTABLE_OF_FUNCTION = 256;
/** Of each of the three. */
const MAX_BYTES = 8 * 1024 * 1024;

/** A request that takes this long, or waits this long for its VM, is a slow one, in ms. */
const SLOW_MS = 1000;
const LONG_WAIT_MS = 50;

export type InvocationListener = (summary: InvocationSummary) => void;

export interface InvocationQuery {
  /** Absent: of all functions. */
  readonly function?: string;
  /** Absent: any. */
  readonly requestId?: string;
  /** So many, the newest first. */
  readonly limit: number;
}

export class InvocationHistory {
  readonly #warm = new SummaryRing(MAX_WARM, MAX_BYTES);
  readonly #refused = new SummaryRing(MAX_REFUSED, MAX_BYTES);
  readonly #notable = new SummariesByFunction({
    ofFunction: MAX_NOTABLE_OF_FUNCTION,
    ofAll: MAX_NOTABLE,
    bytes: MAX_BYTES,
  });
  readonly #listeners = new Set<InvocationListener>();

  add(summary: InvocationSummary): void {
    const ring = isNotable(summary) ? this.#notable : summary.start === null ? this.#refused : this.#warm;
    ring.add(summary);
    for (const listener of this.#listeners) listener(summary);
  }

  /**
   * Of those that are still kept, the newest first. Looks at all of them: some thousands.
   */
  find({ function: name, requestId, limit }: InvocationQuery): readonly InvocationSummary[] {
    const found: InvocationSummary[] = [];
    for (const ring of [this.#warm, this.#refused, this.#notable]) {
      for (const one of ring) {
        if (name !== undefined && one.function !== name) continue;
        if (requestId === undefined || one.requestId === requestId) found.push(one);
      }
    }
    return found.sort((a, b) => b.endedAt - a.endedAt).slice(0, limit);
  }

  /** From now on each invocation that ends is told, until the returned function is called. Listeners must not throw. */
  listen(listener: InvocationListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** How many are kept, and what they take, about, in bytes. */
  get size(): { readonly invocations: number; readonly bytes: number } {
    const rings = [this.#warm, this.#refused, this.#notable];
    return {
      invocations: rings.reduce((sum, { length }) => sum + length, 0),
      bytes: rings.reduce((sum, { bytes }) => sum + bytes, 0),
    };
  }
}

function isNotable({ launch, vm, outcome, queueMs, durationMs }: InvocationSummary): boolean {
  if (launch !== null) return true;
  return vm !== null && (outcome !== 'ok' || queueMs >= LONG_WAIT_MS || queueMs + durationMs >= SLOW_MS);
}
