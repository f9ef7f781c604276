import assert from 'node:assert/strict';
import { getEventListeners, once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { collectGarbage } from '../support/garbage.ts';
import { untilAborted, withAny, withLimit } from '../../src/protocol/abort.ts';

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

test(
  'abort: a limit ends a request that nobody answers, though memory is collected meanwhile',
  { timeout: 30_000 },
  async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const { signal } = new AbortController();
    const collecting = setInterval(collectGarbage, 20);
    try {
      const asked = withLimit(300, signal, (any) => fetch(url, { signal: any }));
      await assert.rejects(asked, { name: 'TimeoutError', message: 'it was not done within 300 ms' });
      await assert.rejects(
        withLimit(300, undefined, (any) => fetch(url, { signal: any })),
        { name: 'TimeoutError' },
      );
    } finally {
      clearInterval(collecting);
      server.closeAllConnections();
      server.close();
    }
    assert.equal(listeners(signal), 0);
  },
);

test('abort: within its limit, work ends as it does by itself, or by its signal', async () => {
  const caller = new AbortController();
  assert.equal(await withLimit(60_000, caller.signal, () => Promise.resolve(1)), 1);
  const waiting = withLimit(60_000, caller.signal, (signal) => untilAborted(never, signal));
  caller.abort(new Error('called off'));
  await assert.rejects(waiting, /called off/);
  // Its timer would be here still.
  assert.ok(!process.getActiveResourcesInfo().includes('Timeout'), process.getActiveResourcesInfo().join(' '));
});
