/** What the live page is told of a host with 10,000 functions and 1,000 VMs, that nobody has to run for it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LiveTable } from '../../../src/controller/gateway/ui/live-table.ts';
import { DiskSpace } from '../../../src/controller/telemetry/disk-space.ts';
import type { BannerRow, FunctionRow, LivePatch } from '../../../src/protocol/live-state.ts';
import type { DeploymentProgress } from '../../../src/registry/deployments.ts';
import { BusyHost } from '../../support/busy-host.ts';

const FUNCTION = 'function-00007';

const nobody: (name: string) => void = () => undefined;

function patchOf(table: LiveTable): LivePatch {
  return JSON.parse(table.takePatch() ?? '{}') as LivePatch;
}

test('live rows: a step of a busy host is told by what has changed in it, not by what there is', () => {
  const host = new BusyHost();
  const table = new LiveTable();
  host.rows.begin(table);
  const all = patchOf(table);
  assert.equal(Object.keys(all.functions ?? {}).length, 10_000);
  assert.equal(Object.keys(all.vms ?? {}).length, 1000);
  for (let step = 0; step < 20; step += 1) {
    host.step();
    host.rows.update(table);
    const { functions = {}, vms = {}, vmStates = {}, activity = {} } = patchOf(table);
    assert.equal(Object.keys(functions).length, 0);
    // Two come, and two that were evicted in the step before go.
    assert.equal(Object.keys(vms).length, step === 0 ? 2 : 4);
    assert.ok(Object.keys(vmStates).length <= 26 && Object.keys(vmStates).length >= 4);
    assert.equal(Object.values(vmStates).filter((state) => state === 'evicted').length, 2);
    assert.ok(Object.keys(activity).length >= 20);
  }
  host.rows.end();
});

test('live rows: how a VM ended is told before its row goes, also of one that nobody saw', () => {
  const host = new BusyHost();
  const table = new LiveTable();
  host.rows.begin(table);
  table.takePatch();
  // 1,200 are evicted in one look: all that were there, and 200 that had come since.
  const gone: string[] = [];
  for (let step = 0; step < 600; step += 1) host.step();
  host.rows.update(table);
  const { vms = {}, vmStates = {} } = patchOf(table);
  for (const [id, state] of Object.entries(vmStates)) if (state === 'evicted') gone.push(id);
  assert.equal(gone.length, 1200);
  assert.equal(gone.filter((id) => vms[id] !== undefined && vms[id] !== null).length, 200);
  host.rows.update(table);
  const after = patchOf(table);
  assert.deepEqual(after.vms, Object.fromEntries(gone.map((id) => [id, null])));
  assert.deepEqual(after.vmStates, after.vms);
  host.rows.end();
});

test('live rows: deployments under way are told when they come to a step, and gone when they are over', () => {
  const progress = new Map<string, DeploymentProgress>();
  const deployments = {
    progressOf: (name: string) => (name === FUNCTION ? progress : new Map<string, DeploymentProgress>()),
    onProgress: nobody,
  };
  const host = new BusyHost({ deployments });
  const table = new LiveTable();
  host.rows.begin(table);
  table.takePatch();
  const told = (): FunctionRow['deployments'] => {
    deployments.onProgress(FUNCTION);
    host.rows.update(table);
    return (patchOf(table).functions?.[FUNCTION] as FunctionRow | undefined)?.deployments;
  };
  progress.set('$LATEST', { step: 'building', since: 5 });
  assert.deepEqual(told(), [{ version: '$LATEST', step: 'building', sinceMs: 5 }]);
  progress.set('$LATEST', { step: 'snapshotting', since: 9 });
  assert.deepEqual(told(), [{ version: '$LATEST', step: 'snapshotting', sinceMs: 9 }]);
  progress.clear();
  assert.equal(told(), undefined);
  host.rows.end();
});

test('live rows: a disk that is nearly full needs a person, until there is room', async () => {
  const sizes = { bsize: 1024, bavail: 5 * 2 ** 20, blocks: 100 * 2 ** 20 };
  const disk = new DiskSpace('data', '/d', () => Promise.resolve({ ...sizes }));
  await disk.look();
  const host = new BusyHost({ disks: [disk] });
  const table = new LiveTable();
  host.rows.begin(table);
  const banners = (patchOf(table).banners ?? {}) as Readonly<Record<string, BannerRow>>;
  assert.deepEqual(Object.values(banners), [
    { level: 'warning', text: 'the disk of /d (data) is nearly full: 5120 MB are free; make room' },
  ]);
  sizes.bavail = 50 * 2 ** 20;
  await disk.look();
  host.rows.update(table);
  assert.deepEqual(patchOf(table).banners, { 'disk /d': null });
  host.rows.end();
});

test('live rows: a host without KVM, and one that serves nothing new, need a person as long as that is so', () => {
  const host = new BusyHost();
  const table = new LiveTable();
  host.notice = 'there is no KVM';
  host.rows.begin(table);
  const withoutKvm: BannerRow = { level: 'warning', text: 'there is no KVM; "snapctr doctor" says more' };
  assert.deepEqual(patchOf(table).banners, { driver: withoutKvm });
  host.problem = 'the queue is full';
  host.rows.update(table);
  const isFull: BannerRow = { level: 'error', text: 'New requests are not served: the queue is full' };
  assert.deepEqual(patchOf(table).banners, { ready: isFull });
  host.problem = null;
  host.rows.update(table);
  assert.deepEqual(patchOf(table).banners, { ready: null });
  host.rows.end();
});
