/** What every store of events does; `reopen` is what a restart is, and null where events end with the process. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  EventStoreError,
  type EventStore,
  type EventStoreLimits,
  type StoredEvent,
} from '../../../src/controller/events/event-store.ts';
import { newEvent, textOf, textsOf } from './events.ts';

export interface StoreUnderTest {
  readonly store: EventStore;
  readonly reopen: (() => Promise<EventStore>) | null;
}

const LIMITS: EventStoreLimits = { maxEvents: 1000, maxBytes: 1_000_000 };

export function eventStoreContract(what: string, open: (limits: EventStoreLimits) => Promise<StoreUnderTest>): void {
  test(`${what}: what was appended is there as it was, in its order, until it is settled`, async () => {
    const { store, reopen } = await open(LIMITS);
    const events = ['a', 'b', 'c'].map((text) =>
      newEvent(text, {
        target: `function:${text}`,
        hops: 3,
        header: { arn: text, client_context: '{}', tenant_id: 'a', trace: 't' },
        attributes: text === 'b' ? { RequestID: text, ErrorCode: 200, ErrorMessage: 'no “luck”' } : null,
      }),
    );
    const stored = await Promise.all(events.map((event) => store.append(event)));
    const check = async (one: EventStore): Promise<void> => {
      const found = [...one.events()];
      assert.deepEqual(
        found.map(({ target, acceptedAt, bytes, state }) => ({ target, acceptedAt, bytes, status: state.status })),
        events.map(({ target, acceptedAt, payload }) => ({
          target,
          acceptedAt,
          bytes: payload.length,
          status: 'pending',
        })),
      );
      for (const [index, event] of found.entries()) {
        const { id, payload, header, hops, attributes } = await one.read(event);
        const expected = events[index];
        assert.deepEqual([id, header, hops], [expected?.id, expected?.header, expected?.hops]);
        assert.deepEqual(attributes, expected?.attributes);
        assert.deepEqual(payload, expected?.payload);
      }
    };
    await check(store);
    assert.deepEqual(
      stored.map(({ sequence }) => sequence),
      [...store.events()].map(({ sequence }) => sequence),
    );
    if (reopen === null) return store.close();
    const again = await reopen();
    await check(again);
    assert.ok(again.latestMoment >= 1000);
    await again.close();
  });

  test(`${what}: a new state holds at once, and after a restart`, async () => {
    const { store, reopen } = await open(LIMITS);
    const event = await store.append(newEvent('a'));
    const state = { status: 'dead', tries: 3, at: 12_345, reason: 'no “luck”' } as const;
    store.update(event, { ...state, tries: 2 });
    store.update(event, state);
    assert.deepEqual(event.state, state);
    const again = (await reopen?.()) ?? store;
    assert.deepEqual(
      [...again.events()].map((one) => one.state),
      [state],
    );
    await again.close();
  });

  test(`${what}: what follows from an event takes its place`, async () => {
    const { store, reopen } = await open(LIMITS);
    const event = await store.append(newEvent('a'));
    const followers = await store.settle(event, [newEvent('b'), newEvent('c')]);
    assert.deepEqual(await Promise.all(followers.map((one) => textOf(store, one))), ['b', 'c']);
    await assert.rejects(store.read(event), EventStoreError);
    const again = (await reopen?.()) ?? store;
    assert.deepEqual(await textsOf(again), ['b', 'c']);
    await again.close();
  });

  test(`${what}: more than it has room for is refused, and room comes back`, async () => {
    for (const limits of [
      { maxEvents: 2, maxBytes: 1000 },
      { maxEvents: 1000, maxBytes: 9 },
    ]) {
      const { store } = await open(limits);
      const outcomes = await Promise.allSettled(['aa', 'bb', 'cc'].map((text) => store.append(newEvent(text))));
      assert.deepEqual(
        outcomes.map(({ status }) => status),
        ['fulfilled', 'fulfilled', 'rejected'],
      );
      const [, , refused] = outcomes;
      assert.ok(refused?.status === 'rejected' && refused.reason instanceof EventStoreError);
      assert.equal(refused.reason.code, 'full');
      const [first] = store.events();
      assert.ok(first !== undefined);
      await store.settle(first, []);
      await store.append(newEvent('dd'));
      assert.deepEqual(await textsOf(store), ['bb', 'dd']);
      await store.close();
    }
  });

  test(`${what}: after any changes there is what was not settled, as it was last`, async () => {
    const step = fc.record({ kind: fc.constantFrom('append', 'settle', 'follow', 'update', 'reopen'), pick: fc.nat() });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const { store: first, reopen } = await open(LIMITS);
        let store = first;
        const expected = new Map<number, { readonly text: string; tries: number }>();
        const remember = (event: StoredEvent, text: string): void =>
          void expected.set(event.sequence, { text, tries: event.state.tries });
        for (const [index, { kind, pick }] of steps.entries()) {
          const events = [...store.events()];
          const event = events[pick % Math.max(1, events.length)];
          if (kind === 'append') remember(await store.append(newEvent(`${index}`)), `${index}`);
          else if (kind === 'reopen') store = (await reopen?.()) ?? store;
          else if (event === undefined) continue;
          else if (kind === 'update') {
            store.update(event, { status: 'pending', tries: index, at: index, reason: null });
            const known = expected.get(event.sequence);
            if (known !== undefined) known.tries = index;
          } else {
            const [follower] = await store.settle(event, kind === 'follow' ? [newEvent(`${index}`)] : []);
            expected.delete(event.sequence);
            if (follower !== undefined) remember(follower, `${index}`);
          }
        }
        store = (await reopen?.()) ?? store;
        const found = new Map<number, { readonly text: string; readonly tries: number }>();
        for (const event of store.events()) {
          found.set(event.sequence, { text: await textOf(store, event), tries: event.state.tries });
        }
        assert.deepEqual(found, expected);
        await store.close();
      }),
      { numRuns: 30 },
    );
  });
}
