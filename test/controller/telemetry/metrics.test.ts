import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import type { ControllerStatus } from '../../../src/controller/controller.ts';
import { DiskSpace } from '../../../src/controller/telemetry/disk-space.ts';
import { MAX_COUNTED_VERSIONS } from '../../../src/controller/telemetry/function-counts.ts';
import { Metrics } from '../../../src/controller/telemetry/metrics.ts';
import { StoreSize } from '../../../src/controller/telemetry/store-size.ts';
import { invocationSummary as summary } from '../../support/invocation-summary.ts';
import { whyWithout } from '../../support/needed-program.ts';
import { PROJECT_ROOT } from '../../support/snapctr.ts';

const STATUS: ControllerStatus = {
  state: 'running',
  workers: { total: 8, busy: 1 },
  queue: { length: 2, capacity: 100 },
  memory: { total_mib: 1024, reserved_mib: 256, free_mib: 768, idle_mib: 128 },
  counters: { launches: 3, evictions: 4, reuses: 5 },
  standby: { budget_mib: 0, vms: 0 },
  provisioned: { requested: 0, available: 0 },
  functions: 1,
  deploying: 0,
  broken: [],
  snapshots: { preparing: 0, ready: 1, failed: 0 },
  vms: {},
  runner_pid: 1,
};
const RULES = join(PROJECT_ROOT, 'resources', 'prometheus');

/** With something in every metric. */
async function filled(): Promise<Metrics> {
  const metrics = new Metrics(() => STATUS);
  const disk = new DiskSpace('data', PROJECT_ROOT);
  await disk.look();
  metrics.addDisks([disk]);
  metrics.addEventSources(() => ({ total: 4, enabled: 3, failing: 1, held_bytes: 2048 }));
  metrics.addEvents(() => ({ durable: true, pending: 1, oldest_ms: 1500, dead: 2, tried_again: 3, failed: 4 }));
  metrics.addSpans(() => ({ exported: 5, droppedByQueue: 6, droppedByCollector: 7 }));
  metrics.addSnapshotStore(() => ({ bytes: 10, maxBytes: 11, removed: 12 }));
  metrics.addLostLines(() => ({ flood: 8, disk: 9 }));
  metrics.onInvocation(summary());
  metrics.onInvocation(summary({ traceId: '0af7651916cd43dd8448eb211c80319c' }));
  metrics.onInvocation(summary({ outcome: 'queue_full', start: null, version: null, function: 'nobody' }));
  metrics.onLaunched({ kind: 'cold', spawnMs: 1, bootMs: 2, loadMs: 3, resumeMs: 4 });
  metrics.onFirstUse('cold', 5, 6, null);
  metrics.onGatewayRefusal(413);
  return metrics;
}

const TEXT = { accept: 'text/plain', withFunctions: true };

