/**
 * Runs in snapctr. The channel between the gateways and the workers: many producers, N workers that wait on it. One task
 * goes to exactly one worker, waiting costs nothing, and a full channel refuses instead of growing.
 */
import { SnapfaasError } from '../protocol/errors.ts';
import { LinkedList, type ListNode } from './pool/linked-list.ts';

interface Queued<T> extends ListNode<Queued<T>> {
  readonly item: T;
  readonly stopWatching: () => void;
}

/** What the channel needs to know of an item: whether anybody still waits for it. */
export interface Abortable {
  readonly signal: AbortSignal;
}

export class Channel<T extends Abortable> {
  readonly #capacity: number;
  readonly #onAborted: (item: T) => void;
  readonly #queue = new LinkedList<Queued<T>>();
  readonly #receivers: ((item: T | null) => void)[] = [];
  #closed = false;

  /**
   * @param capacity items that may wait while every worker is busy.
   * @param onAborted called for an item that was given up while it waited; it never reaches a worker.
   */
  constructor(capacity: number, onAborted: (item: T) => void) {
    this.#capacity = capacity;
    this.#onAborted = onAborted;
  }

  /** Items that wait for a worker. */
  get length(): number {
    return this.#queue.length;
  }

  /** @throws SnapfaasError `queue_full`, or `shutting_down` once closed; the item was not taken then. */
  send(item: T): void {
    if (this.#closed) throw new SnapfaasError('shutting_down', 'the controller is shutting down; send it again later');
    const receiver = this.#receivers.pop();
    if (receiver !== undefined) {
      receiver(item);
      return;
    }
    if (this.#queue.length >= this.#capacity) {
      throw new SnapfaasError(
        'queue_full',
        `${this.#capacity} requests are waiting already; send it again later, or raise queue_capacity`,
      );
    }
    const giveUp = (): void => {
      this.#queue.remove(queued);
      this.#onAborted(item);
    };
    item.signal.addEventListener('abort', giveUp, { once: true });
    const queued: Queued<T> = {
      item,
      stopWatching: () => item.signal.removeEventListener('abort', giveUp),
      previous: null,
      next: null,
    };
    this.#queue.append(queued);
  }

  /** The oldest item, as soon as there is one; null when the channel is closed and empty. */
  receive(): Promise<T | null> {
    const queued = this.#queue.takeFirst();
    if (queued !== null) {
      queued.stopWatching();
      return Promise.resolve(queued.item);
    }
    if (this.#closed) return Promise.resolve(null);
    return new Promise((resolve) => this.#receivers.push(resolve));
  }

  /** Refuses new items. Those that wait are still received; after them every receiver gets null. */
  close(): void {
    this.#closed = true;
    for (const receiver of this.#receivers.splice(0)) receiver(null);
  }
}
