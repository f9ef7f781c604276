/** Streamed answers as the SDK's users see them; run beside `lambda.ts`. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  InvokeCommand,
  InvokeWithResponseStreamCommand,
  type InvokeWithResponseStreamResponseEvent,
  type LambdaClient,
} from '@aws-sdk/client-lambda';
import { lambdaClient } from '../support/lambda-client.ts';
import { lambdaFunctions } from '../support/lambda-functions.ts';
import {
  assertNothingLeft,
  createWorkspace,
  startController,
  type RunningController,
  type TestVmm,
  type Workspace,
} from '../support/snapctr.ts';
import { residentBytes } from './memory-of.ts';

const STREAM_PATH = '/2021-11-15/functions/streaming/response-streaming-invocations';
/** What may wait in sockets and buffers between a function and a client that does not read, in bytes. */
const MOST_ON_THE_WAY = 12 * 1024 * 1024;

type StreamEvent = InvokeWithResponseStreamResponseEvent;
type Complete = StreamEvent['InvokeComplete'];

export function lambdaStreams(vmm: TestVmm, start: 'cold' | 'restored'): void {
  describe(`Lambda streams: ${vmm}, ${start}`, () => streams(vmm, start));
}

function streams(vmm: TestVmm, start: 'cold' | 'restored'): void {
  let workspace: Workspace;
  let controller: RunningController;
  let client: LambdaClient;

  const stream = async (event: unknown): Promise<AsyncIterator<StreamEvent>> => {
    const Payload = Buffer.from(JSON.stringify(event));
    const answer = await client.send(new InvokeWithResponseStreamCommand({ FunctionName: 'streaming', Payload }));
    return answer.EventStream?.[Symbol.asyncIterator]() ?? assert.fail('no stream');
  };
  const collect = async (events: AsyncIterator<StreamEvent>): Promise<{ bytes: Buffer; complete: Complete }> => {
    const parts: Uint8Array[] = [];
    for (;;) {
      const next = await events.next();
      if (next.done === true) assert.fail('the stream ended without InvokeComplete');
      const { PayloadChunk: chunk, InvokeComplete: complete } = next.value;
      if (chunk?.Payload !== undefined) parts.push(chunk.Payload);
      if (complete !== undefined) return { bytes: Buffer.concat(parts), complete };
    }
  };

  before(async () => {
    workspace = createWorkspace(lambdaFunctions('nodejs', { timeout: 60 }));
    controller = await startController(workspace, { vmm, snapshots: start === 'restored' });
    client = lambdaClient(controller.url);
  });

  after(async () => {
    client.destroy();
    assert.equal(await controller.stop(), 0);
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  test('parts arrive in order, the first before the last is written', async () => {
    const events = await stream({ parts: 5, pauseMs: 50, tell: true });
    const first = await events.next();
    const isFirst = !controller.log.some((line) => line.includes('written 5'));
    const { bytes, complete } = await collect(events);
    assert.ok(isFirst, 'the answer came only when it was complete');
    const whole = Buffer.concat([(first.value as StreamEvent).PayloadChunk?.Payload ?? Buffer.alloc(0), bytes]);
    assert.deepEqual(whole, Buffer.from([0, 1, 2, 3, 4]));
    assert.deepEqual(complete, {});
  });

  test('megabytes arrive whole', async () => {
    const { bytes } = await collect(await stream({ parts: 40, bytes: 500_000 }));
    assert.equal(bytes.length, 40 * 500_000);
    for (let part = 0; part < 40; part += 1) assert.equal(bytes[part * 500_000 + 499_999], part);
  });

  test('an error before or amid the parts ends the stream with its words', async () => {
    for (const [event, message, count] of [
      [{ throwFirst: true }, 'before', 0],
      [{ parts: 3, throwLast: true }, 'in the middle', 3],
    ] as const) {
      const { bytes, complete } = await collect(await stream(event));
      assert.equal(bytes.length, count);
      assert.equal(complete?.ErrorCode, 'Unhandled');
      const details = JSON.parse(complete.ErrorDetails ?? '') as { errorType?: string; errorMessage?: string };
      assert.deepEqual([details.errorType, details.errorMessage], ['TypeError', message]);
    }
  });

  test('a handler that does not stream answers a stream in one piece, and the other way round', async () => {
    const Payload = Buffer.from('{"do":"echo"}');
    const answer = await client.send(new InvokeWithResponseStreamCommand({ FunctionName: 'obedient', Payload }));
    const events = answer.EventStream?.[Symbol.asyncIterator]() ?? assert.fail();
    assert.equal((await collect(events)).bytes.toString(), '{"do":"echo"}');
    const whole = await client.send(
      new InvokeCommand({ FunctionName: 'streaming', Payload: Buffer.from('{"parts":3,"fill":97}') }),
    );
    assert.equal(whole.Payload?.transformToString(), 'aaa');
  });

  test('streams that run at once do not mix', async () => {
    const fills = [65, 66, 67, 68];
    const answers = await Promise.all(
      fills.map(async (fill) => collect(await stream({ parts: 50, bytes: 5000, fill, pauseMs: 1 }))),
    );
    for (const [index, { bytes }] of answers.entries()) {
      assert.equal(bytes.length, 250_000);
      assert.ok(bytes.every((byte) => byte === fills[index]));
    }
  });

  test('a client that does not read slows the function down, and costs no memory', async () => {
    const part = 256 * 1024;
    const parts = 400;
    const before = residentBytes(controller.pid);
    const hangUp = new AbortController();
    const response = await fetch(`${controller.url}${STREAM_PATH}`, {
      method: 'POST',
      body: JSON.stringify({ parts, bytes: part, tell: true }),
      signal: hangUp.signal,
    });
    const reader = response.body?.getReader() ?? assert.fail();
    await reader.read();
    const written = (): number => controller.log.filter((line) => line.includes('written ')).length;
    const settled = await settledCount(written);
    assert.ok(settled * part < MOST_ON_THE_WAY, `${settled} parts of ${part} bytes were written to nobody`);
    const grown = residentBytes(controller.pid) - before;
    assert.ok(grown < 4 * MOST_ON_THE_WAY, `snapctr grew by ${grown} bytes`);
    let received = 0;
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      received += (next.value as Uint8Array).length;
    }
    assert.ok(received > (parts - 10) * part);
  });

  test('a client that hangs up in the middle ends the VM, and nobody else’s', async () => {
    const other = collect(await stream({ parts: 100, pauseMs: 10, fill: 1 }));
    const client = new AbortController();
    const response = await fetch(`${controller.url}${STREAM_PATH}`, {
      method: 'POST',
      body: JSON.stringify({ parts: 100_000, pauseMs: 1 }),
      signal: client.signal,
    });
    await response.body?.getReader().read();
    await controller.until((status) => status.vms['streaming']?.busy === 2);
    client.abort();
    await controller.until((status) => (status.vms['streaming']?.busy ?? 0) === 1);
    assert.equal((await other).bytes.length, 100);
  });
}

/** A count that has stopped to grow: equal for half a second. */
async function settledCount(count: () => number): Promise<number> {
  let last = -1;
  let sameFor = 0;
  for (let round = 0; round < 600 && sameFor < 10; round += 1) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    const now = count();
    sameFor = now === last ? sameFor + 1 : 0;
    last = now;
  }
  return last;
}
