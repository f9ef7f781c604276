/**
 * Runs in snapctr. Spans of invocations for OpenTelemetry, by its own SDK: this file is loaded only if somebody is to get them. They
 * are made of the summary when the invocation is over; the root span before that, if the function is told of it.
 *
 * ```
 *   invoke NAME ──┬── queue
 *                 ├── launch ──┬── spawn, boot, load, resume
 *                 ├── run ──── wake
 *                 └── answer
 * ```
 */
import {
  SpanKind,
  SpanStatusCode,
  ROOT_CONTEXT,
  TraceFlags,
  trace,
  type Context,
  type Span,
  type Tracer,
} from '@opentelemetry/api';
import { detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import { BasicTracerProvider, BatchSpanProcessor, type SpanExporter } from '@opentelemetry/sdk-trace-base';
import type { Task, TaskTrace } from '../task.ts';
import { UsageError } from '../usage-error.ts';
import type { InvocationSummary, LaunchSummary } from './invocation-summary.ts';
import { SpanDelivery, SpanIntake, SpanOutlet, type SpanCounts } from './span-delivery.ts';

/** How long spans may take to leave when snapctr ends, in ms. */
const LAST_SPANS_MS = 2000;

/** The SDK's own default for `OTEL_BSP_MAX_QUEUE_SIZE`. */
const QUEUE_SIZE = 2048;

/** Parts of `X-Amzn-Trace-Id`. */
const ROOT = /(?:^|;)\s*Root=1-([0-9a-f]{8})-([0-9a-f]{24})/;
const PARENT = /(?:^|;)\s*Parent=([0-9a-f]{16})/;
const SAMPLED = /(?:^|;)\s*Sampled=1/;

/**
 * Sends spans where the variables of OpenTelemetry say; the SDK reads all of them, such as `OTEL_TRACES_SAMPLER`.
 *
 * @param onProblem told, once a minute at most, of spans that are dropped.
 * @throws UsageError for a protocol that is none of OTLP over HTTP.
 */
export async function openTracing(env: NodeJS.ProcessEnv, onProblem: (message: string) => void): Promise<Tracing> {
  const delivery = new SpanDelivery(onProblem);
  const exporter = await openExporter(env);
  const named = detectResources({ detectors: [envDetector] });
  const size = Number(env['OTEL_BSP_MAX_QUEUE_SIZE']);
  const maxQueueSize = size > 0 ? size : QUEUE_SIZE;
  // Its queue is bounded: of a collector that is slow or gone spans are dropped, and nobody waits.
  const queue = new BatchSpanProcessor(new SpanOutlet(exporter, delivery), { maxQueueSize });
  const provider = new BasicTracerProvider({
    resource: resourceFromAttributes({ 'service.name': 'snapctr' }).merge(named),
    spanProcessors: [new SpanIntake(queue, delivery, maxQueueSize)],
  });
  return new Tracing(provider, delivery);
}

/** By the variable that the specification has for it, and with its default; the SDK leaves that to the program. */
async function openExporter(env: NodeJS.ProcessEnv): Promise<SpanExporter> {
  const ofTraces = env['OTEL_EXPORTER_OTLP_TRACES_PROTOCOL'] ?? '';
  const protocol = ofTraces === '' ? (env['OTEL_EXPORTER_OTLP_PROTOCOL'] ?? '') : ofTraces;
  switch (protocol) {
    case '':
    case 'http/protobuf':
      return new (await import('@opentelemetry/exporter-trace-otlp-proto')).OTLPTraceExporter();
    case 'http/json':
      return new (await import('@opentelemetry/exporter-trace-otlp-http')).OTLPTraceExporter();
    default:
      throw new UsageError(
        `traces are sent by http/protobuf or http/json: OTEL_EXPORTER_OTLP_PROTOCOL is "${protocol}"`,
      );
  }
}

/** Nothing of it is on the way of a request whose function is not told of it: its span is made when somebody asks. */
class OpenTrace implements TaskTrace {
  readonly #tracer: Tracer;
  readonly #task: Task;
  readonly #startTime = Date.now();
  #opened: { readonly span: Span; readonly parent: Context } | null = null;

  constructor(tracer: Tracer, task: Task) {
    this.#tracer = tracer;
    this.#task = task;
  }

  get span(): Span {
    return this.#open().span;
  }

  /** For spans below it. */
  get context(): Context {
    const { span, parent } = this.#open();
    return trace.setSpan(parent, span);
  }

  get traceId(): string | null {
    return this.span.isRecording() ? this.span.spanContext().traceId : null;
  }

  get header(): string {
    const { traceId, spanId } = this.span.spanContext();
    const sampled = this.span.isRecording() ? 1 : 0;
    return `Root=1-${traceId.slice(0, 8)}-${traceId.slice(8)};Parent=${spanId};Sampled=${sampled}`;
  }

  #open(): { readonly span: Span; readonly parent: Context } {
    if (this.#opened !== null) return this.#opened;
    const parent = parentOf(this.#task);
    const name = this.#task.request.function.slice(0, 140);
    const attributes = { 'faas.invoked_name': name, 'faas.invocation_id': this.#task.id };
    const options = { kind: SpanKind.SERVER, attributes, startTime: this.#startTime };
    this.#opened = { span: this.#tracer.startSpan(`invoke ${name}`, options, parent), parent };
    return this.#opened;
  }
}

export class Tracing {
  readonly #provider: BasicTracerProvider;
  readonly #tracer: Tracer;
  readonly #delivery: SpanDelivery;

  constructor(provider: BasicTracerProvider, delivery: SpanDelivery) {
    this.#provider = provider;
    this.#delivery = delivery;
    this.#tracer = provider.getTracer('snapctr');
  }

  get counts(): SpanCounts {
    return this.#delivery.counts;
  }

  /** The trace of a task that is just submitted: its caller's, if it told one. */
  begin(task: Task): TaskTrace {
    return new OpenTrace(this.#tracer, task);
  }

  end(begun: TaskTrace, summary: InvocationSummary): void {
    if (!(begun instanceof OpenTrace)) return;
    const { span } = begun;
    if (span.isRecording()) this.#describe(span, begun.context, summary);
    span.end(summary.endedAt);
  }

  /** What is left to send is sent, within a while. */
  async close(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, LAST_SPANS_MS)));
    await Promise.race([this.#provider.shutdown().catch(() => undefined), late]);
    clearTimeout(timer);
  }

  #describe(span: Span, context: Context, summary: InvocationSummary): void {
    const { version, start, vm, outcome, message, eventTry, submittedAt, queueMs, launch } = summary;
    if (version !== null) span.setAttribute('faas.version', version);
    if (vm !== null) span.setAttribute('snapfaas.vm', vm);
    if (eventTry !== null) span.setAttribute('snapfaas.event_try', eventTry);
    if (start !== null) span.setAttributes({ 'faas.coldstart': start !== 'warm', 'snapfaas.start': start });
    if (outcome !== 'ok') {
      span.setAttribute('error.type', outcome);
      span.setStatus({ code: SpanStatusCode.ERROR, message: message ?? outcome });
    }
    let at = submittedAt;
    at = this.#part(context, 'queue', at, queueMs, { ...summary.waits });
    if (launch !== null && launch.waitMs > 0) at = this.#launch(context, at, launch);
    if (start === null) return;
    at = this.#run(context, at, summary);
    this.#part(context, 'answer', at, Math.max(0, summary.endedAt - at));
  }

  /** @returns when it ends. */
  #run(context: Context, at: number, { launch, wakeMs, durationMs }: InvocationSummary): number {
    const attributes = { 'snapfaas.first_response': launch?.timings != null };
    const span = this.#tracer.startSpan('run', { startTime: at, attributes }, context);
    if (wakeMs !== null) this.#part(trace.setSpan(context, span), 'wake', at, wakeMs);
    span.end(at + durationMs);
    return at + durationMs;
  }

  #launch(context: Context, at: number, launch: LaunchSummary): number {
    const { timings, waitMs, settleMs, turnMs, cause, fallback, isAhead } = launch;
    const attributes = {
      'snapfaas.ahead': isAhead,
      ...(timings === null ? {} : { 'snapfaas.launch': timings.kind }),
      ...(fallback === null ? {} : { 'snapfaas.fallback': fallback }),
      ...(cause === null ? {} : { 'snapfaas.evicted': cause.evicted.map(({ vm }) => vm) }),
    };
    const span = this.#tracer.startSpan('launch', { startTime: at, attributes }, context);
    const within = trace.setSpan(context, span);
    let next = at + settleMs + turnMs;
    if (timings !== null && !isAhead) {
      const { spawnMs, bootMs, loadMs, resumeMs } = timings;
      for (const [name, ms] of Object.entries({ spawn: spawnMs, boot: bootMs, load: loadMs, resume: resumeMs })) {
        if (ms > 0) next = this.#part(within, name, next, ms);
      }
    }
    span.end(at + waitMs);
    return at + waitMs;
  }

  /** @returns when it ends. */
  #part(context: Context, name: string, at: number, ms: number, attributes: Record<string, number> = {}): number {
    this.#tracer.startSpan(name, { startTime: at, attributes: prefixed(attributes) }, context).end(at + ms);
    return at + ms;
  }
}

function prefixed(waits: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(waits).map(([reason, ms]) => [`snapfaas.wait.${reason}_ms`, ms]));
}

/** What the caller told, or whoever brought the event; what cannot be read is no trace. */
function parentOf({ callerTrace, request }: Task): Context {
  const header = callerTrace ?? request.lambda?.header.trace ?? '';
  const [, time = '', rest = ''] = ROOT.exec(header) ?? [];
  const [, parent = ''] = PARENT.exec(header) ?? [];
  return time === '' || parent === '' ? ROOT_CONTEXT : remote(time + rest, parent, SAMPLED.test(header));
}

function remote(traceId: string, spanId: string, isSampled: boolean): Context {
  const traceFlags = isSampled ? TraceFlags.SAMPLED : TraceFlags.NONE;
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags, isRemote: true });
}
