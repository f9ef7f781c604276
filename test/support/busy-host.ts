/**
 * What the live page is told of a host with many functions and VMs, without the VMs: the real rows, of stations that are made up. Each
 * `step` is a tenth of a second of its life.
 */
import { LiveRows, type LiveRowsOptions } from '../../src/controller/gateway/ui/live-rows.ts';
import { InvocationHistory } from '../../src/controller/telemetry/invocation-history.ts';
import { FunctionRegistry } from '../../src/registry/function-registry.ts';
import { invocationSummary } from './invocation-summary.ts';
import { functionConfig } from './scripted-guests.ts';

const FUNCTIONS = 10_000;
const VMS = 1000;
const VM_MIB = 128;
/** In each step. */
const INVOCATIONS = 20;
const CHANGED_STATES = 20;
const REPLACED_VMS = 2;

export class BusyHost {
  /** Why requests are not served; null: they are. */
  problem: string | null = null;
  /** What the choice of a VMM has left to say; null: nothing. */
  notice: string | null = null;
  readonly registry = new FunctionRegistry();
  readonly history = new InvocationHistory();
  readonly rows: LiveRows;
  /** Tells the rows that a VM is gone. */
  readonly #tellGone: (vm: object) => void;
  #steps = 0;
  #vms = Array.from({ length: VMS }, (_, at) => this.#vm(at));

  /** @param stations in the place of those that have nothing to tell. */
  constructor(stations: Partial<Pick<LiveRowsOptions, 'deployments' | 'disks'>> = {}) {
    for (let at = 0; at < FUNCTIONS; at += 1) this.registry.publish(functionConfig(nameOf(at)));
    const controller = {
      load: () => this.#load(),
      vms: [],
      driver: {},
      snapshotState: () => 'ready',
      onSnapshotState: () => undefined,
      onVmGone: (): void => undefined,
      readiness: () => (this.problem === null ? { ready: true } : { ready: false, reason: this.problem }),
      telemetry: { history: this.history },
    };
    Object.defineProperty(controller, 'vms', { get: () => this.#vms });
    Object.defineProperty(controller, 'driver', { get: () => ({ vmm: 'qemu', notice: this.notice }) });
    const events = { status: () => ({ pending: 0, oldest_ms: 0, dead: 0 }), pendingByFunction: () => new Map() };
    const deployments = { progressOf: () => new Map(), onProgress: () => undefined };
    const options = { controller, registry: this.registry, events, deployments, disks: [], ...stations };
    this.rows = new LiveRows(options as unknown as LiveRowsOptions);
    this.#tellGone = (vm) => (controller as { onVmGone: (vm: object) => void }).onVmGone(vm);
  }

  step(): void {
    const step = (this.#steps += 1);
    for (let at = 0; at < CHANGED_STATES; at += 1) {
      const vm = this.#vms[(step * CHANGED_STATES + at) % VMS];
      if (vm !== undefined) vm.state = vm.state === 'busy' ? 'idle' : 'busy';
    }
    const fresh = Array.from({ length: REPLACED_VMS }, (_, at) => this.#vm(VMS + step * REPLACED_VMS + at));
    for (const vm of this.#vms.slice(0, REPLACED_VMS)) this.#tellGone({ ...vm, isEvicted: true });
    this.#vms = [...this.#vms.slice(REPLACED_VMS), ...fresh];
    for (let at = 0; at < INVOCATIONS; at += 1) {
      const endedAt = Date.now();
      const name = nameOf((step * INVOCATIONS + at) % VMS);
      this.history.add(invocationSummary({ function: name, submittedAt: endedAt - 5 - (at % 7), endedAt }));
    }
  }

  #vm(at: number) {
    const state: 'idle' | 'busy' = at % 2 === 0 ? 'idle' : 'busy';
    const name = nameOf(at % FUNCTIONS);
    return {
      ...{ id: `vm-${at}`, state, memoryMib: VM_MIB, launchedAtMs: Date.now(), isAhead: at % 10 === 0 },
      ...{ isEvicted: false, fn: { spare: 1 }, function: { name, version: '$LATEST' } },
    };
  }

  #load() {
    const memory = { total_mib: (VMS + 100) * VM_MIB, reserved_mib: VMS * VM_MIB, free_mib: 100 * VM_MIB };
    return {
      state: 'running',
      workers: { total: 1100, busy: 500 },
      queue: { length: this.#steps % 7, capacity: 1000 },
      memory: { ...memory, idle_mib: (VMS * VM_MIB) / 2 },
      counters: { launches: VMS + this.#steps, evictions: this.#steps, reuses: this.#steps * INVOCATIONS },
      standby: { budget_mib: 0, vms: 100 },
      provisioned: { requested: 0, available: 0 },
      functions: FUNCTIONS,
      deploying: 0,
      snapshots: { preparing: 0, ready: FUNCTIONS, failed: 0 },
    };
  }
}

function nameOf(at: number): string {
  return `function-${String(at).padStart(5, '0')}`;
}
