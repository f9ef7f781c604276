import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { LaunchTimeoutError, withTimeLimit } from '../../src/firerunner/launch.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('launch: a time limit keeps nothing of what listened to it, once the work is over', async () => {
  const outer = new AbortController();
  const machines: WeakRef<object>[] = [];
  for (let i = 0; i < 50; i += 1) {
    await withTimeLimit(60_000, outer.signal, async (signal) => {
      const machine = { memory: new Uint8Array(1000) };
      machines.push(new WeakRef(machine));
      // As a guest does, for as long as it lives.
      signal.addEventListener('abort', () => machine.memory.fill(1));
      await turn();
    });
  }
  await turn();
  collect();
  await turn();
  collect();
  const kept = machines.filter((machine) => machine.deref() !== undefined).length;
  // The last one may still be in a register.
  assert.ok(kept <= 1, `${kept} of ${machines.length} are kept`);
  assert.equal(getEventListeners(outer.signal, 'abort').length, 0);
});

test('launch: the work is ended by the signal around it, with its reason, also by one that was aborted before', async () => {
  const untilAborted = (signal: AbortSignal): Promise<never> =>
    new Promise((_, reject) => {
      const onAbort = (): void => reject(signal.reason as Error);
      signal.addEventListener('abort', onAbort);
      if (signal.aborted) onAbort();
    });
  const reason = new Error('called off');
  const outer = new AbortController();
  const launched = withTimeLimit(60_000, outer.signal, untilAborted);
  outer.abort(reason);
  await assert.rejects(launched, reason);
  await assert.rejects(withTimeLimit(60_000, outer.signal, untilAborted), reason);
  const late = withTimeLimit(1, new AbortController().signal, untilAborted);
  await assert.rejects(late, LaunchTimeoutError);
});

test('launch: the time begins again when the work says so', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const reasons: unknown[] = [];
  const endless = (signal: AbortSignal, _: unknown, restart: () => void): Promise<never> => {
    signal.addEventListener('abort', () => reasons.push(signal.reason));
    restart();
    return new Promise(() => undefined);
  };
  void withTimeLimit(100, new AbortController().signal, endless);
  t.mock.timers.tick(99);
  assert.equal(reasons.length, 0);
  t.mock.timers.tick(1);
  assert.deepEqual(
    reasons.map((reason) => reason instanceof LaunchTimeoutError),
    [true],
  );
});
