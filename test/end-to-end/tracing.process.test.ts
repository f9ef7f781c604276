/** Traces: what a collector gets of OTLP over HTTP, and what becomes of requests when it is not there. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
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
  if (request === 'fail') throw new Error('as told');
  return process.env._X_AMZN_TRACE_ID ?? null;
};
`;
const TRACE = '0af7651916cd43dd8448eb211c80319c';
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
  const names = ['queue', 'launch', 'spawn', 'load', 'run'];
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

test('traces: a protocol that is not sent is told before anything starts', async () => {
  const started = start({
    OTEL_EXPORTER_OTLP_ENDPOINT: endpointOf(collector),
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'grpc',
  });
  await assert.rejects(started, /http\/protobuf or http\/json: OTEL_EXPORTER_OTLP_PROTOCOL is "grpc"/);
});
