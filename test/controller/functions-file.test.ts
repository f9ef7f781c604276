import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Config } from '../../src/controller/config/config.ts';
import { FunctionsFile } from '../../src/controller/functions-file.ts';
import { eventSource } from '../registry/records.ts';
import { createLogger } from '../../src/controller/log.ts';
import { DEFAULT_ACCOUNT } from '../../src/protocol/arn.ts';
import { NO_SETTINGS } from '../../src/protocol/vmm-settings.ts';
import { Deployments, type Build } from '../../src/registry/deployments.ts';
import { FunctionRegistry } from '../../src/registry/function-registry.ts';
import { functionConfig } from '../support/scripted-guests.ts';

/** A configuration of functions with this memory. */
function configOf(functions: Readonly<Record<string, number>>, keys: Partial<Config> = {}): Config {
  return {
    memoryMib: 1024,
    kernelPath: '',
    initrdPath: '',
    maxPayloadBytes: 1,
    queueCapacity: 1,
    queueWaitMs: 1,
    queueTimeoutMs: 1,
    requestMemoryMib: 1,
    snapshotDirectory: '',
    runtimefsDirectory: '/',
    keepAlive: 'demand',
    standbyMib: 0,
    retention: { maxBytes: 0, maxAgeMs: 0 },
    lambda: DEFAULT_ACCOUNT,
    functions: new Map(
      Object.entries(functions).map(([name, memoryMib]) => [name, functionConfig(name, { memoryMib })]),
    ),
    urls: new Map(),
    events: new Map(),
    schedules: new Map(),
    eventSources: new Map(),
    nats: null,
    broken: [],
    vmmSettings: NO_SETTINGS,
    files: [],
    notes: [],
    ...keys,
  };
}

/** Builds of functions with this memory never end. */
const HANGS = 666;

function createBench(first: Config, taken: readonly string[] = []) {
  const registry = new FunctionRegistry();
  const deployments = new Deployments({
    registry,
    prepare: () => Promise.resolve(),
    discard: () => undefined,
    atOnce: 10,
  });
  const build: Build = ({ memoryMib, ...fn }) =>
    memoryMib === HANGS ? new Promise(() => undefined) : Promise.resolve({ ...fn, memoryMib, version: '$LATEST' });
  let config: Config | Error = first;
  const watched: string[][] = [];
  const file = new FunctionsFile({
    registry,
    deployments,
    load: () => {
      if (config instanceof Error) throw config;
      return config;
    },
    createBuild: () => build,
    isTaken: (name) => taken.includes(name),
    watch: { set: (paths) => watched.push([...paths]), close: () => Promise.resolve() },
    logger: createLogger('silent'),
  });
  const shown = (): unknown =>
    Object.fromEntries(registry.list().map(({ name, latest, state }) => [name, latest?.memoryMib ?? state]));
  return {
    file,
    registry,
    watched,
    shown,
    reload: (next: Config | Error) => {
      config = next;
      return file.reload();
    },
  };
}

test('functions file: what it says is what there is, reading by reading', async () => {
  const first = configOf({ a: 128, b: 128 });
  const { file, shown, reload } = createBench(first);
  await file.apply(first);
  assert.deepEqual(shown(), { a: 128, b: 128 });
  await reload(configOf({ b: 256, c: 128 }, { broken: [{ name: 'bad', problems: ['wrong'] }] }));
  assert.deepEqual(shown(), { b: 256, bad: 'Failed', c: 128 });
  await reload(new Error('no YAML'));
  assert.deepEqual(shown(), { b: 256, bad: 'Failed', c: 128 });
  await reload(configOf({ c: 512 }, { broken: [{ name: 'b', problems: ['wrong'] }] }));
  assert.deepEqual(shown(), { b: 256, c: 512 });
});

test('functions file: an entry that has become wrong leaves its function as it was', async () => {
  const first = configOf({ a: 128 });
  const { file, shown, reload } = createBench(first);
  await file.apply(first);
  await reload(configOf({}, { broken: [{ name: 'a', problems: ['wrong'] }] }));
  assert.deepEqual(shown(), { a: 128 });
});

test('functions file: a deployment that hangs keeps neither its own mend waiting, nor other functions', async () => {
  const first = configOf({ a: 128, other: 128 });
  const { file, shown, reload } = createBench(first);
  await file.apply(first);
  const hanging = reload(configOf({ a: HANGS, other: 256 }));
  await reload(configOf({ a: 512, other: 512 }));
  assert.deepEqual(shown(), { a: 512, other: 512 });
  await hanging;
});

test('functions file: what changed last is watched and answers, however many readings are asked for at once', async () => {
  const first = configOf({ a: 128 }, { files: ['controller.yaml'] });
  const { file, watched, shown, reload } = createBench(first);
  await file.apply(first);
  const readings = [256, 512, 384].map((memoryMib) => reload(configOf({ a: memoryMib }, { files: [`${memoryMib}`] })));
  await Promise.all(readings);
  assert.deepEqual([shown(), watched], [{ a: 384 }, [['controller.yaml'], ['384']]]);
});

test('functions file: a name that was given over the API stays with the function that has it', async () => {
  const first = configOf(
    { a: 128, b: 128 },
    { broken: [{ name: 'c', problems: ['wrong'] }], files: ['controller.yaml', 'functions.yaml'] },
  );
  const { file, registry, shown, reload } = createBench(first, ['a', 'c']);
  for (const name of ['a', 'c']) registry.publish(functionConfig(name, { memoryMib: 512 }));
  await file.apply(first);
  assert.deepEqual(shown(), { a: 512, b: 128, c: 512 });
  assert.deepEqual(
    ['a', 'b', 'c', 'd'].map((name) => file.fileOf(name)),
    [null, 'functions.yaml', null, null],
  );
  await reload(configOf({}));
  assert.deepEqual(shown(), { a: 512, c: 512 });
  assert.equal(file.fileOf('b'), null);
});

test('functions file: schedules and event sources have one bound with those of the API', async () => {
  const schedule = { name: 's', expression: 'rate(1 day)', timeZone: 'UTC', qualifier: null, input: null } as const;
  const own = { ...schedule, missed: 'once', start: null, end: null } as const;
  const { modified, ...source } = eventSource();
  const config = configOf(
    { a: 128, b: 128, c: 128 },
    {
      schedules: new Map([
        ['a', [own]],
        ['b', [own]],
      ]),
      eventSources: new Map([['c', [source]]]),
    },
  );
  const { file, registry, reload } = createBench(config);
  const ofApi = Array.from({ length: 9999 }, () => ({ ...own, isPaused: false, since: modified }));
  registry.configure('api', { schedules: ofApi });
  await file.apply(config);
  assert.equal(registry.get('a')?.schedules.length, 1);
  assert.deepEqual(registry.get('b')?.schedules, []);
  assert.match(registry.get('b')?.problems.join() ?? '', /its schedules would be more than 10000, with those that/);
  assert.deepEqual([registry.scheduleCount, registry.eventSourceCount], [10_000, 1]);
  // The same again: what it has is its own already.
  await reload(config);
  assert.equal(registry.get('a')?.schedules.length, 1);
  registry.configure('api', { schedules: [] });
  await reload(config);
  assert.deepEqual([registry.get('b')?.schedules.length, registry.scheduleCount], [1, 2]);
});
