/**
 * Runs in snapctr. N workers that wait on one channel. A worker: receive a job and its VM → invoke → release it → reply.
 */
import { SnapfaasError } from '../protocol/errors.ts';
import { FunctionError, NotBegunError } from '../protocol/invoker.ts';
import type { LaunchTimings } from '../protocol/runner.ts';
import { RUNTIMES } from '../protocol/runtimes.ts';
import type { FunctionVersion } from '../registry/function-version.ts';
import type { Abortable, Channel, Received } from './channel.ts';
import { InvocationOutput } from './invocation-log.ts';
import type { Outcome, StartKind, Task } from './task.ts';
import type { Vm } from './pool/vm.ts';
import type { FunctionUse, TenantTurn } from './pool/function-use.ts';
import type { FunctionVms } from './pool/function-vms.ts';
import type { Lease, VmPool } from './pool/vm-pool.ts';
import type { QueueWait } from './waits.ts';

/** What goes through the channel: a task, and its function looked up. */
export interface Job extends Abortable {
  readonly task: Task;
  /** Of its function: it takes turns with the others. */
  readonly use: FunctionUse;
  /** Of its tenant, if it has one: those take turns, too. */
  readonly turn?: TenantTurn | undefined;
  /** The version it is for; null: that is not known before one can run. */
  fn: FunctionVms | null;
  /** When the task was submitted, by `performance.now()`. */
  readonly submittedAt: number;
  /** What it waits for; absent or null: it was not looked for a VM in vain yet. */
  wait?: QueueWait | null;
}

/** A job that was answered. */
export interface Done {
  readonly job: Job;
  readonly lease: Lease;
  /** When it had its lease, by `performance.now()`. */
  readonly grantedAt: number;
  readonly found: Readonly<Found>;
  readonly outcome: Outcome;
}

export interface WorkerPool {
  /** Grows while requests share VMs: there is one more than have a task then. */
  readonly size: number;
  /** Workers that have a task now. */
  readonly busy: number;
  /** Resolves when the channel is closed and the last task is answered. */
  readonly finished: Promise<void>;
}

export interface WorkerEvents {
  /** Called after each reply. */
  readonly onDone: (done: Done) => void;
}

/** @param size how many there are to begin with: as many as there can be VMs. */
export function startWorkers(
  size: number,
  channel: Channel<Job, Lease>,
  pool: VmPool,
  { onDone }: WorkerEvents,
): WorkerPool {
  let busy = 0;
  let started = 0;
  let ended = 0;
  let onFinished: () => void = () => undefined;
  const finished = new Promise<void>((resolve) => (onFinished = resolve));
  const start = (): void => {
    started += 1;
    void work().finally(() => {
      ended += 1;
      if (ended === started) onFinished();
    });
  };
  const work = async (): Promise<void> => {
    for (let received = await channel.receive(); received !== null; received = await channel.receive()) {
      busy += 1;
      // Requests that share a VM are more than there can be VMs; how many there may be of them, the pool knows.
      if (busy === started && received.grant.vm.slots > 1) start();
      // An object, because the outcome needs what the callback learns even if it fails.
      const found: Found = newFound();
      const outcome = await run(received, pool, found);
      busy -= 1;
      channel.done(received);
      if (outcome === null) {
        channel.sendBack(received);
        continue;
      }
      received.item.task.reply(outcome);
      onDone({ job: received.item, lease: received.grant, grantedAt: received.at, found, outcome });
    }
  };
  for (let at = 0; at < size; at += 1) start();
  return {
    finished,
    get size() {
      return started;
    },
    get busy() {
      return busy;
    },
  };
}

/** Null: its VM was lost before it had begun; another one can do it. */
async function run({ item, grant }: Received<Job, Lease>, pool: VmPool, found: Found): Promise<Outcome | null> {
  const outcome = await invoke(item, grant, pool, found);
  const { launch, tail, acquiredAt, answeredAt } = found;
  if (outcome === null) return null;
  if (tail === null)
    return item.task.request.lambda?.wantsReport === true ? withImportReport(outcome, grant.fn.config) : outcome;
  const output = await tail.whole();
  return {
    ...outcome,
    report: { durationMs: answeredAt - acquiredAt, memoryMib: grant.fn.config.memoryMib, launch, output },
  };
}

/** An import that failed has no invocation; what it printed is what its caller needs. */
function withImportReport(outcome: Outcome, { memoryMib }: FunctionVersion): Outcome {
  if (outcome.status === 'ok' || !(outcome.error instanceof FunctionError)) return outcome;
  const { printed } = outcome.error;
  if (printed === null) return outcome;
  return { ...outcome, report: { durationMs: 0, memoryMib, launch: null, output: printed } };
}

/** What is learned of the VM and of the invocation on it; times by `performance.now()`. */
interface Found {
  /** Null: no VM came up. */
  vm: Vm | null;
  start: StartKind | null;
  launch: LaunchTimings | null;
  /** It had no CPU when the request got it. */
  wasPaused: boolean;
  /** Null if there is no VM yet, or no report is wanted. */
  tail: InvocationOutput | null;
  /** 0 before. */
  acquiredAt: number;
  answeredAt: number;
}

function newFound(): Found {
  return { vm: null, start: null, launch: null, wasPaused: false, tail: null, acquiredAt: 0, answeredAt: 0 };
}

/** The original's handlers have nowhere to find it. */
function isToldTrace({ handler, runtime, web, container }: FunctionVersion): boolean {
  const isApi = runtime !== null && RUNTIMES[runtime].speaksRuntimeApi;
  return handler !== null || isApi || web !== undefined || container !== undefined;
}

async function invoke({ task }: Job, lease: Lease, pool: VmPool, found: Found): Promise<Outcome | null> {
  const version = lease.fn.config;
  try {
    return await pool.use(lease, task.signal, async (vm, start) => {
      found.vm = vm;
      found.start = start;
      found.wasPaused = vm.isWaking;
      const tail = task.request.lambda?.wantsReport === true ? new InvocationOutput() : null;
      found.tail = tail;
      found.acquiredAt = performance.now();
      if (start !== 'warm') found.launch = vm.timings;
      try {
        const trace = task.trace !== undefined && isToldTrace(version) ? task.trace.header : undefined;
        const { result, contentType } = await vm.invoke(task.id, task.request, task.signal, tail, trace);
        return { status: 'ok', result, contentType, start, version };
      } finally {
        found.answeredAt = performance.now();
      }
    });
  } catch (error) {
    if (error instanceof NotBegunError) return null;
    return { status: 'error', error: SnapfaasError.from(error), start: found.start, version };
  }
}
