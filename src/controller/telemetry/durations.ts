/**
 * Runs in snapctr. Histograms of times that cost a request next to nothing: plain numbers, of which prom-client's form is made when
 * somebody asks for it.
 */
import { Histogram, type OpenMetricsContentType, type Registry } from 'prom-client';

export type AnyRegistry = Registry | Registry<OpenMetricsContentType>;

/** Seconds; warm requests take well under a millisecond, cold boots under emulation several seconds. */
export const SECONDS_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

interface Exemplar {
  readonly labelSet: { readonly trace_id: string };
  readonly value: number;
  /** Seconds since 1970. */
  readonly timestamp: number;
}

export class Durations {
  /** Of each bucket alone, the last for all above. */
  readonly counts = new Float64Array(SECONDS_BUCKETS.length + 1);
  /** The last traced one of each bucket. */
  readonly exemplars: (Exemplar | undefined)[] = [];
  sum = 0;

  observe(seconds: number, traceId: string | null): void {
    let bucket = 0;
    while (bucket < SECONDS_BUCKETS.length && seconds > (SECONDS_BUCKETS[bucket] ?? Infinity)) bucket += 1;
    this.counts[bucket] = (this.counts[bucket] ?? 0) + 1;
    this.sum += seconds;
    if (traceId === null) return;
    this.exemplars[bucket] = { labelSet: { trace_id: traceId }, value: seconds, timestamp: Date.now() / 1000 };
  }
}

export interface DurationsSeries {
  readonly labels: Readonly<Record<string, string>>;
  readonly durations: Durations;
}

export interface DurationsOptions {
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly string[];
  readonly registry: AnyRegistry;
  readonly series: () => Iterable<DurationsSeries>;
}

/** What prom-client shows of them. */
export class DurationsMetric extends Histogram {
  readonly #options: DurationsOptions;

  constructor(options: DurationsOptions) {
    const { name, help, labelNames, registry } = options;
    super({ name, help, labelNames: [...labelNames], buckets: SECONDS_BUCKETS, registers: [registry] });
    this.#options = options;
  }

  override get(): ReturnType<Histogram['get']> {
    const { name, help, series } = this.#options;
    const values = [...series()].flatMap((one) => valuesOf(name, one));
    return Promise.resolve({ name, help, type: 'histogram', values, aggregator: 'sum' } as unknown as Awaited<
      ReturnType<Histogram['get']>
    >);
  }

  /** What a registry asks for its text; not among prom-client's types. */
  getForPromString(): ReturnType<Histogram['get']> {
    return this.get();
  }
}

function valuesOf(name: string, { labels, durations }: DurationsSeries): object[] {
  let count = 0;
  const buckets = [...durations.counts].map((own, at) => {
    count += own;
    const le = SECONDS_BUCKETS[at] === undefined ? '+Inf' : String(SECONDS_BUCKETS[at]);
    return {
      metricName: `${name}_bucket`,
      labels: { ...labels, le },
      value: count,
      exemplar: durations.exemplars[at],
    };
  });
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: durations.sum },
    { metricName: `${name}_count`, labels, value: count },
  ];
}
