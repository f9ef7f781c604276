import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ledger, type Share } from '../../../src/controller/pool/ledger.ts';

const plain = (memoryMib: number): Share => ({ memoryMib, hasTap: false });
const networked = (memoryMib: number): Share => ({ memoryMib, hasTap: true });

test('ledger: reserves memory up to the total and not beyond', () => {
  const ledger = new Ledger(256);
  assert.equal(ledger.tryReserve(plain(128)), true);
  assert.equal(ledger.tryReserve(plain(128)), true);
  assert.equal(ledger.tryReserve(plain(1)), false);
  assert.equal(ledger.freeMib, 0);
  assert.deepEqual(ledger.lack(plain(100)), { memoryMib: 100, tap: false });
});

test('ledger: reserves as many taps as there are; nothing is reserved where either is missing', () => {
  const ledger = new Ledger(512, 1);
  assert.equal(ledger.tryReserve(networked(128)), true);
  assert.equal(ledger.tryReserve(networked(128)), false);
  assert.deepEqual(ledger.lack(networked(128)), { memoryMib: 0, tap: true });
  assert.deepEqual(ledger.lack(networked(512)), { memoryMib: 128, tap: true });
  assert.equal(ledger.tryReserve(plain(384)), true);
  assert.equal(ledger.reservedMib, 512);
});

for (const [what, share, other] of [
  ['memory', plain(128), plain(128)],
  ['a tap', networked(1), networked(1)],
] as const) {
  test(`ledger: ${what} of a killed VM may be reserved at once, but a launch waits for its end`, async () => {
    const ledger = new Ledger(128, 1);
    ledger.tryReserve(share);
    ledger.markDying(share);
    assert.equal(ledger.dyingMib, share.memoryMib);
    assert.equal(ledger.tryReserve(other), true);
    let settled = false;
    const waiting = ledger.settled(10_000).then(() => (settled = true));
    await new Promise(setImmediate);
    assert.equal(settled, false);
    ledger.ended(share);
    await waiting;
    assert.equal(ledger.reservedMib, other.memoryMib);
    assert.equal(ledger.dyingMib, 0);
  });
}

test('ledger: a launch beside a dying VM does not wait if both fit', async () => {
  const ledger = new Ledger(256, 2);
  ledger.tryReserve(networked(128));
  ledger.markDying(networked(128));
  ledger.tryReserve(networked(128));
  await ledger.settled(10_000);
});

test('ledger: giving back more than was taken is an error', () => {
  const ledger = new Ledger(256, 1);
  assert.throws(() => ledger.markDying(plain(128)), /128 MiB more given back/);
  assert.throws(() => new Ledger(1).ended(plain(1)), /1 MiB more ended/);
  assert.throws(() => new Ledger(256).markDying(networked(0)), /1 taps more given back/);
});
