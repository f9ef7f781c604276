import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { emptyState, type LiveState } from '../../src/protocol/live-state.ts';
import { nextSort, orderedNames, SORT_KEYS, sortOf, type FunctionSort } from '../../src/ui/function-order.ts';

function state(): LiveState {
  const made = emptyState();
  const row = { state: 'Active', deploying: false, runtime: 'nodejs', mib: 128, versions: 0, snapshot: null } as const;
  made.functions
    .set('delta', row)
    .set('alpha', row)
    .set('bravo', { ...row, mib: 512, versions: 3, state: 'Failed' });
  made.functions.set('charlie', { ...row, snapshot: 'ready' });
  const activity = { requests: 10, errors: 0, p50Ms: 1, p99Ms: 2, lastEndedAtMs: 1 };
  made.activity.set('charlie', { ...activity, errors: 1 });
  made.activity.set('delta', { ...activity, requests: 100, errors: 2, p50Ms: 5, p99Ms: 7 });
  const vm = { version: '$LATEST', mib: 128, launchedAtMs: 1 };
  made.vms.set('vm-1', { ...vm, function: 'alpha' });
  made.pending.set('bravo', 4);
  return made;
}

const descending = (key: FunctionSort['key']): FunctionSort => ({ key, isDescending: true });

describe('order of functions', () => {
  test('those with requests come first, then by name, and only those that are searched for', () => {
    assert.deepEqual(orderedNames(state(), '', null), ['charlie', 'delta', 'alpha', 'bravo']);
    assert.deepEqual(orderedNames(state(), ' A', null), ['charlie', 'delta', 'alpha', 'bravo']);
    assert.deepEqual(orderedNames(state(), 'AV', null), ['bravo']);
  });

  test('by each column, both ways; who has no value there comes last', () => {
    const first: Readonly<Record<FunctionSort['key'], readonly [high: string, low: string]>> = {
      name: ['delta', 'alpha'],
      state: ['bravo', 'alpha'],
      rate: ['delta', 'charlie'],
      // By their share of the requests, as it is shown: 10 % are more than 2 %.
      errors: ['charlie', 'delta'],
      p50: ['delta', 'charlie'],
      p99: ['delta', 'charlie'],
      vms: ['alpha', 'alpha'],
      memory: ['bravo', 'alpha'],
      versions: ['bravo', 'alpha'],
      snapshot: ['charlie', 'charlie'],
      events: ['bravo', 'bravo'],
    };
    for (const key of SORT_KEYS) {
      const [high, low] = first[key];
      assert.equal(orderedNames(state(), '', descending(key))[0], high, key);
      assert.equal(orderedNames(state(), '', { key, isDescending: false })[0], low, key);
    }
    assert.deepEqual(orderedNames(state(), '', descending('rate')), ['delta', 'charlie', 'alpha', 'bravo']);
  });

  test('a heading leads one way, the other way and back; the address has the same', () => {
    const up = nextSort(null, 'errors');
    assert.deepEqual(up, descending('errors'));
    assert.deepEqual(nextSort(up, 'errors'), { key: 'errors', isDescending: false });
    assert.equal(nextSort({ key: 'errors', isDescending: false }, 'errors'), null);
    assert.deepEqual(nextSort(up, 'name'), { key: 'name', isDescending: false });
    assert.deepEqual(sortOf(new URLSearchParams('sort=errors')), descending('errors'));
    assert.deepEqual(sortOf(new URLSearchParams('sort=p99&order=ascending')), { key: 'p99', isDescending: false });
    assert.equal(sortOf(new URLSearchParams('sort=__proto__')), null);
  });
});
