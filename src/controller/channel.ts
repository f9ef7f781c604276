/**
 * Runs in snapctr. The channel between the gateways and the workers: many producers, N workers that wait on it. One item
 * goes to exactly one worker, together with what it needs to run (its grant). Items wait for that in the flow they belong
 * to, first in, first out; the flows are asked in turn:
 *
 * ```
 *          ┌─ flow A  a4 a3 a2 ─┐
 *   send ──┼─ flow B  b1        ├── in turn: is there a grant for its first? ──▶ a worker that waits
 *          └─ flow C  c2 c1     ┘        no: the next flow
 *     │                    │
 *     └── refused ─────────┴── refused: given up, pushed out, too old
 * ```
 *
 * What is refused is refused early, so that it costs little and its client can do something else:
 *
 * - An item that would wait for too long, by the pace at which its flow is served. That holds for a queue that stands: a
 *   burst (`BURST_MS`) is taken whole, and so is what waits for the first one of its flow to be served.
 * - If the channel is full, the last one of the longest flow: another flow's flood keeps nobody out.
 */
import { SnapfaasError } from '../protocol/errors.ts';
import type { Clock, Timer } from './pool/clock.ts';
import { LinkedList, type ListNode } from './pool/linked-list.ts';

/** What the channel needs to know of an item: whether anybody still waits for it. */
export interface Abortable {
  readonly signal: AbortSignal;
}

export interface ChannelOptions<T, G> {
  /** Items that may wait, all together. */
  readonly capacity: number;
  /** An item is refused that would wait longer than this, and than one before it takes, in a queue that stands, in ms. */
  readonly maxWaitMs: number;
  /** No item waits longer than this, in ms. */
  readonly maxAgeMs: number;
  /** What an item belongs to, such as its function. */
  readonly flowOf: (item: T) => object;
  /** What the item needs to run, if it may run now; it is handed to a worker then. Never throws. `waiting`: of its flow, with it. */
  readonly grant: (item: T, waitedMs: number, waiting: number) => G | null;
  /** Why an item that has waited for `maxWaitMs`, none of its flow being served, is not to wait on; null if it is. */
  readonly giveUp?: (item: T) => SnapfaasError | null;
  /** An item that was taken reaches no worker, for this error; null: its client is gone. */
  readonly onDropped: (item: T, error: SnapfaasError | null) => void;
  readonly clock: Clock;
}

/** What a worker receives. */
export interface Received<T, G> {
  readonly item: T;
  readonly grant: G;
  /** When it was handed out. */
  readonly at: number;
}

/** Arrivals of this long, from when a queue that is served has begun to stand, are a burst, in ms. */
const BURST_MS = 100;
/** How often items that wait are looked at again, beside all that happens, in ms. */
const TICK_MS = 50;
/** Flows that are asked in vain before the rest is left for later, so that one event never costs more. */
const MOST_IN_VAIN = 16;
/** Weight of the newest in the mean of the times that items took. */
const NEWEST_WEIGHT = 1 / 8;
/** So many of the last ones served tell the pace of a flow. */
const PACE_COUNTS = 32;

export class Channel<T extends Abortable, G> {
  readonly #options: ChannelOptions<T, G>;
  readonly #flows = new WeakMap<object, Flow<T>>();
  /** The flows that have items waiting, the one whose turn it is first. */
  readonly #turns = new LinkedList<Flow<T>>();
  readonly #receivers: ((received: Received<T, G> | null) => void)[] = [];
  /** Where asking goes on that had gone on for too long; null: at the first. */
  #resumeAt: Flow<T> | null = null;
  #length = 0;
  #isServing = false;
  #timer: Timer | null = null;
  #closed = false;

  constructor(options: ChannelOptions<T, G>) {
    this.#options = options;
  }

  /** Items that wait. */
  get length(): number {
    return this.#length;
  }

  get isFull(): boolean {
    return this.#length >= this.#options.capacity;
  }

  /** How long another item of this flow would wait, by what was measured of it last, in ms; null if nothing was. */
  expectedWaitMs(of: object): number | null {
    return this.#flows.get(of)?.expectedWaitMs(this.#options.clock.now()) ?? null;
  }

