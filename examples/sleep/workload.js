'use strict';

const { setTimeout: sleep } = require('node:timers/promises');

const MAX_MS = 900_000;

/** Takes its time: for trying out concurrency, queues, time limits and clients that hang up. */
exports.handle = async ({ ms }) => {
  if (!Number.isInteger(ms) || ms < 0 || ms > MAX_MS) {
    throw new RangeError(`"ms" must be a whole number from 0 to ${MAX_MS}`);
  }
  const started = process.hrtime.bigint();
  await sleep(ms);
  return { ms, slept_ms: Number(process.hrtime.bigint() - started) / 1e6 };
};
