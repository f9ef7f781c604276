/** Random generators of the Node runtime, in every realm of a process: whichever is used first after a restore is seeded anew. */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, before, suite, test } from 'node:test';
import { runInThisContext } from 'node:vm';
import fc from 'fast-check';
import { FrameType } from '../../src/protocol/guest.ts';
import { buildNodeRuntime, GuestProcess, runningGuests } from '../support/guest-process.ts';

before(buildNodeRuntime);
after(() => assert.equal(runningGuests(), 0, 'every runtime that was started has ended'));

/** Imports `source`, and starts it; `restored`: as after a snapshot. */
async function withFunction(
  source: string,
  restored: boolean,
  use: (result: (event?: unknown) => Promise<unknown>) => Promise<void>,
  file = 'workload.js',
): Promise<void> {
  const guest = await GuestProcess.start('node', { [file]: source });
  try {
    const loaded = await guest.import();
    assert.equal(loaded.type, FrameType.loaded, loaded.payload.toString());
    if (restored) {
      for (const step of ['hooks', 'generators']) {
        assert.equal((await guest.command(FrameType.seal, { step })).type, FrameType.sealed);
      }
    }
    assert.equal((await guest.command(FrameType.start, { restored })).type, FrameType.started);
    await use(async (event = null) => {
      const reply = await guest.invoke(JSON.stringify(event));
      assert.equal(reply.type, FrameType.result, reply.payload.toString());
      return JSON.parse(reply.payload.toString()) as unknown;
    });
  } finally {
    await guest.stop();
  }
}

/** `fetches(draw)`: whether a draw had OpenSSL give fresh bytes, which it is asked for with the length of what it is to fill. */
const FETCHES = `
const prototype = Object.getPrototypeOf(Uint8Array.prototype);
const byteLength = Object.getOwnPropertyDescriptor(prototype, 'byteLength');
function fetches(draw) {
  let count = 0;
  const get = function () { count++; return byteLength.get.call(this); };
  Object.defineProperty(prototype, 'byteLength', { ...byteLength, get });
  try { draw(); } finally { Object.defineProperty(prototype, 'byteLength', byteLength); }
  return count > 0;
}
`;

/** The generators of a thread, each by a draw. What a function may have taken while it was imported is taken here. */
const DRAWS = `
const { randomInt, randomUUID } = require('node:crypto');
const crypto = require('node:crypto');
const vm = require('node:vm');
const { random } = Math;
const context = vm.createContext({});
const drawInContext = vm.runInContext('Math.random', context);
const shadowed = vm.createContext({ Math });
const module_ = vm.compileFunction('return Math.random()', [], { parsingContext: vm.createContext({}) });
const draws = {
  'Math.random': () => Math.random(),
  'Math.random, taken early': random,
  randomUUID: () => crypto.randomUUID(),
  'randomUUID, taken early': randomUUID,
  'randomUUID with options': () => crypto.randomUUID({ disableEntropyCache: false }),
  'randomUUID of Web Crypto': () => globalThis.crypto.randomUUID(),
  randomInt: () => crypto.randomInt(10),
  'randomInt, taken early': () => randomInt(5, 2 ** 40),
  'randomInt with a callback': () => randomInt(10, () => {}),
  'a context': () => vm.runInContext('Math.random()', context),
  'a context, taken early': drawInContext,
  'a context with a Math from outside': () => vm.runInContext('Math.random()', shadowed),
  'a compiled function of a context': module_,
};
// Each has been used.
for (const draw of Object.values(draws)) for (let i = 0; i < 3; i++) draw();
`;

const SHARED = `require('node:worker_threads').getEnvironmentData('snapfaas.generation')`;

/** For each generator: whether the first draw after a restore fetches, whether the second does. */
const AFTER_RESTORES = `
function afterRestores(restore) {
  return Object.entries(draws).map(([name, draw]) => {
    restore();
    return [name, fetches(draw), fetches(draw)];
  });
}
`;

type Fetched = readonly [string, boolean, boolean][];

function assertEachFetchesOnce(found: unknown): void {
  assert.ok((found as Fetched).length >= 10);
  for (const [name, first, second] of found as Fetched) assert.deepEqual([name, first, second], [name, true, false]);
}

