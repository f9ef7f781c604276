/** What `snapctr events` asks for, over HTTP: lists in pages. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeadEvents } from '../../../src/controller/events/dead-events.ts';
import type { StoredEvent } from '../../../src/controller/events/event-store.ts';
import { MemoryEventStore } from '../../../src/controller/events/memory-store.ts';
import { EventsApi } from '../../../src/controller/gateway/events/api.ts';
import { createLogger } from '../../../src/controller/log.ts';
import { ManualClock } from '../events/manual-clock.ts';
import { newEvent } from '../events/events.ts';
import { withGateway } from './http-client.ts';

interface Page {
  readonly events: readonly { readonly event: number; readonly target: string; readonly status: string }[];
  readonly nextToken?: string;
}

interface Answer {
  readonly status: number;
  readonly json: unknown;
}

type Ask = (members: object, operation?: string) => Promise<Answer>;

class Kept {
  readonly store = new MemoryEventStore();
  readonly #dead = new DeadEvents({ store: this.store, clock: new ManualClock(), logger: createLogger('silent') });
  readonly api = new EventsApi(
    {
      events: () => this.store.events(),
      find: (sequence) => this.store.find(sequence),
      read: (event) => this.store.read(event),
      dead: this.#dead,
      redrive: (event) => this.#change(event),
      purge: (event) => this.#change(event),
    },
    { add: () => Promise.resolve() },
    (name) => name === 'f' || name === 'idle',
  );
  readonly changed: number[] = [];

  async add(target: string, isDead = false): Promise<StoredEvent> {
    const event = await this.store.append(newEvent('a', { target }));
    if (!isDead) return event;
    this.store.update(event, { status: 'dead', tries: 3, at: 1, reason: 'no luck' });
    this.#dead.add(event);
    return event;
  }

  #change(event: StoredEvent): Promise<void> {
    this.changed.push(event.sequence);
    return Promise.resolve();
  }
}

async function withKept(use: (kept: Kept, ask: Ask) => Promise<void>): Promise<void> {
  const kept = new Kept();
  await withGateway({ jsonApis: [kept.api] }, async (_, port) => {
    await use(kept, async (members, operation = 'ListEvents') => {
      const headers = { 'content-type': 'application/x-amz-json-1.1', 'x-amz-target': `SnapfaasEvents.${operation}` };
      const request = { method: 'POST', headers, body: JSON.stringify(members) };
      const answer = await fetch(`http://127.0.0.1:${port}/`, request);
      return { status: answer.status, json: await answer.json() };
    });
  });
}

/** @param between what happens after each page. */
async function pagesOf(
  ask: (members: object) => Promise<Answer>,
  members: object,
  between: (pages: number) => Promise<unknown> = () => Promise.resolve(),
): Promise<readonly Page[]> {
  const pages: Page[] = [];
  let nextToken: string | undefined;
  do {
    const { status, json } = await ask({ ...members, nextToken });
    assert.equal(status, 200, JSON.stringify(json));
    const page = json as Page;
    pages.push(page);
    assert.ok(pages.length < 100, 'the pages have no end');
    ({ nextToken } = page);
    await between(pages.length);
  } while (nextToken !== undefined);
  return pages;
}

function numbersOf(pages: readonly Page[]): readonly number[] {
  return pages.flatMap(({ events }) => events.map(({ event }) => event));
}

test('ListEvents: pages have as many as was asked for, in order, and the last one no token', () =>
  withKept(async (kept, ask) => {
    const all: number[] = [];
    for (let index = 0; index < 12; index += 1) all.push((await kept.add('function:f')).sequence);
    for (const [limit, sizes] of [
      [5, [5, 5, 2]],
      [6, [6, 6]],
      [1, all.map(() => 1)],
      [1000, [12]],
    ] as const) {
      const pages = await pagesOf(ask, { limit });
      assert.deepEqual(
        pages.map(({ events }) => events.length),
        sizes,
      );
      assert.deepEqual(numbersOf(pages), all);
    }
    assert.deepEqual(numbersOf(await pagesOf(ask, {})), all);
  }));

