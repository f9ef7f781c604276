/**
 * Runs in snapctr. The one place that stations tell what became of a request. Each makes one summary, and from that comes all that
 * is shown: metrics, the history, the log.
 */
import type { SnapfaasError } from '../../protocol/errors.ts';
import type { LaunchTimings } from '../../protocol/runner.ts';
import { rounded, type Logger } from '../log.ts';
import type { Vm } from '../pool/vm.ts';
import type { Task } from '../task.ts';
import type { ControllerStatus } from '../controller.ts';
import type { Done, Job } from '../worker-pool.ts';
import { InvocationHistory } from './invocation-history.ts';
import { ofDone, ofDropped, ofRefused, type InvocationSummary } from './invocation-summary.ts';
import { Metrics } from './metrics.ts';
import type { Tracing } from './tracing.ts';
import { readVmWork } from './vm-work.ts';

export class Telemetry {
  readonly history = new InvocationHistory();
  readonly metrics: Metrics;
  readonly #logger: Logger;
  readonly #tracing: Tracing | null;

  /** @param status read whenever the metrics are asked for. */
  constructor(status: () => ControllerStatus, logger: Logger, tracing: Tracing | null = null) {
    this.metrics = new Metrics(status);
    this.#logger = logger;
    this.#tracing = tracing;
  }

  /** A task is submitted. */
  begin(task: Task): void {
    if (this.#tracing !== null) task.trace = this.#tracing.begin(task);
  }

  /** A task was not taken. */
  onRefused(task: Task, error: SnapfaasError): void {
    this.#add(task, ofRefused(task, error));
  }

  /** A job reached no worker. */
  onDropped(job: Job, error: SnapfaasError): void {
    this.#add(job.task, ofDropped(job, error));
  }

  /** A job was answered. */
  onDone(done: Done): void {
    const summary = ofDone(done);
    this.#add(done.job.task, summary);
    const { launch } = summary;
    const pid = done.found.vm?.pid ?? null;
    // Nobody waits for it: who asks at once is told without.
    if (launch?.timings != null && pid !== null) void readVmWork(pid).then((work) => (launch.work = work));
  }

  onLaunched(vm: Vm, timings: LaunchTimings): void {
    this.metrics.onLaunched(timings);
    this.#logger.info({ vm: vm.id, function: vm.function.name, ahead: vm.isAhead, ...rounded(timings) }, 'VM launched');
  }

  #add({ trace }: Task, summary: InvocationSummary): void {
    if (trace !== undefined) this.#tracing?.end(trace, summary);
    this.metrics.onInvocation(summary);
    this.history.add(summary);
    const { start, vm, outcome, launch, durationMs, traceId } = summary;
    if (outcome !== 'ok' || launch?.timings == null) return;
    const queueMs = queueOf(summary);
    this.metrics.onFirstUse(launch.timings.kind, queueMs, durationMs, traceId);
    const times = rounded({ queueMs, firstResponseMs: durationMs });
    this.#logger.info({ vm, function: summary.function, start, ...times }, 'first request');
  }
}

/** The wait of the first request on a VM, without the parts of its launch. */
function queueOf({ queueMs, launch }: InvocationSummary): number {
  if (launch?.timings == null) return queueMs;
  const { spawnMs, bootMs, loadMs, resumeMs } = launch.timings;
  const waitedMs = queueMs + launch.waitMs;
  const launchMs = launch.isAhead ? 0 : spawnMs + bootMs + loadMs + resumeMs;
  return Math.max(0, waitedMs - launchMs);
}
