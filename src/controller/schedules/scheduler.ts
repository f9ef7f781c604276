/**
 * Runs in snapctr. The gateway of schedules: when one is due, it appends an event, and never runs a function itself.
 *
 * ```
 *   due ──▶ event appended, held ──▶ watermark on disk ──▶ event released
 * ```
 *
 * All due times up to the watermark were seen to. An event is not run, and so cannot be forgotten, before the watermark says so: after a
 * crash it is either marked, or still in the store under its origin, the schedule and the due time. So each due time becomes one event.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { functionArn, type LambdaAccount } from '../../protocol/arn.ts';
import { messageOf } from '../../protocol/errors.ts';
import type { FunctionRegistry, FunctionSchedule } from '../../registry/function-registry.ts';
import type { RecordBucket } from '../../registry/record-store.ts';
import type { ScheduleMarks } from '../../registry/records.ts';
import type { EventDispatcher } from '../events/dispatcher.ts';
import { DueQueue } from '../due-queue.ts';
import type { StoredEvent } from '../events/event-store.ts';
import type { Gateway } from '../gateway/gateway.ts';
import type { Logger } from '../log.ts';
import { dueTimes, type DueTimes } from './due-times.ts';
import type { Known, Marks, Watermark } from './marks.ts';
import type { ScheduleClock } from './schedule-clock.ts';
import { scheduledEvent, scheduledEventId } from './scheduled-event.ts';

/** A due time that is farther back was missed. */
const ON_TIME_MS = 60_000;
/** The host's clock may be set: it is looked at so often. */
const LONGEST_SLEEP_MS = 30_000;
/** A disk that refused is asked again after so many ms. */
const RETRY_MS = 1000;
/** A clock that was set back by more than this, and stays so for that long, had been wrong before. */
const SET_BACK_MS = 24 * 3600 * 1000;
const BELIEVED_AFTER_MS = 600_000;
/** After so many ms of work, the event loop has its turn. */
const SLICE_MS = 5;
/** Events that are on their way into the store at once. */
const MAX_APPENDS = 500;
const ORIGIN = /^schedule:(.*)@(\d+)$/;

export interface SchedulerOptions {
  readonly events: Pick<EventDispatcher, 'events' | 'acceptHeld' | 'hold' | 'release' | 'purge'>;
  readonly registry: FunctionRegistry;
  readonly marks: Marks;
  /** Where marks are kept; null: they are not. */
  readonly bucket: Pick<RecordBucket<ScheduleMarks>, 'put'> | null;
  readonly account: LambdaAccount;
  readonly clock: ScheduleClock;
  readonly logger: Logger;
}

/** What `/status` tells. */
export interface SchedulesStatus {
  readonly total: number;
  readonly paused: number;
  /** Since the start: events, and due times that became none. */
  readonly due: number;
  readonly missed: number;
}

interface Job {
  readonly key: string;
  readonly function: string;
  readonly schedule: FunctionSchedule;
  readonly times: DueTimes;
  /** All due times up to then were seen to, in ms since 1970. */
  seenTo: number;
  isCurrent: boolean;
  /** Its place in the queue; another one there is void. */
  armed: Armed | null;
}

interface Armed {
  readonly job: Job;
}

export class Scheduler implements Gateway {
  readonly #options: SchedulerOptions;
  readonly #jobs = new Map<string, Job>();
  /** By function and key; null: paused. */
  readonly #ofFunction = new Map<string, ReadonlyMap<string, Job | null>>();
  readonly #queue = new DueQueue<Armed>();
  /** Events that wait for the mark. */
  #held: StoredEvent[] = [];
  #watermark: Omit<Watermark, 'name'>;
  readonly #known: Map<string, Known['since'][string]>;
  #knownHasChanged = false;
  #isOwed = false;
  #setBackSince: number | null = null;
  #state: 'new' | 'running' | 'ended' = 'new';
  #working: Promise<void> | null = null;
  #callOff: (() => void) | null = null;
  #paused = 0;
  #due = 0;
  #missed = 0;
  #isFailing = false;

