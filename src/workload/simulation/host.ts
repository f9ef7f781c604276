/**
 * Runs in `snapctr simulate`, tests and benchmarks. A host in virtual time: the real channel, workers, pool and launches ahead, on VMs that
 * only take their time.
 */
import { Channel } from '../../controller/channel.ts';
import type { Discipline } from '../../controller/controller.ts';
import { createLogger } from '../../controller/log.ts';
import type { FunctionVms } from '../../controller/pool/function-vms.ts';
import { Ledger } from '../../controller/pool/ledger.ts';
import { Standby } from '../../controller/pool/standby.ts';
import { VmPool, type Lease } from '../../controller/pool/vm-pool.ts';
import type { VmRecord } from '../../controller/pool/vm-life.ts';
import { startWorkers, type Job } from '../../controller/worker-pool.ts';
import { SnapfaasError } from '../../protocol/errors.ts';
import { SMALLEST_VM_MIB } from '../../protocol/vmms.ts';
import type { FunctionVersion } from '../../registry/function-version.ts';
import { Cores } from './cores.ts';
import { SimulatedVm } from './simulated-vm.ts';
import type { Utilisation } from './utilisation.ts';
import { VirtualClock } from './virtual-clock.ts';

export interface SimulatedFunction {
  readonly config: FunctionVersion;
  /** What a start of one of its VMs, and an invocation that says nothing else, take of a core, in ms. */
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
  /** Memory for VMs that are launched ahead; default: none are. */
  readonly standbyMib?: number;
  /** Told what memory is used for. */
  readonly utilisation?: Utilisation;
  /** Told of each VM that has ended. */
  readonly onVm?: (record: VmRecord) => void;
  /** Default: they are kept in `answers`. */
  readonly onAnswer?: (answer: Answered) => void;
}

/** What became of a request; times in ms. */
export interface Answered {
  readonly function: string;
  readonly at: number;
  readonly tookMs: number;
  /** Until it ran; null: it never did. */
  readonly waitedMs: number | null;
  /** An error code, or `ok`. */
  readonly ending: string;
}

/** A request that comes at this time. */
export interface SimulatedRequest {
  readonly timeMs: number;
  readonly function: string;
  /** Default: what is usual for its function. */
  readonly runMs?: number;
}

interface Running {
  readonly request: SimulatedRequest;
  begunAt: number | null;
}

export class SimulatedHost {
  readonly answers: Answered[] = [];
  readonly pool: VmPool;
  readonly channel: Channel<Job, Lease>;
  readonly #clock = new VirtualClock();
  readonly #cores: Cores;
  readonly #functions = new Map<string, { readonly fn: FunctionVms; readonly runMs: number }>();
  readonly #standby: Standby;
  readonly #onAnswer: (answer: Answered) => void;
  readonly #arrivals: SimulatedRequest[] = [];
  /** Requests that are not answered, by id. */
  readonly #running = new Map<string, Running>();
  readonly #finished: Promise<void>;
  #requests = 0;