suite('node runtime: random generators after a restore', () => {
  test('START has whichever is used first take new state, and the rest of the stock is new as well', () =>
    withFunction(
      `${FETCHES}${DRAWS}exports.handle = () => [fetches(randomUUID), fetches(randomUUID), fetches(() => randomInt(9))];`,
      true,
      async (result) => assert.deepEqual(await result(), [true, false, false]),
    ));

  test('where nothing was restored nothing is fetched again', () =>
    withFunction(
      `${FETCHES}${DRAWS}exports.handle = () => [fetches(randomUUID), fetches(Math.random), fetches(drawInContext)];`,
      false,
      async (result) => assert.deepEqual(await result(), [false, false, false]),
    ));

  test('each generator of the main thread does', () =>
    withFunction(
      `${FETCHES}${DRAWS}${AFTER_RESTORES}
const shared = ${SHARED};
exports.handle = () => afterRestores(() => Atomics.add(shared, 0, 1000));`,
      false,
      async (result) => assertEachFetchesOnce(await result()),
    ));

  for (const [what, options] of [
    ['as it is', '{ eval: true }'],
    ['with options of its own', "{ eval: true, execArgv: ['--no-warnings'], env: { A: 'b' } }"],
    ['with no options of Node', '{ eval: true, execArgv: [] }'],
    ['with the environment shared', "{ eval: true, env: require('node:worker_threads').SHARE_ENV }"],
  ] as const) {
    test(`each generator of a worker thread does (${what})`, () =>
      withFunction(
        `
const { Worker } = require('node:worker_threads');
const worker = new Worker(${JSON.stringify(`${FETCHES}${DRAWS}${AFTER_RESTORES}
const { parentPort } = require('node:worker_threads');
const shared = ${SHARED};
parentPort.on('message', () => parentPort.postMessage({
  execArgv: process.execArgv,
  found: afterRestores(() => Atomics.add(shared, 0, 1000)),
}));`)}, ${options});
worker.unref();
exports.handle = () => new Promise((resolve, reject) => {
  worker.ref();
  worker.once('error', reject).once('message', (found) => { worker.unref(); resolve(found); });
  worker.postMessage(0);
});`,
        true,
        async (result) => {
          const { execArgv, found } = (await result()) as { execArgv: unknown; found: unknown };
          assertEachFetchesOnce(found);
          assert.deepEqual(execArgv, what === 'with options of its own' ? ['--no-warnings'] : []);
        },
      ));
  }

  test('the worker of a worker does, made by a subclass and from an ES module', () =>
    withFunction(
      `
import { Worker } from 'node:worker_threads';
class Own extends Worker {}
const inner = ${JSON.stringify(`${FETCHES}${DRAWS}${AFTER_RESTORES}
const shared = ${SHARED};
require('node:worker_threads').parentPort.postMessage(afterRestores(() => Atomics.add(shared, 0, 1000)));`)};
export const handle = () => new Promise((resolve, reject) => {
  const source = \`
    const { parentPort, Worker, workerData } = require('node:worker_threads');
    const inner = new Worker(workerData, { eval: true, execArgv: null });
    inner.once('message', (found) => parentPort.postMessage(found));\`;
  const worker = new Own(source, { eval: true, workerData: inner });
  worker.once('error', reject).once('message', (found) => { worker.terminate(); resolve(worker instanceof Own && found); });
});`,
      false,
      async (result) => assertEachFetchesOnce(await result()),
      'workload.mjs',
    ));

  test('what is drawn between the seal and the start is kept by none', () =>
    withFunction(
      `${FETCHES}${DRAWS}
const shared = ${SHARED};
exports.handle = () => {
  Atomics.store(shared, 0, -1);
  return Object.values(draws).every((draw) => fetches(draw) && fetches(draw));
};`,
      false,
      async (result) => assert.equal(await result(), true),
    ));
});

type Handle = (event: unknown) => unknown;

/** The function's handler in this process, where Node's own functions are as they were. */
function handleHere(source: string): Handle {
  const compiled = runInThisContext(`(exports, require) => {${source}; return exports.handle; }`) as (
    exports: object,
    require: NodeJS.Require,
  ) => Handle;
  return compiled({}, createRequire(import.meta.url));
}

