import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VmLife } from '../../../src/controller/pool/vm-life.ts';

function life(): { readonly vm: VmLife; readonly at: (ms: number) => VmLife } {
  let now = 100;
  const vm = new VmLife(() => now);
  return {
    vm,
    at(ms) {
      now = ms;
      return vm;
    },
  };
}

test('VM record: starts, serves, is kept and paused, and ends', () => {
  const { at } = life();
  at(250).becomes('busy');
  at(260).begins();
  at(300).becomes('idle');
  at(500).pauses();
  at(900).resumes();
  at(900).becomes('busy');
  at(901).begins();
  at(911).becomes('idle');
  at(1000).pauses();
  at(1200).becomes(null);
  assert.deepEqual(at(1210).times, {
    launched_ms: 100,
    ready_ms: 250,
    uses: 2,
    first_use_ms: 260,
    last_use_ms: 911,
    busy_ms: 50 + 11,
    idle_ms: 600 + 289,
    paused_ms: 400 + 200,
    ended_ms: 1210,
  });
});

test('VM record: a launch that came to nothing was never ready', () => {
  const { at } = life();
  assert.equal(at(400).becomes(null), 'starting');
  const { ready_ms, first_use_ms, last_use_ms, busy_ms, idle_ms } = at(400).times;
  assert.deepEqual([ready_ms, first_use_ms, last_use_ms, busy_ms, idle_ms], [null, null, null, 0, 0]);
});

test('VM record: one that was launched ahead has served nobody when it becomes idle', () => {
  const { at } = life();
  at(200).becomes('busy');
  at(200).becomes('idle');
  assert.deepEqual([at(300).times.last_use_ms, at(300).times.uses], [null, 0]);
});

test('VM record: what is dead stays so', () => {
  const { at } = life();
  at(200).becomes(null);
  assert.equal(at(300).becomes('idle'), null);
  assert.deepEqual([at(300).times.ready_ms, at(300).times.idle_ms], [null, 0]);
});
