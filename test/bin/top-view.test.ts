import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { drawTop } from '../../src/bin/top-view.ts';
import { emptyState, type LiveState } from '../../src/protocol/live-state.ts';

function state(): LiveState {
  const made = emptyState();
  Object.assign(made.host, {
    about: { vmm: 'qemu', startedAtMs: 1 },
    state: 'running',
    memory: { total: 1024, reserved: 256, idle: 128 },
    queue: { length: 3, capacity: 100 },
    startBucket: 1000,
  });
  const row = { state: 'Active', deploying: false, runtime: 'nodejs', mib: 128, versions: 0, snapshot: null } as const;
  made.functions.set('quiet', row).set('a-function-with-a-long-name', { ...row, deploying: true });
  const activity = { requests: 600, errors: 60, p50Ms: 3.21, p99Ms: 1500, lastEndedAtMs: 1 };
  made.activity.set('a-function-with-a-long-name', activity);
  made.pending.set('a-function-with-a-long-name', 7);
  const vm = { function: 'a-function-with-a-long-name', version: '$LATEST', mib: 128, launchedAtMs: 1 };
  made.vms.set('vm-1', vm).set('vm-2', vm);
  made.vmStates.set('vm-1', 'busy').set('vm-2', 'idle');
  made.starts.set('1000', { warm: 5 }).set('900', { warm: 100 });
  made.banners.set('disk', { level: 'warning', text: 'the disk is\u001b[2J full' });
  return made;
}

describe('top: a picture of the state', () => {
  for (const columns of [60, 80, 100]) {
    test(`at ${columns} columns it has all columns, and no line is wider`, () => {
      const lines = drawTop(state(), { columns, rows: 40, color: false });
      for (const line of lines) assert.ok(line.length <= columns, line);
      const at = lines.findIndex((line) => line.startsWith('FUNCTION'));
      assert.match(lines[at] ?? '', /REQ\/S +ERR % +P50 +P99 +VMS +EVENTS *$/);
      assert.match(lines[at + 1] ?? '', /^a-function-.* dep.* 10\.0 +10 +3\.2ms +1\.5s +2 +7$/);
      assert.match(lines[at + 2] ?? '', /^quiet +Acti.* - +- +- +- +0 +0$/);
    });
  }

  test('memory is drawn by state, starts are of the last five minutes, and banners are text', () => {
    const lines = drawTop(state(), { columns: 80, rows: 40, color: false });
    assert.ok(lines.includes('█'.repeat(10) + '▒'.repeat(10) + '·'.repeat(60)));
    assert.ok(lines.some((line) => /warm 5 /.test(line)));
    assert.ok(lines.some((line) => line.startsWith('! the disk is')));
    assert.ok(lines.every((line) => !line.includes('\u001b')));
  });

  test('it has no more lines than the terminal, and colours where they are wanted', () => {
    assert.equal(drawTop(state(), { columns: 80, rows: 5, color: false }).length, 5);
    assert.ok(drawTop(state(), { columns: 80, rows: 40, color: true }).some((line) => line.includes('\u001b[32m')));
  });
});
