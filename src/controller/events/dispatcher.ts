/**
 * Runs in snapctr. The gateway of events that nobody waits for:
 *
 * ```
 *   accept ──▶ store ──▶ flow of its target ──leased──▶ submit, or deliver ──▶ done ──▶ settled, destinations are told
 *                             ▲                              │
 *                             ├── no room: after a pause ◀───┤
 *                             └── due later ◀── failed ──────┴──▶ too often, too old: failed for good
 * ```
 *
 * An event is settled only when its run is over: whatever is killed before, it is tried again. Flows take turns, and each function
 * or destination has so much under way at once (`room.ts`): a slow one holds up nobody else.
 */
import { setMaxListeners } from 'node:events';
import type { LambdaAccount } from '../../protocol/arn.ts';
import { messageOf, SnapfaasError } from '../../protocol/errors.ts';
import type { FunctionVersion } from '../../registry/function-version.ts';
import type { Gateway, SubmitTask } from '../gateway/gateway.ts';
import { isFunctionsDoing } from '../gateway/lambda/failures.ts';
import type { Logger } from '../log.ts';
import type { Outcome } from '../task.ts';
import { DeadEvents } from './dead-events.ts';
import type { Message } from './destinations.ts';
import { DueQueue } from '../due-queue.ts';
import type { EventClock } from './event-clock.ts';
import { DEFAULT_EVENT_SETTINGS, type EventSettings } from './event-settings.ts';
import {
  EventStoreError,
  type EventContents,
  type EventStore,
  type NewEvent,
  type StoredEvent,
} from './event-store.ts';
import { Flow } from './flow.ts';
import { followersOf, toldOf } from './followers.ts';
import { MAX_HOPS } from './hops.ts';
import type { Ending } from './invocation-record.ts';
import { Room } from './room.ts';
import { functionTarget, parseTarget, targetOf, type Target } from './target.ts';

/** Between a failed try and the next one, in ms; AWS's own. */
const RETRY_PAUSES_MS = [60_000, 120_000];
/** Between the tries of a destination that is no function, in ms. */
const DELIVERY_PAUSES_MS = [1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000, 256_000];
const MIB = 1024 * 1024;
/** Payloads that are in memory because their function has them, or waits for a VM. */
const MAX_INVOKED_BYTES = 20 * MIB;
/** What files and endpoints are being told. Each is in memory twice while it is sent; with the above no more than 64 MB. */
const MAX_DELIVERED_BYTES = 6 * MIB;
/** Deliveries to files and over HTTP at once, and to one endpoint. */
const MAX_DELIVERIES = 64;
const MAX_DELIVERIES_OF_ENDPOINT = 4;
/** Longer than any pause: a due time that is farther off was written by a clock that was set back since. */
const LONGEST_WAIT_MS = 300_000;
const MAX_REASON_CHARACTERS = 300;

export interface EventDispatcherOptions {
  readonly store: EventStore;
  readonly submit: SubmitTask;
  /** Of a version or alias, as it is now. */
  readonly settingsOf: (name: string, qualifier: string | null) => EventSettings;
  /** Events of a function that may be under way at once. */
  readonly limitOf: (name: string) => number;
  /** The version that answers now; null: none. */
  readonly versionOf: (name: string, qualifier: string | null) => FunctionVersion | null;
  /** Events that may be under way to functions at once, all together. */
  readonly maxInFlight: number;
  /** Brings a record or a dead letter to a file or an HTTP endpoint; rejects if that failed, or lasts too long. */
  readonly deliver: (target: Target, message: Message, signal: AbortSignal) => Promise<void>;
  readonly account: LambdaAccount;
  readonly clock: EventClock;
  readonly logger: Logger;
}

/** What `/status` and `/metrics` tell. */
export interface EventsStatus {
  readonly durable: boolean;
  readonly pending: number;
  /** Since the oldest that is pending was accepted. */
  readonly oldest_ms: number;
  readonly dead: number;
  /** Since the start. */
  readonly tried_again: number;
  readonly failed: number;
}

export type AcceptedEvent = Pick<NewEvent, 'id' | 'payload' | 'header'> & {
  readonly function: string;
  readonly qualifier: string | null;
  /** Destinations that led to it; absent: none. */
  readonly hops?: number;
};

