import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Limit } from '../../src/firerunner/limit.ts';

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
