/** VMMs that wait: who gets which, and what happens when none can be started. */
import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, mock, test } from 'node:test';
import type { MachineExit } from '../../../src/firerunner/machine.ts';
import { SpareVmms, type SpareVmm } from '../../../src/firerunner/programs/spare-vmms.ts';

/** What the pool knows of a VMM. */
interface Stub extends SpareVmm {
  end(reason: string): void;
}

function stub(): Stub {
  let onExit: (exit: MachineExit) => void = () => undefined;
  const exited = new Promise<MachineExit>((resolve) => (onExit = resolve));
  const end = (reason: string): void => onExit({ status: 1, signal: null, reason });
  return {
    pid: 1,
    exited,
    kill() {
      end('killed');
      return exited;
    },
    end,
  };
}

interface Start {
  readonly resolve: (vmm: Stub) => void;
  readonly reject: (error: Error) => void;
}

describe('VMMs started ahead', () => {
  /** Starts that were asked for, in order. */
  let starts: Start[];
  let said: string[];
  let nowMs: number;
  let spares: SpareVmms<Stub>;
  const open = (size: number): void => {
    starts = [];
    said = [];
    nowMs = 0;
    const start = (signal: AbortSignal): Promise<Stub> =>
      new Promise((resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error));
        starts.push({ resolve, reject });
      });
    spares = new SpareVmms({ size, start, say: (text) => void said.push(text), now: () => nowMs });
    spares.refill();
  };
  const never = new AbortController().signal;
  const fail = async (...which: readonly (Start | undefined)[]): Promise<void> => {
    for (const start of which) start?.reject(new Error('no room'));
    await turn();
  };
  const succeed = async (start: Start | undefined): Promise<Stub> => {
    const vmm = stub();
    start?.resolve(vmm);
    await turn();
    return vmm;
  };

  beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }));
  afterEach(async () => {
    await spares.close();
    mock.timers.reset();
  });

  test('a launch takes the next that is started, and starts none beside it', async () => {
    open(2);
    const taken = [spares.take(never), spares.take(never), spares.take(never)];
    await turn();
    assert.equal(starts.length, 3, 'two were being started; only the third launch needs its own');
    const vmms = [await succeed(starts[1]), await succeed(starts[0]), await succeed(starts[2])];
    assert.deepEqual(await Promise.all(taken), vmms);
  });

  test('if that one fails, it starts its own', async () => {
    open(1);
    const taken = spares.take(never);
    await fail(starts[0]);
    assert.equal(starts.length, 2);
    const own = await succeed(starts[1]);
    assert.equal(await taken, own);
  });

  test('a launch that is called off leaves the one it waited for to others', async () => {
    open(1);
    const end = new AbortController();
    const taken = spares.take(end.signal);
    end.abort(new Error('called off'));
    await assert.rejects(taken, { message: 'called off' });
    const vmm = await succeed(starts[0]);
    assert.equal(await spares.take(never), vmm);
  });

  test('a failure is said once, and tried again with one, after pauses that double', async () => {
    open(20);
    assert.equal(starts.length, 20);
    await fail(...starts);
    for (let pauseMs = 1000, tries = 20; pauseMs <= 32_000; pauseMs *= 2) {
      mock.timers.tick(pauseMs - 1);
      spares.refill();
      assert.equal(starts.length, tries, 'not yet');
      mock.timers.tick(1);
      tries += 1;
      assert.equal(starts.length, tries, `one try after ${pauseMs} ms`);
      await fail(starts.at(-1));
    }
    assert.deepEqual(said, [
      'no VMM can be started ahead: no room; it is tried again in a while, and each launch tries for itself',
    ]);
    mock.timers.tick(60_000);
    assert.equal(starts.length, 27, 'a minute is the longest pause');
    await succeed(starts.at(-1));
    assert.equal(starts.length, 46, 'one that succeeds is followed by all that are missing');
  });

  test('one that ends while it waits is said, and replaced after the same pauses', async () => {
    open(1);
    (await succeed(starts[0])).end('it was killed by SIGKILL');
    await turn();
    mock.timers.tick(1000);
    (await succeed(starts[1])).end('it was killed by SIGKILL');
    await turn();
    mock.timers.tick(1000);
    assert.equal(starts.length, 2);
    mock.timers.tick(1000);
    assert.equal(starts.length, 3);
    assert.equal(said.length, 1);
    assert.match(said[0] ?? '', /^a VMM that was started ahead ended: it was killed by SIGKILL; /);
    await succeed(starts[2]);
    await spares.take(never);
    spares.refill();
    await fail(starts[3]);
    assert.equal(said.length, 1, 'it is not told each time');
  });

  test('a host that has room now and then is told of ever more rarely', async () => {
    open(1);
    const told: number[] = [];
    for (let minute = 0; minute < 24 * 60; minute += 1) {
      nowMs = minute * 60_000;
      const before = said.length;
      await fail(starts.at(-1));
      if (said.length > before) told.push(minute);
      mock.timers.tick(60_000);
      await succeed(starts.at(-1));
      await spares.take(never);
      spares.refill();
    }
    assert.deepEqual(told.slice(0, 6), [0, 1, 3, 7, 15, 31]);
    assert.ok(told.length < 32, `${told.length} times in a day`);
    // It was well for two hours.
    nowMs += 3 * 3_600_000;
    await fail(starts.at(-1));
    nowMs += 60_000;
    mock.timers.tick(60_000);
    await fail(starts.at(-1));
    assert.equal(said.length, told.length + 2, 'what comes back after a long time is news');
  });

  test('those that are too many are ended, also one that is only being started, and the end waits for them', async () => {
    open(3);
    const [first, second] = [await succeed(starts[0]), await succeed(starts[1])];
    const killed: string[] = [];
    const slowly = (name: string, vmm: Stub): void => {
      Object.assign(vmm, { kill: () => (killed.push(name), vmm.exited) });
    };
    slowly('second', second);
    spares.resize(1);
    assert.deepEqual(killed, ['second']);
    const third = stub();
    slowly('third', third);
    starts[2]?.resolve(third);
    await turn();
    assert.deepEqual(killed, ['second', 'third']);
    assert.equal(await spares.take(never), first);
    let isClosed = false;
    const closing = spares.close().then(() => (isClosed = true));
    await turn();
    assert.equal(isClosed, false);
    second.end('killed');
    third.end('killed');
    await closing;
    assert.deepEqual(said, []);
  });
});
