/**
 * Runs in snapctr. What `/metrics` shows, in Prometheus' text format or as OpenMetrics, which has exemplars. What is counted for each
 * request are plain numbers; prom-client's objects are filled when somebody asks.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Counter, Gauge, Registry, type OpenMetricsContentType } from 'prom-client';
import type { LaunchKind, LaunchTimings } from '../../protocol/runner.ts';
import type { LostLines } from '../../logs/function-logs.ts';
import type { EventSourcesStatus } from '../event-sources/event-sources.ts';
import type { EventsStatus } from '../events/dispatcher.ts';
import type { ControllerStatus } from '../controller.ts';
import type { DiskSpace } from './disk-space.ts';
import { Durations, DurationsMetric, type AnyRegistry } from './durations.ts';
import { FunctionCounts } from './function-counts.ts';
import type { InvocationSummary } from './invocation-summary.ts';
import type { SpanCounts } from './span-delivery.ts';

const MIB = 1024 * 1024;
/** How often the event loop is looked at, in ms: a delay that is shorter is not seen. */
const LOOP_RESOLUTION_MS = 20;

/** Who asks, and for what. */
export interface MetricsQuery {
  /** The value of its `Accept`. */
  readonly accept: string;
  /** Whether it may know the names of functions. */
  readonly withFunctions: boolean;
}

/** The layers of snapshots on the disk. */
export interface SnapshotStore {
  /** Null: not known yet. */
  readonly bytes: number | null;
  /** What they may have before those that nobody needs are removed. */
  readonly maxBytes: number;
  /** Layers, since the start. */
  readonly removed: number;
}

/** What is told to whom. */
interface Row {
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly string[];
  readonly read: () => Iterable<readonly [labels: Readonly<Record<string, string>>, value: number]>;
}

export class Metrics {
  readonly #readStatus: () => ControllerStatus;
  /** As it was when the metrics were last asked for: it names all functions, so that it is read once. */
  #status: ControllerStatus | null = null;
  readonly #requests = new Map<string, number>();
  readonly #refusals = new Map<string, number>();
  readonly #starts = new Map<string, Durations>();
  readonly #functions = new FunctionCounts();
  readonly #registries = new Map<string, AnyRegistry>();
  readonly #loop = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS });
  #events: (() => EventsStatus) | null = null;
  #eventSources: (() => EventSourcesStatus) | null = null;
  #disks: readonly DiskSpace[] = [];
  #spans: (() => SpanCounts) | null = null;
  #lostLines: (() => LostLines) | null = null;
  #store: (() => SnapshotStore) | null = null;

  /** @param status read whenever the metrics are asked for. */
  constructor(status: () => ControllerStatus) {
    this.#readStatus = status;
    this.#loop.enable();
  }

  /** @param status read whenever the metrics are asked for. To be called before they are. */
  addEvents(status: () => EventsStatus): void {
    this.#events = status;
  }

  /** As `addEvents`. */
  addEventSources(status: () => EventSourcesStatus): void {
    this.#eventSources = status;
  }

  /** To be called before the metrics are asked for. */
  addDisks(disks: readonly DiskSpace[]): void {
    this.#disks = disks;
  }

  /** As `addEvents`. */
  addSpans(counts: () => SpanCounts): void {
    this.#spans = counts;
  }

  /** As `addEvents`. */
  addSnapshotStore(store: () => SnapshotStore): void {
    this.#store = store;
  }

  /** As `addEvents`. */
  addLostLines(lost: () => LostLines): void {
    this.#lostLines = lost;
  }