test('ListEvents: the pages of a function, or of a status, leave out all others', () =>
  withKept(async (kept, ask) => {
    const [of, dead]: [number[], number[]] = [[], []];
    for (let index = 0; index < 30; index += 1) {
      const target = ['function:f', 'function:f:3', 'function:ff', 'file:f'][index % 4] ?? '';
      const { sequence } = await kept.add(target, index % 3 === 0);
      if (index % 4 < 2) of.push(sequence);
      if (index % 4 < 2 && index % 3 === 0) dead.push(sequence);
    }
    assert.deepEqual(numbersOf(await pagesOf(ask, { functionName: 'f', limit: 4 })), of);
    assert.deepEqual(numbersOf(await pagesOf(ask, { functionName: 'f', status: 'dead', limit: 2 })), dead);
    assert.deepEqual(await pagesOf(ask, { functionName: 'idle', limit: 2 }), [{ events: [] }]);
    assert.deepEqual(numbersOf(await pagesOf(ask, { functionName: 'ff', limit: 1 })).length, 7);
  }));

test('events: those of files and endpoints are listed, redriven and purged by their target', () =>
  withKept(async (kept, ask) => {
    const targets = ['function:f', 'function:f:3', 'file:f', 'http://127.0.0.1:1/a', 'http://127.0.0.1:1/b'];
    for (const target of [...targets, ...targets]) await kept.add(target, true);
    for (const [members, numbers] of [
      [{ target: 'http://127.0.0.1:1/a' }, [4, 9]],
      [{ target: 'file:f' }, [3, 8]],
      [{ functionName: 'f' }, [1, 2, 6, 7]],
    ] as const) {
      assert.deepEqual(numbersOf(await pagesOf(ask, members)), numbers);
      for (const operation of ['RedriveEvents', 'PurgeEvents']) {
        kept.changed.length = 0;
        const json = { changed: numbers.length, hasMore: false };
        assert.deepEqual(await ask(members, operation), { status: 200, json });
        assert.deepEqual(kept.changed, numbers);
      }
    }
  }));

test('events: what contradicts itself, or is for nobody, is refused and changes nothing', () =>
  withKept(async (kept, ask) => {
    const { sequence: event } = await kept.add('function:f', true);
    const invalid = 'InvalidParameterException';
    const missing = 'ResourceNotFoundException';
    for (const [operation, members, type] of [
      ['RedriveEvents', { event, functionName: 'nobody' }, invalid],
      ['PurgeEvents', { event, functionName: 'f' }, invalid],
      ['PurgeEvents', { event, target: 'function:f' }, invalid],
      ['PurgeEvents', {}, invalid],
      ['RedriveEvents', { functionName: 'f', target: 'file:f' }, invalid],
      ['RedriveEvents', { functionName: 'nobody' }, missing],
      ['PurgeEvents', { target: 'file:none' }, missing],
      ['ListEvents', { functionName: 'nobody' }, missing],
      ['ListEvents', { target: 'http://127.0.0.1:1/' }, missing],
      ['ListEvents', { status: 'bogus' }, invalid],
    ] as const) {
      const { status, json } = await ask(members, operation);
      const { __type } = json as { readonly __type: string };
      assert.deepEqual([status, __type], [400, type], `${operation} ${JSON.stringify(members)}`);
    }
    assert.deepEqual(kept.changed, []);
  }));

test('ListEvents: what comes and goes between two pages neither hides nor repeats anything else', () =>
  withKept(async (kept, ask) => {
    const events: StoredEvent[] = [];
    for (let index = 0; index < 9; index += 1) events.push(await kept.add('function:f'));
    const all = events.map(({ sequence }) => sequence);
    const pages = await pagesOf(ask, { limit: 3 }, async (count) => {
      if (count !== 1) return;
      // The last one that was shown, and the next one.
      for (const event of events.slice(2, 4)) await kept.store.settle(event, []);
      all.push((await kept.add('function:f')).sequence);
    });
    assert.deepEqual(
      numbersOf(pages),
      all.filter((number) => number !== all[3]),
    );
  }));

test('ListEvents: a limit or token that is none is refused in words that say what it should be', () =>
  withKept(async (kept, ask) => {
    await kept.add('function:f');
    for (const [members, message] of [
      [{ limit: 0 }, "'limit' must be a whole number from 1 to 1000"],
      [{ limit: 1001 }, "'limit' must be a whole number from 1 to 1000"],
      [{ nextToken: 'abc' }, "'nextToken' must be that of the answer before"],
      [{ nextToken: '-1' }, "'nextToken' must be that of the answer before"],
    ] as const) {
      assert.deepEqual(await ask(members), { status: 400, json: { __type: 'InvalidParameterException', message } });
    }
  }));
