/**
 * The API of AWS Lambda beside our own, on the same function and the same VM: warm and restored invocations, large payloads,
 * and the first byte of a stream.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { MAX_PAYLOAD_BYTES } from '../../src/protocol/guest.ts';
import {
  createWorkspace,
  startController,
  type RunningController,
  type TestFunction,
} from '../../test/support/snapctr.ts';
import { median, result, summary, type Benchmark, type Result } from '../result.ts';
import { inTurns } from '../support/in-turns.ts';
import { ApiClient, type Timed } from '../support/lambda-client.ts';
import { sideBySide } from '../support/starts.ts';

const WARM_ROUNDS = 1000;
const DISCARDED = 300;
const START_ROUNDS = 30;
const PAYLOAD_ROUNDS = 10;
const EVENT = '{"name":"Ada"}';
/** Ends the runtime, and so the VM. */
const EXIT_EVENT = '{"name":"exit"}';

const SOURCE = `
exports.hello = async (event) => {
  if (event.name === 'exit') process.exit(0);
  return { message: 'Hello, ' + event.name + '!' };
};
exports.echo = async (event) => event;
exports.say = awslambda.streamifyResponse(async (event, output) => {
  output.write(JSON.stringify({ message: 'Hello, ' + event.name + '!' }));
  output.end();
});
const part = Buffer.alloc(32 * 1024);
exports.stream = awslambda.streamifyResponse(async (event, output) => {
  for (let left = event.bytes; left > 0; left -= part.length) {
    if (!output.write(part.subarray(0, left))) await new Promise((resolve) => output.once('drain', resolve));
  }
  output.end();
});
`;

function lambdaFunction(handler: string): TestFunction {
  return { name: handler, runtime: 'nodejs', files: { 'index.js': SOURCE }, keys: { handler: `index.${handler}` } };
}

export const lambda: Benchmark = {
  name: 'lambda',
  async run() {
    const workspace = createWorkspace(['hello', 'say', 'echo', 'stream'].map(lambdaFunction));
    const controller = await startController(workspace, { vmm: 'qemu', memoryMib: 512, snapshots: true });
    const client = new ApiClient(controller.url);
    try {
      return [await cold(client), ...(await warm(client)), ...(await payload(client, controller))];
    } finally {
      client.close();
      await controller.stop();
      workspace.remove();
    }
  },
};

async function cold(client: ApiClient): Promise<Result> {
  const start = async (request: () => Promise<Timed>): Promise<number> => {
    const { start: kind, tookMs } = await request();
    if (kind !== 'restored') throw new Error(`the start was ${kind}, not restored`);
    await client.invoke('hello', EXIT_EVENT);
    return tookMs;
  };
  const { lambda = [], native = [] } = await sideBySide(START_ROUNDS, {
    lambda: () => start(() => client.invoke('hello', EVENT)),
    native: () => start(() => client.native('hello', EVENT)),
  });
  const value = median(lambda) / median(native);
  const ratios = lambda.map((ms, round) => ms / (native[round] ?? Number.NaN));
  const note = `ms: Invoke ${summary(lambda)}; POST / ${summary(native)}`;
  return result('lambda-restored', value, 'ratio', { at: 'most', value: 1.05 }, ratios, note);
}

async function warm(client: ApiClient): Promise<Result[]> {
  const invoke = async (): Promise<number> => (await client.invoke('hello', EVENT)).tookMs;
  const native = async (): Promise<number> => (await client.native('hello', EVENT)).tookMs;
  const stream = async (): Promise<number> => (await client.stream('say', EVENT)).firstByteMs;
  await inTurns(DISCARDED, [invoke, native, stream]);
  const [lambda = [], own = []] = await inTurns(WARM_ROUNDS, [invoke, native]);
  const [firstByte = [], small = []] = await inTurns(WARM_ROUNDS, [stream, invoke]);
  return [
    result(
      'lambda-warm',
      median(lambda) / median(own),
      'ratio',
      { at: 'most', value: 1.1 },
      [],
      `ms: Invoke ${summary(lambda)}; POST / ${summary(own)}`,
    ),
    result(
      'lambda-first-byte',
      median(firstByte) / median(small),
      'ratio',
      { at: 'most', value: 1.2 },
      [],
      `ms: first byte of a stream ${summary(firstByte)}; small answer ${summary(small)}`,
    ),
  ];
}

/** A stream of bytes is the copy through the guest channel with the least around it; an echo copies in and out. */
async function payload(client: ApiClient, controller: RunningController): Promise<Result[]> {
  const event = JSON.stringify('x'.repeat(MAX_PAYLOAD_BYTES - 2));
  const whole = `{"bytes":${MAX_PAYLOAD_BYTES}}`;
  await client.invoke('echo', event);
  await client.stream('stream', whole);
  const residentBefore = memoryOf(controller.pid, 'VmRSS');
  // The mark of the highest use begins anew.
  writeFileSync(`/proc/${controller.pid}/clear_refs`, '5');
  const echoed = (await client.invoke('echo', event)).body.length;
  if (echoed !== event.length) throw new Error(`${echoed} bytes came back`);
  const grownBytes = memoryOf(controller.pid, 'VmHWM') - residentBefore;
  const { echo = [], copy = [] } = await sideBySide(PAYLOAD_ROUNDS, {
    echo: async () => (await client.invoke('echo', event)).tookMs,
    copy: async () => 2 * (await client.stream('stream', whole)).tookMs,
  });
  return [
    result(
      'lambda-payload',
      median(echo) / median(copy),
      'ratio',
      { at: 'most', value: 8 },
      echo.map((ms) => ms / median(copy)),
      `ms: 6 MiB in and out ${summary(echo)}; twice 6 MiB as a stream ${summary(copy)}`,
    ),
    result(
      'lambda-payload-memory',
      grownBytes / MAX_PAYLOAD_BYTES,
      'times the payload',
      { at: 'most', value: 4 },
      [],
      `snapctr grew by ${(grownBytes / 2 ** 20).toFixed(1)} MiB while 6 MiB went in and out`,
    ),
  ];
}

function memoryOf(pid: number, field: 'VmRSS' | 'VmHWM'): number {
  const kib = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kib) * 1024;
}