  constructor(options: HostOptions) {
    const { memoryMib, functions, capacity = 1024, maxWaitMs = 500, discipline, standbyMib = 0 } = options;
    const now = (): number => this.#clock.now();
    this.#cores = new Cores(options.cores);
    this.#onAnswer = options.onAnswer ?? ((answer) => void this.answers.push(answer));
    const starts = new Map(functions.map(({ config, startMs }) => [config, startMs]));
    const { flowOf, policy } = discipline(now);
    const ledger = new Ledger(memoryMib);
    let launched = 0;
    this.pool = new VmPool({
      ledger,
      policy,
      createVm: (fn, isAhead) =>
        new SimulatedVm(`vm-${++launched}`, fn, isAhead, {
          startMs: starts.get(fn.config) ?? 0,
          work: (ms) => this.#cores.run(ms),
          onBegin: (id) => this.#begin(id),
          now,
          ...(options.utilisation === undefined ? {} : { utilisation: options.utilisation }),
        }),
      startVm: (vm) => {
        if (vm instanceof SimulatedVm) vm.start();
      },
      onTaken: (fn, vm) => this.#standby.onTaken(fn, vm),
      onGone: (vm) => {
        this.#standby.onGone(vm);
        options.onVm?.(vm.record);
      },
      onRoom: (vm) => this.channel.serve(flowOf(vm.fn.use)),
      now,
    });
    this.#standby = new Standby({
      budgetMib: standbyMib,
      launchAhead: (fn) => this.pool.launchAhead(fn),
      freeMib: () => ledger.freeMib,
      dismiss: (vm) => this.pool.dismiss(vm),
      isBusy: () => this.pool.launching > 0 || this.channel.length > 0,
      clock: this.#clock,
      logger: createLogger('silent'),
    });
    this.channel = new Channel<Job, Lease>({
      capacity,
      maxWaitMs,
      maxAgeMs: 300_000,
      flowOf: ({ use }) => flowOf(use),
      grant: ({ fn }, waitedMs, waiting) => (fn === null ? null : this.pool.acquire(fn, waitedMs, null, waiting)),
      giveUp: ({ fn }) => (fn === null ? null : this.pool.giveUp(fn, maxWaitMs)),
      onDropped: ({ task }, error) =>
        task.reply({
          status: 'error',
          error: error ?? new SnapfaasError('shutting_down', 'the simulation is over'),
          start: null,
        }),
      clock: this.#clock,
    });
    for (const { config, runMs } of functions) {
      const fn = this.pool.add(config);
      this.#functions.set(config.name, { fn, runMs });
      if (standbyMib > 0) this.#standby.addCandidate(fn);
    }
    const workers = startWorkers(Math.floor(memoryMib / SMALLEST_VM_MIB), this.channel, this.pool, {
      onDone: () => undefined,
    });
    this.#finished = workers.finished;
  }

  get now(): number {
    return this.#clock.now();
  }

  /** A request at this time. */
  arrive(timeMs: number, name: string): void {
    this.#arrivals.push({ timeMs, function: name });
  }

  arriveAll(requests: Iterable<SimulatedRequest>): void {
    for (const request of requests) this.#arrivals.push(request);
  }

  /** Requests at this rate, from one time to another: evenly, or with pauses that `random` (from 0 to below 1) draws. */
  load(name: string, perSecond: number, { fromMs = 0, untilMs = 0, random = null as (() => number) | null }): void {
    const pauseMs = 1000 / perSecond;
    const pause = (): number => (random === null ? pauseMs : -Math.log(1 - random()) * pauseMs);
    for (let at = fromMs + pause(); at < untilMs; at += pause()) this.arrive(at, name);
  }

  /** Runs until this time, or until all requests are answered. @throws the signal's reason. */
  async run(untilMs: number, signal?: AbortSignal): Promise<void> {
    this.#arrivals.sort((a, b) => a.timeMs - b.timeMs);
    let next = 0;
    const nextArrival = (): number => this.#arrivals[next]?.timeMs ?? Infinity;
    await settled();
    for (;;) {
      const at = Math.min(this.#cores.nextAt, nextArrival(), this.#clock.nextAt);
      if (at > untilMs) break;
      // First what ends, so that what begins now finds it.
      this.#cores.advance(at);
      this.#clock.set(at);
      for (let request = this.#arrivals[next]; request !== undefined && request.timeMs <= at;) {
        this.#submit(request);
        request = this.#arrivals[(next += 1)];
      }
      await settled();
      signal?.throwIfAborted();
      if (this.#running.size === 0 && next === this.#arrivals.length) break;
    }
    this.#arrivals.splice(0, next);
  }

  async close(): Promise<void> {
    this.#standby.close();
    this.channel.close();
    this.#cores.finish();
    await this.pool.close(new SnapfaasError('shutting_down', 'the simulation is over'));
    await this.#finished;
  }

  #submit(request: SimulatedRequest): void {
    const known = this.#functions.get(request.function);
    if (known === undefined) throw new Error(`there is no function ${request.function}`);
    const { fn } = known;
    const id = String((this.#requests += 1));
    this.#running.set(id, { request, begunAt: null });
    const { signal } = new AbortController();
    const task: Job['task'] = {
      id,
      request: { function: request.function, payload: Buffer.alloc(0) },
      signal,
      reply: (outcome) => this.#answer(id, outcome.status === 'ok' ? 'ok' : outcome.error.code),
    };
    try {
      this.pool.check(fn);
      this.channel.send({ task, use: fn.use, fn, signal, submittedAt: this.now });
    } catch (error) {
      this.#answer(id, SnapfaasError.from(error).code);
    }
  }

  /** @returns how long the request runs, in ms of a core. */
  #begin(id: string): number {
    const running = this.#running.get(id);
    if (running === undefined) throw new Error(`request ${id} runs after it was answered`);
    running.begunAt = this.now;
    return running.request.runMs ?? this.#functions.get(running.request.function)?.runMs ?? 0;
  }

  #answer(id: string, ending: string): void {
    const running = this.#running.get(id);
    if (running === undefined) throw new Error(`request ${id} is answered twice`);
    this.#running.delete(id);
    const { begunAt, request } = running;
    const at = request.timeMs;
    const waitedMs = begunAt === null ? null : begunAt - at;
    this.#onAnswer({ function: request.function, at, tookMs: this.now - at, waitedMs, ending });
  }
}

/** All that follows from what has happened has happened. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
