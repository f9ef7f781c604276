/**
 * Runs in snapctr. snapctr's side of the builder, which makes functions' files ready: hands it builds, some at a time, and passes
 * on what it tells of them. It is started by the first build, and ended when there was none for a while:
 *
 * ```
 *   none ──build──▶ starting ──▶ serving ──nothing to build──▶ none
 *     ▲                └───lost────┘
 *     └── pause, longer after each failure ──┘
 * ```
 *
 * Builds that a lost builder was at are tried once more, one at a time: the one that kills builders fails then, and the others
 * do not.
 */
import { availableParallelism } from 'node:os';
import {
  BuildError,
  MAX_BUILDER_LINE_BYTES,
  type BuilderCommand,
  type BuilderEvent,
  type BuildFailureCode,
  type BuildRequest,
  type Built,
} from '../../protocol/builder.ts';
import { abortReason } from '../../protocol/abort.ts';
import type { RetentionLimits } from '../../storage/retention.ts';
import type { Logger } from '../log.ts';
import { SERVING_TIMES, ServingProcess, type ServedEvent, type ServingTimes } from '../serving-process.ts';

export interface BuildTimes extends ServingTimes {
  /** Without anything to build, until the builder is ended. */
  readonly idleMs: number;
  /** Pause after the first failure of a builder; each is twice as long as the one before. */
  readonly firstPauseMs: number;
  readonly longestPauseMs: number;
  /** The longest build: a limit of last resort, for packages are fetched over slow lines. */
  readonly buildLimitMs: number;
  /** From calling off a build until it has ended. */
  readonly cancelLimitMs: number;
}

export const BUILD_TIMES: BuildTimes = {
  ...SERVING_TIMES,
  idleMs: 30_000,
  firstPauseMs: 100,
  longestPauseMs: 10_000,
  buildLimitMs: 3_600_000,
  cancelLimitMs: 15_000,
};

/** Builds at once: most of a build waits for the disk and for programs. */
const AT_ONCE = 2 * availableParallelism();
/** Builds that wait beside them. */
const MAX_WAITING = 1000;
/** Starts without success after which the builds that wait are told. */
const MAX_FAILED_STARTS = 3;
/** After the end of its stdin it calls off its builds and ends; then it is killed, in ms. */
const CLOSE_PATIENCE_MS = 3000;

export interface BuildOptions {
  /** What is being done. */
  readonly onProgress?: (text: string) => void;
  /** What the user should know. */
  readonly onNote?: (text: string) => void;
  readonly signal?: AbortSignal;
}

/** Somebody who waits for a build. */
interface Waiter extends BuildOptions {
  readonly resolve: (built: Built) => void;
  readonly reject: (error: Error) => void;
}

/** A build, for all who want the same. */
interface Job {
  readonly id: string;
  /** Equal for requests that can share one. */
  readonly key: string;
  readonly request: BuildRequest;
  readonly waiters: Set<Waiter>;
  /** Builders that were lost while they were at it. */
  losses: number;
  /** Runs while a builder has it. */
  limit: NodeJS.Timeout | null;
}

/** For all who ask while it is under way. */
interface Removal {
  readonly limits: RetentionLimits;
  readonly done: Promise<boolean>;
  readonly settle: (more: boolean) => void;
  isSent: boolean;
}

type Builder = ServingProcess<BuilderCommand, BuilderEvent>;

export class BuilderClient {
  readonly #command: readonly string[];
  readonly #logger: Logger;
  readonly #times: BuildTimes;
  /** In their order. */
  #waiting: Job[] = [];
  readonly #running = new Map<string, Job>();
  #builder: Builder | null = null;
  #isServing = false;
  /** Losses and failed starts in a row; those that never served. */
  #failures = 0;
  #failedStarts = 0;
  /** Until another builder may be started. */
  #pause: NodeJS.Timeout | null = null;
  #idle: NodeJS.Timeout | null = null;
  #removal: Removal | null = null;
  #isClosed = false;
  #lastId = 0;

  /** @param command the builder's program and arguments. */
  constructor(command: readonly string[], logger: Logger, times: BuildTimes = BUILD_TIMES) {
    this.#command = command;
    this.#logger = logger;
    this.#times = times;
  }

  /** Process id of the builder; null while there is none. */
  get pid(): number | null {
    return this.#builder?.pid ?? null;
  }

