/**
 * Runs in snapctr. N workers that wait on one channel. A worker: receive a job and its VM → invoke → release it → reply.
 */
import { SnapfaasError } from '../protocol/errors.ts';
import { FunctionError, NotBegunError } from '../protocol/invoker.ts';
import type { LaunchTimings } from '../protocol/runner.ts';
import type { FunctionVersion } from '../registry/function-version.ts';
import type { Abortable, Channel, Received } from './channel.ts';
import { InvocationOutput } from './invocation-log.ts';
import type { Outcome, StartKind, Task } from './task.ts';
import type { Vm } from './pool/vm.ts';
import type { FunctionUse, TenantTurn } from './pool/function-use.ts';
import type { FunctionVms } from './pool/function-vms.ts';
import type { Lease, VmPool } from './pool/vm-pool.ts';

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
}

/** A request that was the first on its VM: where its time went, in ms. */
export interface FirstUse {
  readonly vm: Vm;
  readonly start: StartKind;
  /** From being submitted to having a VM, without the parts of a launch that it waited for. */
  readonly queueMs: number;
  /** From having the VM to its answer. */
  readonly firstResponseMs: number;
}

export interface WorkerPool {
  readonly size: number;
  /** Workers that have a task now. */
  readonly busy: number;
  /** Resolves when the channel is closed and the last task is answered. */
  readonly finished: Promise<void>;
}

export interface WorkerEvents {
  /** Called after each reply. */
  readonly onOutcome: (outcome: Outcome) => void;
  readonly onFirstUse?: (use: FirstUse) => void;
}

export function startWorkers(
  size: number,
  channel: Channel<Job, Lease>,
  pool: VmPool,
  { onOutcome, onFirstUse = () => undefined }: WorkerEvents,
): WorkerPool {
  let busy = 0;
  const work = async (): Promise<void> => {
    for (let received = await channel.receive(); received !== null; received = await channel.receive()) {
      busy += 1;
      const outcome = await run(received, pool, onFirstUse);
      busy -= 1;
      channel.done(received);
      if (outcome === null) {
        channel.sendBack(received);
        continue;
      }
      received.item.task.reply(outcome);
      onOutcome(outcome);
    }
  };
  const finished = Promise.all(Array.from({ length: size }, work)).then(() => undefined);
  return {
    size,
    finished,
    get busy() {
      return busy;
    },
  };
}

/** Null: its VM was lost before it had begun; another one can do it. */
async function run(
  { item, grant }: Received<Job, Lease>,
  pool: VmPool,
  onFirstUse: (use: FirstUse) => void,
): Promise<Outcome | null> {
  // An object, because the outcome needs what the callback learns even if it fails.
  const found: Found = { start: null, launch: null, tail: null, acquiredAt: 0, answeredAt: 0 };
  const outcome = await invoke(item, grant, pool, found, onFirstUse);
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
  start: StartKind | null;
  launch: LaunchTimings | null;
  /** Null if there is no VM yet, or no report is wanted. */
  tail: InvocationOutput | null;
  acquiredAt: number;
  answeredAt: number;
}

async function invoke(
  { task, submittedAt }: Job,
  lease: Lease,
  pool: VmPool,
  found: Found,
  onFirstUse: (use: FirstUse) => void,
): Promise<Outcome | null> {
  const version = lease.fn.config;
  try {
    return await pool.use(lease, task.signal, async (vm, start) => {
      found.start = start;
      const tail = task.request.lambda?.wantsReport === true ? new InvocationOutput() : null;
      found.tail = tail;
      if (tail === null && start === 'warm') {
        const { result, contentType } = await vm.invoke(task.id, task.request, task.signal);
        return { status: 'ok', result, contentType, start, version };
      }
      found.acquiredAt = performance.now();
      if (start !== 'warm') found.launch = vm.timings;
      try {
        const { result, contentType } = await vm.invoke(task.id, task.request, task.signal, tail);
        if (start !== 'warm') onFirstUse(firstUse(vm, start, submittedAt, found.acquiredAt));
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

function firstUse(vm: Vm, start: StartKind, submittedAt: number, acquiredAt: number): FirstUse {
  const waitedMs = acquiredAt - submittedAt;
  const queueMs = Math.max(0, waitedMs - Math.min(waitedMs, vm.launchMs));
  return { vm, start, queueMs, firstResponseMs: performance.now() - acquiredAt };
}
