import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { untilAborted, withAny } from '../../src/protocol/abort.ts';

const never = new Promise<never>(() => undefined);
const listeners = (signal: AbortSignal): number => getEventListeners(signal, 'abort').length;

test('abort: a wait ends with its promise, or with the reason of the signal, whichever comes first', async () => {
  const { signal } = new AbortController();
  assert.equal(await untilAborted(Promise.resolve(1), signal), 1);
  await assert.rejects(untilAborted(Promise.reject(new Error('its own')), signal), /its own/);
  const caller = new AbortController();
  const waiting = untilAborted(never, caller.signal);
  caller.abort(new Error('called off'));
  await assert.rejects(waiting, /called off/);
  await assert.rejects(untilAborted(Promise.reject(new Error('too late')), caller.signal), /called off/);
  assert.equal(listeners(caller.signal), 0);
});

test('abort: ten thousand waits and works leave no listener on a signal that lives on', async () => {
  const { signal } = new AbortController();
  for (let n = 0; n < 10_000; n += 1) {
    const wait = n % 2 === 0 ? Promise.resolve(n) : Promise.reject(new Error('no'));
    await untilAborted(wait, signal).catch(() => undefined);
    await withAny([signal, new AbortController().signal], () => Promise.resolve());
    await withAny([signal], () => Promise.reject(new Error('no'))).catch(() => undefined);
  }
  assert.equal(listeners(signal), 0);
});

test('abort: work is aborted by the first of its signals, also by one that was before', async () => {
  const [first, second] = [new AbortController(), new AbortController()];
  const work = withAny([first.signal, second.signal], (signal) => untilAborted(never, signal));
  second.abort(new Error('the second'));
  await assert.rejects(work, /the second/);
  assert.equal(listeners(first.signal), 0);
  await assert.rejects(
    withAny([first.signal, second.signal], (signal) => untilAborted(never, signal)),
    /the second/,
  );
});
