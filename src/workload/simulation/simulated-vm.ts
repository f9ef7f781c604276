/** Runs in `snapctr simulate`, tests and benchmarks. A VM that only takes its time. */
import { createLogger } from '../../controller/log.ts';
import type { FunctionVms } from '../../controller/pool/function-vms.ts';
import { Vm, type VmState } from '../../controller/pool/vm.ts';
import type { MemoryUse } from '../../controller/pool/vm-life.ts';
import type { StartKind } from '../../controller/task.ts';
import type { SnapfaasError } from '../../protocol/errors.ts';
import type { InvokeResult } from '../../protocol/invoker.ts';
import type { LaunchTimings } from '../../protocol/runner.ts';
import type { Utilisation } from './utilisation.ts';

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

  constructor(id: string, fn: FunctionVms, isAhead: boolean, work: SimulatedWork) {
    super(id, fn, NO_OWNER, LOGGER, isAhead, null, work.now);
    this.#work = work;
    work.utilisation?.change(this.life.launchedMs, this.memoryMib, null, 'starting');
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

  override get startKind(): StartKind {
    return this.isUnused ? 'restored' : 'warm';
  }

  override get isReusable(): boolean {
    return true;
  }

  override async invoke(requestId: string): Promise<InvokeResult> {
    this.life.begins();
    await this.#work.work(this.#work.onBegin(requestId));
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
    const before = this.life.becomes(use);
    this.#work.utilisation?.change(this.#work.now(), this.memoryMib, before, use);
  }

  #end(): void {
    this.#usedFor(null);
    if (this.isEvicted) this.#work.utilisation?.onEvicted(this.#work.now());
  }
}
