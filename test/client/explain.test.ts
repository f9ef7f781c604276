import assert from 'node:assert/strict';
import { test } from 'node:test';
import { explain } from '../../src/client/explain.ts';
import type { KnownInvocation, KnownLaunch } from '../../src/client/invocations-client.ts';

const NOW = 100_000;
const WARM: KnownInvocation = {
  requestId: 'id',
  traceId: null,
  function: 'shop',
  version: '$LATEST',
  submittedAt: 80_000,
  endedAt: 80_010,
  outcome: 'ok',
  message: null,
  start: 'warm',
  vm: 'vm-1',
  eventTry: null,
  queueMs: 0.01,
  waits: null,
  launch: null,
  wakeMs: null,
  durationMs: 9.9,
};
const LAUNCH: KnownLaunch = {
  timings: { kind: 'restored', spawnMs: 10, bootMs: 0, loadMs: 300, resumeMs: 20 },
  work: { cpuMs: 120, faults: 2310, diskFaults: 12 },
  isAhead: false,
  waitMs: 340,
  settleMs: 0,
  turnMs: 0,
  cause: { busyVms: 0, lastEnd: null, notAhead: 'off', evicted: [] },
  fallback: null,
};

const text = (keys: Partial<KnownInvocation>): string => explain({ ...WARM, ...keys }, NOW).join('\n');

test('explain: a warm request', () => {
  assert.equal(
    text({}),
    'id: shop, 10.0 ms in all, 20 s ago.\nIt was answered well.\nIt ran for 9.9 ms on vm-1, which had served before.',
  );
  assert.match(text({ wakeMs: 3.21 }), /Its VM was paused: it had its CPU again after 3\.2 ms\.$/);
  assert.match(text({ version: '3', eventTry: 2 }), /^id: shop:3 \(an event, try 2\), /);
});

test('explain: a restored start, with what was evicted for it', () => {
  const evicted = [{ vm: 'vm-3', function: 'mail', version: '2' }];
  const lastEnd = { reason: 'mail', isEvicted: true, at: 75_000 };
  const cause = { busyVms: 0, lastEnd, notAhead: 'no_memory', evicted };
  const said = text({ start: 'restored', launch: { ...LAUNCH, cause, settleMs: 5, turnMs: 7 } });
  assert.match(said, /Its version had no VM: the last one was evicted for mail, 5 s before\./);
  assert.match(said, /None was launched ahead: the budget, or the memory that was free, did not suffice\./);
  assert.match(said, /To make room for it, vm-3 of mail:2 was evicted\./);
  assert.match(said, /waited 5\.0 ms for VMs to end whose memory it got/);
  assert.match(said, /waited 7\.0 ms for its turn/);
  assert.match(said, /Until its first answer its VM used 120 ms of processor time, and touched 9\.0 MiB/);
  assert.match(said, /of memory \(2310 page faults\), 0\.05 MiB of it read from a disk\.$/);
  assert.match(said, /vm-1 was restored from its function's snapshot for it, and was waited for 340\.0 ms \(10\.0 ms/);
});

test('explain: a boot says why it was no restore', () => {
  const timings = { kind: 'cold', spawnMs: 1, bootMs: 2, loadMs: 3, resumeMs: 4 } as const;
  const cold = { ...LAUNCH, timings };
  assert.match(text({ start: 'cold', launch: cold }), /It was not restored: no snapshots are used here\./);
  assert.match(
    text({ start: 'cold', launch: { ...cold, fallback: 'it is being made' } }),
    /restored: it is being made\./,
  );
  const busy = { busyVms: 2, lastEnd: null, notAhead: null, evicted: [] };
  assert.match(
    text({ start: 'cold', launch: { ...cold, cause: busy } }),
    /No VM was idle: all 2 of its version were busy\./,
  );
});

test('explain: waits and ends of every kind', () => {
  const waits = { turn: 1, concurrency_limit: 2, own_vm: 3, memory: 1500, tap: 4, deployment: 5 };
  const said = text({
    waits,
    queueMs: 1512,
    start: null,
    vm: null,
    durationMs: 0,
    outcome: 'queue_full',
    message: 'm',
  });
  assert.match(said, /It was refused with queue_full, and reached no VM: m/);
  for (const words of [
    'before it',
    'concurrency limit',
    'free sooner than another',
    '1.50 s for memory',
    'taps',
    'could run',
  ]) {
    assert.ok(said.includes(words), said);
  }
  const ahead = { ...LAUNCH, isAhead: true, waitMs: 0, cause: null };
  assert.match(text({ start: 'restored', launch: ahead }), /restored .* before the request came/);
  const failed = { ...LAUNCH, timings: null };
  assert.match(
    text({ start: null, launch: failed, outcome: 'vm_launch_failed', durationMs: 0 }),
    /Its VM did not come up/,
  );
  assert.match(text({ launch: failed }), /another VM of its function, vm-1, was free first/);
});
