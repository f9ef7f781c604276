import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventDispatcher, type EventDispatcherOptions } from '../../../src/controller/events/dispatcher.ts';
import type { Message } from '../../../src/controller/events/destinations.ts';
import { DEFAULT_EVENT_SETTINGS, type EventSettings } from '../../../src/controller/events/event-settings.ts';
import { MemoryEventStore } from '../../../src/controller/events/memory-store.ts';
import { createLogger } from '../../../src/controller/log.ts';
import type { Outcome, Task } from '../../../src/controller/task.ts';
import { DEFAULT_ACCOUNT } from '../../../src/protocol/arn.ts';
import { SnapfaasError } from '../../../src/protocol/errors.ts';
import { FunctionError } from '../../../src/protocol/invoker.ts';
import { functionConfig } from '../../support/scripted-guests.ts';
import { ManualClock, settled } from './manual-clock.ts';

const VERSION = functionConfig('f', { runtime: 'nodejs', timeoutMs: 1000 });
const OK: Outcome = { status: 'ok', result: Buffer.from('"done"'), start: 'warm' };
const FAILED: Outcome = {
  status: 'error',
  error: new FunctionError({ type: 'Error', message: 'no luck', stack: [] }),
  start: 'warm',
};
const NO_ROOM: Outcome = { status: 'error', error: new SnapfaasError('resource_exhausted', 'no room'), start: null };
const MIB = 1024 * 1024;
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

interface Ran {
  readonly atMs: number;
  readonly function: string;
  readonly id: string;
  readonly text: string;
}

class Bench {
  readonly clock = new ManualClock();
  readonly store = new MemoryEventStore();
  readonly ran: Ran[] = [];
  /** Tasks that were not answered. */
  readonly open: Task[] = [];
  readonly begun = this.clock.now();
  readonly dispatcher: EventDispatcher;

  /** @param answer null: the test answers. */
  constructor(answer: (task: Task, run: number) => Outcome | null, options: Partial<EventDispatcherOptions> = {}) {
    this.dispatcher = new EventDispatcher({
      store: this.store,
      submit: (task) => {
        const { request, id } = task;
        const atMs = this.clock.now() - this.begun;
        this.ran.push({ atMs, function: request.function, id, text: request.payload.toString() });
        const outcome = answer(task, this.ran.length);
        if (outcome === null) this.open.push(task);
        else task.reply(outcome);
      },
      settingsOf: () => DEFAULT_EVENT_SETTINGS,
      limitOf: () => 2,
      versionOf: () => VERSION,
      maxInFlight: 100,
      deliver: () => Promise.reject(new Error('nobody is there')),
      account: DEFAULT_ACCOUNT,
      clock: this.clock,
      logger: createLogger('silent'),
      ...options,
    });
  }

  /** @param bytes of the event, which is filled up with spaces. */
  async accept(text: string, name = 'f', qualifier: string | null = null, bytes = 0): Promise<void> {
    await this.dispatcher.accept({
      id: `id-${text}`,
      function: name,
      qualifier,
      payload: Buffer.from(text.padEnd(bytes)),
      header: {},
    });
    await settled();
  }

  /** Answers the first `count` that are open. */
  async answer(count: number): Promise<void> {
    for (const task of this.open.splice(0, count)) task.reply(OK);
    await settled();
  }

  get times(): readonly number[] {
    return this.ran.map(({ atMs }) => atMs);
  }
}

function settings(more: Partial<EventSettings>): Partial<EventDispatcherOptions> {
  return { settingsOf: (name) => (name === 'f' ? { ...DEFAULT_EVENT_SETTINGS, ...more } : DEFAULT_EVENT_SETTINGS) };
}

async function withBench(bench: Bench, use: (bench: Bench) => Promise<void>): Promise<void> {
  await bench.dispatcher.start();
  await use(bench);
  await bench.dispatcher.drain();
  await bench.dispatcher.close();
}

test('events: one runs once if all goes well', () =>
  withBench(new Bench(() => OK), async (bench) => {
    await bench.accept('1');
    await bench.clock.pass(7 * HOUR);
    assert.deepEqual(bench.times, [0]);
    assert.equal(bench.store.size, 0);
  }));

