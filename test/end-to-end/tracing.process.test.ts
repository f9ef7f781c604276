/** Traces: what a collector gets of OTLP over HTTP, and what becomes of requests when it is not there. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { logged } from '../support/snapshots.ts';
import { createWorkspace, startController, type RunningController } from '../support/snapctr.ts';

interface Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: readonly { readonly key: string; readonly value: Readonly<Record<string, unknown>> }[];
  readonly status: { readonly code?: number };
}

interface ExportRequest {
  readonly resourceSpans: readonly { readonly scopeSpans: readonly { readonly spans: readonly Span[] }[] }[];
}

const NODE = `
exports.handler = async (request) => {
  if (request?.call !== undefined) {
    const headers = { 'content-type': 'application/json', 'x-amzn-trace-id': process.env._X_AMZN_TRACE_ID };
    const body = JSON.stringify({ function: 'traced', payload: 'called' });
    return (await fetch(request.call, { method: 'POST', headers, body })).json();
  }
  if (request === 'fail') throw new Error('as told');
  return process.env._X_AMZN_TRACE_ID ?? null;
};
`;
const TRACE = '0af7651916cd43dd8448eb211c80319c';
const CHAIN = '1af7651916cd43dd8448eb211c80319d';
const PARENT = 'b7ad6b7169203331';
const workspace = createWorkspace([
  { name: 'traced', runtime: 'nodejs', keys: { handler: 'index.handler' }, files: { 'index.js': NODE } },
]);
const spans: Span[] = [];
let collector: Server;
let controller: RunningController;

/** As the SDK sends it if it is told to: JSON, by the mapping that OTLP has for it. */
async function listen(): Promise<Server> {
  const server = createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      const { resourceSpans } = JSON.parse(Buffer.concat(pieces).toString()) as ExportRequest;
      for (const { scopeSpans } of resourceSpans) for (const scope of scopeSpans) spans.push(...scope.spans);
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

const endpointOf = (server: Server): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

function start(env: NodeJS.ProcessEnv): Promise<RunningController> {
  const sent = { OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json', OTEL_BSP_SCHEDULE_DELAY: '50' };
  return startController(workspace, { vmm: 'process', env: { ...sent, ...env } });
}

async function invoke(url: string, payload: unknown, headers: Record<string, string> = {}): Promise<unknown> {
  const body = JSON.stringify({ function: 'traced', payload });
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body,
  });
  return answer.json();
}

async function spansOf(isThere: (found: readonly Span[]) => boolean): Promise<readonly Span[]> {
  for (const deadline = performance.now() + 30_000; !isThere(spans);) {
    assert.ok(performance.now() < deadline, `what came: ${spans.map(({ name }) => name).join(', ')}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return spans;
}

before(async () => {
  collector = await listen();
  controller = await start({ OTEL_EXPORTER_OTLP_ENDPOINT: endpointOf(collector) });
});
after(async () => {
  await controller.stop();
  collector.close();
  collector.closeAllConnections();
  workspace.remove();
});

test('traces: a first request has its parts, below the span of its caller', async () => {
  await invoke(controller.url, 1, { traceparent: `00-${TRACE}-${PARENT}-01` });
  const found = await spansOf((all) => all.some(({ name }) => name === 'invoke traced'));
  const root = found.find(({ name }) => name === 'invoke traced');
  assert.ok(root !== undefined);
  assert.deepEqual([root.traceId, root.parentSpanId], [TRACE, PARENT]);
  const names = ['queue', 'launch', 'spawn', 'load', 'run', 'answer'];
  const own = found.filter(({ traceId }) => traceId === TRACE);
  for (const name of names)
    assert.ok(
      own.some((span) => span.name === name),
      `${name}: ${own.map((span) => span.name).join()}`,
    );
  const launch = own.find(({ name }) => name === 'launch');
  assert.equal(launch?.parentSpanId, root.spanId);
  assert.equal(own.find(({ name }) => name === 'spawn')?.parentSpanId, launch.spanId);
  for (const { startTimeUnixNano, endTimeUnixNano } of own)
    assert.ok(BigInt(endTimeUnixNano) >= BigInt(startTimeUnixNano));
});

test('traces: the function is told its trace, of either header', async () => {
  const amzn = `Root=1-${TRACE.slice(0, 8)}-${TRACE.slice(8)};Parent=${PARENT};Sampled=1`;
  const told = String(await invoke(controller.url, 1, { 'x-amzn-trace-id': amzn }));
  assert.match(told, new RegExp(`^Root=1-${TRACE.slice(0, 8)}-${TRACE.slice(8)};Parent=[0-9a-f]{16};Sampled=1$`));
  const parent = /Parent=([0-9a-f]{16})/.exec(told)?.[1];
  await spansOf((all) => all.some(({ spanId, parentSpanId }) => spanId === parent && parentSpanId === PARENT));
  const unsampled = String(await invoke(controller.url, 1, { traceparent: `00-${TRACE}-${PARENT}-00` }));
  assert.match(unsampled, /Sampled=0$/);
});

test('traces: a failure is one, and headers that are none are not believed', async () => {
  const before = spans.length;
  await invoke(controller.url, 'fail', { traceparent: 'x'.repeat(5000), 'x-amzn-trace-id': 'Root=;;;=' });
  const found = await spansOf((all) => all.slice(before).some(({ status }) => status.code === 2));
  const failed = found.slice(before).find(({ status }) => status.code === 2);
  assert.equal(failed?.parentSpanId ?? '', '');
  assert.ok(
    failed?.attributes.some(({ key, value }) => key === 'error.type' && value['stringValue'] === 'function_error'),
  );
});

test('traces: a collector that hangs or is gone holds up neither requests nor the end', async () => {
  const hanging = createServer(() => undefined).listen(0, '127.0.0.1');
  await once(hanging, 'listening');
  const slow = await start({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${endpointOf(hanging)}/v1/traces` });
  for (let i = 0; i < 50; i += 1) await invoke(slow.url, i);
  const begun = performance.now();
  assert.equal(await slow.stop(), 0);
  assert.ok(performance.now() - begun < 10_000);
  hanging.close();
  hanging.closeAllConnections();
  const none = await start({ OTEL_EXPORTER_OTLP_ENDPOINT: endpointOf(collector), OTEL_TRACES_SAMPLER: 'always_off' });
  const before = spans.length;
  assert.match(String(await invoke(none.url, 1)), /Sampled=0$/);
  await none.stop();
  assert.equal(spans.length, before);
});

