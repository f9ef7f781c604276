/**
 * A host in virtual time, for tests of who goes first: the real channel, workers and pool, on VMs that only take their
 * time. Whatever runs shares the host's cores evenly.
 */
import { Channel } from '../../src/controller/channel.ts';
import type { Discipline } from '../../src/controller/controller.ts';
import { createLogger } from '../../src/controller/log.ts';
import type { FunctionVms } from '../../src/controller/pool/function-vms.ts';
import { Ledger } from '../../src/controller/pool/ledger.ts';
import { Vm, type VmState } from '../../src/controller/pool/vm.ts';
import type { Lease } from '../../src/controller/pool/vm-pool.ts';
import type { StartKind } from '../../src/controller/task.ts';
import { SMALLEST_VM_MIB } from '../../src/protocol/vmms.ts';
import { startWorkers, type Job } from '../../src/controller/worker-pool.ts';
import { TestPool } from './scripted-guests.ts';
import type { FunctionVersion } from '../../src/registry/function-version.ts';
import { SnapfaasError } from '../../src/protocol/errors.ts';
import type { InvokeResult } from '../../src/protocol/invoker.ts';
import type { LaunchTimings } from '../../src/protocol/runner.ts';

export interface SimulatedFunction {
  readonly config: FunctionVersion;
  /** What a start of one of its VMs, and an invocation, take of a core, in ms. */
  readonly startMs: number;
  readonly runMs: number;
}

export interface HostOptions {
  readonly cores: number;
  readonly memoryMib: number;
  readonly functions: readonly SimulatedFunction[];
  readonly capacity?: number;
  readonly maxWaitMs?: number;
  readonly discipline: (now: () => number) => Discipline;
}

/** What became of a request. */
export interface Answered {
  readonly function: string;
  readonly at: number;
  readonly tookMs: number;
  /** An error code, or `ok`. */
  readonly ending: string;
}

/** Work that the cores have before them, in ms of one core. */
interface Work {
  leftMs: number;
  readonly done: () => void;
}

export class SimulatedHost {
  readonly answers: Answered[] = [];
  readonly pool: TestPool;
  readonly channel: Channel<Job, Lease>;
  readonly #cores: number;
  readonly #works = new Set<Work>();
  readonly #arrivals: { readonly at: number; readonly name: string }[] = [];
  readonly #finished: Promise<void>;
  #now = 0;
  #nextTick = 0;

