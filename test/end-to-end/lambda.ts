/**
 * What a user of AWS Lambda has to find, with the SDK as the client: handlers, answers, errors and logs, with the `process`
 * driver and with VMs restored from snapshots (`lambda.*.test.ts`). Streams are in `lambda-streams.ts`.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  GetFunctionConfigurationCommand,
  InvokeCommand,
  type InvokeCommandInput,
  type LambdaClient,
} from '@aws-sdk/client-lambda';
import { invokeRaw, lambdaClient } from '../support/lambda-client.ts';
import { brokenImports, IMPORT_FAILURES, lambdaFunctions } from '../support/lambda-functions.ts';
import {
  assertNothingLeft,
  createWorkspace,
  startController,
  type RunningController,
  type TestVmm,
  type Workspace,
} from '../support/snapctr.ts';
import { WITHOUT_VM } from './contract.ts';

const MIB = 1024 * 1024;
/** Long enough for emulated guests to fail by themselves where they can, in s. */
const TIMEOUT_S: Readonly<Record<TestVmm, number>> = {
  ...{ process: 2, 'fake-firecracker': 4, firecracker: 8, qemu: 8 },
};

interface Invoked {
  readonly status: number | undefined;
  readonly failed: string | undefined;
  readonly text: string;
  readonly body: unknown;
  readonly log: string;
}

interface Failure {
  readonly errorType?: string;
  readonly errorMessage?: string;
  readonly trace?: readonly string[];
  readonly stackTrace?: readonly string[];
  readonly requestId?: string;
}

export function lambdaContract(vmm: TestVmm, start: 'cold' | 'restored'): void {
  for (const runtime of ['python3', 'nodejs'] as const) {
    describe(`Lambda: ${vmm}, ${start}, ${runtime}`, () => suite(vmm, start, runtime));
  }
}

