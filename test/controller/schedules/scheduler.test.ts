/** Schedules on a clock of the test: what is due, once, whatever ends between two steps. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventDispatcher } from '../../../src/controller/events/dispatcher.ts';
import { DEFAULT_EVENT_SETTINGS } from '../../../src/controller/events/event-settings.ts';
import { EventStoreError, type EventStore, type NewEvent } from '../../../src/controller/events/event-store.ts';
import { MemoryEventStore } from '../../../src/controller/events/memory-store.ts';
import { createLogger } from '../../../src/controller/log.ts';
import { loadMarks } from '../../../src/controller/schedules/marks.ts';
import { Scheduler } from '../../../src/controller/schedules/scheduler.ts';
import { DEFAULT_ACCOUNT } from '../../../src/protocol/arn.ts';
import { FunctionRegistry, type FunctionSchedule } from '../../../src/registry/function-registry.ts';
import type { ScheduleMarks } from '../../../src/registry/records.ts';
import { ManualClock, settled } from '../events/manual-clock.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const BEGIN = Date.parse('2026-05-01T00:00:00Z');

function schedule(name: string, expression: string, more: Partial<FunctionSchedule> = {}): FunctionSchedule {
  const usual = { timeZone: 'UTC', qualifier: null, input: null, missed: 'once', start: null, end: null } as const;
  return { ...usual, name, expression, isPaused: false, since: null, ...more };
}

/** What is on disk; the test ends the process that uses it by no longer letting it write. */
class Disk {
  readonly store = new MemoryEventStore();
  readonly records = new Map<string, ScheduleMarks>();
  /** Ran, by the due times in their events. */
  readonly ran: string[] = [];
  /** Steps until the process is killed. */
  stepsLeft = Infinity;
  isFull = false;

  step(): void {
    this.stepsLeft -= 1;
    if (this.stepsLeft < 0) throw new EventStoreError('closed', 'killed');
    if (this.isFull) throw new EventStoreError('unwritable', 'the disk is full');
  }
}

/** One life of snapctr. */
class Life {
  readonly registry = new FunctionRegistry();
  readonly events: EventDispatcher;
  #scheduler: Scheduler | null = null;
  readonly #disk: Disk;
  readonly #clock: ManualClock;
  /** How far the host's clock is set from the one that runs. */
  shiftMs = 0;
  /** Functions answer in a later turn of the event loop, as VMs do. */
  answersLater = false;

  constructor(disk: Disk, clock: ManualClock) {
    this.#disk = disk;
    this.#clock = clock;
    const { store } = disk;
    const kept: EventStore = {
      isDurable: true,
      latestMoment: 0,
      get size() {
        return store.size;
      },
      events: () => store.events(),
      find: (sequence) => store.find(sequence),
      read: (event) => store.read(event),
      update: (event, state) => store.update(event, state),
      append: async (event: NewEvent) => {
        disk.step();
        return store.append(event);
      },
      settle: async (event, followers) => {
        disk.step();
        return store.settle(event, followers);
      },
      close: () => store.close(),
    };
    this.events = new EventDispatcher({
      store: kept,
      submit: ({ request, reply }) => {
        if (disk.stepsLeft < 0) return;
        const { time, own } = JSON.parse(request.payload.toString()) as { time?: string; own?: string };
        disk.ran.push(time ?? own ?? '');
        const answer = (): void => reply({ status: 'ok', result: Buffer.from('1'), start: 'warm' });
        if (this.answersLater) setImmediate(answer);
        else answer();
      },
      settingsOf: () => DEFAULT_EVENT_SETTINGS,
      limitOf: () => 100,
      versionOf: () => null,
      maxInFlight: 100,
      deliver: () => Promise.reject(new Error('nobody is there')),
      account: DEFAULT_ACCOUNT,
      clock,
      logger: createLogger('silent'),
    });
  }

