/**
 * Runs in snapctr. What is kept of one invocation when it is over: how it ended, where its time went, and why it was started as it
 * was. Times are in ms; those `At` are ms since 1970.
 *
 * ```
 *   submittedAt ──queueMs──▶ granted ──launch.waitMs──▶ has its VM ──durationMs──▶ answered ──▶ endedAt
 * ```
 */
import type { SnapfaasError, ErrorCode } from '../../protocol/errors.ts';
import { FunctionError } from '../../protocol/invoker.ts';
import type { LaunchTimings } from '../../protocol/runner.ts';
import type { LaunchCause } from '../pool/launch-cause.ts';
import type { Vm } from '../pool/vm.ts';
import type { StartKind, Task } from '../task.ts';
import type { Waits } from '../waits.ts';
import type { Done, Job } from '../worker-pool.ts';
import type { VmWork } from './vm-work.ts';

export interface InvocationSummary {
  readonly requestId: string;
  /** Of its trace, in hexadecimal; null: it is not traced. */
  readonly traceId: string | null;
  readonly function: string;
  /** Null: no version was found for it. */
  readonly version: string | null;
  readonly submittedAt: number;
  readonly endedAt: number;
  readonly outcome: 'ok' | ErrorCode;
  /** Of an error; its first characters. */
  readonly message: string | null;
  /** Null: no VM ran it. */
  readonly start: StartKind | null;
  readonly vm: string | null;
  /** Of an invocation of type Event, from 1; null: it is none. */
  readonly eventTry: number | null;
  /** From being submitted to having a VM, or the launch of one, or to giving up. */
  readonly queueMs: number;
  /** Where that went; null: nowhere, there was a VM at once. */
  readonly waits: Waits | null;
  /** Null: a VM was there that had served before. */
  readonly launch: LaunchSummary | null;
  /** How long its paused VM took to have its CPU again; a part of `durationMs`. Null: it was not paused. */
  readonly wakeMs: number | null;
  /** From having the VM to its answer; 0 if it had none. */
  readonly durationMs: number;
}

/** The launch that a request waited for, or of the VM that it was the first on. */
export interface LaunchSummary {
  /** Null: it failed, or another VM of the function was free before. */
  readonly timings: LaunchTimings | null;
  /** What it has cost until this was its first request's answer; null: it was not launched, or that is not known yet. */
  work: VmWork | null;
  /** It was launched before anybody asked for it. */
  readonly isAhead: boolean;
  /** So long the request waited for it. */
  readonly waitMs: number;
  /** The parts of that before the launch began: for what killed VMs held, and for its turn at firerunner. */
  readonly settleMs: number;
  readonly turnMs: number;
  /** Null: it was not launched for this request. */
  readonly cause: LaunchCause | null;
  /** Why a VM was booted that has a source of snapshots. */
  readonly fallback: string | null;
}

const MAX_NAME_CHARACTERS = 140;
const MAX_TEXT_CHARACTERS = 500;

/** Of a request that was refused before it could wait. */
export function ofRefused(task: Task, error: SnapfaasError): InvocationSummary {
  const now = Date.now();
  return withoutVm(task, error, { submittedAt: now, endedAt: now, queueMs: 0, waits: null, version: null });
}

/** Of a request that waited in vain. */
export function ofDropped(job: Job, error: SnapfaasError): InvocationSummary {
  const now = performance.now();
  const endedAt = Date.now();
  const queueMs = now - job.submittedAt;
  const waits = job.wait?.end(now) ?? { turn: queueMs };
  const version = job.fn?.config.version ?? null;
  return withoutVm(job.task, error, { submittedAt: endedAt - queueMs, endedAt, queueMs, waits, version });
}

