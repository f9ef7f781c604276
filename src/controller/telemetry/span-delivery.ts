/**
 * Runs in snapctr. What becomes of spans: the collector takes them, or they are lost because it is slow, gone or refuses them. Either
 * is counted, and somebody is told of losses now and then.
 *
 * ```
 *   span ended ──▶ SpanIntake ──▶ queue of the SDK ──▶ SpanOutlet ──▶ collector
 *                      └ full: dropped                     └ not taken: dropped
 * ```
 */
import { TraceFlags, type Context } from '@opentelemetry/api';
import type { ReadableSpan, Span, SpanExporter, SpanProcessor } from '@opentelemetry/sdk-trace-base';

/** Between two complaints, in ms. */
const SELDOM_MS = 60_000;
/** ExportResultCode of the SDK, which it does not export from here. */
const SUCCESS = 0;

/** Spans since the start. */
export interface SpanCounts {
  readonly exported: number;
  /** The queue was full. */
  readonly droppedByQueue: number;
  /** The collector did not take them. */
  readonly droppedByCollector: number;
}

export class SpanDelivery {
  readonly #onProblem: (message: string) => void;
  #counts: SpanCounts = { exported: 0, droppedByQueue: 0, droppedByCollector: 0 };
  /** In the SDK's queue. */
  #waiting = 0;
  #reason = 'the collector is slow';
  #toldDropped = 0;
  #complainedAtMs = -Infinity;

  constructor(onProblem: (message: string) => void) {
    this.#onProblem = onProblem;
  }

  get counts(): SpanCounts {
    return this.#counts;
  }

  /** @returns whether there is room for one more. */
  enters(maxWaiting: number): boolean {
    if (this.#waiting < maxWaiting) {
      this.#waiting += 1;
      return true;
    }
    this.#counts = { ...this.#counts, droppedByQueue: this.#counts.droppedByQueue + 1 };
    this.#complain();
    return false;
  }

  leaves(count: number): void {
    this.#waiting -= count;
  }

  exported(count: number): void {
    this.#counts = { ...this.#counts, exported: this.#counts.exported + count };
    this.#reason = 'the collector is slow';
  }

  failed(count: number, reason: string): void {
    this.#counts = { ...this.#counts, droppedByCollector: this.#counts.droppedByCollector + count };
    this.#reason = reason;
    this.#complain();
  }

  #complain(): void {
    const nowMs = performance.now();
    if (nowMs - this.#complainedAtMs < SELDOM_MS) return;
    this.#complainedAtMs = nowMs;
    const dropped = this.#counts.droppedByQueue + this.#counts.droppedByCollector;
    this.#onProblem(`${dropped - this.#toldDropped} spans of traces were dropped: ${this.#reason}`);
    this.#toldDropped = dropped;
  }
}

/** Before the SDK's queue, whose own drops nobody could count. */
export class SpanIntake implements SpanProcessor {
  readonly #queue: SpanProcessor;
  readonly #delivery: SpanDelivery;
  readonly #maxWaiting: number;

  /** @param maxWaiting spans that the queue has room for. */
  constructor(queue: SpanProcessor, delivery: SpanDelivery, maxWaiting: number) {
    this.#queue = queue;
    this.#delivery = delivery;
    this.#maxWaiting = maxWaiting;
  }

  onStart(span: Span, context: Context): void {
    this.#queue.onStart(span, context);
  }

  onEnd(span: ReadableSpan): void {
    const isSampled = (span.spanContext().traceFlags & TraceFlags.SAMPLED) !== 0;
    if (isSampled && this.#delivery.enters(this.#maxWaiting)) this.#queue.onEnd(span);
  }

  forceFlush(): Promise<void> {
    return this.#queue.forceFlush();
  }

  shutdown(): Promise<void> {
    return this.#queue.shutdown();
  }
}

/** Between the SDK's queue and the collector. */
export class SpanOutlet implements SpanExporter {
  readonly #exporter: SpanExporter;
  readonly #delivery: SpanDelivery;

  constructor(exporter: SpanExporter, delivery: SpanDelivery) {
    this.#exporter = exporter;
    this.#delivery = delivery;
  }

  export(spans: ReadableSpan[], done: Parameters<SpanExporter['export']>[1]): void {
    this.#delivery.leaves(spans.length);
    this.#exporter.export(spans, (result) => {
      const { code, error }: { readonly code: number; readonly error?: Error } = result;
      if (code === SUCCESS) this.#delivery.exported(spans.length);
      else
        this.#delivery.failed(
          spans.length,
          `the collector did not take them: ${error?.message ?? 'it did not say why'}`,
        );
      done(result);
    });
  }

  async forceFlush(): Promise<void> {
    await this.#exporter.forceFlush?.();
  }

  shutdown(): Promise<void> {
    return this.#exporter.shutdown();
  }
}