  /** @throws SnapfaasError `queue_full`, or `shutting_down` once closed; the item was not taken then. */
  send(item: T): void {
    if (this.#closed) throw new SnapfaasError('shutting_down', 'the controller is shutting down; send it again later');
    const flow = this.#flowOf(item);
    const now = this.#options.clock.now();
    const queued = new Queued(item, flow, now);
    if (flow.items.length === 0 && this.#handOut(queued, now)) return;
    this.#admit(flow, now);
    this.#watch(queued);
    flow.items.append(queued);
    this.#entered(flow);
  }

  /** An item that a worker could not run after all: it waits on, as the first of its flow. Never refused. */
  sendBack({ item, at }: Received<T, G>): void {
    const flow = this.#flowOf(item);
    const queued = new Queued(item, flow, at);
    this.#watch(queued);
    flow.items.prepend(queued);
    this.#entered(flow);
    this.serve();
  }

  /** An item with its grant, as soon as there is one; null when the channel is closed. */
  receive(): Promise<Received<T, G> | null> {
    if (this.#closed) return Promise.resolve(null);
    return new Promise((resolve) => {
      this.#receivers.push(resolve);
      this.serve();
    });
  }

  /** What a worker has received is done; it gave what the flow may be measured by. */
  done({ item, at }: Received<T, G>): void {
    const now = this.#options.clock.now();
    this.#flowOf(item).served(now - at, now);
  }

  /** There may be a grant where there was none. @param of the flow it is most likely for. */
  serve(of: object | null = null): void {
    // What a grant does may call this again.
    if (this.#isServing || this.#length === 0 || this.#receivers.length === 0) return;
    this.#isServing = true;
    const now = this.#options.clock.now();
    let inVain = 0;
    let flow = this.#resumeAt ?? this.#turns.first;
    while (flow !== null && inVain < MOST_IN_VAIN) {
      const next: Flow<T> | null = flow.next;
      const isServed = this.#serveFlow(flow, now);
      if (!isServed) inVain += 1;
      // One that is served goes to the end, and is come to again.
      flow = next ?? (isServed ? this.#turns.last : null);
    }
    this.#resumeAt = flow;
    const likely = of === null ? undefined : this.#flows.get(of);
    while (likely !== undefined && inVain >= MOST_IN_VAIN && this.#serveFlow(likely, now));
    this.#isServing = false;
  }

  /** Refuses the items of this flow that will never have a grant. @param problemOf why; null for those that may. */
  refuse(of: object, problemOf: (item: T) => SnapfaasError | null): void {
    for (let queued = this.#flows.get(of)?.items.first ?? null; queued !== null;) {
      const { next } = queued;
      const error = problemOf(queued.item);
      if (error !== null) this.#drop(queued, error);
      queued = next;
    }
  }

  /** Refuses new items and those that wait; every receiver gets null. */
  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    const error = new SnapfaasError('shutting_down', 'the controller shut down while the request waited');
    for (let flow = this.#turns.first; flow !== null; flow = this.#turns.first) {
      for (let queued = flow.items.first; queued !== null; queued = flow.items.first) this.#drop(queued, error);
    }
    for (const receiver of this.#receivers.splice(0)) receiver(null);
  }

  #flowOf(item: T): Flow<T> {
    const key = this.#options.flowOf(item);
    let flow = this.#flows.get(key);
    if (flow === undefined) this.#flows.set(key, (flow = new Flow()));
    return flow;
  }

  /** Makes sure that another one may wait in the flow. @throws SnapfaasError `queue_full`. */
  #admit(flow: Flow<T>, now: number): void {
    const expectedMs = flow.expectedWaitMs(now);
    const isStanding = flow.standingSince !== null && now - flow.standingSince >= BURST_MS;
    if (isStanding && expectedMs !== null && expectedMs > this.#options.maxWaitMs + (flow.meanMs ?? 0)) {
      throw queueFull(`${flow.items.length} requests for it are waiting already`, expectedMs);
    }
    if (!this.isFull) return;
    const message = `${this.#options.capacity} requests are waiting already`;
    const longest = this.#longest();
    if (longest.items.length <= flow.items.length + 1) throw queueFull(message, expectedMs);
    const { last } = longest.items;
    if (last !== null) this.#drop(last, queueFull(message, longest.expectedWaitMs(now)));
  }

  #longest(): Flow<T> {
    let longest = this.#turns.first;
    for (let flow = longest; flow !== null; flow = flow.next) {
      if (longest === null || flow.items.length > longest.items.length) longest = flow;
    }
    if (longest === null) throw new Error('a channel that is full has nothing in it');
    return longest;
  }

  #entered(flow: Flow<T>): void {
    this.#length += 1;
    if (flow.items.length === 1) this.#turns.append(flow);
    this.#watchTime();
  }

  #watchTime(): void {
    if (this.#length === 0) return;
    this.#timer ??= this.#options.clock.after(TICK_MS, () => {
      this.#timer = null;
      this.#tick();
      this.#watchTime();
    });
  }

