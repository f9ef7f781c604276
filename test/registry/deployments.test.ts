import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Deployments, type Build, type DeploymentOutcome } from '../../src/registry/deployments.ts';
import { FunctionRegistry } from '../../src/registry/function-registry.ts';
import type { FunctionVersion } from '../../src/registry/function-version.ts';
import { functionConfig } from '../support/scripted-guests.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Steps of deployments, each of which waits until the test lets it go on. */
function createBench({ atOnce = 4 } = {}) {
  const registry = new FunctionRegistry();
  const waiting = new Map<string, { resolve: () => void; reject: (error: Error) => void }>();
  const log: string[] = [];
  const step = (what: string): Promise<void> => {
    log.push(what);
    return new Promise((resolve, reject) => waiting.set(what, { resolve, reject }));
  };
  const shown = ({ name, memoryMib }: FunctionVersion): string => `${name} ${memoryMib}`;
  const deployments = new Deployments({
    registry,
    prepare: (version) => step(`prepare ${shown(version)}`),
    discard: (version) => log.push(`discard ${shown(version)}`),
    atOnce,
  });
  registry.listen({
    onPublished: (version) => log.push(`published ${shown(version)}`),
    onRetired: (version) => log.push(`retired ${shown(version)}`),
  });
  const build: Build = async (config) => {
    const version = { ...config, version: '$LATEST' };
    await step(`build ${shown(version)}`);
    return version;
  };
  const deploy = (name: string, memoryMib: number): Promise<DeploymentOutcome> =>
    deployments.deploy(functionConfig(name, { memoryMib }), build);
  const end = async (what: string, error?: Error): Promise<void> => {
    const waiter = waiting.get(what);
    assert.ok(waiter !== undefined, `"${what}" is waited for: ${log.join(', ')}`);
    waiting.delete(what);
    if (error === undefined) waiter.resolve();
    else waiter.reject(error);
    await turn();
  };
  return { registry, deployments, log, deploy, end };
}

test('deployments: the first version answers as soon as its files are ready', async () => {
  const { registry, log, deploy, end } = createBench();
  const deployed = deploy('f', 128);
  assert.equal(registry.resolve('f'), null);
  await turn();
  await end('build f 128');
  await deployed;
  assert.deepEqual(log, ['build f 128', 'published f 128']);
});

test('deployments: each tells how far it is, until it has ended or is called off', async () => {
  const { registry, deployments, deploy, end } = createBench({ atOnce: 1 });
  registry.publish(functionConfig('f'));
  const seen: string[] = [];
  const stepOf = (name: string): string => deployments.progressOf(name).get('$LATEST')?.step ?? 'none';
  deployments.onProgress = (name) => seen.push(`${name} ${stepOf(name)}`);
  assert.equal(stepOf('f'), 'none');
  const deployed = [deploy('f', 256), deploy('g', 128), deploy('h', 128)];
  const begun = Date.now();
  await turn();
  assert.deepEqual(['f', 'g', 'h'].map(stepOf), ['building', 'queued', 'queued']);
  await end('build f 256');
  assert.equal(stepOf('f'), 'snapshotting');
  assert.ok(Math.abs((deployments.progressOf('f').get('$LATEST')?.since ?? 0) - begun) < 5000);
  deployments.remove('h');
  await end('prepare f 256');
  assert.deepEqual(['f', 'g', 'h'].map(stepOf), ['none', 'building', 'none']);
  await end('build g 128');
  await Promise.all(deployed);
  assert.equal(stepOf('g'), 'none');
  assert.deepEqual(seen, ['f building', 'f snapshotting', 'g building']);
});

test('deployments: a version that answers is replaced when the snapshot of the next one is there', async () => {
  const { registry, log, deploy, end } = createBench();
  registry.publish(functionConfig('f'));
  const deployed = deploy('f', 256);
  await turn();
  await end('build f 256');
  assert.equal(registry.resolve('f')?.memoryMib, 128);
  await end('prepare f 256');
  await deployed;
  assert.equal(registry.resolve('f')?.memoryMib, 256);
  assert.deepEqual(log.slice(1), ['build f 256', 'prepare f 256', 'published f 256', 'retired f 128']);
});

