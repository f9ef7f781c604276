/**
 * Runs in snapctr. The stations of a request, wired in its order:
 *
 * ```
 *   gateway ──Task──▶ channel ──▶ worker ──▶ VM pool ──▶ VM ══▶ guest
 *      ▲                             │
 *      └───────────reply─────────────┘
 * ```
 *
 * A job leaves the channel when there is a worker and the pool has a VM for it. Beside them: `FunctionSnapshots` has
 * snapshots made ready, and `Standby` launches VMs ahead of requests. Which version of a function a request gets says the
 * registry, whose versions come and go while all of this runs.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { SnapfaasError } from '../protocol/errors.ts';
import type { FunctionLogs } from '../logs/function-logs.ts';
import type { LaunchSpec } from '../protocol/runner.ts';
import { SMALLEST_VM_MIB } from '../protocol/vmms.ts';
import type { FunctionRegistry } from '../registry/function-registry.ts';
import { slotsOf, type FunctionVersion } from '../registry/function-version.ts';
import { provisionableMib, sharesOf, type ProvisionedState } from '../registry/provisioning.ts';
import { Channel } from './channel.ts';
import type { BrokenFunction, Config } from './config/config.ts';
import { HOST_CLOCK } from './pool/clock.ts';
import { FunctionSnapshots, type SnapshotState } from './runner/function-snapshots.ts';
import { createOrder } from './pool/eviction-orders.ts';
import { FairShare } from './pool/fair-share.ts';
import type { KeepAlivePolicy } from './pool/keep-alive.ts';
import { launchSpec, type LaunchOptions } from './runner/launch-spec.ts';
import { LoadCheck } from './load-check.ts';
import type { Logger } from './log.ts';
import { FunctionUse } from './pool/function-use.ts';
import { FunctionVms } from './pool/function-vms.ts';
import { Ledger } from './pool/ledger.ts';
import { ProvisionedVms, type Provision } from './pool/provisioned.ts';
import { RunnerClient, type RunnerDriver } from './runner/runner-client.ts';
import { Standby } from './pool/standby.ts';
import type { Invocation, Outcome, Task } from './task.ts';
import { checkTenant, tenantOf } from './tenants.ts';
import { Vm, type VmOwner } from './pool/vm.ts';
import type { VmRecord } from './pool/vm-life.ts';
import { VmPool, type Lease, type PoolCounters, type VmCounts } from './pool/vm-pool.ts';
import type { DiskSpace } from './telemetry/disk-space.ts';
import { Telemetry } from './telemetry/telemetry.ts';
import type { StoreSize } from './telemetry/store-size.ts';
import type { Tracing } from './telemetry/tracing.ts';
import { QueueWait } from './waits.ts';
import { startWorkers, type Job, type WorkerPool } from './worker-pool.ts';
import type { RetentionLimits } from '../storage/retention.ts';

/** How long VMs may take to end when the controller closes, in ms; then firerunner is ended, and they with it. */
const VM_END_PATIENCE_MS = 2000;

/** The part of the queue that requests of one function's tenants may fill. */
const TENANTS_SHARE = 1 / 2;

export interface ControllerOptions extends LaunchOptions {
  readonly config: Config;
  readonly registry: FunctionRegistry;
  /** firerunner's program and arguments, `--serve` included. */
  readonly runnerCommand: readonly string[];
  readonly logger: Logger;
  /** Absent: what functions print is not kept. */
  readonly functionLogs?: Pick<FunctionLogs, 'vmLog' | 'lost'>;
  /** Absent: no traces are made. */
  readonly tracing?: Tracing | null;
  /** Null: there are no snapshots. */
  readonly store?: StoreSize | null;
  /** File systems that have to have room. */
  readonly disks?: readonly DiskSpace[];
  /** Told of each VM that has ended. */
  readonly onVmRecord?: (record: VmRecord) => void;
  /** Default: each function in its turn, and memory by `FairShare`. */
  readonly discipline?: Discipline;
}

