/**
 * Runs in snapctr. What the live page shows, as rows: read from the stations of a request ten times a second while somebody looks. What
 * costs more than a look (functions, of which there may be ten thousand) is told by whoever changes it.
 */
import { performance } from 'node:perf_hooks';
import type {
  BannerRow,
  FunctionRow,
  FunctionView,
  HostRows,
  VersionRow,
  VmRow,
  VmStateName,
} from '../../../protocol/live-state.ts';
import type { Deployments } from '../../../registry/deployments.ts';
import type { FunctionRegistry, RegisteredFunction, VersionState } from '../../../registry/function-registry.ts';
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
    'load' | 'vms' | 'onVmGone' | 'driver' | 'snapshotState' | 'onSnapshotState' | 'readiness' | 'telemetry'
  >;
  readonly registry: Pick<FunctionRegistry, 'list' | 'get' | 'listen'>;
  readonly events: Pick<EventDispatcher, 'status' | 'pendingByFunction'>;
  readonly deployments: Pick<Deployments, 'progressOf' | 'onProgress'>;
  readonly disks: readonly DiskSpace[];
}

export class LiveRows implements LiveSource {
  readonly #options: LiveRowsOptions;
  readonly #activity: LiveActivity;
  /** The state of each VM that was told last. */
  readonly #vms = new Map<string, VmStateName>();
  /** Those that are gone since the last look: most of them die and go between two looks. */
  readonly #gone = new Map<string, Vm>();
  /** Functions of which something has changed; null: nobody looks. */
  #changed: Set<string> | null = null;

  constructor(options: LiveRowsOptions) {
    this.#options = options;
    const isFunction = (name: string): boolean => options.registry.get(name) !== undefined;
    this.#activity = new LiveActivity(options.controller.telemetry.history, isFunction);
    options.registry.listen({ onChanged: (name) => this.#changed?.add(name) });
    options.controller.onSnapshotState = ({ name }) => this.#changed?.add(name);
    options.controller.onVmGone = (vm) => {
      if (this.#changed !== null) this.#gone.set(vm.id, vm);
    };
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
    this.#gone.clear();
  }

  update(table: LiveTable): void {
    this.#updateHost(table);
    this.#updateVms(table);
    this.#updateFunctions(table);
    this.#activity.update(table, Date.now());
  }

  view(name: string): FunctionView | null {
    const fn = this.#options.registry.get(name);
    if (fn === undefined) return null;
    const published = [...fn.published].sort(([a], [b]) => Number(b) - Number(a));
    const versions = [['$LATEST', fn] as const, ...published].map(([version, state]) =>
      this.#versionRow(version, state),
    );
    return { ...this.#activity.startsOf(name, Date.now()), versions };
  }

  #versionRow(version: string, { latest, state, lastUpdateStatus }: VersionState): VersionRow {
    const snapshot = latest === null ? null : this.#options.controller.snapshotState(latest);
    return { version, state, deploying: lastUpdateStatus === 'InProgress', snapshot };
  }

  #updateHost(table: LiveTable): void {
    const { state, memory, queue, workers, counters, provisioned, snapshots, functions, deploying } =
      this.#options.controller.load();
    set(table, 'state', state);
    set(table, 'memory', { total: memory.total_mib, reserved: memory.reserved_mib, idle: memory.idle_mib });
    set(table, 'queue', queue);
    set(table, 'workers', workers);
    set(table, 'counters', counters);
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

  /** How a VM ended is told once before its row goes, however soon its process was gone. */
  #updateVms(table: LiveTable): void {
    const left = new Set(this.#vms.keys());
    for (const vm of this.#options.controller.vms) {
      left.delete(vm.id);
      this.#tellVm(table, vm, stateOf(vm));
    }
    for (const [id, vm] of this.#gone) {
      if (this.#tellVm(table, vm, endOf(vm))) left.delete(id);
    }
    this.#gone.clear();
    for (const id of left) {
      this.#vms.delete(id);
      table.delete('vms', id);
      table.delete('vmStates', id);
    }
  }

  /** False if it was told before. */
  #tellVm(table: LiveTable, vm: Vm, state: VmStateName): boolean {
    const told = this.#vms.get(vm.id);
    if (told === state) return false;
    if (told === undefined) table.set('vms', vm.id, vmRow(vm));
    this.#vms.set(vm.id, state);
    table.set('vmStates', vm.id, state);
    return true;
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

function vmRow({ function: { name, version }, memoryMib, launchedAtMs }: Vm): VmRow {
  return { function: name, version, mib: memoryMib, launchedAtMs };
}

function endOf({ isEvicted }: Vm): VmStateName {
  return isEvicted ? 'evicted' : 'ended';
}

function stateOf(vm: Vm): VmStateName {
  switch (vm.state) {
    case 'dead':
      return endOf(vm);
    case 'idle':
      if (vm.fn.spare === 0) return 'kept';
      return vm.isAhead && vm.isUnused ? 'ahead' : 'idle';
    default:
      return vm.state;
  }
}
