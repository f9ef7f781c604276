import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { GuestClock } from '../../../src/firerunner/guest/clock.ts';
import { FrameType, SYNC_BYTES } from '../../../src/protocol/guest.ts';

const NS_PER_MS = 1_000_000n;

interface Sync {
  readonly time: bigint;
  readonly mayGoBack: boolean;
  readonly payload: Buffer;
}

/** A host's clock that stands still until a test sets it, and what was told to the guest. */
function createClock(now = 1_700_000_000_123): { clock: GuestClock; told: Sync[]; host: { now: number } } {
  const told: Sync[] = [];
  const host = { now };
  const clock = new GuestClock(
    {
      send(type, header, payload = new Uint8Array()) {
        assert.deepEqual([type, header, payload.length], [FrameType.sync, undefined, SYNC_BYTES]);
        const bytes = Buffer.from(payload);
        told.push({ time: bytes.readBigUInt64BE(), mayGoBack: bytes.readUInt8(8) === 1, payload: bytes });
      },
    },
    () => host.now,
  );
  return { clock, told, host };
}

/** As init does: `guest/init/sync.c`. */
function obey(sync: Sync, guestNs: bigint): bigint {
  return sync.mayGoBack || guestNs < sync.time ? sync.time : guestNs;
}

test('guest clock: SYNC carries the time in ns, and random bytes that differ', () => {
  const { clock, told } = createClock();
  clock.set();
  clock.set();
  assert.equal(told[0]?.time, 1_700_000_000_123n * NS_PER_MS);
  assert.notDeepEqual(told[0].payload, told[1]?.payload);
});

test('guest clock: an answer that came at once is the last', () => {
  const { clock, told, host } = createClock();
  clock.set();
  const [first] = told;
  assert.equal(first?.mayGoBack, true);
  host.now += 10;
  clock.onSynced(first.time, first.time);
  assert.equal(told.length, 1);
});

test('guest clock: a slow answer tells the time again, which sets the clock forward only', () => {
  const { clock, told, host } = createClock();
  clock.set();
  host.now += 11;
  clock.onSynced(told[0]?.time ?? 0n, told[0]?.time ?? 0n);
  assert.deepEqual([told[1]?.time, told[1]?.mayGoBack], [BigInt(host.now) * NS_PER_MS, false]);
});

test('guest clock: one that was right before is set back only if it is ahead of the answer', () => {
  const { clock, told, host } = createClock();
  clock.check();
  host.now += 500;
  const known = told[0]?.time ?? 0n;
  clock.onSynced(known, BigInt(host.now + 3) * NS_PER_MS);
  assert.deepEqual(
    told.map(({ mayGoBack }) => mayGoBack),
    [false, true],
  );
});

test('guest clock: what was overtaken, or belongs to another time than now, is not looked at', () => {
  const { clock, told, host } = createClock();
  clock.set();
  host.now += 1000;
  clock.check();
  clock.onSynced(told[0]?.time ?? 0n, 0n);
  clock.setTo(host.now + 1_000_000);
  clock.onSynced(told[1]?.time ?? 0n, 0n);
  clock.onSynced(told[2]?.time ?? 0n, told[2]?.time ?? 0n);
  assert.equal(told.length, 3);
});

test('guest clock: a guest that lies is told nine times', () => {
  const { clock, told } = createClock();
  clock.set();
  for (let i = 0; i < 100; i += 1) clock.onSynced(told.at(-1)?.time ?? 0n, 2n ** 62n);
  assert.equal(told.length, 9);
});

test('guest clock: whatever the delays, once there was a quick exchange the clock is right to 10 ms', () => {
  const delay = fc.integer({ min: 0, max: 400 });
  const exchange = fc.record({ there: delay, back: delay });
  const quick = { there: 3, back: 3 };
  fc.assert(
    fc.property(
      fc.integer({ min: -(10 ** 9), max: 10 ** 9 }),
      fc.boolean(),
      fc.array(exchange, { maxLength: 7 }),
      (offMs, isNew, delays) => {
        const { clock, told, host } = createClock();
        let guestOffNs = BigInt(offMs) * NS_PER_MS;
        if (isNew) clock.set();
        else clock.check();
        let answered = 0;
        let steps = 0;
        for (const { there, back } of [...delays, quick, quick]) {
          const sync = told[answered];
          if (sync === undefined) break;
          answered += 1;
          host.now += there;
          const before = BigInt(host.now) * NS_PER_MS + guestOffNs;
          const guest = obey(sync, before);
          if (guest < before) steps += 1;
          guestOffNs = guest - BigInt(host.now) * NS_PER_MS;
          host.now += back;
          clock.onSynced(sync.time, guest);
        }
        const isTold = told[answered] !== undefined;
        const offAtEnd = Number(guestOffNs / NS_PER_MS);
        if (!isTold) assert.ok(offAtEnd <= 12 && offAtEnd >= -10, `${offAtEnd} ms off after ${answered}`);
        if (offMs <= 0 && !isNew) assert.equal(steps, 0, 'set back, although it was not ahead');
      },
    ),
    { numRuns: 2000 },
  );
});