  get scheduler(): Scheduler {
    assert.ok(this.#scheduler !== null);
    return this.#scheduler;
  }

  async start(schedules: readonly FunctionSchedule[]): Promise<this> {
    const { records } = this.#disk;
    this.registry.configure('f', { schedules });
    const bucket = {
      load: () => Promise.resolve({ records: [...records.values()], damaged: [] }),
      put: async (record: ScheduleMarks): Promise<void> => {
        await Promise.resolve();
        this.#disk.step();
        records.set(record.name, structuredClone(record));
      },
      delete: () => Promise.resolve(),
    };
    this.#scheduler = new Scheduler({
      events: this.events,
      registry: this.registry,
      marks: await loadMarks(bucket),
      bucket,
      account: DEFAULT_ACCOUNT,
      clock: { now: () => this.#clock.now() + this.shiftMs, monotonic: this.#clock.now, after: this.#clock.after },
      logger: createLogger('silent'),
    });
    await this.#scheduler.start();
    await this.events.start();
    await settled();
    return this;
  }

  async end(): Promise<void> {
    await Promise.all([this.scheduler.drain(), this.events.drain()]);
  }
}

function times(...moments: readonly string[]): readonly string[] {
  return moments.map((moment) => `2026-05-01T${moment}:00Z`);
}

test('schedules: each due time becomes one event, with the time at which it was due', async () => {
  const [disk, clock] = [new Disk(), new ManualClock(BEGIN)];
  const life = await new Life(disk, clock).start([schedule('often', 'rate(5 minutes)')]);
  await clock.pass(16 * MINUTE);
  assert.deepEqual(disk.ran, times('00:05', '00:10', '00:15'));
  assert.equal(life.scheduler.nextDue('f', 'often'), BEGIN + 20 * MINUTE);
  await life.end();
});

test('schedules: what was missed during a stop becomes one event, or none, as the schedule says', async () => {
  const [disk, clock] = [new Disk(), new ManualClock(BEGIN)];
  const all = [schedule('once', 'cron(0/10 * * * ? *)'), schedule('skip', 'cron(1/10 * * * ? *)', { missed: 'skip' })];
  await (await new Life(disk, clock).start(all)).end();
  await clock.pass(35 * MINUTE);
  const life = await new Life(disk, clock).start(all);
  assert.deepEqual(disk.ran, times('00:30'));
  await clock.pass(10 * MINUTE);
  assert.deepEqual(disk.ran, times('00:30', '00:40', '00:41'));
  await life.end();
});

test('schedules: a new schedule has missed nothing', async () => {
  const [disk, clock] = [new Disk(), new ManualClock(BEGIN)];
  const old = schedule('old', 'cron(0 * * * ? *)');
  await (await new Life(disk, clock).start([old])).end();
  await clock.pass(3 * HOUR + 5 * MINUTE);
  const life = await new Life(disk, clock).start([old, schedule('new', 'cron(2 * * * ? *)')]);
  assert.deepEqual(disk.ran, times('03:00'));
  await life.end();
});

test('schedules: killed after any number of steps, each due time becomes one event', async () => {
  const all = [schedule('a', 'rate(1 minute)'), schedule('b', 'rate(1 minute)', { input: '{"own": "b"}' })];
  let isKilled = true;
  let lives = 0;
  for (let steps = 0; isKilled; steps += 1) {
    const [disk, clock] = [new Disk(), new ManualClock(BEGIN)];
    const first = await new Life(disk, clock).start(all);
    disk.stepsLeft = steps;
    await clock.pass(MINUTE + 1000);
    isKilled = disk.stepsLeft < 0;
    await first.end();
    disk.stepsLeft = Infinity;
    const before = disk.ran.length;
    const second = await new Life(disk, clock).start(all);
    await clock.pass(MINUTE);
    const ran = (what: string): number => disk.ran.filter((one) => one === what).length;
    const [one, two] = times('00:01', '00:02');
    // A run whose end was not written is done again, with the same event: at most those of the step at which it ended.
    const again = disk.ran.length - 4;
    assert.ok(again >= 0 && again <= 2, `after ${steps} steps, ${before} had run: ${disk.ran.join(' ')}`);
    for (const time of [one, two]) assert.ok(ran(time ?? '') >= 1, `after ${steps} steps: ${disk.ran.join(' ')}`);
    assert.equal(disk.store.size, 0);
    await second.end();
    lives += 1;
  }
  assert.ok(lives >= 6, `${lives} lives`);
});

