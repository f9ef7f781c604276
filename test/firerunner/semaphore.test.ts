import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Semaphore, type Rank } from '../../src/firerunner/semaphore.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('semaphore: as many as are allowed go on at once, the others in the order in which they came', async () => {
  const semaphore = new Semaphore(2);
  const entered: number[] = [];
  const releases = new Map<number, () => void>();
  for (const number of [1, 2, 3, 4, 5]) {
    void semaphore.acquire().then((release) => {
      entered.push(number);
      releases.set(number, release);
    });
  }
  await turn();
  assert.deepEqual(entered, [1, 2]);
  releases.get(2)?.();
  await turn();
  assert.deepEqual(entered, [1, 2, 3]);
  releases.get(1)?.();
  releases.get(3)?.();
  await turn();
  assert.deepEqual(entered, [1, 2, 3, 4, 5]);
});

test('semaphore: a turn that is given back twice lets one in', async () => {
  const semaphore = new Semaphore(1);
  const release = await semaphore.acquire();
  let entered = 0;
  for (let i = 0; i < 3; i += 1) void semaphore.acquire().then(() => (entered += 1));
  release();
  release();
  await turn();
  assert.equal(entered, 1);
});

test('semaphore: a turn given back twice with nobody waiting does not make room for more later', async () => {
  const semaphore = new Semaphore(1);
  const release = await semaphore.acquire();
  release();
  release();
  let entered = 0;
  for (let i = 0; i < 2; i += 1) void semaphore.acquire().then(() => (entered += 1));
  await turn();
  assert.equal(entered, 1);
});

test('semaphore: nobody overtakes one that was just let in', async () => {
  const semaphore = new Semaphore(1);
  const release = await semaphore.acquire();
  const order: string[] = [];
  const second = semaphore.run(() => Promise.resolve(order.push('waited')));
  release();
  const third = semaphore.run(() => Promise.resolve(order.push('came later')));
  await Promise.all([second, third]);
  assert.deepEqual(order, ['waited', 'came later']);
});

test('semaphore: work that fails gives its turn back, and its error on', async () => {
  const semaphore = new Semaphore(1);
  const failure = new Error('as asked');
  await assert.rejects(
    semaphore.run(() => Promise.reject(failure)),
    failure,
  );
  await assert.rejects(
    semaphore.run(() => {
      throw failure;
    }),
    failure,
  );
  assert.equal(await semaphore.run(() => Promise.resolve('next')), 'next');
});

test('semaphore: whatever the work, it is never exceeded, and nobody is left waiting', async () => {
  const work = fc.record({ turns: fc.nat({ max: 4 }), fails: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 4 }), fc.array(work, { maxLength: 12 }), async (most, pieces) => {
      const semaphore = new Semaphore(most);
      let running = 0;
      let highest = 0;
      const results = await Promise.allSettled(
        pieces.map(({ turns, fails }) =>
          semaphore.run(async () => {
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

test('semaphore: what somebody waits for goes first, and what is done ahead is not put off for ever', async () => {
  const semaphore = new Semaphore(1);
  const order: string[] = [];
  const release = await semaphore.acquire();
  const works = (['background', 'background', ...Array<Rank>(8).fill('foreground')] as const).map((rank) =>
    semaphore.run(() => {
      order.push(rank[0] ?? '');
      return Promise.resolve();
    }, rank),
  );
  release();
  await Promise.all(works);
  assert.equal(order.join(''), 'fffbfffbff');
});

test('semaphore: who is called off while it waits leaves its place', async () => {
  const semaphore = new Semaphore(1);
  const release = await semaphore.acquire();
  const caller = new AbortController();
  const waiting = semaphore.acquire({ signal: caller.signal });
  const next = semaphore.acquire();
  caller.abort(new Error('called off'));
  await assert.rejects(waiting, /called off/);
  await assert.rejects(semaphore.acquire({ signal: caller.signal }), /called off/);
  release();
  release();
  (await next)();
  (await semaphore.acquire())();
});

test('semaphore: whoever comes, leaves and is called off, no turn is lost', async () => {
  const steps = fc.array(fc.constantFrom('foreground', 'background', 'release', 'call off'), { maxLength: 60 });
  await fc.assert(
    fc.asyncProperty(steps, async (script) => {
      const semaphore = new Semaphore(2);
      const inside: (() => void)[] = [];
      const callers: AbortController[] = [];
      const all: Promise<unknown>[] = [];
      for (const step of script) {
        if (step === 'release') inside.shift()?.();
        else if (step === 'call off') callers.shift()?.abort(new Error('called off'));
        else {
          const caller = new AbortController();
          callers.push(caller);
          const entering = semaphore.acquire({ rank: step, signal: caller.signal });
          all.push(entering.then((release) => inside.push(release)).catch(() => undefined));
        }
        await turn();
        assert.ok(inside.length <= 2);
      }
      for (; inside.length > 0; await turn()) inside.shift()?.();
      await Promise.all(all);
      const [one, two] = await Promise.all([semaphore.acquire(), semaphore.acquire()]);
      one();
      two();
    }),
    { numRuns: 50 },
  );
});
