import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import { FunctionSnapshots } from '../../../src/controller/runner/function-snapshots.ts';
import type { PreparationEvents } from '../../../src/controller/runner/runner-client.ts';
import { functionConfig } from '../../support/scripted-guests.ts';

interface Bench {
  readonly snapshots: FunctionSnapshots;
  /** Functions whose snapshots were asked for, in order. */
  readonly asked: readonly string[];
  readonly ready: readonly string[];
  readonly forgotten: readonly string[];
  readonly lines: readonly unknown[];
  /** Of the last preparation of a function. */
  events(fn: string): PreparationEvents;
}

function createBench(...names: string[]): Bench {
  const asked: string[] = [];
  const ready: string[] = [];
  const lines: unknown[] = [];
  const latest = new Map<string, PreparationEvents>();
  const ids = new Map<string, string>();
  const forgotten: string[] = [];
  const logger = pino(
    { base: null, timestamp: false, formatters: { level: (level) => ({ level }) } },
    { write: (line: string) => lines.push(JSON.parse(line)) },
  );
  const snapshots = new FunctionSnapshots({
    prepare: (id, fn, events) => {
      asked.push(fn.name);
      latest.set(fn.name, events);
      ids.set(id, fn.name);
    },
    forget: (id) => forgotten.push(ids.get(id) ?? id),
    onReady: (fn) => ready.push(fn.name),
    logger,
  });
  const versions = new Map(names.map((name) => [name, functionConfig(name)]));
  for (const version of versions.values()) snapshots.add(version);
  const events = (fn: string): PreparationEvents => {
    const found = latest.get(fn);
    assert.ok(found !== undefined, `the snapshot of ${fn} was asked for`);
    return found;
  };
  return { snapshots, asked, ready, forgotten, lines, events };
}

const BROKEN = { kind: 'function', failure: { type: 'ImportError', message: 'no such module', stack: [] } } as const;
const NO_DISK = { kind: 'vmm', message: 'no space left', console: [] } as const;

test('function snapshots: all are asked for in the order of the configuration, before any is ready', () => {
  const { snapshots, asked, ready } = createBench('c', 'a', 'b');
  assert.deepEqual(snapshots.counts(), { preparing: 0, ready: 0, failed: 0 });
  snapshots.prepareAll();
  assert.deepEqual([asked, ready], [['c', 'a', 'b'], []]);
  assert.deepEqual(snapshots.counts(), { preparing: 3, ready: 0, failed: 0 });
});

test('function snapshots: each is counted as what became of it, and only those that are ready are told of', () => {
  const { snapshots, ready, events } = createBench('a', 'b', 'c', 'd');
  snapshots.prepareAll();
  events('b').onPrepared('layer-b', null);
  events('a').onUnprepared(BROKEN, 60_000);
  events('d').onPrepared('layer-d', 1500);
  assert.deepEqual(ready, ['b', 'd']);
  assert.deepEqual(snapshots.counts(), { preparing: 1, ready: 2, failed: 1 });
});

test('function snapshots: progress, output and outcome of each are in the log', () => {
  const { snapshots, lines, events } = createBench('built', 'there', 'broken', 'unlucky');
  snapshots.prepareAll();
  events('built').onPreparing('booting the base layer');
  events('built').onPreparationLog('stderr', 'importing');
  events('built').onPrepared('layer-1', 2345);
  events('there').onPrepared('layer-2', null);
  events('broken').onUnprepared(BROKEN, 60_000);
  events('unlucky').onUnprepared(NO_DISK, 1500);
  assert.deepEqual(lines, [
    { level: 'info', function: 'built', msg: 'snapshot: booting the base layer' },
    { level: 'info', function: 'built', stream: 'stderr', text: 'importing', msg: 'function output' },
    { level: 'info', function: 'built', layer: 'layer-1', ready: 1, msg: 'snapshot ready: built in 2.3 s' },
    { level: 'info', function: 'there', layer: 'layer-2', ready: 2, msg: 'snapshot ready: was there' },
    {
      level: 'error',
      function: 'broken',
      failure: BROKEN,
      msg: 'the function does not load: no such module; its VMs start without one for now; tried again in 60 s',
    },
    {
      level: 'error',
      function: 'unlucky',
      failure: NO_DISK,
      msg: 'no snapshot could be made: no space left; its VMs start without one for now; tried again in 2 s',
    },
  ]);
});

test('function snapshots: a reason for a boot is logged once for each function', () => {
  const { snapshots, lines } = createBench('a', 'b');
  const msg = 'cold start without the snapshot of the function';
  for (const [fn, reason] of [
    ['a', 'being made'],
    ['a', 'being made'],
    ['b', 'being made'],
    ['a', 'cannot be restored'],
    ['b', 'being made'],
    ['a', 'being made'],
  ] as const) {
    snapshots.onFallback(fn, reason);
  }
  assert.deepEqual(lines, [
    { level: 'warn', function: 'a', reason: 'being made', msg },
    { level: 'warn', function: 'b', reason: 'being made', msg },
    { level: 'warn', function: 'a', reason: 'cannot be restored', msg },
  ]);
});

