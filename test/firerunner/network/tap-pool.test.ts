import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NoFreeTapError, TapPool, type TapLease } from '../../../src/firerunner/network/tap-pool.ts';

/** Of a launch that nobody calls off. */
const noSignal = (): AbortSignal => new AbortController().signal;

function createPool(...taps: readonly string[]): TapPool {
  return TapPool.of({ taps, subnet: '10.200.0.0/24', dns: null });
}

function nameOf({ attachment }: TapLease): string {
  return attachment.tapName;
}

/** Whether a promise is settled once everything that is due has run. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  const over = promise.then(
    () => true,
    () => true,
  );
  return Promise.race([over, new Promise<false>((resolve) => setImmediate(() => resolve(false)))]);
}

test('tap pool: each VM gets a tap and addresses of its own', async () => {
  const pool = TapPool.of({ taps: ['a', 'b'], subnet: '10.200.0.0/24', dns: '9.9.9.9' });
  const leases = [await pool.take(noSignal()), await pool.take(noSignal())];
  assert.deepEqual(
    leases.map(({ attachment, guest }) => [attachment, guest]),
    [
      [
        { tapName: 'a', mac: '02:00:0a:c8:00:01' },
        { mac: '02:00:0a:c8:00:01', address: '10.200.0.1', prefixLength: 31, gateway: '10.200.0.0', dns: '9.9.9.9' },
      ],
      [
        { tapName: 'b', mac: '02:00:0a:c8:00:03' },
        { mac: '02:00:0a:c8:00:03', address: '10.200.0.3', prefixLength: 31, gateway: '10.200.0.2', dns: '9.9.9.9' },
      ],
    ],
  );
});

test('tap pool: a launch fails at once when every tap is with a VM that runs', async () => {
  const pool = createPool('a', 'b');
  await pool.take(noSignal());
  await pool.take(noSignal());
  await assert.rejects(
    pool.take(noSignal()),
    (error) =>
      error instanceof NoFreeTapError && /^all 2 taps are in use by VMs that run; add more/.test(error.message),
  );
});

test('tap pool: a tap that was given back is taken again, the one that rested longest first', async () => {
  const pool = createPool('a', 'b');
  const [first, second] = [await pool.take(noSignal()), await pool.take(noSignal())];
  second.release();
  first.release();
  assert.equal(nameOf(await pool.take(noSignal())), 'b');
  assert.equal(nameOf(await pool.take(noSignal())), 'a');
});

test('tap pool: giving back twice gives back once', async () => {
  const pool = createPool('a');
  const first = await pool.take(noSignal());
  first.release();
  await pool.take(noSignal());
  first.release();
  first.ending();
  await assert.rejects(pool.take(noSignal()), /the only tap is in use/);
});

test('tap pool: a launch waits for a VM that is ending, in the order of asking', async () => {
  const pool = createPool('a', 'b');
  const [first, second] = [await pool.take(noSignal()), await pool.take(noSignal())];
  first.ending();
  second.ending();
  const waiting = [pool.take(noSignal()), pool.take(noSignal())];
  assert.equal(await isSettled(Promise.race(waiting)), false);
  second.release();
  first.release();
  assert.deepEqual((await Promise.all(waiting)).map(nameOf), ['b', 'a']);
});

test('tap pool: who waits in vain is told as soon as nothing is on its way back any more', async () => {
  const pool = createPool('a');
  const held = await pool.take(noSignal());
  held.ending();
  const served = pool.take(noSignal());
  const inVain = pool.take(noSignal());
  held.release();
  assert.equal(nameOf(await served), 'a');
  await assert.rejects(inVain, NoFreeTapError);
});

test('tap pool: a VM whose launch is called off counts as ending', async () => {
  const pool = createPool('a');
  const calledOff = new AbortController();
  const held = await pool.take(calledOff.signal);
  calledOff.abort();
  const waiting = pool.take(noSignal());
  assert.equal(await isSettled(waiting), false);
  held.release();
  assert.equal(nameOf(await waiting), 'a');
});

test('tap pool: a VM that ends by itself soon is waited for, also by others like it', async () => {
  const pool = createPool('a');
  const held = await pool.take(noSignal(), true);
  const brief = pool.take(noSignal(), true);
  const launch = pool.take(noSignal());
  held.release();
  const second = await brief;
  assert.equal(await isSettled(launch), false);
  second.release();
  assert.equal(nameOf(await launch), 'a');
});

test('tap pool: a wait ends with its signal, and takes no tap', async () => {
  const pool = createPool('a');
  const held = await pool.take(noSignal());
  held.ending();
  const impatient = new AbortController();
  const waiting = pool.take(impatient.signal);
  impatient.abort(new Error('the time is up'));
  await assert.rejects(waiting, /the time is up/);
  held.release();
  assert.equal(nameOf(await pool.take(noSignal())), 'a');
  await assert.rejects(pool.take(impatient.signal), /the time is up/);
});
