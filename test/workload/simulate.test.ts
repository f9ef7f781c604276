import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { EVICTION_ORDERS } from '../../src/controller/pool/eviction-orders.ts';
import { generate } from '../../src/workload/generate.ts';
import { readWorkload, WorkloadError } from '../../src/workload/read-workload.ts';
import { quantileOf, simulate } from '../../src/workload/simulation/simulate.ts';
import type { VmRecord } from '../../src/controller/pool/vm-life.ts';
import { Utilisation } from '../../src/workload/simulation/utilisation.ts';
import { writeWorkload } from '../../src/workload/workload-directory.ts';

const directory = mkdtempSync(join(tmpdir(), 'snapfaas-workload-'));
after(() => rmSync(directory, { recursive: true }));

test('utilisation: whatever changes when, memory and time come out as they went in', () => {
  const change = fc.record({
    pauseMs: fc.double({ min: 0, max: 50, noNaN: true }),
    mib: fc.integer({ min: 1, max: 512 }),
  });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 20 }), fc.array(change, { minLength: 1 }), (sliceMs, changes) => {
      const utilisation = new Utilisation(sliceMs);
      let [now, held, mibMs] = [0, 0, 0];
      for (const { pauseMs, mib } of changes) {
        mibMs += held * pauseMs;
        now += pauseMs;
        utilisation.change(now, mib, null, 'busy');
        held += mib;
      }
      let sum = 0;
      for (const { atMs, mib } of utilisation.slices(now)) {
        const begin = Math.floor(atMs / sliceMs) * sliceMs;
        sum += mib.busy * Math.max(1, Math.min(sliceMs, now - begin));
        assert.deepEqual([mib.idle, mib.starting], [0, 0]);
      }
      assert.ok(Math.abs(sum - mibMs) <= 1e-6 * Math.max(1, mibMs), `${sum} and ${mibMs}`);
    }),
  );
});

test('simulate: requests, VMs and memory add up, under every order, and the same twice', async () => {
  const trace = generate({ functions: 20, durationMs: 600_000, requestsPerSecond: 2, zipfExponent: 1, seed: 7 });
  const host = { cores: 2, memoryMib: 1024, standbyMib: 256, startMs: 150 } as const;
  for (const order of EVICTION_ORDERS) {
    const records: VmRecord[] = [];
    const one = await simulate(trace, { ...host, order, onVm: (record) => void records.push(record) });
    assert.equal(one.requests, trace.arrivals.length);
    assert.equal(records.length, one.launches);
    assert.equal(records.filter(({ evicted }) => evicted).length, one.evictions);
    assert.equal(
      records.reduce((sum, { uses }) => sum + uses, 0),
      one.requests - one.refused,
    );
    for (const { launched_ms, ready_ms, busy_ms, idle_ms, ended_ms, uses, first_use_ms, last_use_ms } of records) {
      const startMs = (ready_ms ?? ended_ms) - launched_ms;
      assert.ok(Math.abs(startMs + busy_ms + idle_ms - (ended_ms - launched_ms)) < 0.01);
      assert.ok(ready_ms === null || startMs >= host.startMs - 0.01);
      assert.equal(uses === 0, first_use_ms === null);
      assert.ok((first_use_ms ?? 0) <= (last_use_ms ?? Infinity));
    }
    const slices = one.slices;
    assert.equal(
      slices.reduce((sum, { requests }) => sum + requests, 0),
      one.requests,
    );
    for (const { mib } of slices) assert.ok(mib.busy + mib.idle + mib.starting <= host.memoryMib + 0.01);
    assert.ok(one.waiting > 0 && one.waiting < 1 && quantileOf(one.waits, 0) === 0);
    const again = await simulate(trace, { ...host, order });
    assert.deepEqual([again.launches, again.evictions, again.waits], [one.launches, one.evictions, one.waits]);
  }
});

test('simulate: memory for all of them needs one start each, and who is stopped is told at once', async () => {
  const trace = generate({ functions: 5, durationMs: 60_000, requestsPerSecond: 2, zipfExponent: 1, seed: 7 });
  const host = { cores: 64, memoryMib: 64 * 1024, standbyMib: 0, startMs: 100, order: 'lru' } as const;
  const { evictions, refused, waits } = await simulate(trace, host);
  assert.deepEqual([evictions, refused, quantileOf(waits, 1)], [0, 0, 100]);
  const stop = new AbortController();
  stop.abort(new Error('enough'));
  await assert.rejects(simulate(trace, { ...host, signal: stop.signal }), /enough/);
});

test('a workload that was written is read as it was', async () => {
  const trace = generate({ functions: 6, durationMs: 60_000, requestsPerSecond: 5, zipfExponent: 1, seed: 3 });
  await writeWorkload(trace, { directory, imagesDirectory: '/images' });
  const read = await readWorkload(directory, 5);
  const shown = ({ functions, arrivals }: typeof trace): unknown => [
    functions.map(({ name, memoryMib }) => [name, memoryMib]),
    arrivals.map(({ timeMs, function: name, runMs }) => [timeMs, name, runMs]),
  ];
  assert.deepEqual(shown(read), shown(trace));
});

/** Files of a workload that cannot be used, and what is said. */
const BAD: readonly (readonly [functions: string, requests: string, why: RegExp])[] = [
  ['- name: f', '{"function":"g","payload":1,"time":0}', /line 1: there is no function g in functions\.yaml/],
  ['- name: f', '{"function":"f","payload":1}', /line 1: it has no "time"/],
  [
    '- name: f',
    '{"function":"f","payload":1,"time":5}\n{"function":"f","payload":1,"time":4}',
    /line 2: its time is before/,
  ],
  ['- name: f', 'no JSON', /line 1: /],
  ['- name: f\n  memory: 1', '', /functions\.yaml: 0\.memory: /],
  ['f: 1', '', /functions\.yaml: /],
  ['- [', '', /functions\.yaml cannot be read/],
];

test('a workload that cannot be used: the file, the line, and what is expected', async () => {
  for (const [functions, requests, why] of BAD) {
    writeFileSync(join(directory, 'functions.yaml'), functions);
    writeFileSync(join(directory, 'requests.json'), requests);
    await assert.rejects(readWorkload(directory, 5), (error: unknown) => {
      assert.ok(error instanceof WorkloadError);
      assert.match(error.message, why);
      return true;
    });
  }
  await assert.rejects(readWorkload(join(directory, 'none'), 5), /functions\.yaml cannot be read: .*ENOENT/);
});