test('function snapshots: another firerunner is asked for all of them again, and each has its place in the counts', () => {
  const { snapshots, asked, ready, events } = createBench('a', 'b', 'c');
  snapshots.prepareAll();
  events('a').onPrepared('layer-a', 10);
  events('b').onUnprepared(BROKEN, 60_000);
  // The first firerunner dies with what it was doing.
  events('c').onUnprepared({ kind: 'vmm', message: 'firerunner ended with SIGKILL', console: [] }, null);
  snapshots.prepareAll();
  assert.deepEqual(asked, ['a', 'b', 'c', 'a', 'b', 'c']);
  assert.deepEqual(snapshots.counts(), { preparing: 3, ready: 0, failed: 0 });
  for (const fn of ['a', 'b', 'c']) events(fn).onPrepared(`layer-${fn}`, null);
  assert.deepEqual(snapshots.counts(), { preparing: 0, ready: 3, failed: 0 });
  assert.deepEqual(ready, ['a', 'a', 'b', 'c']);
});

test('function snapshots: what is tried again is counted as it goes, and a failure that stays is told once', () => {
  const { snapshots, lines, ready, events } = createBench('a');
  snapshots.prepareAll();
  const said = (): number => lines.filter((line) => (line as { level: string }).level === 'error').length;
  for (let n = 0; n < 3; n += 1) {
    events('a').onUnprepared(NO_DISK, 1000 * 2 ** n);
    assert.deepEqual(snapshots.counts(), { preparing: 0, ready: 0, failed: 1 });
    events('a').onPreparing('loading the function into a VM');
    assert.deepEqual(snapshots.counts(), { preparing: 1, ready: 0, failed: 0 });
  }
  assert.equal(said(), 1);
  events('a').onUnprepared(BROKEN, 60_000);
  assert.equal(said(), 2);
  events('a').onPrepared('layer-a', 100);
  assert.deepEqual([snapshots.counts(), ready], [{ preparing: 0, ready: 1, failed: 0 }, ['a']]);
  events('a').onUnprepared(BROKEN, 60_000);
  assert.equal(said(), 3);
});

test('function snapshots: thousands are asked for in slices, in order, and no further once firerunner is lost', async () => {
  const names = Array.from({ length: 1000 }, (_, i) => `function-${i}`);
  const { snapshots, asked, events } = createBench(...names);
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  let before = 0;
  const nextSlice = async (): Promise<number> => {
    const slice = asked.length - before;
    before = asked.length;
    await turn();
    return slice;
  };
  snapshots.prepareAll();
  assert.deepEqual(snapshots.counts(), { preparing: 1000, ready: 0, failed: 0 });
  for (let slice = await nextSlice(); slice > 0; slice = await nextSlice()) assert.ok(slice <= 100, `${slice} at once`);
  assert.deepEqual(asked, names);

  snapshots.prepareAll();
  const stale = events('function-0');
  snapshots.onLost();
  assert.deepEqual(snapshots.counts(), { preparing: 0, ready: 0, failed: 1000 });
  const sofar = asked.length;
  await turn();
  await turn();
  assert.equal(asked.length, sofar);

  snapshots.prepareAll();
  stale.onUnprepared({ kind: 'vmm', message: 'firerunner ended with SIGKILL', console: [] }, null);
  assert.deepEqual(snapshots.counts(), { preparing: 1000, ready: 0, failed: 0 });
  snapshots.onLost();
});

test('function snapshots: one that is added later is asked for at once, and one that is removed is forgotten', async () => {
  const { snapshots, asked, forgotten, events } = createBench('a');
  const late = functionConfig('late');
  snapshots.add(late);
  assert.deepEqual([asked, snapshots.isReady(late), (await snapshots.settled(late))?.kind], [[], false, 'vmm']);
  snapshots.prepareAll();
  assert.deepEqual(asked, ['a', 'late']);
  const later = functionConfig('later');
  snapshots.add(later);
  snapshots.add(later);
  assert.deepEqual(asked, ['a', 'late', 'later']);
  const settled = [snapshots.settled(late), snapshots.settled(later), snapshots.settled(later)];
  events('late').onUnprepared(BROKEN, 60_000);
  events('later').onPrepared('layer', 10);
  assert.deepEqual(await Promise.all(settled), [BROKEN, null, null]);
  assert.deepEqual([snapshots.isReady(late), snapshots.isReady(later)], [false, true]);
  assert.deepEqual(snapshots.counts(), { preparing: 1, ready: 1, failed: 1 });
  for (const version of [late, later, later]) snapshots.remove(version);
  assert.deepEqual([forgotten, snapshots.counts()], [['late', 'later'], { preparing: 1, ready: 0, failed: 0 }]);
});

test('function snapshots: nobody waits for a snapshot that is removed, or whose firerunner is lost', async () => {
  const { snapshots } = createBench();
  const [a, b] = [functionConfig('a'), functionConfig('b')];
  snapshots.prepareAll();
  for (const version of [a, b]) snapshots.add(version);
  const settled = [snapshots.settled(a), snapshots.settled(b)];
  snapshots.remove(a);
  snapshots.onLost();
  for (const failure of await Promise.all(settled)) assert.equal(failure?.kind, 'vmm');
});