  constructor(options: SchedulerOptions) {
    const { marks, clock } = options;
    this.#options = options;
    this.#watermark = marks.watermark ?? { at: clock.now(), ahead: {} };
    this.#known = new Map(Object.entries(marks.known));
  }

  /** Resolves when what was missed is appended. All functions of the files are in the registry by then; events are started afterwards. */
  async start(): Promise<void> {
    const { registry, events } = this.#options;
    for (const key of this.#known.keys()) {
      if (registry.get(functionOf(key)) !== undefined) continue;
      this.#known.delete(key);
      this.#knownHasChanged = true;
    }
    registry.listen({ onScheduled: (name) => this.#set(name, registry.get(name)?.schedules ?? []) });
    const turns = new Slices();
    for (const { name } of registry.list()) {
      const schedules = registry.get(name)?.schedules ?? [];
      if (schedules.length > 0) this.#set(name, schedules);
      if (turns.isOver) await turns.next();
    }
    const seen = new Set<string>();
    for (const event of [...events.events()]) {
      await this.#recognize(event, seen);
      if (turns.isOver) await turns.next();
    }
    this.#state = 'running';
    await this.#work();
  }

  async drain(): Promise<void> {
    this.#state = 'ended';
    this.#callOff?.();
    await this.#working;
  }

  close(): Promise<void> {
    return this.drain();
  }

  /** When a schedule is due next, in ms since 1970; null: never, as far as is known. */
  nextDue(functionName: string, name: string): number | null {
    const job = this.#jobs.get(keyOf(functionName, name));
    return job?.times.next(Math.max(job.seenTo, this.#options.clock.now())) ?? null;
  }

  status(): SchedulesStatus {
    return { total: this.#jobs.size + this.#paused, paused: this.#paused, due: this.#due, missed: this.#missed };
  }

  /** An event of before: appended, and perhaps not marked. */
  async #recognize(event: StoredEvent, seen: Set<string>): Promise<void> {
    const { events } = this.#options;
    const { origin } = event;
    const [, key = '', text = ''] = ORIGIN.exec(origin ?? '') ?? [];
    const due = Number(text);
    if (origin === null || key === '' || due <= this.#markOf(key) || event.state.status !== 'pending') return;
    // A write that failed had left it after all, and it was appended again.
    if (seen.has(origin)) return events.purge(event);
    seen.add(origin);
    const job = this.#jobs.get(key);
    if (job !== undefined) job.seenTo = Math.max(job.seenTo, due);
    events.hold(event);
    this.#held.push(event);
  }

  #markOf(key: string): number {
    return Math.max(this.#watermark.at, this.#watermark.ahead[key] ?? 0);
  }

  /** These are the function's schedules from now on. */
  #set(name: string, schedules: readonly FunctionSchedule[]): void {
    const before = this.#ofFunction.get(name) ?? new Map<string, Job | null>();
    for (const job of before.values()) {
      if (job === null) this.#paused -= 1;
      else job.isCurrent = false;
    }
    const after = new Map<string, Job | null>();
    for (const schedule of schedules) {
      const key = keyOf(name, schedule.name);
      const job = this.#jobOf(name, schedule, before.get(key) ?? null);
      after.set(key, job);
      if (job === null) this.#paused += 1;
    }
    for (const key of before.keys()) this.#jobs.delete(key);
    for (const [key, job] of after) {
      if (job === null) continue;
      this.#jobs.set(key, job);
      this.#arm(job);
    }
    if (after.size > 0) this.#ofFunction.set(name, after);
    else this.#ofFunction.delete(name);
    for (const key of before.keys()) if (!after.has(key)) this.#unknow(key);
    if (this.#state === 'running') this.#sleep();
  }

  /** Null: it is paused, or cannot be used. */
  #jobOf(name: string, schedule: FunctionSchedule, before: Job | null): Job | null {
    if (schedule.isPaused) return null;
    const { expression, timeZone, start, end } = schedule;
    const key = keyOf(name, schedule.name);
    try {
      const since = schedule.since === null ? this.#knownSince(key, schedule) : Date.parse(schedule.since);
      const times = dueTimes({
        expression,
        timeZone,
        startAt: start === null ? null : Date.parse(start),
        endAt: end === null ? null : Date.parse(end),
        anchor: Math.floor(since / 1000) * 1000,
      });
      const seenTo = Math.max(since, before?.seenTo ?? (this.#state === 'new' ? this.#markOf(key) : 0));
      return { key, function: name, schedule, times, seenTo, isCurrent: true, armed: null };
    } catch (error) {
      const { logger } = this.#options;
      logger.error({ function: name, schedule: schedule.name }, `a schedule cannot be used: ${messageOf(error)}`);
      return null;
    }
  }

  /** Since when a schedule of the files has said when it is due: what says something else is another one. */
  #knownSince(key: string, { expression, timeZone, start, end }: FunctionSchedule): number {
    const when = JSON.stringify([expression, timeZone, start, end]);
    const known = this.#known.get(key);
    if (known?.when === when) return known.at;
    const at = this.#options.clock.now();
    this.#known.set(key, { when, at });
    this.#knownHasChanged = true;
    return at;
  }

  #unknow(key: string): void {
    if (this.#known.delete(key)) this.#knownHasChanged = true;
  }

  #arm(job: Job): void {
    this.#armNext(job.times.next(job.seenTo), job);
  }

  #armNext(next: number | null, job: Job): void {
    if (next === null) job.armed = null;
    else this.#armAt(next, job);
  }

  #armAt(at: number, job: Job): void {
    job.armed = { job };
    this.#queue.add(at, job.armed);
  }

  /** One at a time; what comes meanwhile is seen to by the next one. */
  async #work(): Promise<void> {
    this.#callOff?.();
    this.#callOff = null;
    this.#working = this.#tick();
    try {
      await this.#working;
    } finally {
      this.#working = null;
      this.#sleep();
    }
  }

  async #tick(): Promise<void> {
    const { clock } = this.#options;
    const now = clock.now();
    this.#checkSetBack(now);
    let appends: Promise<boolean>[] = [];
    let isWhole = true;
    const finish = async (): Promise<void> => {
      const done = await Promise.all(appends);
      if (done.includes(false)) isWhole = false;
      appends = [];
    };
    const turns = new Slices();
    for (let armed = this.#queue.take(now); armed !== null; armed = this.#queue.take(now)) {
      const { job } = armed;
      if (job.isCurrent && job.armed === armed) appends.push(this.#serve(job, now));
      if (appends.length >= MAX_APPENDS) await finish();
      if (turns.isOver) await turns.next();
    }
    await finish();
    await this.#mark(now, isWhole);
  }

  /** @returns false: it is tried again, as the store has no room. */
  async #serve(job: Job, now: number): Promise<boolean> {
    const { clock, logger } = this.#options;
    const latest = job.times.latest(now);
    if (latest !== null && latest > job.seenTo) {
      // Found now: once they are on disk, hundreds of them go on in one turn.
      const next = job.times.next(latest);
      const wanted = this.#wanted(job, latest, now);
      try {
        for (const due of wanted) await this.#append(job, due);
        this.#isFailing = false;
      } catch (error) {
        const { name } = job.schedule;
        if (!this.#isFailing) {
          logger.error({ function: job.function, schedule: name }, `what is due waits: ${messageOf(error)}`);
        }
        this.#isFailing = true;
        this.#armAt(clock.now() + RETRY_MS, job);
        return false;
      }
      job.seenTo = latest;
      if (job.isCurrent) this.#armNext(next, job);
    } else if (job.isCurrent) this.#arm(job);
    return true;
  }