test('events: what a function fails is tried again after one and two minutes with the same id, and is dead then', () =>
  withBench(new Bench(() => FAILED), async (bench) => {
    await bench.accept('1');
    await bench.clock.pass(7 * HOUR);
    assert.deepEqual(bench.times, [0, MINUTE, 3 * MINUTE]);
    assert.deepEqual([...new Set(bench.ran.map(({ id }) => id))], ['id-1']);
    assert.deepEqual(
      [...bench.store.events()].map(({ state }) => state),
      [{ status: 'dead', tries: 3, at: bench.begun + 3 * MINUTE, reason: 'no luck' }],
    );
    const { pending, dead, tried_again, failed } = bench.dispatcher.status();
    assert.deepEqual({ pending, dead, tried_again, failed }, { pending: 0, dead: 1, tried_again: 2, failed: 1 });
  }));

for (const attempts of [0, 1, 2]) {
  test(`events: MaximumRetryAttempts ${attempts}`, () =>
    withBench(new Bench(() => FAILED, settings({ maximumRetryAttempts: attempts })), async (bench) => {
      await bench.accept('1');
      await bench.clock.pass(HOUR);
      assert.deepEqual(bench.times, [0, MINUTE, 3 * MINUTE].slice(0, attempts + 1));
    }));
}

test('events: one for which there is no room is tried until its age ends, and these are no tries', () =>
  withBench(new Bench(() => NO_ROOM, settings({ maximumEventAgeMs: 10 * MINUTE })), async (bench) => {
    await bench.accept('1');
    await bench.clock.pass(HOUR);
    const last = bench.times.at(-1) ?? 0;
    assert.ok(last > 8 * MINUTE && last < 10 * MINUTE, `${last}`);
    assert.ok(bench.times.length < 25, `${bench.times.length} tries`);
    assert.deepEqual(bench.times.slice(0, 5), [0, 1000, 3000, 7000, 15_000]);
    const [dead] = bench.store.events();
    assert.deepEqual([dead?.state.status, dead?.state.tries], ['dead', 0]);
    assert.match(dead?.state.reason ?? '', /too old/);
  }));

test('events: room comes back, and they run in the order in which they came', () => {
  let isFull = true;
  return withBench(new Bench(() => (isFull ? NO_ROOM : OK)), async (bench) => {
    for (const text of ['1', '2', '3', '4', '5']) await bench.accept(text);
    await bench.clock.pass(1500);
    isFull = false;
    const before = bench.ran.length;
    await bench.clock.pass(MINUTE);
    assert.deepEqual(
      bench.ran.slice(before).map(({ text }) => text),
      ['1', '2', '3', '4', '5'],
    );
    assert.equal(bench.store.size, 0);
  });
});

test('events: a function that is refused at the door waits as well', () => {
  const bench = new Bench((_, run) => {
    if (run === 1) throw new SnapfaasError('queue_full', 'the queue is full');
    return OK;
  });
  return withBench(bench, async () => {
    await bench.accept('1');
    await bench.clock.pass(MINUTE);
    assert.deepEqual(bench.times, [0, 1000]);
  });
});

test('events: a slow function has so many under way, and holds up no other', () =>
  withBench(new Bench(({ request }) => (request.function === 'slow' ? null : OK)), async (bench) => {
    for (let index = 0; index < 50; index += 1) await bench.accept(`${index}`, 'slow');
    await bench.accept('1', 'quick');
    assert.deepEqual(
      bench.ran.map((one) => one.function),
      ['slow', 'slow', 'quick'],
    );
    bench.open.shift()?.reply(OK);
    await settled();
    assert.equal(bench.ran.at(-1)?.text, '2');
    for (let task = bench.open.shift(); task !== undefined; task = bench.open.shift()) {
      task.reply(OK);
      await settled();
    }
    assert.deepEqual(
      bench.ran.filter((one) => one.function === 'slow').map(({ text }) => text),
      Array.from({ length: 50 }, (_, index) => `${index}`),
    );
  }));