  /**
   * Makes a function's files ready. Requests for the same share one build as long as it has not begun: once it has, the files
   * may have changed since it read them.
   *
   * @throws BuildError; the signal's reason.
   */
  build(request: BuildRequest, options: BuildOptions = {}): Promise<Built> {
    const { signal } = options;
    if (signal?.aborted === true) return Promise.reject(abortReason(signal));
    if (this.#isClosed) return Promise.reject(new BuildError('builder_lost', 'snapctr ends'));
    const job = this.#jobFor(request);
    if (job === null) {
      return Promise.reject(new BuildError('too_many', `${MAX_WAITING} builds wait already; try again later`));
    }
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        if (signal === undefined || !job.waiters.delete(waiter)) return;
        waiter.reject(abortReason(signal));
        if (job.waiters.size === 0) this.#callOff(job);
      };
      const settled = (): void => signal?.removeEventListener('abort', onAbort);
      const waiter: Waiter = {
        ...options,
        resolve: (built) => (settled(), resolve(built)),
        reject: (error) => (settled(), reject(error)),
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      job.waiters.add(waiter);
      this.#next();
    });
  }

  /**
   * Removes images and staged directories that nobody needs, in the background. At most one removal is under way.
   *
   * @returns whether there is more to remove.
   */
  removeUnused(limits: RetentionLimits): Promise<boolean> {
    if (this.#isClosed) return Promise.resolve(false);
    if (this.#removal === null) {
      let settle: (more: boolean) => void = () => undefined;
      const done = new Promise<boolean>((resolve) => (settle = resolve));
      this.#removal = { limits, done, settle, isSent: false };
      this.#next();
    }
    return this.#removal.done;
  }

  /** Calls off all builds and ends the builder, with all that it has started. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const timer of [this.#pause, this.#idle]) if (timer !== null) clearTimeout(timer);
    const jobs = [...this.#waiting, ...this.#running.values()];
    this.#waiting = [];
    this.#running.clear();
    for (const job of jobs) this.#fail(job, 'builder_lost', 'snapctr ends');
    this.#removed(false);
    await this.#end();
  }

  /** Null if too many wait. */
  #jobFor(request: BuildRequest): Job | null {
    const key = JSON.stringify(request);
    const same = this.#waiting.find((job) => job.key === key && job.losses === 0);
    if (same !== undefined) return same;
    if (this.#waiting.length >= MAX_WAITING) return null;
    this.#lastId += 1;
    const job: Job = { id: `build-${this.#lastId}`, key, request, waiters: new Set(), losses: 0, limit: null };
    this.#waiting.push(job);
    return job;
  }

  /** Begins what may begin. */
  #next(): void {
    if (this.#isClosed || this.#pause !== null) return;
    if (this.#idle !== null) clearTimeout(this.#idle);
    this.#idle = null;
    if (this.#builder === null) {
      if (this.#waiting.length > 0 || this.#removal !== null) this.#start();
      return;
    }
    if (!this.#isServing) return;
    for (let job = this.#take(); job !== null; job = this.#take()) this.#begin(this.#builder, job);
    if (this.#removal?.isSent === false) {
      this.#removal.isSent = true;
      this.#builder.send({ op: 'remove-unused', ...this.#removal.limits });
    }
    if (this.#running.size === 0 && this.#removal === null)
      this.#idle = setTimeout(() => void this.#end(), this.#times.idleMs).unref();
  }

  /** The next one that may begin: what a builder was lost with comes first, and runs alone. */
  #take(): Job | null {
    const isSuspect = (job: Job): boolean => job.losses > 0;
    const suspect = this.#waiting.findIndex(isSuspect);
    const most = suspect !== -1 || [...this.#running.values()].some(isSuspect) ? 1 : AT_ONCE;
    if (this.#running.size >= most) return null;
    return this.#waiting.splice(Math.max(suspect, 0), 1)[0] ?? null;
  }

  #begin(builder: Builder, job: Job): void {
    this.#running.set(job.id, job);
    builder.send({ op: 'build', id: job.id, ...job.request });
    const { buildLimitMs } = this.#times;
    job.limit = setTimeout(() => {
      this.#fail(job, 'too_long', `it took longer than ${buildLimitMs / 60_000} minutes, and was called off`);
      this.#callOff(job);
    }, buildLimitMs);
  }

  /** Nobody waits for it any more. */
  #callOff(job: Job): void {
    this.#waiting = this.#waiting.filter((other) => other !== job);
    const builder = this.#builder;
    if (builder === null || !this.#running.has(job.id)) return this.#next();
    builder.send({ op: 'cancel', id: job.id });
    const { cancelLimitMs } = this.#times;
    this.#stopLimit(job);
    job.limit = setTimeout(() => {
      builder.fail(`the builder did not call off a build within ${cancelLimitMs / 1000} s and was killed`);
    }, cancelLimitMs);
  }

  #start(): void {
    const builder: Builder = new ServingProcess(
      { name: 'builder', command: this.#command, maxLineBytes: MAX_BUILDER_LINE_BYTES },
      this.#logger,
      (event) => this.#dispatch(event),
      this.#times,
    );
    this.#builder = builder;
    this.#isServing = false;
    // Of one that never serves, `lost` tells.
    const onServing = (): void => {
      if (this.#builder !== builder) return;
      this.#isServing = true;
      this.#failedStarts = 0;
      this.#next();
    };
    builder.serving.then(onServing, () => undefined);
    void builder.lost.then((reason) => {
      if (this.#builder === builder) this.#onLost(reason);
    });
  }

  async #end(): Promise<void> {
    const builder = this.#builder;
    this.#builder = null;
    await builder?.close(CLOSE_PATIENCE_MS);
  }

  #dispatch(event: ServedEvent<BuilderEvent>): void {
    if (event.event === 'removed') {
      if (event.problem !== null) this.#logger.warn(`unused images of functions cannot be removed: ${event.problem}`);
      else if (event.names.length > 0) this.#logger.info(`removed ${event.names.length} unused images of functions`);
      this.#removed(event.more);
      return this.#next();
    }
    const job = this.#running.get(event.id);
    if (job === undefined) return;
    switch (event.event) {
      case 'progress':
        return job.waiters.forEach(({ onProgress }) => onProgress?.(event.text));
      case 'note':
        return job.waiters.forEach(({ onNote }) => onNote?.(event.text));
      case 'built':
      case 'failed':
        this.#running.delete(job.id);
        this.#stopLimit(job);
        if (event.event === 'failed') this.#fail(job, event.code, event.message);
        else {
          this.#failures = 0;
          const { path, digest, bytes } = event;
          for (const { resolve } of job.waiters) resolve({ path, digest, bytes });
        }
        return this.#next();
    }
  }

  #fail(job: Job, code: BuildFailureCode, message: string): void {
    this.#stopLimit(job);
    const waiters = [...job.waiters];
    job.waiters.clear();
    for (const { reject } of waiters) reject(new BuildError(code, message));
  }

  #onLost(reason: string): void {
    this.#builder = null;
    this.#removed(false);
    this.#failures += 1;
    const lost = [...this.#running.values()];
    this.#running.clear();
    for (const job of lost) {
      this.#stopLimit(job);
      job.losses += 1;
      if (job.losses > 1) this.#fail(job, 'builder_lost', `the builder was lost twice with it: ${reason}`);
      else if (job.waiters.size > 0) this.#waiting.push(job);
    }
    if (!this.#isServing) this.#onFailedStart(reason);
    this.#isServing = false;
    const { firstPauseMs, longestPauseMs } = this.#times;
    const pauseMs = Math.min(longestPauseMs, firstPauseMs * 2 ** (this.#failures - 1));
    this.#logger.error({ retryInMs: pauseMs }, `the builder was lost: ${reason}`);
    this.#pause = setTimeout(() => {
      this.#pause = null;
      this.#next();
    }, pauseMs);
  }

  /** A builder that cannot be started keeps nobody waiting for ever. */
  #onFailedStart(reason: string): void {
    this.#failedStarts += 1;
    if (this.#failedStarts < MAX_FAILED_STARTS) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const job of waiting) this.#fail(job, 'builder_lost', reason);
  }

  /** One that was lost is tried again when the next is due. */
  #removed(more: boolean): void {
    this.#removal?.settle(more);
    this.#removal = null;
  }

  #stopLimit(job: Job): void {
    if (job.limit !== null) clearTimeout(job.limit);
    job.limit = null;
  }
}