  /** What is on time, or else the last one that was missed. */
  #wanted({ times, seenTo, schedule }: Job, latest: number, now: number): readonly number[] {
    const wanted: number[] = [];
    const from = Math.max(seenTo, now - ON_TIME_MS);
    for (let due = times.next(from); due !== null && due <= now; due = times.next(due)) wanted.push(due);
    if (wanted.length > 0) return wanted;
    this.#missed += 1;
    return schedule.missed === 'once' ? [latest] : [];
  }

  async #append(job: Job, due: number): Promise<void> {
    const { account, events } = this.#options;
    const { name, qualifier, input } = job.schedule;
    const id = scheduledEventId(job.key, due);
    const payload = input === null ? scheduledEvent(account, name, id, due) : Buffer.from(input);
    const arn = functionArn(account, job.function) + (qualifier === null ? '' : `:${qualifier}`);
    const event = { id, function: job.function, qualifier, payload, header: { arn } };
    this.#held.push(await events.acceptHeld(event, `schedule:${job.key}@${due}`));
    job.seenTo = due;
    this.#due += 1;
  }

  /** What was appended may run then. @param isWhole whether all that is due by now was appended. */
  async #mark(now: number, isWhole: boolean): Promise<void> {
    const { bucket, events, logger } = this.#options;
    try {
      if (this.#knownHasChanged) {
        this.#knownHasChanged = false;
        await bucket?.put({ name: 'known', since: Object.fromEntries(this.#known) }).catch((error: unknown) => {
          this.#knownHasChanged = true;
          throw error;
        });
      }
      if (this.#held.length > 0) {
        const at = isWhole ? Math.max(this.#watermark.at, now) : this.#watermark.at;
        const beyond = [...this.#jobs.values()].filter(({ seenTo }) => seenTo > at);
        const ahead = Object.fromEntries(beyond.map(({ key, seenTo }) => [key, seenTo] as const));
        await bucket?.put({ name: 'watermark', at, ahead });
        this.#watermark = { at, ahead };
      }
      this.#isOwed = false;
    } catch (error) {
      if (!this.#isOwed) logger.error(`what is due waits, as it cannot be marked: ${messageOf(error)}`);
      this.#isOwed = true;
      return;
    }
    const turns = new Slices();
    for (const event of this.#held.splice(0)) {
      events.release(event);
      if (turns.isOver) await turns.next();
    }
  }

  /** Due times between the host's clock and the watermark are not due again; that must not go on for ever. */
  #checkSetBack(now: number): void {
    const { clock, logger } = this.#options;
    if (this.#watermark.at <= now + SET_BACK_MS) {
      this.#setBackSince = null;
      return;
    }
    this.#setBackSince ??= clock.monotonic();
    if (clock.monotonic() - this.#setBackSince < BELIEVED_AFTER_MS) return;
    logger.warn('the clock of this host was ahead by more than a day: schedules go on from now');
    this.#watermark = { at: now, ahead: {} };
    for (const job of this.#jobs.values()) {
      job.seenTo = Math.min(job.seenTo, now);
      this.#arm(job);
    }
  }

  /** Until the next one is due. */
  #sleep(): void {
    if (this.#state !== 'running' || this.#working !== null) return;
    const { clock } = this.#options;
    this.#callOff?.();
    this.#callOff = null;
    const isOwed = this.#isOwed || this.#knownHasChanged;
    const untilNext = Math.max(1, (this.#queue.nextAt ?? Infinity) - clock.now());
    const ms = Math.min(untilNext, isOwed ? RETRY_MS : Infinity, this.#jobs.size > 0 ? LONGEST_SLEEP_MS : Infinity);
    if (ms === Infinity) return;
    this.#callOff = clock.after(ms, () => void this.#work());
  }
}

/** Long work, in slices between which the event loop has its turn. */
class Slices {
  #endsAt = performance.now() + SLICE_MS;

  get isOver(): boolean {
    return performance.now() >= this.#endsAt;
  }

  async next(): Promise<void> {
    await nextTurn();
    this.#endsAt = performance.now() + SLICE_MS;
  }
}

function keyOf(functionName: string, name: string): string {
  return `${functionName}/${name}`;
}

function functionOf(key: string): string {
  return key.slice(0, key.indexOf('/'));
}