  onInvocation(summary: InvocationSummary): void {
    const { outcome, start } = summary;
    increment(this.#requests, outcome, start ?? 'none');
    this.#functions.add(summary);
  }

  /** A gateway has answered by itself, with this HTTP status. */
  onGatewayRefusal(status: number): void {
    increment(this.#refusals, String(status));
  }

  onLaunched({ kind, spawnMs, bootMs, loadMs, resumeMs }: LaunchTimings): void {
    this.#observe(kind, 'spawn', spawnMs, null);
    if (kind === 'cold') this.#observe(kind, 'boot', bootMs, null);
    this.#observe(kind, 'load', loadMs, null);
    this.#observe(kind, 'resume', resumeMs, null);
  }

  /** A VM has answered its first request. */
  onFirstUse(start: LaunchKind, queueMs: number, firstResponseMs: number, traceId: string | null): void {
    this.#observe(start, 'queue', queueMs, traceId);
    this.#observe(start, 'first_response', firstResponseMs, traceId);
  }

  async render({ accept, withFunctions }: MetricsQuery): Promise<{ contentType: string; body: string }> {
    this.#status = this.#readStatus();
    const isOpen = accept.includes('application/openmetrics-text');
    const key = `${isOpen} ${withFunctions}`;
    let registry = this.#registries.get(key);
    // One for each: prom-client renames the counters of a registry of OpenMetrics.
    if (registry === undefined) this.#registries.set(key, (registry = this.#registry(isOpen, withFunctions)));
    return { contentType: registry.contentType, body: await registry.metrics() };
  }

  #observe(start: string, phase: string, ms: number, traceId: string | null): void {
    const key = `${start} ${phase}`;
    let durations = this.#starts.get(key);
    if (durations === undefined) this.#starts.set(key, (durations = new Durations()));
    durations.observe(ms / 1000, traceId);
  }

  #registry(isOpen: boolean, withFunctions: boolean): AnyRegistry {
    const registry = isOpen ? openRegistry() : new Registry();
    for (const row of this.#counters()) counter(registry, row);
    for (const row of this.#gauges()) gauge(registry, row);
    new DurationsMetric({
      name: 'snapfaas_start_seconds',
      help:
        'Parts of starting a VM and of the first request on it: queue, spawn (VMM), boot (cold only), load (the function ' +
        'or the snapshot), resume (clock, random generators, hooks), first_response',
      labelNames: ['start', 'phase'],
      registry,
      series: () =>
        [...this.#starts].map(([key, durations]) => {
          const [start = '', phase = ''] = key.split(' ');
          return { labels: { start, phase }, durations };
        }),
    });
    if (withFunctions) this.#addFunctions(registry);
    return registry;
  }

  #counters(): readonly Row[] {
    const status = (): ControllerStatus => this.#status ?? this.#readStatus();
    const rows: Row[] = [
      {
        name: 'snapfaas_requests_total',
        help: 'Requests by error code ("ok": none) and how their VM was started ("none": no VM was found)',
        labels: ['code', 'start'],
        read: () =>
          [...this.#requests].map(([key, count]) => {
            const [code = '', start = ''] = key.split(' ');
            return [{ code, start }, count] as const;
          }),
      },
      {
        name: 'snapfaas_gateway_refusals_total',
        help: 'HTTP requests that were answered with an error before they were a request for a function, by status',
        labels: ['status'],
        read: () => [...this.#refusals].map(([code, count]) => [{ status: code }, count] as const),
      },
      plain('snapfaas_evictions_total', 'Idle VMs ended to make room', () => status().counters.evictions),
      plain('snapfaas_vm_launches_total', 'VMs launched', () => status().counters.launches),
      plain('snapfaas_vm_reuses_total', 'Requests that found an idle VM', () => status().counters.reuses),
      plain('process_cpu_seconds_total', 'Time of the processor that snapctr used', () => {
        const { user, system } = process.cpuUsage();
        return (user + system) / 1e6;
      }),
    ];
    rows.push(...this.#losses());
    const store = this.#store;
    if (store !== null) {
      const help = 'Unused layers of snapshots that were removed';
      rows.push(plain('snapfaas_snapshot_layers_removed_total', help, () => store().removed));
    }
    const events = this.#events;
    if (events === null) return rows;
    return [
      ...rows,
      plain('snapfaas_events_retries_total', 'Further tries of events that had failed', () => events().tried_again),
      plain('snapfaas_events_failed_total', 'Events that failed for good', () => events().failed),
    ];
  }

  /** What nobody waits for, and is lost instead. */
  #losses(): readonly Row[] {
    const rows: Row[] = [];
    const [spans, lines] = [this.#spans, this.#lostLines];
    if (lines !== null) {
      rows.push({
        name: 'snapfaas_log_lines_lost_total',
        help: 'Lines of functions that are in no log: they came too fast (flood), or could not be written (disk)',
        labels: ['reason'],
        read: () => Object.entries(lines()).map(([reason, count]: [string, number]) => [{ reason }, count] as const),
      });
    }
    if (spans === null) return rows;
    return [
      ...rows,
      plain('snapfaas_trace_spans_exported_total', 'Spans that a collector took', () => spans().exported),
      {
        name: 'snapfaas_trace_spans_dropped_total',
        help: 'Spans that are lost: too many waited for the collector (queue), or it did not take them (collector)',
        labels: ['reason'],
        read: () => [
          [{ reason: 'queue' }, spans().droppedByQueue],
          [{ reason: 'collector' }, spans().droppedByCollector],
        ],
      },
    ];
  }

  #gauges(): readonly Row[] {
    const status = (): ControllerStatus => this.#status ?? this.#readStatus();
    const memory = (key: keyof ControllerStatus['memory']) => (): number => status().memory[key] * MIB;
    const rows: Row[] = [
      plain('snapfaas_workers', 'Workers in the pool', () => status().workers.total),
      plain('snapfaas_workers_busy', 'Workers that have a request', () => status().workers.busy),
      plain('snapfaas_queue_length', 'Requests that wait for a VM', () => status().queue.length),
      plain('snapfaas_queue_capacity', 'Requests that may wait', () => status().queue.capacity),
      plain('snapfaas_memory_limit_bytes', 'Memory for VMs', memory('total_mib')),
      plain('snapfaas_memory_reserved_bytes', 'Memory of launching, idle and running VMs', memory('reserved_mib')),
      plain('snapfaas_memory_idle_bytes', 'Memory of idle VMs', memory('idle_mib')),
      plain('snapfaas_standby_vms', 'VMs launched ahead that wait for their first request', () => status().standby.vms),
      plain(
        'snapfaas_provisioned_vms',
        'VMs asked for by provisioned concurrency',
        () => status().provisioned.requested,
      ),
      plain('snapfaas_provisioned_vms_ready', 'Those of them that are ready', () => status().provisioned.available),
      plain('snapfaas_functions', 'Functions that are known', () => status().functions),
      plain('snapfaas_functions_broken', 'Functions that cannot run', () => status().broken.length),
      plain('snapfaas_runner_up', 'Whether firerunner, which starts VMs, is there', () =>
        status().runner_pid === null ? 0 : 1,
      ),
      {
        name: 'snapfaas_snapshots',
        help: 'Snapshots of functions: being made, ready, or not to be had for now',
        labels: ['state'],
        read: () => Object.entries(status().snapshots).map(([state, count]) => [{ state }, count] as const),
      },
      {
        name: 'snapfaas_event_loop_delay_seconds',
        help: 'How late the event loop was since the last look at it, at most and for 99 of 100',
        labels: ['of'],
        read: () => {
          const delays = [this.#loop.percentile(99), this.#loop.max].map((ns) =>
            Math.max(0, ns / 1e6 - LOOP_RESOLUTION_MS),
          );
          this.#loop.reset();
          return [
            [{ of: 'p99' }, (delays[0] ?? 0) / 1000],
            [{ of: 'max' }, (delays[1] ?? 0) / 1000],
          ];
        },
      },
      ...this.#diskGauges(),
    ];
    rows.push(...this.#eventSourceGauges(), ...this.#storeGauges());
    const events = this.#events;
    if (events === null) return rows;
    return [
      ...rows,
      plain('snapfaas_events_pending', 'Events that were accepted and are not done', () => events().pending),
      plain(
        'snapfaas_events_oldest_seconds',
        'Age of the oldest event that is pending',
        () => events().oldest_ms / 1000,
      ),
      plain('snapfaas_events_dead', 'Events that failed for good, and are kept', () => events().dead),
    ];
  }

  #eventSourceGauges(): readonly Row[] {
    const sources = this.#eventSources;
    if (sources === null) return [];
    return [
      plain('snapfaas_event_sources', 'Event source mappings that are enabled', () => sources().enabled),
      plain(
        'snapfaas_event_sources_failing',
        'Of those, the ones that could not do what they last tried',
        () => sources().failing,
      ),
      plain(
        'snapfaas_event_sources_held_bytes',
        'Messages of event sources that are here, until they are acknowledged',
        () => sources().held_bytes,
      ),
    ];
  }

