/**
 * Runs in snapctr. The stations of a request, wired in its order:
 *
 * ```
 *   gateway ──Task──▶ channel ──▶ worker ──▶ VM pool ──▶ VM ══▶ guest
 *      ▲                             │
 *      └───────────reply─────────────┘
 * ```
 */
import { SnapfaasError } from '../protocol/errors.ts';
import type { LaunchSpec } from '../protocol/runner.ts';
import { Channel } from './channel.ts';
import type { Config, FunctionConfig } from './config.ts';
import { LeastRecentlyUsed } from './keep-alive.ts';
import type { Logger } from './log.ts';
import { MemoryLedger } from './memory-ledger.ts';
import { Metrics } from './metrics.ts';
import { RunnerClient } from './runner-client.ts';
import type { Task } from './task.ts';
import { Vm, type VmOwner } from './vm.ts';
import { VmPool, type PoolCounters, type VmCounts } from './vm-pool.ts';
import { SMALLEST_VM_MIB, startWorkers, type Job, type WorkerPool } from './worker-pool.ts';

export interface ControllerOptions {
  readonly config: Config;
  /** firerunner's program and arguments, `--serve` included. */
  readonly runnerCommand: readonly string[];
  /** From launch to a loaded function, in ms. */
  readonly bootTimeoutMs: number;
  readonly logger: Logger;
}

/** What `/status` answers. */
export interface ControllerStatus {
  readonly state: 'running' | 'draining';
  readonly workers: { readonly total: number; readonly busy: number };
  readonly queue: { readonly length: number; readonly capacity: number };
  readonly memory: {
    readonly total_mib: number;
    readonly reserved_mib: number;
    readonly free_mib: number;
    readonly idle_mib: number;
  };
  readonly counters: Readonly<PoolCounters>;
  readonly functions: number;
  /** By function and state; functions without a VM are left out. */
  readonly vms: VmCounts;
  readonly runner_pid: number | null;
}

export class Controller {
  readonly metrics = new Metrics(() => this.status());
  readonly #options: ControllerOptions;
  readonly #runner: RunnerClient;
  readonly #ledger: MemoryLedger;
  readonly #policy = new LeastRecentlyUsed<Vm>();
  readonly #pool: VmPool;
  readonly #channel: Channel<Job>;
  #workers: WorkerPool | null = null;
  #draining = false;
  #launched = 0;

  constructor(options: ControllerOptions) {
    const { config, logger, runnerCommand } = options;
    this.#options = options;
    this.#runner = new RunnerClient(runnerCommand, logger);
    this.#ledger = new MemoryLedger(config.memoryMib);
    const owner: VmOwner = {
      kill: (vm) => this.#runner.kill(vm.id),
      onLost: (vm) => this.#pool.onLost(vm),
    };
    this.#pool = new VmPool({
      functions: config.functions,
      ledger: this.#ledger,
      policy: this.#policy,
      createVm: (fn) => new Vm(`vm-${++this.#launched}`, fn, owner, logger),
      startVm: (vm) => this.#runner.launch(vm.id, this.#launchSpec(vm.function), vm),
      onLaunched: (vm, timings) => {
        this.metrics.onLaunched(timings);
        logger.debug({ vm: vm.id, function: vm.function.name, ...timings }, 'VM launched');
      },
    });
    this.#channel = new Channel<Job>(config.queueCapacity, ({ task }) => {
      const error = new SnapfaasError('internal', 'the client is gone', { cause: task.signal.reason });
      task.reply({ status: 'error', error, start: null });
    });
  }

  /** Starts firerunner and the workers; then tasks may be submitted. */
  async start(): Promise<void> {
    await this.#runner.start();
    const size = Math.floor(this.#options.config.memoryMib / SMALLEST_VM_MIB);
    this.#workers = startWorkers(size, this.#channel, this.#pool, (_task, outcome) => this.metrics.onOutcome(outcome));
  }

  /** The gateways' way in; see `SubmitTask`. */
  submit(task: Task): void {
    try {
      this.#channel.send({ task, fn: this.#pool.find(task.request.function), signal: task.signal });
    } catch (error) {
      this.metrics.onOutcome({ status: 'error', error: SnapfaasError.from(error), start: null });
      throw error;
    }
  }

  /** From now on `status` says draining. New requests are the gateway's to refuse. */
  beginDrain(): void {
    this.#draining = true;
  }

  /** Whether a request would find all it needs; if not, why. */
  readiness(): { readonly ready: boolean; readonly reason?: string } {
    if (this.#draining) return { ready: false, reason: 'draining' };
    if (this.#runner.pid === null) return { ready: false, reason: 'firerunner is not running' };
    return { ready: true };
  }

  /**
   * Ends every station in the order of a request. What still runs or waits is answered `shutting_down`; resolves when no
   * VM and no firerunner is left.
   */
  async close(): Promise<void> {
    this.#draining = true;
    this.#channel.close();
    await this.#pool.close(new SnapfaasError('shutting_down', 'the controller shut down while the request ran'));
    await this.#workers?.finished;
    await this.#runner.close();
  }

  status(): ControllerStatus {
    const { config } = this.#options;
    return {
      state: this.#draining ? 'draining' : 'running',
      workers: { total: this.#workers?.size ?? 0, busy: this.#workers?.busy ?? 0 },
      queue: { length: this.#channel.length, capacity: config.queueCapacity },
      memory: {
        total_mib: this.#ledger.totalMib,
        reserved_mib: this.#ledger.reservedMib,
        free_mib: this.#ledger.freeMib,
        idle_mib: this.#policy.idleMib,
      },
      counters: this.#pool.counters,
      functions: config.functions.size,
      vms: this.#pool.counts(),
      runner_pid: this.#runner.pid,
    };
  }

  #launchSpec(fn: FunctionConfig): LaunchSpec {
    const { config, bootTimeoutMs } = this.#options;
    return {
      machine: {
        memoryMib: fn.memoryMib,
        vcpus: fn.vcpus,
        kernelPath: config.kernelPath,
        initrdPath: config.initrdPath,
        rootfsPath: fn.runtimefsPath,
        appfsPath: fn.appfs?.path ?? null,
        kernelArgs: '',
        runtime: fn.runtime ?? 'python3',
      },
      function: { name: fn.name, handler: fn.handler, environment: fn.environment },
      bootTimeoutMs,
    };
  }
}
