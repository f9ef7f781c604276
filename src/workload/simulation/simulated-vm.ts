/** Runs in `snapctr simulate`, tests and benchmarks. A VM that only takes its time. */
import { createLogger } from '../../controller/log.ts';
import type { FunctionVms } from '../../controller/pool/function-vms.ts';
import { Vm, type VmState } from '../../controller/pool/vm.ts';
import type { StartKind } from '../../controller/task.ts';
import type { SnapfaasError } from '../../protocol/errors.ts';
import type { InvokeResult } from '../../protocol/invoker.ts';
import type { LaunchTimings } from '../../protocol/runner.ts';
import type { MemoryUse, Utilisation, VmRecord } from './utilisation.ts';

export interface SimulatedWork {
  /** What a start takes of a core, in ms. */
  readonly startMs: number;
  /** Resolves when the cores have done as much, in ms of one. */
  readonly work: (ms: number) => Promise<void>;
  /** A request begins to run on the VM. @returns what it takes of a core, in ms. */
  readonly onBegin: (requestId: string) => number;
  /** In ms. */
  readonly now: () => number;
  readonly utilisation?: Utilisation;
  readonly onEnded?: (record: VmRecord) => void;
}

const LOGGER = createLogger('silent');
const NO_OWNER = {
  kill: () => undefined,
  pause: () => undefined,
  resume: () => undefined,
  onLost: () => undefined,
  onFallback: () => undefined,
};

export class SimulatedVm extends Vm {
  override readonly ready: Promise<LaunchTimings>;
  override readonly gone: Promise<void>;
  readonly #work: SimulatedWork;
  #resolveReady: (timings: LaunchTimings) => void = () => undefined;
  #rejectReady: (error: SnapfaasError) => void = () => undefined;
  #resolveGone: () => void = () => undefined;
  #stateNow: VmState = 'launching';
  /** What its memory is used for, and since when. */
  #use: MemoryUse = 'starting';
  #useSince: number;
  readonly #spentMs: Record<MemoryUse, number> = { starting: 0, busy: 0, idle: 0 };
  readonly #launchedMs: number;
  #readyMs: number | null = null;
  #firstUseMs: number | null = null;
  #lastUseMs: number | null = null;
  #uses = 0;

  constructor(id: string, fn: FunctionVms, isAhead: boolean, work: SimulatedWork) {
    super(id, fn, NO_OWNER, LOGGER, isAhead);
    this.#work = work;
    this.#launchedMs = this.#useSince = work.now();
    work.utilisation?.change(this.#launchedMs, this.memoryMib, null, 'starting');
    this.ready = new Promise((resolve, reject) => {
      this.#resolveReady = resolve;
      this.#rejectReady = reject;
    });
    // Nobody may wait for a launch that was called off.
    this.ready.catch(() => undefined);
    this.gone = new Promise((resolve) => (this.#resolveGone = resolve));
  }

  start(): void {
    void this.#work.work(this.#work.startMs).then(() => {
      if (this.#stateNow === 'dead') return;
      this.#readyMs = this.#work.now();
      this.setState('busy');
      this.#resolveReady(this.timings);
    });
  }

  override get state(): VmState {
    return this.#stateNow;
  }

  override setState(state: 'busy' | 'idle'): void {
    this.#stateNow = state;
    this.#usedFor(state);
  }

  override get timings(): LaunchTimings {
    return { kind: 'restored', spawnMs: 0, bootMs: 0, loadMs: this.#work.startMs, resumeMs: 0 };
  }

  override get startMs(): number {
    return this.#work.startMs;
  }

  override get uses(): number {
    return this.#uses;
  }

  override get isUnused(): boolean {
    return this.#uses === 0;
  }

  override get startKind(): StartKind {
    return this.isUnused ? 'restored' : 'warm';
  }

  override get isReusable(): boolean {
    return true;
  }

  override async invoke(requestId: string): Promise<InvokeResult> {
    this.#uses += 1;
    this.#firstUseMs ??= this.#work.now();
    await this.#work.work(this.#work.onBegin(requestId));
    this.#lastUseMs = this.#work.now();
    return { result: Buffer.from('null'), contentType: null };
  }

  override kill(error: SnapfaasError): void {
    if (this.#stateNow === 'launching') this.#rejectReady(error);
    if (this.#stateNow !== 'dead') this.#end();
    this.#stateNow = 'dead';
    this.#resolveGone();
  }

  /** Null: for nothing any more. */
  #usedFor(use: MemoryUse | null): void {
    const now = this.#work.now();
    this.#spentMs[this.#use] += now - this.#useSince;
    this.#work.utilisation?.change(now, this.memoryMib, this.#use, use);
    this.#useSince = now;
    if (use !== null) this.#use = use;
  }

  #end(): void {
    this.#usedFor(null);
    const { now, utilisation, onEnded } = this.#work;
    if (this.isEvicted) utilisation?.onEvicted(now());
    onEnded?.({
      vm: this.id,
      function: this.function.name,
      memory_mib: this.memoryMib,
      ahead: this.isAhead,
      launched_ms: this.#launchedMs,
      ready_ms: this.#readyMs,
      uses: this.#uses,
      first_use_ms: this.#firstUseMs,
      last_use_ms: this.#lastUseMs,
      busy_ms: this.#spentMs.busy,
      idle_ms: this.#spentMs.idle,
      ended_ms: now(),
      evicted: this.isEvicted,
    });
  }
}