function withoutVm(
  task: Task,
  error: SnapfaasError,
  times: Pick<InvocationSummary, 'submittedAt' | 'endedAt' | 'queueMs' | 'waits' | 'version'>,
): InvocationSummary {
  return {
    requestId: task.id,
    traceId: task.trace?.traceId ?? null,
    function: cut(task.request.function, MAX_NAME_CHARACTERS),
    ...times,
    outcome: error.code,
    message: cut(error.message, MAX_TEXT_CHARACTERS),
    start: null,
    vm: null,
    eventTry: task.eventTry ?? null,
    launch: null,
    wakeMs: null,
    durationMs: 0,
  };
}

/** Of a request that a worker had. Of a warm one it costs two clocks and one object. */
export function ofDone(done: Done): InvocationSummary {
  const { job, lease, grantedAt, found, outcome } = done;
  const { vm, start, acquiredAt, answeredAt } = found;
  const now = performance.now();
  const endedAt = Date.now();
  const error = outcome.status === 'ok' ? null : outcome.error;
  const isWarm = start === 'warm' && vm === lease.vm && lease.cause === null;
  return {
    requestId: job.task.id,
    traceId: job.task.trace?.traceId ?? null,
    function: job.use.name,
    version: lease.fn.config.version,
    submittedAt: endedAt - (now - job.submittedAt),
    endedAt,
    outcome: error === null ? 'ok' : error.code,
    message: error === null ? null : cut(wordsOf(error), MAX_TEXT_CHARACTERS),
    start,
    vm: vm?.id ?? null,
    eventTry: job.task.eventTry ?? null,
    queueMs: grantedAt - job.submittedAt,
    waits: job.wait?.end(grantedAt) ?? null,
    launch: isWarm ? null : launchOf(done, vm === null ? now : acquiredAt),
    wakeMs: found.wasPaused ? (vm?.wakeMs ?? null) : null,
    durationMs: vm === null ? 0 : (answeredAt === 0 ? now : answeredAt) - acquiredAt,
  };
}

function launchOf({ lease, grantedAt, found }: Done, until: number): LaunchSummary {
  const { vm } = found;
  const isWaitedFor = lease.cause !== null || vm !== lease.vm;
  const launched = vm ?? lease.vm;
  return {
    timings: found.start === 'warm' || vm === null ? null : vm.timings,
    work: null,
    isAhead: launched.isAhead,
    waitMs: isWaitedFor || !launched.isAhead ? until - grantedAt : 0,
    ...beforeLaunch(launched, grantedAt, until),
    cause: lease.cause,
    fallback: launched.fallback === null ? null : cut(launched.fallback, MAX_TEXT_CHARACTERS),
  };
}

function beforeLaunch({ startedAt, turnAt }: Vm, grantedAt: number, until: number) {
  const begun = within(startedAt === 0 ? until : startedAt, grantedAt, until);
  const turn = turnAt === 0 ? begun : within(turnAt, begun, until);
  return { settleMs: begun - grantedAt, turnMs: turn - begun };
}

function within(time: number, from: number, to: number): number {
  return Math.min(Math.max(time, from), to);
}

function wordsOf(error: SnapfaasError): string {
  return error instanceof FunctionError ? `${error.failure.type}: ${error.message}` : error.message;
}

/** A copy: a slice would keep all of the text in memory. */
function cut(text: string, most: number): string {
  return text.length <= most ? text : Buffer.from(`${text.slice(0, most)}…`).toString();
}

/** What an object with its numbers takes, about, in bytes; with its launch, and for each VM that was evicted for it. */
const OBJECT_BYTES = 350;
const LAUNCH_BYTES = 450;
const EVICTED_BYTES = 150;

/** What a summary takes of memory, about; always the same for the same one. */
export function bytesOf({ function: name, message, launch }: InvocationSummary): number {
  const text = 2 * (name.length + (message?.length ?? 0) + (launch?.fallback?.length ?? 0));
  const evicted = launch?.cause?.evicted.length ?? 0;
  return OBJECT_BYTES + text + (launch === null ? 0 : LAUNCH_BYTES) + evicted * EVICTED_BYTES;
}