/** The names in an exposition, with what histograms add to theirs. */
function namesIn(body: string): Set<string> {
  return new Set([...body.matchAll(/^(snapfaas_\w+)[ {]/gm)].map(([, name = '']) => name));
}

function promtool(t: TestContext, args: readonly string[], input = ''): void {
  const why = whyWithout('promtool', 'prometheus');
  if (why !== false) return t.skip(why);
  const { status, stdout, stderr } = spawnSync('promtool', args, { input, encoding: 'utf8' });
  assert.equal(status, 0, `${stdout}${stderr}\n${input}`);
}

test('metrics: counters, gauges and events, by their names and values', async () => {
  const { contentType, body } = await (await filled()).render(TEXT);
  assert.match(contentType, /^text\/plain/);
  for (const line of [
    'snapfaas_requests_total{code="ok",start="warm"} 2',
    'snapfaas_requests_total{code="queue_full",start="none"} 1',
    'snapfaas_gateway_refusals_total{status="413"} 1',
    'snapfaas_evictions_total 4',
    'snapfaas_vm_launches_total 3',
    'snapfaas_vm_reuses_total 5',
    'snapfaas_memory_limit_bytes 1073741824',
    'snapfaas_event_sources 3',
    'snapfaas_event_sources_failing 1',
    'snapfaas_event_sources_held_bytes 2048',
    'snapfaas_events_pending 1',
    'snapfaas_events_oldest_seconds 1.5',
    'snapfaas_events_dead 2',
    'snapfaas_events_retries_total 3',
    'snapfaas_events_failed_total 4',
    'snapfaas_trace_spans_exported_total 5',
    'snapfaas_trace_spans_dropped_total{reason="queue"} 6',
    'snapfaas_trace_spans_dropped_total{reason="collector"} 7',
    'snapfaas_snapshot_store_bytes 10',
    'snapfaas_snapshot_store_limit_bytes 11',
    'snapfaas_snapshot_layers_removed_total 12',
    'snapfaas_log_lines_lost_total{reason="flood"} 8',
    'snapfaas_log_lines_lost_total{reason="disk"} 9',
    'snapfaas_start_seconds_count{start="cold",phase="queue"} 1',
    'snapfaas_start_seconds_bucket{start="cold",phase="boot",le="0.0025"} 1',
    'snapfaas_function_requests_total{function="shop",version="$LATEST",code="ok"} 2',
    'snapfaas_function_duration_seconds_bucket{function="shop",version="$LATEST",le="0.001"} 0',
    'snapfaas_function_duration_seconds_bucket{function="shop",version="$LATEST",le="+Inf"} 2',
  ]) {
    assert.ok(body.split('\n').includes(line), `${line}\n${body}`);
  }
  assert.match(body, /^snapfaas_disk_free_bytes\{directory="data"\} [1-9]/m);
  assert.doesNotMatch(body, /nobody/);
});

test('metrics: names keep to the conventions of Prometheus', async (t) => {
  const { body } = await (await filled()).render(TEXT);
  promtool(t, ['check', 'metrics'], body);
});

test('metrics: as OpenMetrics they have exemplars, and as text the same names as before', async () => {
  const metrics = await filled();
  const { contentType, body } = await metrics.render({
    accept: 'application/openmetrics-text; version=1.0.0',
    withFunctions: true,
  });
  assert.match(contentType, /^application\/openmetrics-text/);
  assert.match(
    body,
    /_bucket\{function="shop",version="\$LATEST",le="0.0025"\} 2 # \{trace_id="0af7651916cd43dd8448eb211c80319c"\} 0.0015 \d+/,
  );
  assert.match(body, /^# TYPE snapfaas_requests counter$/m);
  assert.match(body, /# EOF\n$/);
  assert.match((await metrics.render(TEXT)).body, /^snapfaas_requests_total\{code="ok",start="warm"\} 2$/m);
});

test('metrics: who may not list functions sees none of their names', async () => {
  const { body } = await (await filled()).render({ ...TEXT, withFunctions: false });
  assert.doesNotMatch(body, /shop|snapfaas_function_/);
  assert.match(body, /^snapfaas_requests_total/m);
});

test('metrics: series of functions are bounded, the rest is one; those unused for long give way', async () => {
  const metrics = new Metrics(() => STATUS);
  for (let i = 0; i < MAX_COUNTED_VERSIONS + 50; i += 1) metrics.onInvocation(summary({ function: `f${i}` }));
  const seriesOf = (body: string): readonly string[] => body.match(/^snapfaas_function_requests_total.*$/gm) ?? [];
  const full = seriesOf((await metrics.render(TEXT)).body);
  assert.equal(full.length, MAX_COUNTED_VERSIONS + 1);
  assert.equal(full.at(-1), 'snapfaas_function_requests_total{function="other",version="",code="ok"} 50');
  metrics.onInvocation(summary({ function: 'late', endedAt: 3_600_002 }));
  const later = seriesOf((await metrics.render(TEXT)).body);
  assert.equal(later.length, MAX_COUNTED_VERSIONS + 1);
  assert.ok(later.some((line) => line.includes('"late"')) && !later.some((line) => line.includes('"f0"')));
});

test('rules: promtool takes them, and they fire when they should', (t) => {
  promtool(t, ['check', 'rules', join(RULES, 'snapfaas-rules.yaml')]);
  promtool(t, ['test', 'rules', join(RULES, 'snapfaas-rules.test.yaml')]);
});

test('board: promtool takes each of its expressions', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'board-'));
  try {
    const text = readFileSync(join(PROJECT_ROOT, 'resources', 'grafana', 'snapfaas.json'), 'utf8');
    const { panels } = JSON.parse(text) as { readonly panels: readonly { readonly targets: { expr: string }[] }[] };
    const rules = panels
      .flatMap(({ targets }) => targets)
      .map(({ expr }, at) => ({
        record: `board:expression:${at}`,
        expr: expr.replaceAll('$__rate_interval', '1m').replaceAll('$instance', '.*'),
      }));
    assert.ok(rules.length > 30, `${rules.length} expressions`);
    assert.ok(rules.every(({ expr }) => !expr.includes('$')));
    // JSON is YAML as well.
    writeFileSync(join(directory, 'board.yaml'), JSON.stringify({ groups: [{ name: 'board', rules }] }));
    promtool(t, ['check', 'rules', '--lint=none', join(directory, 'board.yaml')]);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('rules and board: every metric that they name is shown', async () => {
  const { body } = await (await filled()).render(TEXT);
  const shown = namesIn(body);
  for (const file of ['prometheus/snapfaas-rules.yaml', 'grafana/snapfaas.json']) {
    const text = readFileSync(join(PROJECT_ROOT, 'resources', file), 'utf8');
    const named = new Set([...text.matchAll(/\bsnapfaas_\w+/g)].map(([name]) => name));
    assert.ok(named.size > 5, file);
    assert.deepEqual(
      [...named].filter((name) => !shown.has(name)),
      [],
      file,
    );
  }
  JSON.parse(readFileSync(join(PROJECT_ROOT, 'resources', 'grafana', 'snapfaas.json'), 'utf8'));
});

test('disk: a directory that is not there is no full disk, and is not shown', async () => {
  const disk = new DiskSpace('data', '/nonexistent/of-nobody');
  await disk.look();
  assert.deepEqual([disk.latest, disk.problem], [null, null]);
});

test('snapshot store: all files of its layers count, and one that is not there has no size', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'store-'));
  try {
    for (const layer of ['base-a', 'function-b']) {
      mkdirSync(join(directory, layer));
      for (const file of ['pages', 'state']) writeFileSync(join(directory, layer, file), Buffer.alloc(1000));
    }
    const store = new StoreSize(directory);
    assert.equal(store.bytes, null);
    await store.look();
    assert.equal(store.bytes, 4000);
    rmSync(join(directory, 'base-a'), { recursive: true });
    await store.look();
    assert.equal(store.bytes, 2000);
  } finally {
    rmSync(directory, { recursive: true });
  }
  const none = new StoreSize(directory);
  await none.look();
  assert.equal(none.bytes, null);
});

