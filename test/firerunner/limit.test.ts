import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Limit, type Rank } from '../../src/firerunner/limit.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('limit: as many as are allowed go on at once, the others in the order in which they came', async () => {
  const limit = new Limit(2);
  const entered: number[] = [];
  const leaves = new Map<number, () => void>();
  for (const number of [1, 2, 3, 4, 5]) {
    void limit.enter().then((leave) => {
      entered.push(number);
      leaves.set(number, leave);
    });
  }
  await turn();
  assert.deepEqual(entered, [1, 2]);
  leaves.get(2)?.();
  await turn();
  assert.deepEqual(entered, [1, 2, 3]);
  leaves.get(1)?.();
  leaves.get(3)?.();
  await turn();
  assert.deepEqual(entered, [1, 2, 3, 4, 5]);
});

test('limit: a turn that is given back twice lets one in', async () => {
  const limit = new Limit(1);
  const leave = await limit.enter();
  let entered = 0;
  for (let i = 0; i < 3; i += 1) void limit.enter().then(() => (entered += 1));
  leave();
  leave();
  await turn();
  assert.equal(entered, 1);
});

test('limit: a turn given back twice with nobody waiting does not make room for more later', async () => {
  const limit = new Limit(1);
  const leave = await limit.enter();
  leave();
  leave();
  let entered = 0;
  for (let i = 0; i < 2; i += 1) void limit.enter().then(() => (entered += 1));
  await turn();
  assert.equal(entered, 1);
});

test('limit: nobody overtakes one that was just let in', async () => {
  const limit = new Limit(1);
  const leave = await limit.enter();
  const order: string[] = [];
  const second = limit.run(() => Promise.resolve(order.push('waited')));
  leave();
  const third = limit.run(() => Promise.resolve(order.push('came later')));
  await Promise.all([second, third]);
  assert.deepEqual(order, ['waited', 'came later']);
});

test('limit: work that fails gives its turn back, and its error on', async () => {
  const limit = new Limit(1);
  const failure = new Error('as asked');
  await assert.rejects(
    limit.run(() => Promise.reject(failure)),
    failure,
  );
  await assert.rejects(
    limit.run(() => {
      throw failure;
    }),
    failure,
  );
  assert.equal(await limit.run(() => Promise.resolve('next')), 'next');
});

test('limit: whatever the work, it is never exceeded, and nobody is left waiting', async () => {
  const work = fc.record({ turns: fc.nat({ max: 4 }), fails: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 4 }), fc.array(work, { maxLength: 12 }), async (most, pieces) => {
      const limit = new Limit(most);
      let running = 0;
      let highest = 0;
      const results = await Promise.allSettled(
        pieces.map(({ turns, fails }) =>
          limit.run(async () => {
            running += 1;
            highest = Math.max(highest, running);
            for (let i = 0; i < turns; i += 1) await turn();
            running -= 1;
            if (fails) throw new Error('as asked');
          }),
        ),
      );
      assert.deepEqual(
        results.map(({ status }) => status === 'rejected'),
        pieces.map(({ fails }) => fails),
      );
      assert.ok(highest <= most);
      assert.equal(running, 0);
    }),
    { numRuns: 30 },
  );
});

test('limit: what somebody waits for goes first, and what is done ahead is not put off for ever', async () => {
  const limit = new Limit(1);
  const order: string[] = [];
  const leave = await limit.enter();
  const works = (['background', 'background', ...Array<Rank>(8).fill('foreground')] as const).map((rank) =>
    limit.run(() => {
      order.push(rank[0] ?? '');
      return Promise.resolve();
    }, rank),
  );
  leave();
  await Promise.all(works);
  assert.equal(order.join(''), 'fffbfffbff');
});

test('limit: who is called off while it waits leaves its place', async () => {
  const limit = new Limit(1);
  const leave = await limit.enter();
  const caller = new AbortController();
  const waiting = limit.enter({ signal: caller.signal });
  const next = limit.enter();
  caller.abort(new Error('called off'));
  await assert.rejects(waiting, /called off/);
  await assert.rejects(limit.enter({ signal: caller.signal }), /called off/);
  leave();
  leave();
  (await next)();
  (await limit.enter())();
});

test('limit: whoever comes, leaves and is called off, no turn is lost', async () => {
  const steps = fc.array(fc.constantFrom('foreground', 'background', 'leave', 'call off'), { maxLength: 60 });
  await fc.assert(
    fc.asyncProperty(steps, async (script) => {
      const limit = new Limit(2);
      const inside: (() => void)[] = [];
      const callers: AbortController[] = [];
      const all: Promise<unknown>[] = [];
      for (const step of script) {
        if (step === 'leave') inside.shift()?.();
        else if (step === 'call off') callers.shift()?.abort(new Error('called off'));
        else {
          const caller = new AbortController();
          callers.push(caller);
          const entering = limit.enter({ rank: step, signal: caller.signal });
          all.push(entering.then((leave) => inside.push(leave)).catch(() => undefined));
        }
        await turn();
        assert.ok(inside.length <= 2);
      }
      for (; inside.length > 0; await turn()) inside.shift()?.();
      await Promise.all(all);
      const [one, two] = await Promise.all([limit.enter(), limit.enter()]);
      one();
      two();
    }),
    { numRuns: 50 },
  );
});
