/**
 * Traces of functions in virtual machines, as OTLP sends them by default. They are received by a function, which reads them with
 * OpenTelemetry's own package from PyPI.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createWorkspace, startController, type RunningController, type TestFunction } from '../support/snapctr.ts';

interface Span {
  readonly traceId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly attributes: readonly { readonly key: string; readonly value: Readonly<Record<string, unknown>> }[];
}

const COLLECTOR: TestFunction = {
  name: 'collector',
  runtime: 'python3',
  keys: { memory: 256, handler: 'index.handler', url: '{auth: none}', concurrency_limit: 1 },
  files: {
    'requirements.txt': 'opentelemetry-proto\n',
    'index.py': `
import base64
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

spans = []

def handler(event, context):
    http = event['requestContext']['http']
    if http['method'] == 'GET':
        return spans
    if http['path'].split('/')[-2:] != ['v1', 'traces'] or event['headers']['content-type'] != 'application/x-protobuf':
        return {'statusCode': 404}
    told = ExportTraceServiceRequest.FromString(base64.b64decode(event['body']))
    for resource in told.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                one = MessageToDict(span)
                one['traceId'], one['parentSpanId'] = span.trace_id.hex(), span.parent_span_id.hex()
                spans.append(one)
    body = ExportTraceServiceResponse().SerializeToString()
    return {'statusCode': 200, 'headers': {'content-type': 'application/x-protobuf'},
            'body': base64.b64encode(body).decode(), 'isBase64Encoded': True}
`,
  },
};
const TRACED: TestFunction = {
  name: 'traced',
  runtime: 'python3',
  keys: { handler: 'index.handler' },
  files: { 'index.py': 'import os\ndef handler(event, context):\n    return os.environ["_X_AMZN_TRACE_ID"]\n' },
};
const PARENT = 'b7ad6b7169203331';
const traceOf = (digit: string): string => `0af7651916cd43dd8448eb211c80319${digit}`;

const places = [createWorkspace([COLLECTOR]), createWorkspace([TRACED])] as const;
let collector: RunningController | undefined;
let controller: RunningController | undefined;
let address = '';
let url = '';

before(async () => {
  collector = await startController(places[0], { vmm: 'qemu', snapshots: true });
  address = `${collector.url}/url/collector`;
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: address, OTEL_BSP_SCHEDULE_DELAY: '50' };
  controller = await startController(places[1], { vmm: 'qemu', snapshots: true, env });
  url = `${controller.url}/2015-03-31/functions/traced/invocations`;
});
after(async () => {
  await controller?.stop();
  await collector?.stop();
  for (const place of places) place.remove();
});

async function spansOf(trace: string, names: readonly string[]): Promise<readonly Span[]> {
  for (const deadline = performance.now() + 30_000; ;) {
    const answer = await fetch(address);
    // One VM has all spans: beside a request that brings some, it is refused.
    const all = answer.ok ? ((await answer.json()) as readonly Span[]) : [];
    const found = all.filter(({ traceId }) => traceId === trace);
    if (names.every((name) => found.some((span) => span.name === name))) return found;
    assert.ok(performance.now() < deadline, `what came: ${all.map(({ name }) => name).join(', ')}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function attribute(span: Span | undefined, key: string): unknown {
  const value = span?.attributes.find((one) => one.key === key)?.value ?? {};
  return Object.values(value)[0];
}

test('traces: a restored start in a virtual machine, as protobuf', async () => {
  const trace = traceOf('a');
  const headers = { traceparent: `00-${trace}-${PARENT}-01` };
  const told = String(await (await fetch(url, { method: 'POST', body: '{}', headers })).json());
  assert.match(told, new RegExp(`^Root=1-${trace.slice(0, 8)}-${trace.slice(8)};Parent=[0-9a-f]{16};Sampled=1$`));
  const found = await spansOf(trace, ['invoke traced', 'queue', 'launch', 'spawn', 'load', 'resume', 'run']);
  const root = found.find(({ name }) => name === 'invoke traced');
  assert.equal(root?.parentSpanId, PARENT);
  assert.deepEqual(
    [attribute(root, 'snapfaas.start'), attribute(root, 'faas.coldstart'), attribute(root, 'faas.version')],
    ['restored', true, '$LATEST'],
  );
});

test('traces: an event is in the trace of the request that brought it', async () => {
  const trace = traceOf('b');
  const headers = { traceparent: `00-${trace}-${PARENT}-01`, 'x-amz-invocation-type': 'Event' };
  assert.equal((await fetch(url, { method: 'POST', body: '{}', headers })).status, 202);
  const root = (await spansOf(trace, ['invoke traced', 'run'])).find(({ name }) => name === 'invoke traced');
  assert.equal(root?.parentSpanId, PARENT);
  assert.equal(attribute(root, 'snapfaas.event_try'), '1');
});
