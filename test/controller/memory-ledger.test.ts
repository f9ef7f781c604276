import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryLedger } from '../../src/controller/memory-ledger.ts';

test('memory ledger: reserves up to the total and not beyond', () => {
  const ledger = new MemoryLedger(256);
  assert.equal(ledger.tryReserve(128), true);
  assert.equal(ledger.tryReserve(128), true);
  assert.equal(ledger.tryReserve(1), false);
  assert.equal(ledger.freeMib, 0);
});

test('memory ledger: memory of a killed VM may be reserved at once, but a launch waits for its end', async () => {
  const ledger = new MemoryLedger(128);
  ledger.tryReserve(128);
  ledger.markDying(128);
  assert.equal(ledger.tryReserve(128), true);
  let settled = false;
  const waiting = ledger.settled().then(() => (settled = true));
  await new Promise(setImmediate);
  assert.equal(settled, false);
  ledger.ended(128);
  await waiting;
  assert.equal(ledger.reservedMib, 128);
  assert.equal(ledger.dyingMib, 0);
});

test('memory ledger: a launch beside a dying VM does not wait if both fit', async () => {
  const ledger = new MemoryLedger(256);
  ledger.tryReserve(128);
  ledger.markDying(128);
  ledger.tryReserve(128);
  await ledger.settled();
});

test('memory ledger: giving back more than was taken is an error', () => {
  const ledger = new MemoryLedger(256);
  assert.throws(() => ledger.markDying(128), /more given back/);
  assert.throws(() => new MemoryLedger(1).ended(1), /more ended/);
});
