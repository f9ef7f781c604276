import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LoadCheck } from '../../src/controller/load-check.ts';
import { SnapfaasError } from '../../src/protocol/errors.ts';
import { FunctionError } from '../../src/protocol/invoker.ts';
import type { LaunchFailure } from '../../src/protocol/runner.ts';
import { functionConfig } from '../support/scripted-guests.ts';

const NO_SNAPSHOT: LaunchFailure = { kind: 'vmm', message: 'no snapshots are made', console: [] };
const FAILURE = { type: 'ImportError', message: 'no such module', stack: [] };
const DOES_NOT_LOAD = { code: 'function_error', message: 'it does not load: ImportError: no such module' };
const LOST = new SnapfaasError('vm_launch_failed', 'firerunner ended');

/** Each step takes the next answer; an error is thrown. */
function createBench(snapshots: readonly (LaunchFailure | null)[], launches: readonly (Error | 'lost' | null)[] = []) {
  const log: string[] = [];
  const [settled, tried] = [[...snapshots], [...launches]];
  let losses = 0;
  let isWanted = true;
  const check = new LoadCheck({
    snapshotSettled: () => {
      log.push('snapshot');
      return Promise.resolve(settled.shift() ?? null);
    },
    isWanted: () => isWanted,
    tryOut: () => {
      log.push('launch');
      const answer = tried.shift() ?? null;
      if (answer === null) return Promise.resolve();
      if (answer === 'lost') losses += 1;
      return Promise.reject(answer === 'lost' ? LOST : answer);
    },
    losses: () => losses,
    serving: () => Promise.resolve(),
  });
  return { log, run: () => check.run(functionConfig('f')), discard: () => void (isWanted = false) };
}

test('load check: a snapshot says that a version loads, or that it does not; nothing is launched', async () => {
  const { run, log } = createBench([null, { kind: 'function', failure: FAILURE }]);
  await run();
  await assert.rejects(run(), DOES_NOT_LOAD);
  assert.deepEqual(log, ['snapshot', 'snapshot']);
});

test('load check: without a snapshot a VM is launched, and tells', async () => {
  const broken = new SnapfaasError('vm_launch_failed', 'no memory');
  const { run, log } = createBench([NO_SNAPSHOT, NO_SNAPSHOT, NO_SNAPSHOT], [null, new FunctionError(FAILURE), broken]);
  await run();
  await assert.rejects(run(), DOES_NOT_LOAD);
  await assert.rejects(run(), broken);
  assert.equal(log.length, 6);
});

test('load check: a firerunner that is lost tells nothing; the next one is asked, and none after two', async () => {
  const once = createBench([NO_SNAPSHOT, { kind: 'function', failure: FAILURE }], ['lost']);
  await assert.rejects(once.run(), DOES_NOT_LOAD);
  const twice = createBench([NO_SNAPSHOT, NO_SNAPSHOT, null], ['lost', 'lost']);
  await assert.rejects(twice.run(), { code: 'vm_launch_failed', message: /lost 2 times/, cause: LOST });
});

test('load check: what becomes of a version that was discarded interests nobody', async () => {
  const { run, discard } = createBench([NO_SNAPSHOT], [LOST]);
  discard();
  await run();
});

test('load check: a snapshot that does not come is not waited for for ever', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const log: string[] = [];
  const check = new LoadCheck({
    snapshotSettled: () => new Promise(() => undefined),
    isWanted: () => true,
    tryOut: () => Promise.resolve(void log.push('launch')),
    losses: () => 0,
    serving: () => Promise.resolve(),
  });
  const checked = check.run(functionConfig('f'));
  await new Promise((resolve) => setImmediate(resolve));
  t.mock.timers.tick(120_000);
  await checked;
  assert.deepEqual(log, ['launch']);
});
