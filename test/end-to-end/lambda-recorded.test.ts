/** Answers of snapctr beside answers that AWS Lambda gave: the same members, and the same words where they are not chance. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  GetFunctionCommand,
  GetFunctionConfigurationCommand,
  InvokeCommand,
  ListFunctionsCommand,
  type InvokeCommandInput,
  type LambdaClient,
} from '@aws-sdk/client-lambda';
import { lambdaClient } from '../support/lambda-client.ts';
import {
  assertNothingLeft,
  createWorkspace,
  startController,
  type RunningController,
  type TestFunction,
  type Workspace,
} from '../support/snapctr.ts';
import {
  assertLike,
  assertRefused,
  assertShape,
  pattern,
  recorded,
  refusal,
  without,
  type Json,
} from './recorded-answers.ts';

const PYTHON = `
import sys, time

def handler(event, context):
    if event.get('raise'):
        raise Exception('Handler fails')
    if event.get('exit'):
        sys.exit(0)
    if event.get('bytes'):
        return 'x' * event['bytes']
    if event.get('sleep'):
        time.sleep(event['sleep'])
    if event.get('print'):
        print(event['print'])
        return {}
`;
const NODE = `
exports.handler = async (event, context) => {
  if (event.raise) throw new Error('Error: some_error_msg');
  if (event.print) console.log(event.print);
  return event.context ? { context } : undefined;
};
`;

const lambdaFunction = (
  name: string,
  runtime: TestFunction['runtime'],
  text: string,
  keys: Readonly<Record<string, string | number>> = {},
): TestFunction => ({
  name,
  runtime,
  files: { [runtime === 'python3' ? 'index.py' : 'index.js']: text },
  keys: { handler: 'index.handler', timeout: 1, ...keys },
});

describe('recorded answers of AWS Lambda', () => {
  let workspace: Workspace;
  let controller: RunningController;
  let client: LambdaClient;

  /** One Invoke, in the words of the recordings. */
  const invoke = async (
    FunctionName: string,
    event: unknown,
    rest: Partial<InvokeCommandInput> = {},
  ): Promise<Readonly<Record<string, unknown>>> => {
    const Payload = Buffer.from(JSON.stringify(event));
    const answer = await client.send(new InvokeCommand({ FunctionName, Payload, ...rest }));
    const text = answer.Payload?.transformToString() ?? '';
    const members = {
      StatusCode: answer.StatusCode,
      FunctionError: answer.FunctionError,
      ExecutedVersion: answer.ExecutedVersion,
      Payload: text === '' ? '' : (JSON.parse(text) as unknown),
      LogResult: answer.LogResult,
    };
    return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
  };
  const assertAnswered = (actual: Json, answer: Json): void =>
    assertLike(actual, without(answer, 'ResponseMetadata'), 'answer');

  before(async () => {
    const functions = [
      lambdaFunction('python', 'python3', PYTHON, { environment: '{A: "1"}' }),
      lambdaFunction('node', 'nodejs', NODE),
      lambdaFunction('logs-python', 'python3', PYTHON),
      lambdaFunction('logs-node', 'nodejs', NODE),
      lambdaFunction('one-at-a-time', 'python3', PYTHON, { concurrency_limit: 1, timeout: 10 }),
      lambdaFunction('fails-at-import', 'python3', "raise Exception('Runtime startup fails')\n"),
      lambdaFunction('exits-at-import', 'python3', 'import sys\nsys.exit(0)\n'),
    ];
    workspace = createWorkspace(functions, ['lambda: {account_id: "111111111111"}']);
    controller = await startController(workspace, { vmm: 'process' });
    client = lambdaClient(controller.url, { maxAttempts: 1 });
  });

  after(async () => {
    client.destroy();
    assert.equal(await controller.stop(), 0);
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  for (const [name, fn, event, key] of [
    ['test_lambda_invoke_with_timeout', 'python', { sleep: 5 }, 'invoke-result'],
    ['test_lambda_handler_error', 'python', { raise: true }, 'invocation_error'],
    ['test_lambda_handler_exit', 'python', { exit: true }, 'invocation_error'],
    ['test_lambda_runtime_error', 'fails-at-import', {}, 'invocation_error'],
    ['test_lambda_runtime_exit', 'exits-at-import', {}, 'invocation_error'],
    ['test_lambda_too_large_response', 'python', { bytes: 6 * 1024 * 1024 + 101 }, 'invoke_result'],
    ['test_uncaught_exception_invoke[nodejs20.x]', 'node', { raise: true }, 'error_result'],
  ] as const) {
    test(`${name} is answered as recorded`, async () => {
      assertAnswered(await invoke(fn, event), recorded(name, key));
    });
  }

  for (const [name, fn, type] of [
    ['test_invocation_type_no_return_payload[python-RequestResponse]', 'python', 'RequestResponse'],
    ['test_invocation_type_no_return_payload[nodejs-RequestResponse]', 'node', 'RequestResponse'],
    ['test_invocation_type_event[python3.10]', 'python', 'Event'],
    ['test_invocation_type_dry_run[python3.10]', 'python', 'DryRun'],
  ] as const) {
    test(`${name} is answered as recorded`, async () => {
      const content = recorded(name);
      const answer = recorded(name, Object.keys(content)[0] ?? '');
      assertAnswered(await invoke(fn, {}, { InvocationType: type }), without(answer, 'LogResult'));
    });
  }

  for (const [name, fn] of [
    ['test_invocation_with_logs[python3.10]', 'logs-python'],
    ['test_invocation_with_logs[nodejs16.x]', 'logs-node'],
  ] as const) {
    test(`${name}: the log has the recorded lines`, async () => {
      const answer = await invoke(fn, { print: '{}' }, { LogType: 'Tail' });
      const { logs } = recorded(name, 'logs') as { readonly logs: readonly string[] };
      const lines = Buffer.from(String(answer['LogResult']), 'base64').toString().match(/.*\n/g) ?? [];
      assert.equal(lines.length, logs.length, lines.join(''));
      for (const [index, line] of logs.entries()) {
        assert.match(lines[index] ?? '', pattern(line.replace(/^date/, '<date>')));
      }
    });
  }

  test('test_lambda_with_context: the Node context has the recorded members', async () => {
    const clientContext = { custom: { foo: 'bar' }, client: { snap: ['crackle', 'pop'] }, env: { fizz: 'buzz' } };
    const answer = await invoke(
      'node',
      { context: true },
      { ClientContext: Buffer.from(JSON.stringify(clientContext)).toString('base64') },
    );
    const { context } = answer['Payload'] as { readonly context: Json };
    const expected = (recorded('test_lambda_with_context', 'invocation')['Payload'] as { readonly context: Json })
      .context;
    for (const key of Object.keys(expected)) assertLike(context[key], expected[key], key);
  });

  test('test_lambda_concurrency_block: a function at its limit is throttled as recorded', async () => {
    const running = invoke('one-at-a-time', { sleep: 2 });
    await controller.until((status) => Object.keys(status.vms['one-at-a-time'] ?? {}).length > 0);
    const expected = recorded('test_lambda_concurrency_block', 'invoke_latest_first_exc');
    await assertRefused(invoke('one-at-a-time', {}), expected);
    await running;
  });

  test('test_lambda_invoke_payload_encoding_error: bytes that are no UTF-8 are refused as recorded', async () => {
    const Payload = Buffer.from('6e8772', 'hex');
    const { name, message } = await refusal(client.send(new InvokeCommand({ FunctionName: 'python', Payload })));
    const content = recorded('test_lambda_invoke_payload_encoding_error[body]', 'invoke_function_invalid_payload_body');
    const { Code: code, Message: words } = content['Error'] as { Code: string; Message: string };
    assert.equal(name, code);
    assert.equal(message.slice(0, 79), words.slice(0, 79));
  });

  for (const [name, key, send] of [
    [
      'test_invoke_exceptions',
      'invoke_function_doesnotexist',
      () => client.send(new InvokeCommand({ FunctionName: 'doesnotexist' })),
    ],
    [
      'test_ops_on_nonexisting_fn[get_function]',
      'not_found_exception',
      () => client.send(new GetFunctionCommand({ FunctionName: 'doesnotexist' })),
    ],
    [
      'test_ops_on_nonexisting_fn[get_function_configuration]',
      'not_found_exception',
      () => client.send(new GetFunctionConfigurationCommand({ FunctionName: 'doesnotexist' })),
    ],
    [
      'test_ops_on_nonexisting_version[get_function]',
      'version_not_found_exception',
      () => client.send(new GetFunctionCommand({ FunctionName: 'python', Qualifier: '1221' })),
    ],
    [
      'test_function_arns',
      'function_arn_other_region_exc',
      () =>
        client.send(
          new GetFunctionCommand({ FunctionName: 'arn:aws:lambda:ap-southeast-1:111111111111:function:python' }),
        ),
    ],
    [
      'test_function_arns',
      'function_arn_other_account_exc',
      () =>
        client.send(new GetFunctionCommand({ FunctionName: 'arn:aws:lambda:us-east-1:123456789012:function:python' })),
    ],
    [
      'test_list_functions',
      'list_functions_invalid_functionversion',
      () => client.send(new ListFunctionsCommand({ FunctionVersion: 'invalid' as 'ALL' })),
    ],
  ] as const) {
    test(`${name}, ${key}: refused as recorded`, async () => {
      await assertRefused(send(), recorded(name, key));
    });
  }

  test('test_function_lifecycle: GetFunction has the recorded members', async () => {
    const answer = await client.send(new GetFunctionCommand({ FunctionName: 'python' }));
    const expected = without(recorded('test_function_lifecycle', 'get_function_response'), 'ResponseMetadata');
    assertShape(without(answer as unknown as Json, '$metadata'), expected, 'answer');
  });

  test('test_list_functions: entries have the recorded members', async () => {
    const { Functions: functions } = await client.send(new ListFunctionsCommand({}));
    const listed = recorded('test_list_functions', 'list_default')['Functions'] as readonly Json[];
    const python = functions?.find((fn) => fn.FunctionName === 'python');
    assertShape(python, listed[0], 'entry');
  });
});