test('events: slow functions with large events hold up no function that has nothing under way, and memory is bounded', () => {
  const open: Task[] = [];
  const held = (): number => open.reduce((sum, { request }) => sum + request.payload.length, 0);
  const bench = new Bench(
    (task) => {
      if (task.request.function === 'quick') return OK;
      open.push(task);
      return null;
    },
    { limitOf: () => 50, maxInFlight: 512 },
  );
  return withBench(bench, async () => {
    for (let index = 0; index < 20; index += 1) await bench.accept(`${index}`, `slow${index % 4}`, null, MIB);
    const few = held();
    assert.ok(few >= 4 * MIB && few <= 11 * MIB, `four slow functions hold ${few} bytes`);
    await bench.accept('large', 'quick', null, MIB);
    assert.equal(bench.ran.at(-1)?.function, 'quick');
    for (let index = 0; index < 30; index += 1) await bench.accept('1', `other${index}`, null, MIB);
    assert.ok(held() <= 26 * MIB, `${held()} bytes are in memory`);
    assert.ok(open.some(({ request }) => request.function === 'other5'));
    await bench.accept('small', 'quick');
    assert.equal(bench.ran.at(-1)?.text, 'small');
    while (open.length > 0) {
      open.shift()?.reply(OK);
      await settled();
    }
    assert.equal(bench.ran.length, 52);
    assert.equal(bench.store.size, 0);
  });
});

test('events: hung destinations with large records hold up no function, and no other destination', () => {
  const posted: string[] = [];
  const bench = new Bench(() => OK, {
    settingsOf: (name) => ({
      ...DEFAULT_EVENT_SETTINGS,
      onSuccess: name === 'idle' ? null : `http://127.0.0.1:1/${name}`,
    }),
    deliver: (target, _, signal) => {
      const url = target.kind === 'http' ? target.url : '';
      posted.push(url);
      if (url.endsWith('/up')) return Promise.resolve();
      return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(new Error('hung'))));
    },
  });
  return withBench(bench, async () => {
    for (let index = 0; index < 12; index += 1) await bench.accept(`${index}`, `f${index % 4}`, null, MIB);
    assert.equal(bench.ran.length, 12);
    await bench.accept('1', 'idle');
    await bench.accept('2', 'up', null, MIB);
    assert.deepEqual(
      bench.ran.slice(12).map((one) => one.function),
      ['idle', 'up'],
    );
    assert.equal(posted.at(-1), 'http://127.0.0.1:1/up');
    assert.ok(posted.length <= 8, `${posted.length} large records are in memory`);
  });
});

test('events: a function that may run as many at once as there is room for leaves room to others', () =>
  withBench(new Bench(() => null, { limitOf: () => 100, maxInFlight: 8 }), async (bench) => {
    for (let index = 0; index < 20; index += 1) await bench.accept(`${index}`, 'greedy');
    for (const name of ['a', 'b', 'c', 'd', 'e']) await bench.accept('1', name);
    assert.deepEqual(
      bench.ran.map((one) => one.function),
      ['greedy', 'greedy', 'greedy', 'greedy', 'a', 'b', 'c', 'd'],
    );
    for (let turn = 0; turn < 25; turn += 1) await bench.answer(1);
    assert.equal(bench.ran.length, 25);
  }));

test('events: versions and aliases share the limit of their function, in turn, each in its order', () => {
  const ran: string[] = [];
  const bench: Bench = new Bench(({ request }) => {
    ran.push(`${request.qualifier ?? ''}${request.payload.toString()}`);
    return null;
  });
  return withBench(bench, async () => {
    for (const text of ['1', '2', '3']) {
      for (const qualifier of [null, '7', 'live']) await bench.accept(text, 'f', qualifier);
    }
    assert.equal(bench.open.length, 2);
    for (let turn = 0; turn < 9; turn += 1) {
      await bench.answer(1);
      assert.equal(bench.open.length, Math.min(2, 8 - turn));
    }
    for (const qualifier of ['', '7', 'live']) {
      const own = ran.filter((one) => one.slice(0, -1) === qualifier).map((one) => one.slice(-1));
      assert.deepEqual(own, ['1', '2', '3']);
    }
    // None is passed over: the last one of each is behind the second one of all.
    assert.ok(ran.indexOf('live1') < ran.indexOf('3') && ran.indexOf('live1') < ran.indexOf('73'), ran.join(' '));
  });
});