  #storeGauges(): readonly Row[] {
    const store = this.#store;
    if (store === null) return [];
    return [
      {
        name: 'snapfaas_snapshot_store_bytes',
        help: 'Layers of snapshots on the disk',
        read: () => {
          const { bytes } = store();
          return bytes === null ? [] : [[{}, bytes] as const];
        },
      },
      plain(
        'snapfaas_snapshot_store_limit_bytes',
        'What they may have before unused ones are removed (`retention`)',
        () => store().maxBytes,
      ),
    ];
  }

  #diskGauges(): readonly Row[] {
    const of = (key: 'freeBytes' | 'sizeBytes') => () =>
      this.#disks.flatMap(({ name, latest }) => (latest === null ? [] : [[{ directory: name }, latest[key]] as const]));
    const where = 'the file system of the data directory, and of snapshots';
    return [
      {
        name: 'snapfaas_disk_free_bytes',
        help: `What is free on ${where}`,
        labels: ['directory'],
        read: of('freeBytes'),
      },
      { name: 'snapfaas_disk_size_bytes', help: `The size of ${where}`, labels: ['directory'], read: of('sizeBytes') },
    ];
  }

  #addFunctions(registry: AnyRegistry): void {
    const each = (by: 'outcomes' | 'starts', label: string) => () =>
      [...this.#functions].flatMap((one) =>
        [...one[by]].map(
          ([key, count]) => [{ function: one.function, version: one.version, [label]: key }, count] as const,
        ),
      );
    counter(registry, {
      name: 'snapfaas_function_requests_total',
      help: 'Requests of a version of a function by error code ("ok": none); "other": those beyond the bound',
      labels: ['function', 'version', 'code'],
      read: each('outcomes', 'code'),
    });
    counter(registry, {
      name: 'snapfaas_function_starts_total',
      help: 'Requests of a version of a function by how their VM was started',
      labels: ['function', 'version', 'start'],
      read: each('starts', 'start'),
    });
    new DurationsMetric({
      name: 'snapfaas_function_duration_seconds',
      help: 'From having a VM to the answer of the function',
      labelNames: ['function', 'version'],
      registry,
      series: () =>
        [...this.#functions].map(({ function: name, version, durations }) => ({
          labels: { function: name, version },
          durations,
        })),
    });
  }
}

function openRegistry(): AnyRegistry {
  const registry = new Registry<OpenMetricsContentType>();
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
  return registry;
}

function plain(name: string, help: string, read: () => number): Row {
  return { name, help, read: () => [[{}, read()]] };
}

function gauge(registry: AnyRegistry, { name, help, labels = [], read }: Row): void {
  new Gauge({
    name,
    help,
    labelNames: [...labels],
    registers: [registry],
    collect() {
      this.reset();
      for (const [of, value] of read()) this.set(of, value);
    },
  });
}

/** What it counts is counted elsewhere, and never goes back. */
function counter(registry: AnyRegistry, { name, help, labels = [], read }: Row): void {
  new Counter({
    name,
    help,
    labelNames: [...labels],
    registers: [registry],
    collect() {
      this.reset();
      for (const [of, value] of read()) this.inc(of, value);
    },
  });
}

function increment(counts: Map<string, number>, ...keys: readonly string[]): void {
  const key = keys.length === 1 ? (keys[0] ?? '') : keys.join(' ');
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