test('deployments: what is as it was is left as it is', async () => {
  const { registry, log, deploy, end } = createBench();
  const version = functionConfig('f');
  registry.publish(version);
  const deployed = deploy('f', 128);
  await turn();
  await end('build f 128');
  await deployed;
  assert.equal(registry.resolve('f'), version);
  assert.equal(registry.get('f')?.lastUpdateStatus, 'Successful');
  assert.deepEqual(log, ['published f 128', 'build f 128']);
});

for (const step of ['build', 'prepare'] as const) {
  test(`deployments: one that fails to ${step} leaves the version before, with the reason`, async () => {
    const { registry, log, deploy, end } = createBench();
    registry.publish(functionConfig('f'));
    const deployed = deploy('f', 256);
    await turn();
    if (step === 'prepare') await end('build f 256');
    await end(`${step} f 256`, new Error('no such module'));
    await deployed;
    assert.equal(registry.resolve('f')?.memoryMib, 128);
    assert.deepEqual(registry.get('f')?.problems, ['no such module']);
    assert.equal(log.includes('discard f 256'), step === 'prepare');
  });
}

test('deployments: a newer one calls off the one before, wherever it is', async () => {
  const { registry, log, deploy, end } = createBench();
  registry.publish(functionConfig('f'));
  const first = deploy('f', 256);
  await turn();
  await end('build f 256');
  const second = deploy('f', 512);
  await first;
  assert.equal(registry.get('f')?.lastUpdateStatus, 'InProgress');
  await end('prepare f 256');
  await end('build f 512');
  await end('prepare f 512');
  await second;
  assert.equal(registry.resolve('f')?.memoryMib, 512);
  assert.ok(log.includes('discard f 256') && !log.includes('published f 256'));
});

test('deployments: so many are worked on at once, and the rest in their order', async () => {
  const { log, deploy, end } = createBench({ atOnce: 2 });
  const all = ['a', 'b', 'c', 'd'].map((name) => deploy(name, 128));
  await turn();
  assert.deepEqual(log, ['build a 128', 'build b 128']);
  await end('build b 128', new Error('broken'));
  await end('build a 128');
  assert.deepEqual(log.slice(2), ['build c 128', 'published a 128', 'build d 128']);
  await end('build c 128');
  await end('build d 128');
  await Promise.all(all);
});

test('deployments: whatever happens in whatever order, what was asked for last is what answers, and the rest is given back', async () => {
  const asked = fc.array(
    fc.record({
      name: fc.constantFrom('a', 'b'),
      what: fc.constantFrom<128 | 256 | 512 | 'remove' | 'refuse'>(128, 256, 512, 'remove', 'refuse'),
      pauses: fc.nat({ max: 6 }),
      fails: fc.constantFrom(null, null, null, 'build', 'prepare'),
    }),
    { maxLength: 20 },
  );
  await fc.assert(
    fc.asyncProperty(asked, async (steps) => {
      const registry = new FunctionRegistry();
      /** Versions that were prepared or published and not given back yet. */
      const held = new Set<FunctionVersion>();
      const failing = new Map<number, string | null>();
      const deployments = new Deployments({
        registry,
        prepare: async (version) => {
          held.add(version);
          await turn();
          if (failing.get(version.timeoutMs) === 'prepare') throw new Error('prepare');
        },
        discard: (version) => held.delete(version),
        atOnce: 2,
      });
      registry.listen({
        onPublished: (version) => held.add(version),
        onRetired: (version) => assert.ok(held.delete(version)),
      });
      const build: Build = async (config) => {
        await turn();
        if (failing.get(config.timeoutMs) === 'build') throw new Error('build');
        return { ...config, version: '$LATEST' };
      };
      for (const [index, { name, what, pauses, fails }] of steps.entries()) {
        failing.set(index, fails);
        if (what === 'remove') deployments.remove(name);
        else if (what === 'refuse') deployments.refuse(name, ['refused']);
        else void deployments.deploy(functionConfig(name, { memoryMib: what, timeoutMs: index }), build);
        for (let i = 0; i < pauses; i += 1) await turn();
        if (fails === null && typeof what === 'number') {
          await deployments.settled();
          assert.equal(registry.resolve(name)?.memoryMib, what);
        }
      }
      await deployments.settled();
      await turn();
      assert.deepEqual(held, new Set(registry.versions()));
      for (const { lastUpdateStatus } of registry.list()) assert.notEqual(lastUpdateStatus, 'InProgress');
    }),
    { numRuns: 200 },
  );
});