export class EventDispatcher implements Gateway {
  readonly dead: DeadEvents;
  readonly #options: EventDispatcherOptions;
  readonly #flows = new Map<string, Flow>();
  readonly #functions: Room;
  readonly #destinations = new Room({ maxInFlight: MAX_DELIVERIES, maxBytes: MAX_DELIVERED_BYTES });
  /** Flows that have something to do, and may; in turn. */
  readonly #ready = new Set<Flow>();
  readonly #later = new DueQueue<StoredEvent | Flow>();
  readonly #leased = new Set<number>();
  /** They do not run before their source says so. */
  readonly #held = new Set<number>();
  /** Nobody can call them off. */
  readonly #never = new AbortController().signal;
  readonly #stop = new AbortController();
  #triedAgain = 0;
  #failed = 0;
  #state: 'new' | 'running' | 'draining' = 'new';
  #callOff: (() => void) | null = null;
  #wakeAt = Infinity;
  #onIdle: (() => void) | null = null;

  constructor(options: EventDispatcherOptions) {
    this.#options = options;
    this.#functions = new Room({ maxInFlight: options.maxInFlight, maxBytes: MAX_INVOKED_BYTES });
    this.dead = new DeadEvents(options);
    // One listener for each that runs is no leak.
    setMaxListeners(0, this.#never, this.#stop.signal);
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- as other gateways start
  async start(): Promise<void> {
    this.#state = 'running';
    const now = this.#options.clock.now();
    for (const event of this.#options.store.events()) {
      if (event.state.status === 'dead') this.dead.add(event);
      else if (!this.#held.has(event.sequence)) this.#schedule(event, now);
    }
    this.dead.start();
    this.#pump();
  }

  /**
   * Resolves when the event will run, whatever is killed.
   *
   * @throws EventStoreError; then it was not accepted.
   */
  async accept({ function: name, qualifier, hops = 0, ...event }: AcceptedEvent): Promise<void> {
    const { store, clock } = this.#options;
    const target = functionTarget(name, qualifier);
    this.#add(await store.append({ ...event, target, acceptedAt: clock.now(), hops }));
  }

  /**
   * Resolves when the event is kept, and a crash does not lose it. It does not run before it is released.
   *
   * @param origin by which its source finds it after a crash.
   * @throws EventStoreError; then it was not accepted.
   */
  async acceptHeld(
    { function: name, qualifier, hops = 0, ...event }: AcceptedEvent,
    origin: string,
  ): Promise<StoredEvent> {
    const { store, clock } = this.#options;
    const target = functionTarget(name, qualifier);
    const stored = await store.append({ ...event, target, acceptedAt: clock.now(), hops, origin });
    this.hold(stored);
    return stored;
  }

  /**
   * An event that its source has had run as often as it may. Resolves when it is kept, as a dead one, or on its way to a destination.
   *
   * @param destination as the API has it; null: none.
   * @throws EventStoreError; then it was not accepted.
   */
  async acceptFailed(event: AcceptedEvent, ending: Ending, destination: string | null): Promise<void> {
    const { account, store, clock } = this.#options;
    const { function: name, qualifier, hops = 0, ...contents } = event;
    const target = functionTarget(name, qualifier);
    const acceptedAt = clock.now();
    this.#failed += 1;
    if (destination === null) {
      const stored = await store.append({ ...contents, target, acceptedAt, hops });
      return this.#bury(stored, ending.tries, reasonOf(ending));
    }
    const settings = { ...DEFAULT_EVENT_SETTINGS, onFailure: targetOf(destination) };
    const of = { kind: 'function', name, qualifier } as const;
    const all = followersOf(account, of, { ...contents, hops }, ending, settings, reasonOf(ending), acceptedAt);
    for (const one of all) this.#add(await store.append(one));
  }

  /** One of before this start, which is not to run before it is released. */
  hold({ sequence }: StoredEvent): void {
    this.#held.add(sequence);
  }

  release(event: StoredEvent): void {
    if (this.#held.delete(event.sequence)) this.#add(event);
  }

  /** Pending ones and dead ones, in the order in which they came. */
  events(): Iterable<StoredEvent> {
    return this.#options.store.events();
  }

  /** @returns null if it is done, or never was. */
  find(sequence: number): StoredEvent | null {
    return this.#options.store.find(sequence);
  }

  /** @throws EventStoreError */
  read(event: StoredEvent): Promise<EventContents> {
    return this.#options.store.read(event);
  }

  /** A dead event begins anew, as if it had just come. @throws EventStoreError */
  async redrive(event: StoredEvent): Promise<void> {
    const { store, clock } = this.#options;
    const contents = await store.read(event);
    const again = { ...contents, target: event.target, acceptedAt: clock.now(), hops: 0 };
    const added = await store.settle(event, [again]);
    this.dead.remove(event);
    for (const one of added) this.#add(one);
  }

  /** @throws EventStoreError */
  async purge(event: StoredEvent): Promise<void> {
    this.dead.remove(event);
    await this.#options.store.settle(event, []);
  }

  drain(): Promise<void> {
    this.#state = 'draining';
    this.#callOff?.();
    this.dead.stop();
    this.#stop.abort();
    return new Promise((resolve) => {
      if (this.#leased.size === 0) resolve();
      else this.#onIdle = resolve;
    });
  }

  async close(): Promise<void> {
    void this.drain();
    await this.#options.store.close();
  }

  status(): EventsStatus {
    const { store, clock } = this.#options;
    const dead = this.dead.size;
    let oldest_ms = 0;
    for (const { state, acceptedAt } of store.events()) {
      if (state.status === 'dead') continue;
      oldest_ms = Math.round(clock.now() - acceptedAt);
      break;
    }
    return {
      durable: store.isDurable,
      pending: store.size - dead,
      oldest_ms,
      dead,
      tried_again: this.#triedAgain,
      failed: this.#failed,
    };
  }

  /** Events that wait or run, by function; without those whose next try has not come yet. */
  pendingByFunction(): ReadonlyMap<string, number> {
    const pending = new Map<string, number>();
    for (const { target, waiting, inFlight } of this.#flows.values()) {
      if (target.kind !== 'function' || waiting + inFlight === 0) continue;
      pending.set(target.name, (pending.get(target.name) ?? 0) + waiting + inFlight);
    }
    return pending;
  }

  #add(event: StoredEvent): void {
    if (this.#state !== 'running') return;
    this.#enqueue(event);
    this.#pump();
  }

  #schedule(event: StoredEvent, now: number): void {
    const { tries, at } = event.state;
    if (tries === 0 || at <= now) return this.#enqueue(event);
    this.#later.add(Math.min(at, now + LONGEST_WAIT_MS), event);
  }

  #enqueue(event: StoredEvent): void {
    const flow = this.#flowOf(event.target);
    flow.add(event);
    this.#offer(flow);
  }

  #flowOf(key: string): Flow {
    const known = this.#flows.get(key);
    if (known !== undefined) return known;
    const target = parseTarget(key);
    // A function's versions and aliases share its limit, and each has an order of its own.
    const share = target.kind === 'function' ? this.#functions.shareOf(target.name) : this.#destinations.shareOf(key);
    const flow = new Flow(key, target, share);
    this.#flows.set(key, flow);
    return flow;
  }

  #offer(flow: Flow): void {
    if (this.#mayBegin(flow)) this.#ready.add(flow);
    else if (flow.isIdle(this.#options.clock.now()) && this.#flows.get(flow.key) === flow) this.#forget(flow);
  }

  /** If there is room for it as well. */
  #mayBegin(flow: Flow): boolean {
    const { share, target, waiting, pausedUntil } = flow;
    if (waiting === 0 || pausedUntil > this.#options.clock.now()) return false;
    const limit = target.kind === 'function' ? this.#options.limitOf(target.name) : deliveriesOf(target);
    return !share.room.isFull(share, limit);
  }

  #forget(flow: Flow): void {
    this.#flows.delete(flow.key);
    flow.share.room.forget(flow);
  }

  #pump(): void {
    if (this.#state !== 'running') return;
    this.#takeDue();
    for (const flow of this.#ready) {
      const first = this.#mayBegin(flow) ? flow.first : undefined;
      if (first !== undefined && !flow.share.room.takes(flow.share, first.bytes)) continue;
      this.#ready.delete(flow);
      const event = first === undefined ? undefined : flow.take();
      if (event === undefined) continue;
      this.#lease(flow, event);
      // Behind the others, which a set visits as well.
      this.#offer(flow);
    }
    this.#wakeLater();
  }

  #takeDue(): void {
    const now = this.#options.clock.now();
    for (let item = this.#later.take(now); item !== null; item = this.#later.take(now)) {
      if (item instanceof Flow) this.#offer(item);
      else this.#enqueue(item);
    }
  }

  #wakeLater(): void {
    const { nextAt } = this.#later;
    const { clock } = this.#options;
    if (nextAt === null || (this.#callOff !== null && nextAt >= this.#wakeAt)) return;
    this.#callOff?.();
    this.#wakeAt = nextAt;
    this.#callOff = clock.after(Math.max(1, Math.ceil(nextAt - clock.now())), () => {
      this.#callOff = null;
      this.#pump();
    });
  }

  #lease(flow: Flow, event: StoredEvent): void {
    const { share } = flow;
    this.#leased.add(event.sequence);
    flow.inFlight += 1;
    share.room.enter(flow, event.bytes);
    void this.#work(flow, event)
      .catch((error: unknown) => this.#onLost(flow, event, error))
      .finally(() => {
        this.#leased.delete(event.sequence);
        flow.inFlight -= 1;
        share.room.leave(flow, event.bytes);
        if (this.#leased.size === 0) this.#onIdle?.();
        for (const one of [...share.flows]) this.#offer(one);
        this.#pump();
      });
  }

  async #work(flow: Flow, event: StoredEvent): Promise<void> {
    const contents = await this.#options.store.read(event);
    if (flow.target.kind === 'function') await this.#invoke(flow, flow.target, event, contents);
    else await this.#deliver(flow.target, event, contents);
  }

  async #invoke(
    flow: Flow,
    target: Extract<Target, { kind: 'function' }>,
    event: StoredEvent,
    contents: EventContents,
  ): Promise<void> {
    const { clock, logger, settingsOf, versionOf, store } = this.#options;
    const { name, qualifier } = target;
    const settings = settingsOf(name, qualifier);
    const expiresAt = event.acceptedAt + settings.maximumEventAgeMs;
    const { tries } = event.state;
    if (clock.now() >= expiresAt) {
      return this.#conclude(target, event, contents, {
        condition: 'EventAgeExceeded',
        tries,
        outcome: null,
        version: null,
      });
    }
    if (tries > 0) this.#triedAgain += 1;
    const outcome = await this.#run(target, contents, tries + 1);
    if (outcome.status === 'error' && !isFunctionsDoing(outcome)) return this.#refused(flow, event, outcome.error);
    flow.ran();
    const version = outcome.version ?? versionOf(name, qualifier);
    const ending = { tries: tries + 1, outcome, version };
    if (outcome.status === 'ok') return this.#conclude(target, event, contents, { ...ending, condition: 'Success' });
    // It was not the function: it is not known whether the run was over.
    if (outcome.error.code === 'shutting_down') return;
    const pauseMs = RETRY_PAUSES_MS[tries];
    if (pauseMs === undefined || tries >= settings.maximumRetryAttempts) {
      return this.#conclude(target, event, contents, { ...ending, condition: 'RetriesExhausted' });
    }
    const at = Math.min(clock.now() + pauseMs, expiresAt);
    const next = `it is tried again in ${Math.round((at - clock.now()) / 1000)} s`;
    logger.warn(
      { function: name, request: contents.id },
      `an invocation of type Event failed: ${outcome.error.message}; ${next}`,
    );
    store.update(event, { status: 'pending', tries: tries + 1, at, reason: null });
    this.#later.add(at, event);
  }

  #run(
    { name, qualifier }: Extract<Target, { kind: 'function' }>,
    contents: EventContents,
    eventTry: number,
  ): Promise<Outcome> {
    const { id, payload, header } = contents;
    return new Promise((resolve) => {
      const lambda = { header: header ?? {}, sink: null, wantsReport: false };
      try {
        const request = { function: name, qualifier, payload, lambda };
        this.#options.submit({ id, request, signal: this.#never, eventTry, reply: resolve });
      } catch (error) {
        resolve({ status: 'error', error: SnapfaasError.from(error), start: null });
      }
    });
  }

  #refused(flow: Flow, event: StoredEvent, error: SnapfaasError): void {
    const { clock, logger } = this.#options;
    const now = clock.now();
    if (flow.pausedUntil <= now) logger.debug({ target: flow.key, code: error.code }, 'events wait for room');
    flow.refused(event, now);
    this.#later.add(flow.pausedUntil, flow);
  }

  /** Whoever is to be told is told by an event of its own, which takes the place of this one. */
  async #conclude(
    target: Extract<Target, { kind: 'function' }>,
    event: StoredEvent,
    contents: EventContents,
    ending: Ending,
  ): Promise<void> {
    const { account, clock, logger, settingsOf, store } = this.#options;
    const { name, qualifier } = target;
    const { version } = ending;
    // Each version has a dead-letter target of its own, and an alias may lead to two of them.
    const { deadLetter } = settingsOf(name, version === null ? qualifier : version.version);
    const settings = { ...settingsOf(name, qualifier), deadLetter };
    const isSuccess = ending.condition === 'Success';
    const reason = reasonOf(ending);
    if (!isSuccess) {
      this.#failed += 1;
      logger.warn({ function: name, request: contents.id }, `an invocation of type Event failed: ${reason}`);
    }
    if (toldOf(ending, settings).length === 0) {
      if (isSuccess) await store.settle(event, []);
      else this.#bury(event, ending.tries, reason);
      return;
    }
    if (contents.hops >= MAX_HOPS) {
      logger.error(
        { function: name, request: contents.id },
        `its destinations lead on and on: ended after ${MAX_HOPS}`,
      );
      return this.#bury(event, ending.tries, `its destinations lead on and on; ${MAX_HOPS} were followed`);
    }
    const followers = followersOf(account, target, contents, ending, settings, reason, clock.now());
    for (const one of await store.settle(event, followers)) this.#add(one);
  }

  async #deliver(target: Target, event: StoredEvent, contents: EventContents): Promise<void> {
    const { clock, deliver, logger, store } = this.#options;
    const tries = event.state.tries + 1;
    if (tries > 1) this.#triedAgain += 1;
    try {
      await deliver(target, contents, this.#stop.signal);
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      const pauseMs = DELIVERY_PAUSES_MS[tries - 1];
      if (pauseMs === undefined) {
        this.#failed += 1;
        logger.warn(
          { target: event.target, request: contents.id },
          `a destination was not reached: ${messageOf(error)}`,
        );
        return this.#bury(event, tries, messageOf(error));
      }
      const at = clock.now() + pauseMs;
      store.update(event, { status: 'pending', tries, at, reason: null });
      this.#later.add(at, event);
      return;
    }
    await store.settle(event, []);
  }

  #bury(event: StoredEvent, tries: number, reason: string): void {
    const { clock, store } = this.#options;
    const shown = reason.slice(0, MAX_REASON_CHARACTERS);
    store.update(event, { status: 'dead', tries, at: clock.now(), reason: shown });
    this.dead.add(event);
  }

  /** Neither its run nor its end could be kept. */
  #onLost(flow: Flow, event: StoredEvent, error: unknown): void {
    if (error instanceof EventStoreError && error.code === 'closed') return;
    const { logger } = this.#options;
    logger.error({ target: flow.key, event: event.sequence }, `an event is given up: ${messageOf(error)}`);
    this.#failed += 1;
    this.#bury(event, event.state.tries, messageOf(error));
  }
}

function deliveriesOf({ kind }: Target): number {
  // Lines of a file are written one after the other.
  return kind === 'file' ? 1 : MAX_DELIVERIES_OF_ENDPOINT;
}

function reasonOf({ condition, outcome, tries }: Ending): string {
  if (condition === 'EventAgeExceeded') return `it was too old, after ${tries} tries`;
  return outcome?.status === 'error' ? outcome.error.message : '';
}