test('schedules: a full disk holds back what is due, and loses nothing', async () => {
  const [disk, clock] = [new Disk(), new ManualClock(BEGIN)];
  const life = await new Life(disk, clock).start([schedule('a', 'rate(1 minute)')]);
  disk.isFull = true;
  await clock.pass(MINUTE + 10_000);
  assert.deepEqual(disk.ran, []);
  disk.isFull = false;
  await clock.pass(2000);
  assert.deepEqual(disk.ran, times('00:01'));
  await clock.pass(MINUTE);
  assert.deepEqual(disk.ran, times('00:01', '00:02'));
  await life.end();
});

test('schedules: a clock that is set back brings nothing twice, and one that is set forward has missed something', async () => {
  const [disk, clock] = [new Disk(), new ManualClock(BEGIN)];
  const life = await new Life(disk, clock).start([schedule('a', 'cron(0/10 * * * ? *)')]);
  await clock.pass(20 * MINUTE + 1000);
  life.shiftMs = -15 * MINUTE;
  await clock.pass(16 * MINUTE);
  assert.deepEqual(disk.ran, times('00:10', '00:20'));
  await clock.pass(10 * MINUTE);
  assert.deepEqual(disk.ran, times('00:10', '00:20', '00:30'));
  life.shiftMs += 3 * HOUR;
  await clock.pass(MINUTE);
  assert.deepEqual(disk.ran, times('00:10', '00:20', '00:30', '03:30'));
  await life.end();
});

test('schedules: a clock that was ahead by years is believed after some minutes', async () => {
  const [disk, clock] = [new Disk(), new ManualClock(BEGIN)];
  const life = new Life(disk, clock);
  life.shiftMs = 3650 * 24 * HOUR;
  await life.start([schedule('a', 'rate(1 minute)')]);
  await clock.pass(2 * MINUTE);
  assert.equal(disk.ran.length, 2);
  life.shiftMs = 0;
  await clock.pass(20 * MINUTE);
  assert.ok(disk.ran.includes(times('00:20')[0] ?? ''), disk.ran.join(' '));
  await life.end();
});

test('schedules: those that are paused, changed or gone with their function are due no more', async () => {
  const [disk, clock] = [new Disk(), new ManualClock(BEGIN)];
  const life = await new Life(disk, clock).start([schedule('a', 'rate(1 minute)')]);
  await clock.pass(MINUTE);
  life.registry.configure('f', { schedules: [schedule('a', 'rate(1 minute)', { isPaused: true })] });
  await clock.pass(5 * MINUTE);
  assert.deepEqual(life.scheduler.status(), { total: 1, paused: 1, due: 1, missed: 0 });
  const since = new Date(clock.now()).toISOString();
  life.registry.configure('f', { schedules: [schedule('a', 'rate(2 minutes)', { since })] });
  await clock.pass(2 * MINUTE);
  assert.deepEqual(disk.ran, times('00:01', '00:08'));
  life.registry.remove('f');
  await clock.pass(HOUR);
  assert.equal(disk.ran.length, 2);
  assert.equal(life.scheduler.status().total, 0);
  await life.end();
});

test('schedules: 10,000 of them that are due at once all become events', async () => {
  const [disk, clock] = [new Disk(), new ManualClock(BEGIN + 8 * HOUR - 5000)];
  const life = new Life(disk, clock);
  for (let fn = 0; fn < 100; fn += 1) {
    const own = Array.from({ length: 100 }, (_, index) => schedule(`s${index}`, 'cron(0 8 * * ? *)'));
    life.registry.configure(`f${fn}`, { schedules: own });
  }
  life.answersLater = true;
  await life.start([]);
  const deadline = performance.now() + 30_000;
  // How many are let go between two turns of the event loop, if each takes a while.
  const release = life.events.release.bind(life.events);
  let [most, released, inTurn, isTurnOver] = [0, 0, 0, true];
  life.events.release = (event) => {
    if (isTurnOver) {
      [inTurn, isTurnOver] = [0, false];
      setImmediate(() => (isTurnOver = true));
    }
    inTurn += 1;
    released += 1;
    most = Math.max(most, inTurn);
    const until = performance.now() + 0.05;
    while (performance.now() < until);
    release(event);
  };
  await clock.pass(6000);
  while (released < 10_000 && performance.now() < deadline) await clock.pass(1000);
  assert.equal(life.scheduler.status().due, 10_000);
  assert.equal(released, 10_000);
  assert.ok(most < 500, `${most} of 10,000 were let go in one turn of the event loop`);
  await life.end();
});