function suite(vmm: TestVmm, start: 'cold' | 'restored', runtime: 'python3' | 'nodejs'): void {
  const isNode = runtime === 'nodejs';
  let workspace: Workspace;
  let controller: RunningController;
  let client: LambdaClient;

  const invoke = async (event: unknown, rest: Partial<InvokeCommandInput> = {}): Promise<Invoked> => {
    const Payload = Buffer.from(JSON.stringify(event));
    const answer = await client.send(new InvokeCommand({ FunctionName: 'obedient', Payload, ...rest }));
    const text = answer.Payload?.transformToString() ?? '';
    const log = Buffer.from(answer.LogResult ?? '', 'base64').toString();
    const body = text === '' ? undefined : (JSON.parse(text.replaceAll('NaN', 'null')) as unknown);
    return { status: answer.StatusCode, failed: answer.FunctionError, text, body, log };
  };
  const failureOf = (answer: Invoked): Failure => {
    assert.deepEqual([answer.status, answer.failed], [200, 'Unhandled'], answer.text);
    return answer.body as Failure;
  };
  const raw = (event: string, signal?: AbortSignal): ReturnType<typeof invokeRaw> =>
    invokeRaw(controller.url, 'obedient', event, {}, signal);

  before(async () => {
    workspace = createWorkspace([...lambdaFunctions(runtime, { timeout: TIMEOUT_S[vmm] }), ...brokenImports(runtime)]);
    controller = await startController(workspace, { vmm, snapshots: start === 'restored' });
    client = lambdaClient(controller.url);
  });

  after(async () => {
    client.destroy();
    assert.equal(await controller.stop(), 0);
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  test('an event goes in and the result comes out; the VM keeps its state', async () => {
    assert.deepEqual((await invoke({ do: 'count' })).body, 1);
    assert.deepEqual((await invoke({ do: 'count' })).body, 2);
    const event = { do: 'echo', text: 'äöü 💙 \u0000', deep: [[{ a: [] }]], n: -1.5 };
    assert.deepEqual((await invoke(event)).body, event);
    assert.equal((await invoke({ do: 'nothing' })).text, 'null');
  });

  test('the order of keys and the spelling of what the language can hold survive', async () => {
    const { text } = await raw('{"z":1,"do":"echo","a":2,"big":9007199254740993,"one":1.0}');
    const expected = isNode
      ? '{"z":1,"do":"echo","a":2,"big":9007199254740992,"one":1}'
      : '{"z": 1, "do": "echo", "a": 2, "big": 9007199254740993, "one": 1.0}';
    assert.equal(text, expected);
  });

  test('the context tells who was called, how, and for how long', async () => {
    const clientContext = { custom: { foo: 'bar' }, env: { fizz: 'buzz' }, client: {} };
    const { body } = await invoke(
      { do: 'context' },
      {
        FunctionName: 'arn:aws:lambda:us-east-1:000000000000:function:obedient',
        Qualifier: '$LATEST',
        ClientContext: Buffer.from(JSON.stringify(clientContext)).toString('base64'),
      },
    );
    const context = body as Record<string, unknown>;
    const get = (python: string, node: string): unknown => context[isNode ? node : python];
    assert.equal(get('function_name', 'functionName'), 'obedient');
    assert.equal(get('function_version', 'functionVersion'), '$LATEST');
    assert.equal(get('memory_limit_in_mb', 'memoryLimitInMB'), '128');
    assert.equal(get('log_group_name', 'logGroupName'), '/aws/lambda/obedient');
    assert.match(String(get('log_stream_name', 'logStreamName')), /^\d{4}\/\d\d\/\d\d\/\[\$LATEST\][0-9a-f]{32}$/);
    assert.equal(
      get('invoked_function_arn', 'invokedFunctionArn'),
      'arn:aws:lambda:us-east-1:000000000000:function:obedient:$LATEST',
    );
    const seen = get('client_context', 'clientContext') as { custom: unknown; env: unknown };
    assert.deepEqual([seen.custom, seen.env], [clientContext.custom, clientContext.env]);
    const remaining = Number(context['remaining']);
    // A guest's clock is right within 100 ms.
    assert.ok(remaining > 0 && remaining <= TIMEOUT_S[vmm] * 1000 + 100, String(remaining));
    assert.equal(context['initialization'], start === 'restored' ? 'snap-start' : 'on-demand');
    const environment = context['environment'] as Record<string, string>;
    assert.equal(environment['AWS_REGION'], 'us-east-1');
    assert.equal(environment['_HANDLER'], isNode ? 'src/index.handler' : 'pkg/app.handler');
    assert.equal(environment['LAMBDA_TASK_ROOT'], context['directory']);
    assert.match(
      environment['AWS_EXECUTION_ENV'] ?? '',
      isNode ? /^AWS_Lambda_nodejs\d+\.x$/ : /^AWS_Lambda_python3\.\d+$/,
    );
    if (!WITHOUT_VM.includes(vmm)) assert.equal(context['directory'], '/var/task');
  });

  test('its configuration says whether it starts from a snapshot', async () => {
    const { SnapStart } = await client.send(new GetFunctionConfigurationCommand({ FunctionName: 'obedient' }));
    const [ApplyOn, OptimizationStatus] = start === 'restored' ? ['PublishedVersions', 'On'] : ['None', 'Off'];
    assert.deepEqual(SnapStart, { ApplyOn, OptimizationStatus });
  });

  test('the handler sees the request id of the answer', async () => {
    const answer = await raw('{"do":"context"}');
    const context = JSON.parse(answer.text) as Record<string, unknown>;
    assert.equal(context[isNode ? 'awsRequestId' : 'aws_request_id'], answer.headers.get('x-amzn-requestid'));
  });

  test('6 MiB go in and out', async () => {
    const text = 'x'.repeat(6 * MIB - 100);
    const { body } = await invoke({ do: 'echo', text });
    assert.equal((body as { text: string }).text.length, text.length);
  });

  test('6 MiB and 100 bytes are the largest result; the VM stays after a larger one', async () => {
    const most = 6 * MIB + 100;
    assert.equal((await invoke({ do: 'large', bytes: most })).text.length, most);
    const failure = failureOf(await invoke({ do: 'large', bytes: most + 1 }));
    assert.deepEqual(failure, {
      errorMessage: `Response payload size exceeded maximum allowed payload size (${most} bytes).`,
      errorType: 'Function.ResponseSizeTooLarge',
    });
    assert.equal((await raw('{"do":"nothing"}')).headers.get('x-snapfaas-start'), 'warm');
  });

  test('an exception has the payload of its language, and the VM stays', async () => {
    const failure = failureOf(await invoke({ do: 'throw' }));
    assert.equal(failure.errorType, isNode ? 'TypeError' : 'ValueError');
    assert.equal(failure.errorMessage, 'as asked');
    if (isNode) {
      assert.equal(failure.trace?.[0], 'TypeError: as asked');
      assert.match(failure.trace[1] ?? '', /^ {4}at .*index\.js/);
    } else {
      assert.match(failure.requestId ?? '', /^[0-9a-f-]{36}$/);
      assert.match(failure.stackTrace?.at(-1) ?? '', /^ {2}File ".*app\.py", line \d+, in do_throw\n/);
    }
    assert.equal((await raw('{"do":"nothing"}')).headers.get('x-snapfaas-start'), 'warm');
  });

  test('a result that cannot be written is the function’s error', async () => {
    const failure = failureOf(await invoke({ do: 'circular' }));
    assert.equal(failure.errorType, isNode ? 'Error' : 'Runtime.MarshalError');
    assert.match(
      failure.errorMessage ?? '',
      isNode ? /^Unable to stringify response body$/ : /^Unable to marshal response/,
    );
  });

  test('a number that JSON does not have leaves as its language writes it', async () => {
    assert.equal((await invoke({ do: 'nan' })).text, isNode ? '{"value":null}' : '{"value": NaN}');
  });

  for (const [what, name, type, words] of IMPORT_FAILURES[runtime]) {
    test(`${what} is what every invocation gets, in the words of AWS`, async () => {
      for (const failed of [await invoke({}, { FunctionName: name }), await invoke({}, { FunctionName: name })]) {
        const failure = failureOf(failed);
        assert.equal(failure.errorType, type);
        assert.match(failure.errorMessage ?? '', words);
      }
    });
  }

  for (const [what, event, words] of [
    ['an exit with 0', { do: 'exit', status: 0 }, /Runtime exited without providing a reason$/],
    ['an exit with 3', { do: 'exit', status: 3 }, /Runtime exited with error: exit status 3$/],
    ['a kill', { do: 'kill' }, /Runtime exited with error: signal: killed$/],
  ] as const) {
    test(`${what} is Runtime.ExitError, and the next invocation finds a fresh runtime`, async () => {
      await invoke({ do: 'count' });
      const failure = failureOf(await invoke(event));
      assert.equal(failure.errorType, 'Runtime.ExitError');
      assert.match(failure.errorMessage ?? '', words);
      assert.deepEqual((await invoke({ do: 'count' })).body, 1);
    });
  }

  test('a timeout is Sandbox.Timedout, and the next invocation finds a fresh runtime', async () => {
    await invoke({ do: 'count' });
    const failure = failureOf(await invoke({ do: 'hang' }));
    assert.equal(failure.errorType, 'Sandbox.Timedout');
    assert.match(
      failure.errorMessage ?? '',
      new RegExp(`^RequestId: [0-9a-f-]{36} Error: Task timed out after ${TIMEOUT_S[vmm]}\\.00 seconds$`),
    );
    assert.deepEqual((await invoke({ do: 'count' })).body, 1);
  });

  test('a client that hangs up leaves its invocation running, in a VM that stays', async () => {
    const before = (await invoke({ do: 'count' })).body as number;
    const client = new AbortController();
    const abandoned = raw('{"do":"count later","ms":1000}', client.signal);
    const hungUp = assert.rejects(abandoned, { name: 'AbortError' });
    await controller.until((status) => status.vms['obedient']?.busy === 1);
    client.abort();
    await hungUp;
    await controller.until((status) => (status.vms['obedient']?.busy ?? 0) === 0);
    const next = await raw('{"do":"count"}');
    assert.deepEqual([next.text, next.headers.get('x-snapfaas-start')], [String(before + 2), 'warm']);
  });

  test('the log tail has what was printed between START and END, and REPORT behind', async () => {
    const { log } = await invoke({ do: 'say', text: 'a word for the log' }, { LogType: 'Tail' });
    assert.match(
      log,
      /^START RequestId: (\S+) Version: \$LATEST\n.*a word for the log\nEND RequestId: \1\nREPORT RequestId: \1\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\tMemory Size: 128 MB\tMax Memory Used: \d+ MB\t/,
    );
    const silent = await invoke({ do: 'nothing' }, { LogType: 'Tail' });
    assert.match(silent.log, /^START [^\n]+\nEND [^\n]+\nREPORT [^\n]+\n$/);
    const failed = await invoke({ do: 'throw' }, { LogType: 'Tail' });
    assert.match(failed.log, /as asked/);
  });

  test('output that looks like frames of the protocol is only output', async () => {
    assert.equal((await invoke({ do: 'frames' })).text, '"printed"');
    assert.equal((await invoke({ do: 'nothing' })).text, 'null');
  });

  test('an Event runs after it was accepted, and its failure is in the log', async () => {
    const answer = await invoke({ do: 'throw' }, { InvocationType: 'Event' });
    assert.equal(answer.status, 202);
    await controller.until(() => controller.log.some((line) => line.includes('an invocation of type Event failed')));
  });

  test('POST / runs the same function, and keeps its own errors', async () => {
    assert.deepEqual((await controller.invoke('obedient', { do: 'echo', n: 1 })).body, { do: 'echo', n: 1 });
    assert.equal((await controller.invoke('obedient', { do: 'throw' })).status, 502);
    const notJson = await controller.invoke('obedient', { do: 'nan' });
    assert.equal(notJson.status, isNode ? 200 : 502);
  });

  if (!isNode) return;

  test('a callback answers, and a rejection with no error is described', async () => {
    const { text } = await invoke({ n: 1 }, { FunctionName: 'callback' });
    assert.equal(text, '{"called":{"n":1}}');
    const failure = failureOf(await invoke({ do: 'no error' }));
    assert.deepEqual([failure.errorType, failure.errorMessage], ['string', 'as asked']);
  });

  test('a rejection that nobody handles ends the runtime; the next invocation is not harmed', async () => {
    const failure = failureOf(await invoke({ do: 'later rejection' }));
    assert.equal(failure.errorType, 'Runtime.UnhandledPromiseRejection');
    assert.deepEqual((await invoke({ do: 'count' })).body, 1);
  });
}