/** Bytes that are free, of how many, and what is said. */
const DISKS: readonly (readonly [freeGb: number, sizeGb: number, said: RegExp | null, isFull: boolean])[] = [
  [500, 1000, null, false],
  [90, 1000, null, false],
  [9, 1000, /^the disk of \/d \(data\) is nearly full: 9216 MB are free$/, false],
  [1.1, 10, null, false],
  [0.9, 10, /is nearly full/, false],
  [0.2, 1000, /is full: 204 MB/, true],
  [0.01, 1, /is full/, true],
  [0.03, 1, /is nearly full/, false],
];

test('disk: a warning when little is left, a problem when it is full, and never both', async () => {
  for (const [freeGb, sizeGb, said, isFull] of DISKS) {
    const sizes = { bsize: 1024, bavail: Math.floor(freeGb * 2 ** 20), blocks: sizeGb * 2 ** 20 };
    const disk = new DiskSpace('data', '/d', () => Promise.resolve(sizes));
    await disk.look();
    const [told, other] = isFull ? [disk.problem, disk.warning] : [disk.warning, disk.problem];
    assert.equal(other, null, `${freeGb} of ${sizeGb}`);
    if (said === null) assert.equal(told, null, `${freeGb} of ${sizeGb}`);
    else assert.match(told ?? '', said, `${freeGb} of ${sizeGb}`);
  }
});
