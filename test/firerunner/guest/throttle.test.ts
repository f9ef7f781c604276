import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Throttle } from '../../../src/firerunner/guest/throttle.ts';
import { until } from '../../end-to-end/processes.ts';

const MIB = 1024 * 1024;

test('throttle: a guest whose output does not leave is held until it does', async () => {
  const source = new PassThrough().resume();
  const throttle = new Throttle(source);
  let leave: () => void = () => undefined;
  throttle.wait(200 * 1024, new Promise((resolve) => (leave = resolve)));
  assert.equal(source.isPaused(), false);
  throttle.wait(100 * 1024, Promise.resolve());
  assert.equal(source.isPaused(), true);
  await sleep(0);
  assert.equal(source.isPaused(), false);
  throttle.wait(200 * 1024, new Promise(() => undefined));
  assert.equal(source.isPaused(), true);
  leave();
  await sleep(0);
  assert.equal(source.isPaused(), false);
});

test('throttle: a burst is let through, more than that in a short time is not', async () => {
  const source = new PassThrough().resume();
  const throttle = new Throttle(source);
  throttle.charge(1.9 * MIB);
  assert.equal(source.isPaused(), false);
  throttle.charge(0.3 * MIB);
  assert.equal(source.isPaused(), true);
  await until('the time has paid for it', () => !source.isPaused());
});

test('throttle: many small messages are worth as much as few large ones', () => {
  const source = new PassThrough().resume();
  const throttle = new Throttle(source);
  for (let i = 0; i < 10_000; i += 1) throttle.charge(0);
  assert.equal(source.isPaused(), true);
});

test('throttle: what a guest that has ended said last is read', () => {
  const source = new PassThrough().resume();
  const throttle = new Throttle(source);
  throttle.charge(9 * MIB);
  throttle.open();
  assert.equal(source.isPaused(), false);
  throttle.charge(9 * MIB);
  assert.equal(source.isPaused(), false);
});