/** Who goes first where functions compete. */
export interface Discipline {
  /** What takes turns in the channel. */
  readonly flowOf: (use: FunctionUse) => object;
  readonly policy: KeepAlivePolicy<Vm>;
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
  /** VMs launched ahead that wait for their first request. */
  readonly standby: { readonly budget_mib: number; readonly vms: number };
  /** VMs that are kept for provisioned concurrency: as asked for, and those that are ready. */
  readonly provisioned: { readonly requested: number; readonly available: number };
  readonly functions: number;
  /** Functions of which a version is being made ready. */
  readonly deploying: number;
  /** Functions that cannot run, each with the reasons. */
  readonly broken: readonly BrokenFunction[];
  /** What became of the functions' snapshots; all zero where none are used. */
  readonly snapshots: { readonly preparing: number; readonly ready: number; readonly failed: number };
  /** By function and state; functions without a VM are left out. */
  readonly vms: VmCounts;
  readonly runner_pid: number | null;
}

/** The part of the status that costs the same however many functions and VMs there are. */
export type ControllerLoad = Omit<ControllerStatus, 'broken' | 'vms' | 'runner_pid'>;

export class Controller {
  readonly telemetry: Telemetry;
  /** Called when another thing is known of the snapshot of a version. */
  onSnapshotState: (version: FunctionVersion) => void = () => undefined;
  /** Called when a VM's process has ended and it is none of `vms` any more. */
  onVmGone: (vm: Vm) => void = () => undefined;
  readonly #options: ControllerOptions;
  readonly #registry: FunctionRegistry;
  readonly #runner: RunnerClient;
  readonly #ledger: Ledger;
  readonly #flowOf: Discipline['flowOf'];
  readonly #policy: KeepAlivePolicy<Vm>;
  readonly #pool: VmPool;
  readonly #channel: Channel<Job, Lease>;
  readonly #standby: Standby;
  readonly #provisioned: ProvisionedVms;
  readonly #snapshots: FunctionSnapshots;
  readonly #loadCheck: LoadCheck;
  readonly #awaitServing: (() => void)[] = [];
  /** Firerunners that were lost. */
  #losses = 0;
  #workers: WorkerPool | null = null;
  #draining = false;
  #launched = 0;

