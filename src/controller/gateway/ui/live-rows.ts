/**
 * Runs in snapctr. What the live page shows, as rows: read from the stations of a request ten times a second while somebody looks. What
 * costs more than a look (functions, of which there may be ten thousand) is told by whoever changes it.
 */
import { performance } from 'node:perf_hooks';
import type { BannerRow, FunctionRow, HostRows, VmRow, VmStateName } from '../../../protocol/live-state.ts';
import type { Deployments } from '../../../registry/deployments.ts';
import type { FunctionRegistry, RegisteredFunction } from '../../../registry/function-registry.ts';
import type { Controller } from '../../controller.ts';
import type { EventDispatcher } from '../../events/dispatcher.ts';
import type { Vm } from '../../pool/vm.ts';
import type { DiskSpace } from '../../telemetry/disk-space.ts';
import { LiveActivity } from './live-activity.ts';
import type { LiveSource } from './live-stream.ts';
import { replace, type LiveTable } from './live-table.ts';

export interface LiveRowsOptions {
  readonly controller: Pick<
    Controller,
    'load' | 'vms' | 'driver' | 'snapshotState' | 'onSnapshotState' | 'readiness' | 'telemetry'
  >;
  readonly registry: Pick<FunctionRegistry, 'list' | 'get' | 'listen'>;
  readonly events: Pick<EventDispatcher, 'status' | 'pendingByFunction'>;
  readonly deployments: Pick<Deployments, 'progressOf' | 'onProgress'>;
  readonly disks: readonly DiskSpace[];
}

/** What was told of a VM last. */
interface ToldVm {
  readonly vm: Vm;
  state: VmStateName;
}

export class LiveRows implements LiveSource {
  readonly #options: LiveRowsOptions;
  readonly #activity: LiveActivity;
  readonly #vms = new Map<string, ToldVm>();
  /** Functions of which something has changed; null: nobody looks. */
  #changed: Set<string> | null = null;

  constructor(options: LiveRowsOptions) {
    this.#options = options;
    const isFunction = (name: string): boolean => options.registry.get(name) !== undefined;
    this.#activity = new LiveActivity(options.controller.telemetry.history, isFunction);
    options.registry.listen({ onChanged: (name) => this.#changed?.add(name) });
    options.controller.onSnapshotState = ({ name }) => this.#changed?.add(name);
    options.deployments.onProgress = (name) => this.#changed?.add(name);
  }

  begin(table: LiveTable): void {
    this.#changed = new Set();
    const startedAtMs = Math.round(performance.timeOrigin);
    set(table, 'about', { vmm: this.#options.controller.driver?.vmm ?? null, startedAtMs });
    for (const fn of this.#options.registry.list()) table.set('functions', fn.name, this.#functionRow(fn));
    this.#activity.begin();
    this.update(table);
  }

  end(): void {
    this.#changed = null;
    this.#activity.end();
    this.#vms.clear();
  }

  update(table: LiveTable): void {
    this.#updateHost(table);
    this.#updateVms(table);
    this.#updateFunctions(table);
    this.#activity.update(table, Date.now());
  }

  #updateHost(table: LiveTable): void {
    const { state, memory, queue, workers, counters, standby, provisioned, snapshots, functions, deploying } =
      this.#options.controller.load();
    set(table, 'state', state);
    set(table, 'memory', { total: memory.total_mib, reserved: memory.reserved_mib, idle: memory.idle_mib });
    set(table, 'queue', queue);
    set(table, 'workers', workers);
    set(table, 'counters', counters);
    set(table, 'ahead', { vms: standby.vms, budgetMib: standby.budget_mib });
    set(table, 'provisioned', provisioned);
    set(table, 'snapshots', snapshots);
    set(table, 'functions', { total: functions, deploying });
    const { pending, oldest_ms, dead } = this.#options.events.status();
    // To the second: it changes with each look.
    set(table, 'events', { pending, oldestMs: Math.floor(oldest_ms / 1000) * 1000, dead });
    replace(table, 'pending', this.#options.events.pendingByFunction());
    replace(table, 'banners', this.#banners());
  }

  #banners(): ReadonlyMap<string, BannerRow> {
    const { controller, disks } = this.#options;
    const banners = new Map<string, BannerRow>();
    const notice = controller.driver?.notice ?? null;
    if (notice !== null) banners.set('driver', { level: 'warning', text: `${notice}; "snapctr doctor" says more` });
    const { ready, reason } = controller.readiness();
    if (!ready) banners.set('ready', { level: 'error', text: `New requests are not served: ${reason ?? 'not ready'}` });
    for (const { directory, warning } of disks) {
      if (warning !== null) banners.set(`disk ${directory}`, { level: 'warning', text: `${warning}; make room` });
    }
    return banners;
  }

  /** Whoever ends between two looks is not missed: its row goes with it. */
  #updateVms(table: LiveTable): void {
    const gone = new Set(this.#vms.keys());
    for (const vm of this.#options.controller.vms) {
      gone.delete(vm.id);
      const state = stateOf(vm);
      const told = this.#vms.get(vm.id);
      if (told?.state === state) continue;
      if (told === undefined) {
        this.#vms.set(vm.id, { vm, state });
        table.set('vms', vm.id, vmRow(vm));
      } else told.state = state;
      table.set('vmStates', vm.id, state);
    }
    for (const id of gone) {
      this.#vms.delete(id);
      table.delete('vms', id);
      table.delete('vmStates', id);
    }
  }

  #updateFunctions(table: LiveTable): void {
    const changed = this.#changed ?? new Set();
    for (const name of changed) {
      const fn = this.#options.registry.get(name);
      if (fn === undefined) table.delete('functions', name);
      else table.set('functions', name, this.#functionRow(fn));
    }
    changed.clear();
  }

  #functionRow({ name, latest, state, lastUpdateStatus, problems, published }: RegisteredFunction): FunctionRow {
    const version = latest ?? [...published.values()].find((one) => one.latest !== null)?.latest ?? null;
    const deployments = [...this.#options.deployments.progressOf(name)].map(([number, { step, since }]) => ({
      ...{ version: number, step, sinceMs: since },
    }));
    return {
      state,
      deploying: lastUpdateStatus === 'InProgress',
      runtime: version?.runtime ?? null,
      mib: version?.memoryMib ?? 0,
      versions: published.size,
      snapshot: version === null ? null : this.#options.controller.snapshotState(version),
      ...(deployments.length === 0 ? {} : { deployments }),
      ...(problems.length === 0 ? {} : { problems }),
    };
  }
}

function set<Key extends keyof HostRows>(table: LiveTable, key: Key, row: HostRows[Key]): void {
  table.set('host', key, row);
}

function vmRow({ function: { name, version }, memoryMib, launchedAtMs, isAhead }: Vm): VmRow {
  return { function: name, version, mib: memoryMib, launchedAtMs, ahead: isAhead };
}

function stateOf(vm: Vm): VmStateName {
  switch (vm.state) {
    case 'dead':
      return vm.isEvicted ? 'evicted' : 'ended';
    case 'idle':
      return vm.fn.spare === 0 ? 'kept' : 'idle';
    default:
      return vm.state;
  }
}