  #watch(queued: Queued<T>): void {
    const { signal } = queued.item;
    queued.giveUp = (): void => this.#drop(queued, null);
    signal.addEventListener('abort', queued.giveUp, { once: true });
  }

  /** Takes an item out of its flow. */
  #leave(queued: Queued<T>): void {
    const { flow, item } = queued;
    flow.items.remove(queued);
    this.#length -= 1;
    if (queued.giveUp !== null) item.signal.removeEventListener('abort', queued.giveUp);
    if (flow.items.length > 0) return;
    flow.emptied();
    if (this.#resumeAt === flow) this.#resumeAt = flow.next;
    this.#turns.remove(flow);
    if (this.#length > 0) return;
    this.#timer?.cancel();
    this.#timer = null;
  }

  #drop(queued: Queued<T>, error: SnapfaasError | null): void {
    this.#leave(queued);
    this.#options.onDropped(queued.item, error);
  }

  /** Hands out the first of a flow, whose turn is over then. False: it has none, or no grant for it. */
  #serveFlow(flow: Flow<T>, now: number): boolean {
    const { first } = flow.items;
    if (first === null || !this.#handOut(first, now)) return false;
    this.#leave(first);
    if (flow.items.length > 0) {
      this.#turns.remove(flow);
      this.#turns.append(flow);
    }
    return true;
  }

  /** False: there is no worker, or no grant for it. */
  #handOut({ item, flow, since }: Queued<T>, now: number): boolean {
    const receiver = this.#receivers.pop();
    if (receiver === undefined) return false;
    const grant = this.#options.grant(item, now - since, Math.max(1, flow.items.length));
    if (grant === null) {
      this.#receivers.push(receiver);
      return false;
    }
    flow.serving += 1;
    receiver({ item, grant, at: now });
    return true;
  }

  /** Refuses what is too old or waits for nothing, and asks all again. */
  #tick(): void {
    const { maxAgeMs, maxWaitMs, clock, giveUp } = this.#options;
    const time = clock.now();
    for (let flow = this.#turns.first; flow !== null;) {
      const { next } = flow;
      for (let first = flow.items.first; first !== null; first = flow.items.first) {
        const waitedMs = time - first.since;
        const error =
          waitedMs >= maxAgeMs
            ? queueFull(`it has waited for ${Math.round(waitedMs / 1000)} s`, flow.expectedWaitMs(time))
            : waitedMs >= maxWaitMs && flow.serving === 0
              ? (giveUp?.(first.item) ?? null)
              : null;
        if (error === null) break;
        this.#drop(first, error);
      }
      flow = next;
    }
    this.serve();
  }
}

/** An item that waits. */
class Queued<T> implements ListNode<Queued<T>> {
  previous: Queued<T> | null = null;
  next: Queued<T> | null = null;
  readonly item: T;
  readonly flow: Flow<T>;
  readonly since: number;
  giveUp: (() => void) | null = null;

  constructor(item: T, flow: Flow<T>, since: number) {
    this.item = item;
    this.flow = flow;
    this.since = since;
  }
}

/** The items that wait for the same, and what is known of how they are served. */
class Flow<T> implements ListNode<Flow<T>> {
  previous: Flow<T> | null = null;
  next: Flow<T> | null = null;
  readonly items = new LinkedList<Queued<T>>();
  /** Items that workers have. */
  serving = 0;
  /** How long the last ones took, once they were handed out, in ms; null before the first. */
  meanMs: number | null = null;
  /** Since when items wait although others are served; null if none do. */
  standingSince: number | null = null;

  /** When the last ones of these were served. */
  readonly #servedAt: number[] = [];

  served(tookMs: number, now: number): void {
    this.serving -= 1;
    this.meanMs = this.meanMs === null ? tookMs : this.meanMs + (tookMs - this.meanMs) * NEWEST_WEIGHT;
    if (this.items.length === 0) return;
    this.standingSince ??= now;
    this.#servedAt.push(now);
    if (this.#servedAt.length > PACE_COUNTS) this.#servedAt.shift();
  }

  /** Nothing waits any more. */
  emptied(): void {
    this.standingSince = null;
    this.#servedAt.length = 0;
  }

  /** How long another one would wait, in ms; null if nothing is known of the flow. */
  expectedWaitMs(now: number): number | null {
    const count = this.items.length + 1;
    const [first] = this.#servedAt;
    // Times without a VM are part of the pace.
    if (first !== undefined && this.#servedAt.length > 1) return (count * (now - first)) / (this.#servedAt.length - 1);
    return this.meanMs === null ? null : (count * this.meanMs) / Math.max(1, this.serving);
  }
}

function queueFull(why: string, expectedMs: number | null): SnapfaasError {
  const seconds = Math.max(1, Math.ceil((expectedMs ?? 0) / 1000));
  return new SnapfaasError('queue_full', `${why}; send it again in ${seconds} s, or see queue_capacity`, {
    retryAfterS: seconds,
  });
}