test('events: one whose age ends between two tries is not tried again', () =>
  withBench(new Bench(() => FAILED, settings({ maximumEventAgeMs: 90_000 })), async (bench) => {
    await bench.accept('1');
    await bench.clock.pass(HOUR);
    assert.deepEqual(bench.times, [0, MINUTE]);
  }));

test('events: what was under way when snapctr ended is neither done nor tried', async () => {
  const bench = new Bench(() => null);
  await bench.dispatcher.start();
  await bench.accept('1');
  const drained = bench.dispatcher.drain();
  bench.open[0]?.reply({ status: 'error', error: new SnapfaasError('shutting_down', 'it ends'), start: 'warm' });
  await drained;
  assert.deepEqual(
    [...bench.store.events()].map(({ state }) => [state.status, state.tries]),
    [['pending', 0]],
  );
});

test('events: a drain waits for what runs, and begins nothing', async () => {
  const bench = new Bench(() => null);
  await bench.dispatcher.start();
  for (const text of ['1', '2', '3']) await bench.accept(text);
  let isDrained = false;
  const drained = bench.dispatcher.drain().then(() => (isDrained = true));
  await bench.accept('4');
  for (const task of bench.open) task.reply(OK);
  assert.equal(isDrained, false);
  await drained;
  assert.equal(bench.ran.length, 2);
  assert.equal(bench.store.size, 2);
});

test('events: a due time that a clock wrote which was set back since is waited for no longer than others', async () => {
  const first = new Bench(() => FAILED);
  const event = await first.store.append({
    id: 'a',
    target: 'function:f',
    payload: Buffer.from('1'),
    acceptedAt: 0,
    header: {},
    hops: 0,
  });
  first.store.update(event, { status: 'pending', tries: 1, at: first.clock.now() + 24 * HOUR, reason: null });
  const bench = new Bench(() => OK, { store: first.store, ...settings({ maximumEventAgeMs: 48 * HOUR }) });
  await bench.dispatcher.start();
  await bench.clock.pass(HOUR);
  assert.deepEqual(bench.times, [5 * MINUTE]);
  await bench.dispatcher.drain();
});

