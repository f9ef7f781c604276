import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SnapfaasError } from '../../src/protocol/errors.ts';
import { FunctionRegistry } from '../../src/registry/function-registry.ts';
import { functionConfig } from '../support/scripted-guests.ts';
import { seeded } from '../../src/workload/random.ts';

/** Why requests for it are refused; null: they are not. */
function refusal(registry: FunctionRegistry, name: string, qualifier: string | null = null): string | null {
  try {
    registry.resolve(name, qualifier);
    return null;
  } catch (error) {
    return SnapfaasError.from(error).code;
  }
}

/** A registry, and all it tells. */
function createRegistry() {
  const registry = new FunctionRegistry();
  const told: string[] = [];
  registry.listen({
    onPublished: ({ name, memoryMib }) => told.push(`published ${name} ${memoryMib}`),
    onRetired: ({ name, memoryMib }) => told.push(`retired ${name} ${memoryMib}`),
    onUnavailable: (name) => told.push(`unavailable ${name} ${refusal(registry, name)}`),
  });
  const states = (name: string): unknown => {
    const { state, lastUpdateStatus, problems, latest } = registry.get(name) ?? {};
    return [state, lastUpdateStatus, problems, latest?.memoryMib];
  };
  return { registry, told, states };
}

test('registry: an unknown function is function_not_found', () => {
  const { registry } = createRegistry();
  assert.throws(() => registry.resolve('nobody'), {
    code: 'function_not_found',
    message: 'there is no function "nobody"',
  });
});

test('registry: a function is pending until its first version is published', () => {
  const { registry, told, states } = createRegistry();
  registry.deploying('f');
  assert.equal(registry.resolve('f'), null);
  assert.deepEqual(states('f'), ['Pending', 'InProgress', [], undefined]);
  const version = functionConfig('f');
  registry.publish(version);
  assert.equal(registry.resolve('f'), version);
  assert.deepEqual(states('f'), ['Active', 'Successful', [], 128]);
  assert.deepEqual(told, ['published f 128']);
});

test('registry: another version takes the place of the one before, which answers until then', () => {
  const { registry, told, states } = createRegistry();
  const first = functionConfig('f');
  const second = functionConfig('f', { memoryMib: 256 });
  registry.publish(first);
  registry.deploying('f');
  assert.equal(registry.resolve('f'), first);
  assert.deepEqual(states('f'), ['Active', 'InProgress', [], 128]);
  registry.publish(second);
  assert.equal(registry.resolve('f'), second);
  assert.deepEqual(told, ['published f 128', 'published f 256', 'retired f 128']);
});

test('registry: a deployment that fails leaves the version before, and says why until the next one', () => {
  const { registry, told, states } = createRegistry();
  const version = functionConfig('f');
  registry.publish(version);
  registry.deploying('f');
  registry.fail('f', ['no such file']);
  assert.equal(registry.resolve('f'), version);
  assert.deepEqual(states('f'), ['Active', 'Failed', ['no such file'], 128]);
  registry.deploying('f');
  registry.keep('f');
  assert.deepEqual(states('f'), ['Active', 'Successful', [], 128]);
  assert.deepEqual(told, ['published f 128']);
});

test('registry: a first deployment that fails leaves a function that cannot run, until one succeeds', () => {
  const { registry, told, states } = createRegistry();
  registry.deploying('f');
  registry.fail('f', ['line 1', 'line 2']);
  assert.throws(() => registry.resolve('f'), {
    code: 'vm_launch_failed',
    message: 'function "f" cannot run: line 1; line 2',
  });
  registry.deploying('f');
  assert.equal(registry.resolve('f'), null);
  registry.publish(functionConfig('f'));
  assert.deepEqual(states('f'), ['Active', 'Successful', [], 128]);
  assert.deepEqual(told, ['unavailable f vm_launch_failed', 'published f 128']);
});

test('registry: a function that is removed is retired and unknown', () => {
  const { registry, told } = createRegistry();
  registry.publish(functionConfig('f'));
  registry.remove('f');
  registry.remove('f');
  assert.throws(() => registry.resolve('f'), { code: 'function_not_found' });
  assert.deepEqual(
    [registry.size, told],
    [0, ['published f 128', 'retired f 128', 'unavailable f function_not_found']],
  );
});

