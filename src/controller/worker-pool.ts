/**
 * Runs in snapctr. N workers that wait on one channel. A worker: receive → acquire a VM → invoke → release it → reply.
 */
import { SnapfaasError } from '../protocol/errors.ts';
import type { Abortable, Channel } from './channel.ts';
import type { Outcome, StartKind, Task } from './task.ts';
import type { Vm } from './vm.ts';
import type { FunctionVms, VmPool } from './vm-pool.ts';

/** Smallest VM, in MiB; there are as many workers as such VMs would fit. */
export const SMALLEST_VM_MIB = 128;

/** What goes through the channel: a task, and its function looked up. */
export interface Job extends Abortable {
  readonly task: Task;
  readonly fn: FunctionVms;
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

/** @param onOutcome called after each reply. */
export function startWorkers(
  size: number,
  channel: Channel<Job>,
  pool: VmPool,
  onOutcome: (task: Task, outcome: Outcome) => void,
  onFirstUse: (use: FirstUse) => void = () => undefined,
): WorkerPool {
  let busy = 0;
  const work = async (): Promise<void> => {
    for (let job = await channel.receive(); job !== null; job = await channel.receive()) {
      busy += 1;
      const outcome = await run(job, pool, onFirstUse);
      busy -= 1;
      job.task.reply(outcome);
      onOutcome(job.task, outcome);
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

async function run(
  { task, fn, submittedAt }: Job,
  pool: VmPool,
  onFirstUse: (use: FirstUse) => void,
): Promise<Outcome> {
  // An object, because the outcome needs what the callback learns even if it fails.
  const found: { start: StartKind | null } = { start: null };
  try {
    return await pool.withVm(fn, task.signal, async (vm, start) => {
      found.start = start;
      if (start === 'warm') {
        return { status: 'ok', result: await vm.invoke(task.id, task.request.payload, task.signal), start };
      }
      const acquiredAt = performance.now();
      const result = await vm.invoke(task.id, task.request.payload, task.signal);
      const waitedMs = acquiredAt - submittedAt;
      const queueMs = Math.max(0, waitedMs - Math.min(waitedMs, vm.launchMs));
      onFirstUse({ vm, start, queueMs, firstResponseMs: performance.now() - acquiredAt });
      return { status: 'ok', result, start };
    });
  } catch (error) {
    return { status: 'error', error: SnapfaasError.from(error), start: found.start };
  }
}