test('events: destinations are told in the words of AWS', async () => {
  for (const [outcome, condition] of [
    [OK, 'Success'],
    [FAILED, 'RetriesExhausted'],
  ] as const) {
    const told = { onSuccess: 'function:good', onFailure: 'function:bad' };
    const answer = ({ request }: Task): Outcome => (request.function === 'f' ? outcome : OK);
    await withBench(new Bench(answer, settings(told)), async (bench) => {
      await bench.accept('{ "n": 9007199254740993 }');
      await bench.clock.pass(HOUR);
      const [name, tries] = condition === 'Success' ? ['good', 1] : ['bad', 3];
      const [record, ...more] = bench.ran.filter((one) => one.function !== 'f');
      assert.deepEqual([record?.function, more], [name, []]);
      assert.match(record?.text ?? '', /"requestPayload":\{ "n": 9007199254740993 \}/);
      const { timestamp, requestPayload, ...rest } = JSON.parse(record?.text ?? '') as Record<string, unknown>;
      assert.match(String(timestamp), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      assert.ok(requestPayload !== undefined);
      assert.deepEqual(rest, {
        version: '1.0',
        requestContext: {
          requestId: 'id-{ "n": 9007199254740993 }',
          functionArn: 'arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST',
          condition,
          approximateInvokeCount: tries,
        },
        responseContext: {
          statusCode: 200,
          executedVersion: VERSION.version,
          ...(condition === 'Success' ? {} : { functionError: 'Unhandled' }),
        },
        responsePayload: condition === 'Success' ? 'done' : { errorType: 'Error', errorMessage: 'no luck', trace: [] },
      });
      assert.equal(bench.store.size, 0);
    });
  }
});

test('events: the dead-letter target gets the event itself after the last try, beside the destination', () => {
  const delivered: Message[] = [];
  const places = { onFailure: 'function:told', deadLetter: 'file:dead.jsonl' };
  const bench = new Bench(({ request }) => (request.function === 'f' ? FAILED : OK), {
    ...settings({ ...places, maximumRetryAttempts: 1 }),
    deliver: (_, message) => Promise.resolve(void delivered.push(message)),
  });
  return withBench(bench, async () => {
    await bench.accept('{ "n": 1.0 }');
    await bench.clock.pass(30_000);
    assert.equal(delivered.length, 0);
    await bench.clock.pass(HOUR);
    assert.deepEqual(
      bench.ran.map((one) => one.function),
      ['f', 'f', 'told'],
    );
    const [letter, ...more] = delivered;
    assert.equal(letter?.payload.toString(), '{ "n": 1.0 }');
    assert.deepEqual(letter.attributes, { RequestID: 'id-{ "n": 1.0 }', ErrorCode: 200, ErrorMessage: 'no luck' });
    assert.deepEqual([more, bench.store.size], [[], 0]);
  });
});

test('events: a function as dead-letter target is invoked with the event alone, also if it is the destination as well', () =>
  withBench(
    new Bench(
      ({ request }) => (request.function === 'f' ? FAILED : OK),
      settings({ onFailure: 'function:g', deadLetter: 'function:g', maximumRetryAttempts: 0 }),
    ),
    async (bench) => {
      await bench.accept('{ "n": 1.0 }');
      const [record, letter, ...more] = bench.ran.filter((one) => one.function === 'g');
      assert.match(record?.text ?? '', /"condition":"RetriesExhausted"/);
      assert.equal(letter?.text, '{ "n": 1.0 }');
      assert.notEqual(letter.id, record?.id);
      assert.deepEqual(more, []);
    },
  ));

test('events: what a function is told of another one is in the same trace', () => {
  const traces: unknown[] = [];
  const answer = ({ request }: Task): Outcome => {
    traces.push(request.lambda?.header.trace);
    return OK;
  };
  return withBench(new Bench(answer, settings({ onSuccess: 'function:g' })), async (bench) => {
    await bench.dispatcher.accept({
      ...{ id: 'id', function: 'f', qualifier: null, payload: Buffer.from('1') },
      header: { trace: 'Root=1-a' },
    });
    await settled();
    assert.deepEqual(traces, ['Root=1-a', 'Root=1-a']);
  });
});

test('events: the version that failed says who gets the dead letter, and no success is one', () => {
  const asked: (string | null)[] = [];
  let outcome: Outcome = OK;
  const bench = new Bench(({ request }) => (request.function === 'f' ? outcome : OK), {
    settingsOf: (name, qualifier) => {
      asked.push(qualifier);
      const deadLetter = name === 'f' && qualifier === '7' ? 'function:of-seven' : null;
      return { ...DEFAULT_EVENT_SETTINGS, maximumRetryAttempts: 0, deadLetter };
    },
  });
  return withBench(bench, async () => {
    const version = { ...VERSION, version: '7' };
    outcome = { ...OK, version };
    await bench.accept('1');
    outcome = { ...FAILED, version };
    await bench.accept('2');
    assert.deepEqual(
      bench.ran.filter((one) => one.function !== 'f').map((one) => [one.function, one.text]),
      [['of-seven', '2']],
    );
    assert.ok(asked.includes(null));
  });
});

test('events: a dead letter that does not arrive is kept with its attributes, and redriven with them', () => {
  const delivered: Message[] = [];
  let isUp = false;
  const bench = new Bench(() => FAILED, {
    ...settings({ deadLetter: 'http://127.0.0.1:1/', maximumRetryAttempts: 0 }),
    deliver: (_, message) => {
      if (!isUp) return Promise.reject(new Error('nobody is there'));
      return Promise.resolve(void delivered.push(message));
    },
  });
  return withBench(bench, async () => {
    await bench.accept('1');
    await bench.clock.pass(HOUR);
    const [dead = assert.fail()] = bench.store.events();
    assert.deepEqual([dead.state.status, dead.target], ['dead', 'http://127.0.0.1:1/']);
    isUp = true;
    await bench.dispatcher.redrive(dead);
    await settled();
    assert.deepEqual(
      delivered.map(({ attributes }) => attributes),
      [{ RequestID: 'id-1', ErrorCode: 200, ErrorMessage: 'no luck' }],
    );
  });
});

test('events: of one that grew too old a destination is told without an answer', () =>
  withBench(
    new Bench(
      ({ request }) => (request.function === 'f' ? NO_ROOM : OK),
      settings({ onFailure: 'function:bad', maximumEventAgeMs: MINUTE }),
    ),
    async (bench) => {
      await bench.accept('1');
      await bench.clock.pass(HOUR);
      const record = JSON.parse(bench.ran.at(-1)?.text ?? '') as { requestContext: Record<string, unknown> };
      assert.deepEqual(Object.keys(record), ['version', 'timestamp', 'requestContext', 'requestPayload']);
      assert.deepEqual(
        [record.requestContext['condition'], record.requestContext['approximateInvokeCount']],
        ['EventAgeExceeded', 0],
      );
    },
  ));

test('events: a function that is its own destination is stopped after 16 hops', () =>
  withBench(new Bench(() => OK, settings({ onSuccess: 'function:f' })), async (bench) => {
    await bench.accept('1');
    await bench.clock.pass(HOUR);
    assert.equal(bench.ran.length, 17);
    const [dead] = bench.store.events();
    assert.match(dead?.state.reason ?? '', /lead on and on; 16 were followed/);
    assert.equal(new Set(bench.ran.map(({ id }) => id)).size, 17);
  }));

test('events: a destination that is not reached is tried some times, and its record is dead then', () => {
  const delivered: number[] = [];
  let isUp = false;
  const bench: Bench = new Bench(() => OK, {
    ...settings({ onSuccess: 'http://127.0.0.1:1/' }),
    deliver: () => {
      delivered.push(bench.clock.now() - bench.begun);
      return isUp ? Promise.resolve() : Promise.reject(new Error('nobody is there'));
    },
  });
  return withBench(bench, async () => {
    await bench.accept('1');
    await bench.clock.pass(HOUR);
    assert.equal(bench.ran.length, 1);
    assert.deepEqual(delivered.slice(0, 4), [0, 1000, 3000, 7000]);
    assert.equal(delivered.length, 10);
    const [dead] = bench.store.events();
    assert.deepEqual([dead?.state.status, dead?.state.reason], ['dead', 'nobody is there']);
    isUp = true;
    assert.ok(dead !== undefined);
    await bench.dispatcher.redrive(dead);
    await settled();
    assert.equal(bench.store.size, 0);
  });
});

test('events: dead ones begin anew when they are redriven, with their age, and are gone when they are purged', () => {
  let outcome: Outcome = FAILED;
  return withBench(new Bench(() => outcome), async (bench) => {
    await bench.accept('1');
    await bench.accept('2');
    await bench.clock.pass(24 * HOUR);
    assert.equal(bench.dispatcher.dead.size, 2);
    const [first, second] = bench.store.events();
    assert.ok(first !== undefined && second !== undefined);
    outcome = OK;
    await bench.dispatcher.redrive(first);
    await settled();
    assert.deepEqual([bench.ran.at(-1)?.text, bench.ran.at(-1)?.id], ['1', 'id-1']);
    await bench.dispatcher.purge(second);
    assert.deepEqual([bench.store.size, bench.dispatcher.dead.size], [0, 0]);
  });
});

test('events: dead ones go after two weeks', () =>
  withBench(new Bench(() => FAILED), async (bench) => {
    await bench.accept('1');
    await bench.clock.pass(13 * 24 * HOUR);
    assert.equal(bench.store.size, 1);
    await bench.clock.pass(2 * 24 * HOUR);
    assert.equal(bench.store.size, 0);
  }));
