/** Runs in snapctr. What `/metrics` shows, in Prometheus' text format. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { LaunchKind, LaunchTimings } from '../../protocol/runner.ts';
import type { EventsStatus } from '../events/dispatcher.ts';
import type { ControllerStatus } from '../controller.ts';
import type { InvocationSummary } from './invocation-summary.ts';

/** Seconds; warm requests take well under a millisecond, cold boots under emulation several seconds. */
const SECONDS_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

export class Metrics {
  readonly #registry = new Registry();
  readonly #requests: Counter<'code' | 'start'>;
  readonly #starts: Histogram<'start' | 'phase'>;

  /** @param status read whenever the metrics are asked for. */
  constructor(status: () => ControllerStatus) {
    const registers = [this.#registry];
    this.#requests = new Counter({
      name: 'snapfaas_requests_total',
      help: 'Requests by error code ("ok": none) and how their VM was started ("none": no VM was found)',
      labelNames: ['code', 'start'],
      registers,
    });
    this.#starts = new Histogram({
      name: 'snapfaas_start_seconds',
      help:
        'Parts of starting a VM and of the first request on it: queue, spawn (VMM), boot (cold only), load (the function ' +
        'or the snapshot), resume (clock, random generators, hooks), first_response',
      labelNames: ['start', 'phase'],
      buckets: SECONDS_BUCKETS,
      registers,
    });
    const gauge = (name: string, help: string, read: (status: ControllerStatus) => number): void => {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read(status()));
        },
      });
    };
    gauge('snapfaas_workers', 'Workers in the pool', (s) => s.workers.total);
    gauge('snapfaas_workers_busy', 'Workers that have a request', (s) => s.workers.busy);
    gauge('snapfaas_queue_length', 'Requests that wait for a worker', (s) => s.queue.length);
    gauge('snapfaas_memory_total_mib', 'Memory for VMs', (s) => s.memory.total_mib);
    gauge('snapfaas_memory_reserved_mib', 'Memory of launching, idle and running VMs', (s) => s.memory.reserved_mib);
    gauge('snapfaas_standby_vms', 'VMs launched ahead that wait for their first request', (s) => s.standby.vms);
    gauge('snapfaas_provisioned_vms', 'VMs asked for by provisioned concurrency', (s) => s.provisioned.requested);
    gauge('snapfaas_provisioned_vms_ready', 'Those of them that are ready', (s) => s.provisioned.available);
    gauge('snapfaas_evictions', 'Idle VMs killed to make room, since the start', (s) => s.counters.evictions);
    gauge('snapfaas_vm_launches', 'VMs launched, since the start', (s) => s.counters.launches);
    gauge('snapfaas_vm_reuses', 'Requests that found an idle VM, since the start', (s) => s.counters.reuses);
  }

  /** @param status read whenever the metrics are asked for. */
  addEvents(status: () => EventsStatus): void {
    const registers = [this.#registry];
    const rows: readonly (readonly [name: string, help: string, read: (status: EventsStatus) => number])[] = [
      ['snapfaas_events_pending', 'Events that were accepted and are not done', (s) => s.pending],
      ['snapfaas_events_oldest_seconds', 'Age of the oldest event that is pending', (s) => s.oldest_ms / 1000],
      ['snapfaas_events_dead', 'Events that failed for good, and are kept', (s) => s.dead],
      ['snapfaas_events_tried_again', 'Further tries of events that had failed, since the start', (s) => s.tried_again],
      ['snapfaas_events_failed', 'Events that failed for good, since the start', (s) => s.failed],
    ];
    for (const [name, help, read] of rows) {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read(status()));
        },
      });
    }
  }

  onInvocation({ outcome, start }: InvocationSummary): void {
    this.#requests.inc({ code: outcome, start: start ?? 'none' });
  }

  onLaunched({ kind, spawnMs, bootMs, loadMs, resumeMs }: LaunchTimings): void {
    this.#starts.observe({ start: kind, phase: 'spawn' }, spawnMs / 1000);
    if (kind === 'cold') this.#starts.observe({ start: kind, phase: 'boot' }, bootMs / 1000);
    this.#starts.observe({ start: kind, phase: 'load' }, loadMs / 1000);
    this.#starts.observe({ start: kind, phase: 'resume' }, resumeMs / 1000);
  }

  /** A VM has answered its first request. */
  onFirstUse(start: LaunchKind, queueMs: number, firstResponseMs: number): void {
    this.#starts.observe({ start, phase: 'queue' }, queueMs / 1000);
    this.#starts.observe({ start, phase: 'first_response' }, firstResponseMs / 1000);
  }

  async render(): Promise<{ contentType: string; body: string }> {
    return { contentType: this.#registry.contentType, body: await this.#registry.metrics() };
  }
}