/** Everything that can be seen of a call. */
const OUTCOME = `
const crypto = require('node:crypto');
function outcome(call) {
  try {
    const value = call();
    return { type: typeof value, matches: /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(value) };
  } catch (error) {
    return { name: error.name, code: error.code, message: error.message };
  }
}
const values = { nan: NaN, large: 2 ** 53, limit: 2 ** 48, infinite: Infinity, none: undefined, call() {}, symbol: Symbol('s'), big: 1n, proto: Object.create(null) };
const parse = (argument) => (typeof argument === 'string' && argument in values ? values[argument] : argument);
`;

suite("node runtime: Node's functions that were replaced", () => {
  test('take and refuse what their originals do', async () => {
    const argument = fc.oneof(
      fc.constantFrom('nan', 'large', 'limit', 'infinite', 'none', 'call', 'symbol', 'big', 'proto'),
      fc.constantFrom<unknown>(null, true, '', 'text', {}, [], 0, 1, -1, 1.5, 7),
      fc.integer(),
      fc.record({ disableEntropyCache: fc.constantFrom<unknown>(true, false, null, 1, 'x') }),
    );
    const calls = fc.sample(fc.array(argument, { maxLength: 3 }), { numRuns: 400, seed: 7 });
    const source = `${OUTCOME}
exports.handle = (calls) => calls.map((all) => {
  const args = all.map(parse);
  return [outcome(() => crypto.randomInt(...args)), outcome(() => crypto.randomUUID(...args)), outcome(() => globalThis.crypto.randomUUID(...args))];
});`;
    const expected = JSON.parse(JSON.stringify(handleHere(source)(JSON.parse(JSON.stringify(calls))))) as unknown;
    await withFunction(source, false, async (result) => assert.deepEqual(await result(calls), expected));
  });

  test('have the names, lengths and places that they had', async () => {
    const source = `
const crypto = require('node:crypto'), vm = require('node:vm'), threads = require('node:worker_threads');
const performance = require('node:perf_hooks').performance;
const owners = [[crypto, 'randomUUID'], [crypto, 'randomInt'], [Object.getPrototypeOf(globalThis.crypto), 'randomUUID'],
  [vm, 'createContext'], [vm.Script.prototype, 'runInContext'], [threads, 'Worker'], [Math, 'random'],
  [Object.getPrototypeOf(performance), 'timeOrigin']];
exports.handle = () => owners.map(([owner, name]) => {
  const { value, get, ...attributes } = Object.getOwnPropertyDescriptor(owner, name);
  const found = value ?? get;
  return [found.name, found.length, attributes];
});`;
    await withFunction(source, false, async (result) =>
      assert.deepEqual(await result(), JSON.parse(JSON.stringify(handleHere(source)(null)))),
    );
  });

  test('draw each number of a range, equally often', () =>
    withFunction(
      `
const { randomInt } = require('node:crypto');
exports.handle = ([from, to, draws]) => {
  const found = new Array(to - from).fill(0);
  for (let i = 0; i < draws; i++) found[randomInt(from, to) - from]++;
  return found;
};`,
      false,
      async (result) => {
        for (const [from, to] of [
          [0, 1],
          [-3, 4],
          [2 ** 52, 2 ** 52 + 10],
        ] as const) {
          const draws = 20_000;
          for (const hits of (await result([from, to, draws])) as number[]) {
            const share = 1 / (to - from);
            // Six standard deviations.
            assert.ok(Math.abs(hits / draws - share) <= 6 * Math.sqrt((share * (1 - share)) / draws), `${hits}`);
          }
        }
      },
    ));

  test('let no object of the runtime be reached from a context', () =>
    withFunction(
      `
const vm = require('node:vm');
exports.handle = () => vm.runInNewContext(\`
  const seen = [];
  Error.prepareStackTrace = (error, calls) => { for (const call of calls) seen.push(call.getFunction(), call.getThis()); return ''; };
  const deepen = () => { try { Math.random(); deepen(); } catch (error) { seen.push(error); error.stack; } };
  deepen();
  const here = (() => {}).constructor;
  [Math.random instanceof here, typeof Math.random.constructor('return typeof process')(), Math.random.constructor('return typeof process')(),
    seen.filter((one) => one !== undefined && one !== null && one !== globalThis).every((one) => one instanceof here || one instanceof Error)]
\`);`,
      false,
      async (result) => assert.deepEqual(await result(), [true, 'string', 'undefined', true]),
    ));

  test('leave a context alone that refuses to be looked at, or has a Math of its own', () =>
    withFunction(
      `
const vm = require('node:vm');
exports.handle = () => {
  const refusing = vm.createContext(new Proxy({}, { get() { throw new Error('refused'); } }));
  const mine = { random: () => 'mine' };
  return [vm.isContext(refusing), vm.runInNewContext('Math.random()', { Math: mine })];
};`,
      false,
      async (result) => assert.deepEqual(await result(), [true, 'mine']),
    ));
});