test('registry: lists are in the order of names, and as new as the last change', () => {
  const { registry } = createRegistry();
  const names = (): readonly string[] => registry.list().map(({ name }) => name);
  for (const name of ['b', 'c', 'a']) registry.publish(functionConfig(name));
  assert.deepEqual(names(), ['a', 'b', 'c']);
  registry.deploying('aa');
  assert.deepEqual(names(), ['a', 'aa', 'b', 'c']);
  registry.remove('b');
  assert.deepEqual(names(), ['a', 'aa', 'c']);
  assert.deepEqual(
    [...registry.versions()].map(({ name }) => name),
    ['c', 'a'],
  );
});

test('registry: a version with a number answers beside the newest one, until it is removed', () => {
  const { registry, told } = createRegistry();
  const [latest, first] = [functionConfig('f'), functionConfig('f', { version: '1', memoryMib: 256 })];
  registry.publish(latest);
  registry.deploying('f', '1');
  assert.equal(registry.resolve('f', '1'), null, 'pending');
  assert.equal(registry.deployingCount, 1);
  registry.publish(first);
  assert.deepEqual(
    [registry.resolve('f'), registry.resolve('f', '$LATEST'), registry.resolve('f', '1')],
    [latest, latest, first],
  );
  assert.deepEqual([...registry.versions()], [latest, first]);
  assert.equal(registry.deployingCount, 0);
  registry.removeVersion('f', '1');
  assert.equal(refusal(registry, 'f', '1'), 'function_not_found');
  assert.equal(registry.resolve('f'), latest);
  assert.deepEqual(told, ['published f 128', 'published f 256', 'retired f 256', 'unavailable f null']);
});

test('registry: a version with a number that fails stops nothing else, and all go with their function', () => {
  const { registry, told } = createRegistry();
  registry.publish(functionConfig('f'));
  registry.publish(functionConfig('f', { version: '2', memoryMib: 512 }));
  registry.deploying('f', '1');
  registry.fail('f', ['the package is gone'], '1');
  assert.equal(refusal(registry, 'f', '1'), 'vm_launch_failed');
  assert.deepEqual([refusal(registry, 'f'), refusal(registry, 'f', '2')], [null, null]);
  told.length = 0;
  registry.remove('f');
  assert.deepEqual(told, ['retired f 128', 'retired f 512', 'unavailable f function_not_found']);
  assert.equal(registry.deployingCount, 0);
});

test('registry: qualifiers that name nothing are not found', () => {
  const { registry } = createRegistry();
  registry.publish(functionConfig('f'));
  registry.configure('f', { aliases: [{ name: 'gone', version: 9, routing: null }] });
  for (const qualifier of [
    '0',
    '1',
    '01',
    '9',
    'gone',
    'nobody',
    '',
    'constructor',
    '__proto__',
    '$LATEST.PUBLISHED',
  ]) {
    assert.equal(refusal(registry, 'f', qualifier), 'function_not_found', qualifier);
  }
});

test('registry: an alias shares requests out by its weights', () => {
  const requests = 20_000;
  for (const [seed, weight] of [0, 0.01, 0.1, 0.5, 0.75, 1].entries()) {
    const registry = new FunctionRegistry(seeded(seed + 1));
    for (const version of ['1', '2']) registry.publish(functionConfig('f', { version }));
    registry.configure('f', { aliases: [{ name: 'live', version: 1, routing: { version: 2, weight } }] });
    let toSecond = 0;
    for (let request = 0; request < requests; request += 1) {
      if (registry.resolve('f', 'live')?.version === '2') toSecond += 1;
    }
    const expected = requests * weight;
    if (weight === 0 || weight === 1) assert.equal(toSecond, expected);
    else {
      const chiSquare = (toSecond - expected) ** 2 / expected + (toSecond - expected) ** 2 / (requests - expected);
      // One degree of freedom; a fair share is above this once in a thousand.
      assert.ok(
        chiSquare < 10.83,
        `weight ${weight}, seed ${seed + 1}: ${toSecond} of ${requests}, chi-square ${chiSquare}`,
      );
    }
  }
});