  constructor({ cores, memoryMib, functions, capacity = 1024, maxWaitMs = 500, discipline }: HostOptions) {
    this.#cores = cores;
    const now = (): number => this.#now;
    const costs = new Map(functions.map((fn) => [fn.config.name, fn]));
    const { flowOf, policy } = discipline(now);
    let launched = 0;
    this.pool = new TestPool({
      functions: functions.map(({ config }) => config),
      ledger: new Ledger(memoryMib),
      policy,
      createVm: (fn) => {
        const { startMs, runMs } = costs.get(fn.config.name) ?? { startMs: 0, runMs: 0 };
        return new SimulatedVm(`vm-${++launched}`, fn, { startMs, runMs, work: (ms) => this.#work(ms) });
      },
      startVm: (vm) => {
        if (vm instanceof SimulatedVm) vm.start();
      },
      onRoom: (vm) => this.channel.serve(flowOf(vm.fn.use)),
      now,
    });
    this.channel = new Channel<Job, Lease>({
      capacity,
      maxWaitMs,
      maxAgeMs: 300_000,
      flowOf: ({ use }) => flowOf(use),
      grant: ({ fn }, waitedMs) => (fn === null ? null : this.pool.acquire(fn, waitedMs)),
      giveUp: ({ fn }) => (fn === null ? null : this.pool.giveUp(fn, maxWaitMs)),
      onDropped: ({ task }, error) =>
        task.reply({ status: 'error', error: error ?? new SnapfaasError('internal', 'gone'), start: null }),
      now,
    });
    const workers = startWorkers(Math.floor(memoryMib / SMALLEST_VM_MIB), this.channel, this.pool, {
      onDone: () => undefined,
    });
    this.#finished = workers.finished;
  }

  get now(): number {
    return this.#now;
  }

  /** A request at this time; times must not go back. */
  arrive(at: number, name: string): void {
    this.#arrivals.push({ at, name });
  }

  /** Requests at this rate, from one time to another: evenly, or with pauses that `random` (from 0 to below 1) draws. */
  load(name: string, perSecond: number, { fromMs = 0, untilMs = 0, random = null as (() => number) | null }): void {
    const pauseMs = 1000 / perSecond;
    const pause = (): number => (random === null ? pauseMs : -Math.log(1 - random()) * pauseMs);
    for (let at = fromMs + pause(); at < untilMs; at += pause()) this.arrive(at, name);
  }

  /** Runs until this time, or until nothing is left to do. */
  async run(untilMs: number): Promise<void> {
    this.#arrivals.sort((a, b) => a.at - b.at);
    let next = 0;
    await settled();
    for (;;) {
      const first = this.#nearestEnd();
      const at = Math.min(
        first,
        this.#arrivals[next]?.at ?? Infinity,
        this.#nextTick > this.#now ? this.#nextTick : Infinity,
      );
      if (at > untilMs) break;
      this.#advance(at);
      for (; (this.#arrivals[next]?.at ?? Infinity) <= at; next += 1) this.#submit(this.#arrivals[next]?.name ?? '');
      if (at >= this.#nextTick) {
        this.channel.tick();
        this.#nextTick = at + 50;
      }
      await settled();
      if (this.#works.size === 0 && next === this.#arrivals.length && this.channel.length === 0) break;
    }
  }

  async close(): Promise<void> {
    this.channel.close();
    for (const work of this.#works) work.done();
    await this.pool.close(new SnapfaasError('shutting_down', 'the simulation is over'));
    await this.#finished;
  }

  #submit(name: string): void {
    const fn = this.pool.fn(name);
    const at = this.#now;
    const answer = (ending: string): void =>
      void this.answers.push({ function: name, at, tookMs: this.#now - at, ending });
    const { signal } = new AbortController();
    const task: Job['task'] = {
      id: 'request',
      request: { function: name, payload: Buffer.alloc(0) },
      signal,
      reply: (outcome) => answer(outcome.status === 'ok' ? 'ok' : outcome.error.code),
    };
    try {
      this.pool.check(fn);
      this.channel.send({ task, use: fn.use, fn, signal, submittedAt: at });
    } catch (error) {
      answer(SnapfaasError.from(error).code);
    }
  }

  #work(ms: number): Promise<void> {
    return new Promise((resolve) => this.#works.add({ leftMs: ms, done: resolve }));
  }

  /** Of a core for each work under way, how much it gets. */
  get #speed(): number {
    return Math.min(1, this.#cores / this.#works.size);
  }

  #nearestEnd(): number {
    let leftMs = Infinity;
    for (const work of this.#works) leftMs = Math.min(leftMs, work.leftMs);
    return this.#now + leftMs / this.#speed;
  }

  #advance(to: number): void {
    const doneMs = (to - this.#now) * this.#speed;
    this.#now = to;
    for (const work of [...this.#works]) {
      work.leftMs -= doneMs;
      if (work.leftMs > 1e-6) continue;
      this.#works.delete(work);
      work.done();
    }
  }
}

/** All that follows from what has happened has happened. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

interface Costs {
  readonly startMs: number;
  readonly runMs: number;
  readonly work: (ms: number) => Promise<void>;
}

const LOGGER = createLogger('silent');
const NO_OWNER = {
  kill: () => undefined,
  pause: () => undefined,
  resume: () => undefined,
  onLost: () => undefined,
  onFallback: () => undefined,
};

class SimulatedVm extends Vm {
  override readonly ready: Promise<LaunchTimings>;
  override readonly gone: Promise<void>;
  readonly #costs: Costs;
  #resolveReady: (timings: LaunchTimings) => void = () => undefined;
  #rejectReady: (error: SnapfaasError) => void = () => undefined;
  #resolveGone: () => void = () => undefined;
  #now: VmState = 'launching';
  #uses = 0;

  constructor(id: string, holder: FunctionVms, costs: Costs) {
    super(id, holder, NO_OWNER, LOGGER);
    this.#costs = costs;
    this.ready = new Promise((resolve, reject) => {
      this.#resolveReady = resolve;
      this.#rejectReady = reject;
    });
    this.gone = new Promise((resolve) => (this.#resolveGone = resolve));
  }

  start(): void {
    void this.#costs.work(this.#costs.startMs).then(() => {
      if (this.#now === 'dead') return;
      this.#now = 'busy';
      this.#resolveReady(this.timings);
    });
  }

  override get state(): VmState {
    return this.#now;
  }

  override setState(state: 'busy' | 'idle'): void {
    this.#now = state;
  }

  override get timings(): LaunchTimings {
    return { kind: 'restored', spawnMs: 0, bootMs: 0, loadMs: this.#costs.startMs, resumeMs: 0 };
  }

  override get startMs(): number {
    return this.#costs.startMs;
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

  override async invoke(): Promise<InvokeResult> {
    this.#uses += 1;
    await this.#costs.work(this.#costs.runMs);
    return { result: Buffer.from('null'), contentType: null };
  }

  override kill(error: SnapfaasError): void {
    if (this.#now === 'launching') this.#rejectReady(error);
    this.#now = 'dead';
    this.#resolveGone();
  }
}