interface Generators {
  makeRandom(generation: () => number, random32: () => number): () => number;
}

suite('node runtime: Math.random', () => {
  const load = (): Generators => createRequire(import.meta.url)('../../dist/guest/node/generators.cjs') as Generators;

  test('is xoshiro128**, seeded when the generation changes, and at each use while it is below zero', () => {
    let generation = 1;
    let seeds = 0;
    const random = load().makeRandom(
      () => generation,
      () => (seeds++ % 4) + 1,
    );
    // The first numbers from the state 1, 2, 3, 4, as its authors' program gives them.
    const [a, b, c, d] = [11520, 0, 5927040, 70819200];
    const [first, second] = [((a >>> 5) * 2 ** 26 + (b >>> 6)) / 2 ** 53, ((c >>> 5) * 2 ** 26 + (d >>> 6)) / 2 ** 53];
    assert.deepEqual([random(), random(), seeds], [first, second, 4]);
    generation = 2;
    assert.deepEqual([random(), random(), seeds], [first, second, 8]);
    generation = -1;
    assert.deepEqual([random(), random(), seeds], [first, first, 16]);
    generation = 2;
    assert.deepEqual([random(), random(), seeds], [first, second, 20]);
  });

  test('never sticks to zero', () => {
    const random = load().makeRandom(
      () => 1,
      () => 0,
    );
    assert.ok(Array.from({ length: 20 }, random).some((drawn) => drawn > 0));
  });

  test('Math.random is even, in [0, 1), and looks like the original', () =>
    withFunction(
      `
const buckets = new Array(16).fill(0);
exports.handle = (count) => {
  let sum = 0, least = 1, most = 0, ofLastBit = 0;
  for (let i = 0; i < count; i++) {
    const value = Math.random();
    sum += value;
    least = Math.min(least, value);
    most = Math.max(most, value);
    buckets[Math.floor(value * 16)]++;
    ofLastBit += (value * 2 ** 53) % 2;
  }
  const { value, ...attributes } = Object.getOwnPropertyDescriptor(Math, 'random');
  return { mean: sum / count, least, most, buckets, ofLastBit: ofLastBit / count, attributes, name: value.name, length: value.length };
};`,
      false,
      async (result) => {
        const count = 400_000;
        const found = (await result(count)) as {
          mean: number;
          least: number;
          most: number;
          buckets: number[];
          ofLastBit: number;
        } & Record<string, unknown>;
        // Six standard deviations: one run in half a billion fails.
        const near = (value: number, expected: number, deviation: number): void =>
          assert.ok(Math.abs(value - expected) < (6 * deviation) / Math.sqrt(count), `${value} for ${expected}`);
        near(found.mean, 0.5, Math.sqrt(1 / 12));
        near(found.ofLastBit, 0.5, 0.5);
        for (const hits of found.buckets) near(hits / count, 1 / 16, Math.sqrt(15) / 16);
        assert.ok(found.least >= 0 && found.least < 0.001 && found.most < 1 && found.most > 0.999);
        assert.deepEqual(found['attributes'], { writable: true, enumerable: false, configurable: true });
        assert.deepEqual([found['name'], found['length']], ['random', 0]);
      },
    ));
});