  constructor(options: ControllerOptions) {
    const { config, registry, logger, runnerCommand } = options;
    this.#options = options;
    this.#registry = registry;
    this.telemetry = new Telemetry(() => this.status(), logger, options.tracing ?? null);
    const { tracing, functionLogs } = options;
    this.telemetry.metrics.addDisks(options.disks ?? []);
    if (tracing != null) this.telemetry.metrics.addSpans(() => tracing.counts);
    if (functionLogs !== undefined) this.telemetry.metrics.addLostLines(() => functionLogs.lost);
    this.#runner = new RunnerClient(runnerCommand, logger);
    const { store } = options;
    if (store != null) {
      const { maxBytes } = config.retention;
      this.telemetry.metrics.addSnapshotStore(() => ({
        bytes: store.bytes,
        maxBytes,
        removed: this.#runner.removedLayers,
      }));
    }
    this.#ledger = new Ledger(config.memoryMib, config.vmmSettings.network?.taps.length);
    const owner: VmOwner = {
      kill: (vm) => this.#runner.kill(vm.id),
      pause: (vm) => this.#runner.pause(vm.id, !vm.isUnused),
      resume: (vm) => this.#runner.resume(vm.id),
      onLost: (vm) => this.#pool.onLost(vm),
      onFallback: (vm, reason) => this.#snapshots.onFallback(vm.function.name, reason),
    };
    const now = (): number => HOST_CLOCK.now();
    const { flowOf, policy } = options.discipline ?? {
      flowOf: (use) => use,
      policy: new FairShare(now, createOrder<Vm>(config.keepAlive)),
    };
    this.#flowOf = flowOf;
    this.#policy = policy;
    const createVm = (fn: FunctionVms, isAhead: boolean): Vm => {
      const { name, version } = fn.config;
      const log = options.functionLogs?.vmLog(name, version, slotsOf(fn.config) > 1) ?? null;
      return new Vm(`vm-${++this.#launched}`, fn, owner, logger, isAhead, log);
    };
    const startVm = (vm: Vm): void => this.#runner.launch(vm.id, this.#launchSpec(vm.function), vm);
    this.#pool = new VmPool({
      ledger: this.#ledger,
      policy: this.#policy,
      createVm,
      startVm,
      onLaunched: (vm, timings) => {
        this.telemetry.onLaunched(vm, timings);
        this.#provisioned.onLaunched(vm);
      },
      onTaken: (fn, vm) => this.#standby.onTaken(fn, vm),
      onGone: (vm) => {
        this.onVmGone(vm);
        options.onVmRecord?.(vm.record);
        this.#provisioned.serve();
        this.#standby.onGone(vm);
      },
      onRoom: ({ fn: { use }, tenant }) => {
        // What was promised comes first.
        this.#provisioned.serve();
        this.#channel.serve((tenant === null ? null : use.turnOf(tenant)) ?? flowOf(use));
      },
      onShort: (vm) => this.#provisioned.onShort(vm),
      onDrained: (fn) => this.#snapshots.remove(fn.config),
      whyNotAhead: (fn) => this.#standby.whyNone(fn),
      now,
    });
    this.#standby = new Standby({
      budgetMib: config.standbyMib,
      launchAhead: (fn) => this.#pool.launchAhead(fn),
      freeMib: () => this.#ledger.freeMib,
      dismiss: (vm) => this.#pool.dismiss(vm),
      isBusy: () => this.#pool.launching > 0 || this.#channel.length > 0,
      clock: HOST_CLOCK,
      logger,
    });
    this.#provisioned = new ProvisionedVms({
      budgetMib: provisionableMib(config.memoryMib),
      mayLaunch: (fn) => this.#runner.outage === null && !this.#snapshots.isPreparing(fn.config),
      launch: (fn) => this.#pool.launchProvisioned(fn),
      now,
      logger,
    });
    this.#snapshots = new FunctionSnapshots({
      prepare: (id, version, events) => this.#runner.prepare(id, this.#launchSpec(version), events),
      forget: (id) => this.#runner.forget(id),
      onReady: (version) => {
        const fn = this.#pool.find(version);
        if (fn !== undefined) this.#standby.addCandidate(fn);
      },
      onState: (version) => this.onSnapshotState(version),
      logger,
    });
    this.#loadCheck = new LoadCheck({
      snapshotSettled: (version) => this.#snapshots.settled(version),
      isWanted: (version) => this.#snapshots.has(version),
      tryOut: (version) => tryOut(createVm(new FunctionVms(version, new FunctionUse(version.name)), false), startVm),
      losses: () => this.#losses,
      serving: () => this.#untilServing(),
    });
    this.#runner.onServing = () => this.#onServing();
    this.#runner.onLost = () => {
      this.#losses += 1;
      this.#snapshots.onLost();
    };
    this.#channel = new Channel({
      capacity: config.queueCapacity,
      maxWaitMs: config.queueWaitMs,
      maxAgeMs: config.queueTimeoutMs,
      flowOf: ({ use, turn }) => turn ?? flowOf(use),
      grant: (job, waitedMs, waiting) => this.#grant(job, waitedMs, waiting),
      giveUp: (job) => this.#giveUp(job),
      onDropped: (job, error) => this.#drop(job, error),
      clock: HOST_CLOCK,
    });
    for (const version of registry.versions()) this.#onPublished(version);
    registry.listen({
      onPublished: (version) => this.#onPublished(version),
      onRetired: (version) => this.#onRetired(version),
      onUnavailable: (name) => this.#onUnavailable(name),
      onLimited: (name, limit) => this.#onLimited(name, limit),
      onProvisioned: (name) => this.#onProvisioned(name),
    });
  }

  #onPublished(version: FunctionVersion): void {
    const fn = this.#pool.add(version);
    const limit = this.#registry.get(version.name)?.concurrencyLimit;
    if (limit !== undefined) fn.use.concurrencyLimit = limit;
    this.#snapshots.add(version);
    if (this.#snapshots.isReady(version)) this.#standby.addCandidate(fn);
    this.#channel.serve(this.#flowOf(fn.use));
  }

  #onRetired(version: FunctionVersion): void {
    const fn = this.#pool.find(version);
    if (fn !== undefined) this.#standby.removeCandidate(fn);
    this.#pool.retire(version);
  }

  #onUnavailable(name: string): void {
    const use = this.#pool.useOf(name);
    for (const flow of [this.#flowOf(use), ...use.turns]) this.#channel.refuse(flow, (job) => this.#problemOf(job));
    if (this.#registry.get(name) === undefined) this.#pool.forget(name);
  }

  #onLimited(name: string, limit: number | null): void {
    const use = this.#pool.useOf(name);
    use.concurrencyLimit = limit;
    this.#channel.serve(this.#flowOf(use));
  }

  #onProvisioned(name: string): void {
    const { provisioned = new Map<string, number>(), aliases = [], published } = this.#registry.get(name) ?? {};
    const provisions: Provision[] = [];
    for (const [qualifier, requested] of provisioned) {
      let problem: string | null = null;
      const shares = sharesOf(qualifier, requested, aliases).map(({ version, count }) => {
        const { latest = null, state, problems = [] } = published?.get(version) ?? {};
        if (state === 'Failed') problem = `Its version ${version} cannot run: ${problems.join('; ')}`;
        return { fn: latest === null ? null : (this.#pool.find(latest) ?? null), count };
      });
      provisions.push({ qualifier, shares, problem });
    }
    this.#provisioned.update(name, provisions);
  }

  /** What has become of the VMs that are kept for a qualifier. */
  provisionedState(name: string, qualifier: string): ProvisionedState {
    return this.#provisioned.stateOf(name, qualifier);
  }

  /**
   * Has the snapshot of a version made that is not published yet, and finds out whether it loads; it is to be published or discarded
   * afterwards.
   *
   * @throws SnapfaasError `function_error` if its code does not load; `vm_launch_failed` if that cannot be told.
   */
  async prepare(version: FunctionVersion): Promise<void> {
    this.#snapshots.add(version);
    await this.#loadCheck.run(version);
  }

  discard(version: FunctionVersion): void {
    this.#snapshots.remove(version);
  }

  /** Starts firerunner and the workers; then tasks may be submitted. */
  async start(): Promise<void> {
    await this.#runner.start();
    const size = Math.floor(this.#options.config.memoryMib / SMALLEST_VM_MIB);
    this.#workers = startWorkers(size, this.#channel, this.#pool, {
      onDone: (done) => this.telemetry.onDone(done),
    });
  }

  /** Also called for a firerunner that replaces a dead one. */
  #onServing(): void {
    const { canPause, canRestore } = this.#runner.abilities;
    if (canPause) this.#pool.pauseIdleVms();
    if (canRestore && this.#options.useSnapshots) this.#snapshots.prepareAll();
    for (const tell of this.#awaitServing.splice(0)) tell();
  }

  /** Resolves when there is a firerunner that takes commands. */
  async #untilServing(): Promise<void> {
    if (this.#runner.pid === null) await new Promise<void>((resolve) => this.#awaitServing.push(resolve));
  }

  /** The gateways' way in; see `SubmitTask`. */
  submit(task: Task): void {
    this.telemetry.begin(task);
    try {
      const fn = this.#find(task.request);
      const use = fn?.use ?? this.#pool.useOf(task.request.function);
      if (fn !== null) this.#pool.check(fn, () => this.#channel.expectedWaitMs(this.#flowOf(use)));
      const tenant = tenantOf(task.request);
      if (tenant === null) this.#send({ task, use, fn });
      else this.#sendOf(tenant, { task, use, fn });
    } catch (error) {
      this.telemetry.onRefused(task, SnapfaasError.from(error));
      throw error;
    }
  }

  #send(job: Pick<Job, 'task' | 'use' | 'fn' | 'turn'>): void {
    this.#channel.send({ ...job, signal: job.task.signal, submittedAt: performance.now(), wait: null });
  }

  /** Those of one tenant wait for each other, not for those of others; all of a function's wait in a part of the queue. */
  #sendOf(tenant: string, { task, use, fn }: Pick<Job, 'task' | 'use' | 'fn'>): void {
    if (use.tenantRequests - use.inUse >= this.#options.config.queueCapacity * TENANTS_SHARE) {
      const message = `${use.tenantRequests} requests of tenants of ${use.name} are here already; send it again later`;
      throw new SnapfaasError('queue_full', message, { retryAfterS: 1 });
    }
    const turn = use.enter(tenant);
    const reply = (outcome: Outcome): void => {
      use.leave(turn);
      task.reply(outcome);
    };
    try {
      this.#send({ task: withReply(task, reply), use, fn, turn });
    } catch (error) {
      use.leave(turn);
      throw error;
    }
  }

  /**
   * Null: what it asks for is not ready yet.
   *
   * @throws SnapfaasError `function_not_found`, `vm_launch_failed` for one that cannot run, or `bad_request` for its tenant.
   */
  #find(request: Invocation): FunctionVms | null {
    const version = this.#registry.resolve(request.function, request.qualifier ?? null);
    if (version === null) return null;
    checkTenant(version, tenantOf(request));
    return this.#pool.find(version) ?? null;
  }

  /** A VM for a job, or the launch of one; null: it has to wait. */
  #grant(job: Job, waitedMs: number, waiting: number): Lease | null {
    const fn = this.#lookUp(job);
    const lease = fn === null ? null : this.#pool.acquire(fn, waitedMs, tenantOf(job.task.request), waiting);
    if (lease !== null) return lease;
    job.wait ??= new QueueWait(job.submittedAt);
    job.wait.lacked(fn?.lacking ?? 'deployment', performance.now());
    return null;
  }

  /** What a job runs on: the version that it was submitted for, or the one that has taken its place. Null: there is none. */
  #lookUp(job: Job): FunctionVms | null {
    if (job.fn?.isRetired === false) return job.fn;
    try {
      job.fn = this.#find(job.task.request);
    } catch {
      return null;
    }
    return job.fn;
  }

  /** Why a job is not to wait any longer; null if it is. */
  #giveUp(job: Job): SnapfaasError | null {
    const { fn } = job;
    if (fn?.isRetired === false) return this.#pool.giveUp(fn, this.#options.config.queueWaitMs);
    return this.#problemOf(job);
  }

  /** Why nothing will ever answer what a job asks for; null: something may. */
  #problemOf({ fn, task }: Job): SnapfaasError | null {
    if (fn?.isRetired === false) return null;
    try {
      this.#find(task.request);
      return null;
    } catch (error) {
      return SnapfaasError.from(error);
    }
  }

  /** @param reason null: the client is gone. */
  #drop(job: Job, reason: SnapfaasError | null): void {
    const { task } = job;
    const error = reason ?? new SnapfaasError('internal', 'the client is gone', { cause: task.signal.reason });
    task.reply({ status: 'error', error, start: null });
    this.telemetry.onDropped(job, error);
  }

  /** From now on `status` says draining. New requests are the gateway's to refuse. */
  beginDrain(): void {
    this.#draining = true;
  }

  /** Whether a request would find all it needs; if not, why. */
  readiness(): { readonly ready: boolean; readonly reason?: string } {
    if (this.#draining) return { ready: false, reason: 'draining' };
    const { outage } = this.#runner;
    if (outage !== null) return { ready: false, reason: outage };
    if (this.#channel.isFull) return { ready: false, reason: 'the queue is full' };
    for (const { problem } of this.#options.disks ?? []) if (problem !== null) return { ready: false, reason: problem };
    return { ready: true };
  }

  /**
   * Ends every station in the order of a request. What still runs or waits is answered `shutting_down`; resolves when no
   * VM and no firerunner is left, or some seconds later if they cannot be ended.
   */
  async close(): Promise<void> {
    this.#draining = true;
    this.#standby.close();
    this.#provisioned.close();
    this.#channel.close();
    const patience = new AbortController();
    const late = sleep(VM_END_PATIENCE_MS, undefined, { signal: patience.signal }).catch(() => undefined);
    const ended = this.#pool.close(
      new SnapfaasError('shutting_down', 'the controller shut down while the request ran'),
    );
    await Promise.race([ended, late]);
    patience.abort();
    // It takes with it whatever VM is left, and says so.
    await this.#runner.close();
    await ended;
    await this.#workers?.finished;
  }

  /** Removes layers of snapshots that nobody needs, some of them. @returns whether there is more. */
  removeLayers(limits: RetentionLimits): Promise<boolean> {
    return this.#runner.removeLayers(this.#options.config.snapshotDirectory, limits);
  }

  /** Whether VMs are restored from snapshots of their functions. */
  get usesSnapshots(): boolean {
    return Object.values(this.#snapshots.counts()).some((functions) => functions > 0);
  }

  /** Every VM whose process may still exist, as it is now. */
  get vms(): Iterable<Vm> {
    return this.#pool.vms;
  }

  /** Null: VMs of the version are booted. */
  snapshotState(version: FunctionVersion): SnapshotState | null {
    return this.#snapshots.stateOf(version);
  }

  /** Null: it is not known yet what runs the VMs. */
  get driver(): RunnerDriver | null {
    return this.#runner.driver;
  }

  status(): ControllerStatus {
    return {
      ...this.load(),
      broken: this.#broken(),
      vms: this.#pool.counts(),
      runner_pid: this.#runner.pid,
    };
  }

  load(): ControllerLoad {
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
      standby: { budget_mib: config.standbyMib, vms: this.#standby.size },
      provisioned: this.#provisioned.counts,
      functions: this.#registry.size,
      deploying: this.#registry.deployingCount,
      snapshots: this.#snapshots.counts(),
    };
  }

  /** Functions that cannot run, and entries of the configuration without a name. */
  #broken(): readonly BrokenFunction[] {
    const failed = this.#registry.list().filter(({ state }) => state === 'Failed');
    return [...this.#options.config.broken.filter(({ name }) => name === null), ...failed];
  }

  #launchSpec(fn: FunctionVersion): LaunchSpec {
    return launchSpec(this.#options.config, fn, this.#options);
  }
}

/** The same task with another way back. */
function withReply({ id, request, signal, eventTry, trace }: Task, reply: Task['reply']): Task {
  const more = { ...(eventTry === undefined ? {} : { eventTry }), ...(trace === undefined ? {} : { trace }) };
  return { id, request, signal, reply, ...more };
}

/** Launches a VM that nobody will use, and ends it. @throws SnapfaasError of its launch. */
async function tryOut(vm: Vm, start: (vm: Vm) => void): Promise<void> {
  start(vm);
  try {
    await vm.ready;
  } finally {
    vm.kill(new SnapfaasError('vm_lost', 'it was only tried out'));
  }
  await vm.gone;
}