const GONE = { OTEL_EXPORTER_OTLP_TIMEOUT: '500', OTEL_BSP_MAX_QUEUE_SIZE: '20', OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '10' };

/** Until the metric has at least this value. @returns all metrics. */
async function untilMetric(url: string, metric: string, least: number): Promise<string> {
  for (const deadline = performance.now() + 30_000; ;) {
    const body = await (await fetch(`${url}/metrics`)).text();
    const line = body.split('\n').find((one) => one.startsWith(`${metric} `)) ?? '';
    if (Number(line.slice(metric.length)) >= least) return body;
    assert.ok(performance.now() < deadline, `${metric}: ${body}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const dropped = (reason: string): string => `snapfaas_trace_spans_dropped_total{reason="${reason}"}`;

test('traces: spans that a collector took are counted', async () => {
  const before = spans.length;
  await invoke(controller.url, 1);
  await spansOf((all) => all.length > before);
  const body = await untilMetric(controller.url, 'snapfaas_trace_spans_exported_total', 1);
  assert.match(body, /^snapfaas_trace_spans_dropped_total\{reason="queue"\} 0$/m);
});

test('traces: of a collector that is gone the log and the metrics tell', async () => {
  const nobody = await listen();
  const endpoint = endpointOf(nobody);
  await new Promise((resolve) => nobody.close(resolve));
  const alone = await start({ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, ...GONE });
  try {
    for (let i = 0; i < 5; i += 1) assert.equal(typeof (await invoke(alone.url, i)), 'string');
    await untilMetric(alone.url, dropped('collector'), 10);
    const told = logged(alone, 'spans of traces were dropped');
    assert.equal(told.length, 1);
    assert.match(told[0]?.msg ?? '', /the collector did not take them: .+/);
  } finally {
    await alone.stop();
  }
});

test('traces: of a collector that hangs the log and the metrics tell, also what had no room', async () => {
  const hanging = createServer(() => undefined).listen(0, '127.0.0.1');
  await once(hanging, 'listening');
  const slow = await start({ OTEL_EXPORTER_OTLP_ENDPOINT: endpointOf(hanging), ...GONE });
  try {
    for (let i = 0; i < 60; i += 1) await invoke(slow.url, i);
    await untilMetric(slow.url, dropped('queue'), 1);
    const body = await untilMetric(slow.url, dropped('collector'), 10);
    assert.match(body, /^snapfaas_trace_spans_exported_total 0$/m);
    assert.equal(logged(slow, 'spans of traces were dropped').length, 1);
  } finally {
    await slow.stop();
    hanging.close();
    hanging.closeAllConnections();
  }
});

test('traces: a ratio of all traces is sampled, or all of them', async () => {
  const traced = async (env: NodeJS.ProcessEnv, count: number): Promise<number> => {
    const before = spans.length;
    const own = await start({ OTEL_EXPORTER_OTLP_ENDPOINT: endpointOf(collector), ...env });
    for (let i = 0; i < count; i += 1) await invoke(own.url, i);
    await own.stop();
    return spans.slice(before).filter(({ name }) => name === 'invoke traced').length;
  };
  const half = await traced({ OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '0.5' }, 200);
  // Once in more than a billion runs it is further from the middle than that.
  assert.ok(half > 55 && half < 145, `${half} of 200`);
  assert.equal(await traced({ OTEL_TRACES_SAMPLER: 'always_on' }, 20), 20);
});

test('traces: a function that calls another one with the header that it was told continues its trace', async () => {
  await invoke(controller.url, { call: controller.url }, { traceparent: `00-${CHAIN}-${PARENT}-01` });
  const ofChain = (): readonly Span[] =>
    spans.filter(({ traceId, name }) => traceId === CHAIN && name === 'invoke traced');
  await spansOf(() => ofChain().length === 2);
  const outer = ofChain().find(({ parentSpanId }) => parentSpanId === PARENT);
  assert.ok(ofChain().some(({ parentSpanId }) => parentSpanId === outer?.spanId));
});

test('traces: a protocol that is not sent is told before anything starts', async () => {
  const started = start({
    OTEL_EXPORTER_OTLP_ENDPOINT: endpointOf(collector),
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'grpc',
  });
  await assert.rejects(started, /http\/protobuf or http\/json: OTEL_EXPORTER_OTLP_PROTOCOL is "grpc"/);
});
