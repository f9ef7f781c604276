/** Operations that make, change and remove functions, beside the answers that AWS Lambda gave to the same calls. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import * as sdk from '@aws-sdk/client-lambda';
import { MAX_UNPACKED_BYTES } from '../../src/packages/entries.ts';
import { makeZip } from '../packages/zip.ts';
import { lambdaClient } from '../support/lambda-client.ts';
import {
  assertNothingLeft,
  createWorkspace,
  startController,
  type RunningController,
  type Workspace,
} from '../support/snapctr.ts';
import { PATIENCE } from './control.ts';
import {
  assertLike,
  assertRefused,
  recorded as recordedAnswer,
  refusal,
  without,
  type Json,
} from './recorded-answers.ts';

const ACCOUNT = '111111111111';
const Role = `arn:aws:iam::${ACCOUNT}:role/any`;
const NOBODY = 'nobody';
const ARN = `arn:aws:lambda:us-east-1:${ACCOUNT}:function:`;
/** But for the size of `/tmp`, which is part of a VM's memory here, unless it was given. */
function recorded(name: string, ...keys: readonly string[]): Json {
  const text = JSON.stringify(recordedAnswer(name, ...keys));
  return JSON.parse(text.replaceAll('"EphemeralStorage":{"Size":512}', '"EphemeralStorage":{"Size":"<size>"}')) as Json;
}

const packageOf = (word: string): Buffer =>
  makeZip([{ name: 'handler.py', data: `def handler(event, context):\n    return "${word}"\n` }]);
const BASE = {
  ...{ FunctionName: 'made', Role, Runtime: 'python3.12', Handler: 'handler.handler' },
  Code: { ZipFile: packageOf('one') },
} as const satisfies sdk.CreateFunctionCommandInput;

describe('recorded answers to changes of functions', { timeout: 300_000 }, () => {
  let workspace: Workspace;
  let controller: RunningController;
  let client: sdk.LambdaClient;

  before(async () => {
    workspace = createWorkspace([], [`lambda: {account_id: "${ACCOUNT}"}`]);
    controller = await startController(workspace, { vmm: 'process' });
    client = lambdaClient(controller.url, { maxAttempts: 1 });
  });
  after(async () => {
    client.destroy();
    assert.equal(await controller.stop(), 0);
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  const create = (input: Partial<sdk.CreateFunctionCommandInput>): Promise<sdk.CreateFunctionCommandOutput> =>
    client.send(new sdk.CreateFunctionCommand({ ...BASE, ...input }));
  const settled = async (FunctionName: string): Promise<void> => {
    await sdk.waitUntilFunctionActiveV2({ client, ...PATIENCE }, { FunctionName });
    await sdk.waitUntilFunctionUpdatedV2({ client, ...PATIENCE }, { FunctionName });
  };
  const remove = (FunctionName: string): Promise<sdk.DeleteFunctionCommandOutput> =>
    client.send(new sdk.DeleteFunctionCommand({ FunctionName }));
  /** Members, their words and the status. */
  const assertAnswered = (answer: sdk.ServiceOutputTypes, expected: Json): void => {
    const { $metadata, ...members } = answer;
    assertLike(members, without(expected, 'ResponseMetadata', 'StatusCode'), 'answer');
    const { HTTPStatusCode } = (expected['ResponseMetadata'] ?? { HTTPStatusCode: 201 }) as Json;
    assert.equal($metadata.httpStatusCode, HTTPStatusCode);
  };

  test('test_function_lifecycle: each answer is as recorded', async () => {
    const FunctionName = 'made';
    const [name, get] = ['test_function_lifecycle', { FunctionName }] as const;
    const created = await create({ MemorySize: 256, Timeout: 5, Environment: { Variables: {} } });
    assertAnswered(created, recorded(name, 'create_response', 'CreateFunctionResponse'));
    await settled(FunctionName);
    assertAnswered(await client.send(new sdk.GetFunctionCommand(get)), recorded(name, 'get_function_response'));
    const configured = await client.send(
      new sdk.UpdateFunctionConfigurationCommand({
        ...{ FunctionName, Description: 'Changed-Description', MemorySize: 512, Timeout: 10, Runtime: 'python3.11' },
        Environment: { Variables: { ENV_A: 'a' } },
      }),
    );
    assertAnswered(configured, recorded(name, 'update_func_conf_response'));
    await settled(FunctionName);
    const described = await client.send(new sdk.GetFunctionCommand(get));
    assertAnswered(described, recorded(name, 'get_function_response_postupdate'));
    const changed = await client.send(new sdk.UpdateFunctionCodeCommand({ ...get, ZipFile: packageOf('two') }));
    assertAnswered(changed, recorded(name, 'update_code_response'));
    await settled(FunctionName);
    const last = await client.send(new sdk.GetFunctionCommand(get));
    assertAnswered(last, recorded(name, 'get_function_response_postcodeupdate'));
    // Each change, and the end of each, has an identity of its own.
    const states = [created, configured, described.Configuration, changed, last.Configuration];
    const revisions = states.map((one) => one?.RevisionId);
    assert.equal(new Set(revisions).size, revisions.length, revisions.join());
    assert.equal(created.CodeSha256, described.Configuration?.CodeSha256);
    assert.notEqual(changed.CodeSha256, created.CodeSha256);
    const { httpStatusCode } = (await remove(FunctionName)).$metadata;
    assert.equal(httpStatusCode, recorded(name, 'delete_response')['StatusCode']);
    await assertRefused(remove(FunctionName), recorded(name, 'delete_postdelete'));
  });

  test('test_function_arns: a name may be an ARN, and each bad one is refused as recorded', async () => {
    for (const [key, FunctionName, name] of [
      ['create-function-arn-response', `${ARN}by-arn`, 'by-arn'],
      ['create-function-partial-arn-response', `${ACCOUNT}:function:by-part`, 'by-part'],
    ] as const) {
      const answer = await create({ FunctionName, Timeout: 30, Environment: { Variables: {} } });
      assertAnswered(answer, recorded('test_function_arns', key, 'CreateFunctionResponse'));
      assert.equal(answer.FunctionName, name);
      await settled(name);
      await remove(name);
    }
    for (const [key, FunctionName] of [
      ['invalid_function_name_exc', 'invalid:function:name'],
      ['long_function_name_exc', 'a'.repeat(65)],
      ['long_function_arn_exc', `${ARN}${'a'.repeat(100)}`],
      ['function_arn_other_region_exc', `${ARN.replace('us-east-1', 'ap-southeast-1')}made`],
      ['function_arn_other_account_exc', `${ARN.replace(ACCOUNT, '123456789012')}made`],
    ] as const) {
      await assertRefused(create({ FunctionName }), recorded('test_function_arns', key));
    }
  });

  for (const [key, input] of [
    ['invalid_role_arn_exc', { Role: 'r1' }],
    ['multiple_architectures', { Architectures: ['x86_64', 'arm64'] }],
    ['uppercase_architecture', { Architectures: ['X86_64' as 'x86_64'] }],
    ['invalid_zip_exc', { Code: { ZipFile: Buffer.from('this is no zip file') } }],
  ] as const) {
    test(`test_create_lambda_exceptions, ${key}: refused as recorded`, async () => {
      await assertRefused(create(input as object), recorded('test_create_lambda_exceptions', key));
    });
  }

  for (const [key, Runtime] of [
    ['invalid_runtime_exc', 'non-existent-runtime'],
    ['uppercase_runtime_exc', 'PYTHON3.9'],
  ] as const) {
    test(`test_create_lambda_exceptions, ${key}: refused as recorded, but for the runtimes that there are`, async () => {
      const answer = recorded('test_create_lambda_exceptions', key);
      const { Code, Message } = answer['Error'] as { readonly Code: string; readonly Message: string };
      const Error = { Code, Message: Message.replace(/\[.*\]/, '[<runtimes>]') };
      await assertRefused(create({ Runtime: Runtime as sdk.Runtime }), { ...answer, Error });
    });
  }

  test('test_snapstart_exceptions: refused as recorded', async () => {
    const SnapStart = { ApplyOn: 'invalidOption' as 'None' };
    const answer = recorded('test_snapstart_exceptions', 'create_function_invalid_snapstart_apply');
    await assertRefused(create({ SnapStart }), answer);
  });

  for (const [name, size] of [
    ['test_oversized_request_create_lambda', 53_000_000],
    ['test_oversized_zipped_create_lambda', 52_500_000],
  ] as const) {
    test(`${name}: refused as recorded`, async () => {
      const ZipFile = makeZip([{ name: 'large', data: Buffer.alloc(size), method: 0 }]);
      await assertRefused(create({ Code: { ZipFile } }), recorded(name, 'invalid_param_exc'));
    });
  }

  for (const [what, sizes] of [
    ['one file', [MAX_UNPACKED_BYTES + 1]],
    ['a thousand files', Array<number>(1000).fill(MAX_UNPACKED_BYTES / 1000 + 1)],
    ['one file of 4 GB', [0xffffffff]],
  ] as const) {
    test(`test_oversized_unzipped_lambda, ${what}: refused as recorded, before anything is unpacked`, async () => {
      const entries = sizes.map((size, index) => ({ name: `large-${index}`, data: 'x', size }));
      const answer = recorded('test_oversized_unzipped_lambda', 'invalid_param_exc');
      await assertRefused(create({ Code: { ZipFile: makeZip(entries) } }), answer);
    });
  }

  for (const [name, key, Variables] of [
    ['test_large_environment_variables_fails', 'failed_create_fn_result', { LARGE_VAR: 'x'.repeat(4100) }],
    [
      'test_large_environment_fails_multiple_keys',
      'failured_create_fn_result_multi_key',
      { SMALL_VAR: 'ok', LARGE_VAR: 'x'.repeat(4076) },
    ],
  ] as const) {
    test(`${name}: refused as recorded`, async () => {
      const { Error, ResponseMetadata } = recorded(name, key);
      const { Code, Message } = Error as { readonly Code: string; readonly Message: string };
      const { name: type, message, $metadata } = await refusal(create({ Environment: { Variables } }));
      assert.deepEqual([type, $metadata.httpStatusCode], [Code, (ResponseMetadata as Json)['HTTPStatusCode']]);
      // The recorded variables are cut off.
      const [words = ''] = /^.*? String measured: /.exec(Message) ?? [];
      assert.equal(message.slice(0, words.length), words);
    });
  }

  for (const [operation, send] of [
    ['delete_function', (get) => client.send(new sdk.DeleteFunctionCommand(get))],
    ['get_function', (get) => client.send(new sdk.GetFunctionCommand(get))],
    ['get_function_configuration', (get) => client.send(new sdk.GetFunctionConfigurationCommand(get))],
    ['get_function_url_config', (get) => client.send(new sdk.GetFunctionUrlConfigCommand(get))],
    ['get_function_code_signing_config', (get) => client.send(new sdk.GetFunctionCodeSigningConfigCommand(get))],
    ['get_function_event_invoke_config', (get) => client.send(new sdk.GetFunctionEventInvokeConfigCommand(get))],
    ['get_function_concurrency', (get) => client.send(new sdk.GetFunctionConcurrencyCommand(get))],
  ] as const satisfies readonly (readonly [string, (get: { FunctionName: string }) => Promise<unknown>])[]) {
    test(`test_ops_on_nonexisting_fn[${operation}]: refused as recorded`, async () => {
      const answer = recorded(`test_ops_on_nonexisting_fn[${operation}]`, 'not_found_exception');
      await assertRefused(send({ FunctionName: NOBODY }), answer);
    });
  }

  describe('of a function that is there', () => {
    before(async () => {
      await create({ Runtime: 'python3.13', MemorySize: 1024, Timeout: 5 });
      await settled('made');
    });
    const get = { FunctionName: 'made' } as const;

    for (const [operation, send] of [
      ['get_function', () => client.send(new sdk.GetFunctionCommand({ ...get, Qualifier: '1221' }))],
      [
        'get_function_configuration',
        () => client.send(new sdk.GetFunctionConfigurationCommand({ ...get, Qualifier: '1221' })),
      ],
      [
        'get_function_event_invoke_config',
        () => client.send(new sdk.GetFunctionEventInvokeConfigCommand({ ...get, Qualifier: '1221' })),
      ],
    ] as const) {
      test(`test_ops_on_nonexisting_version[${operation}]: refused as recorded`, async () => {
        const answer = recorded(`test_ops_on_nonexisting_version[${operation}]`, 'version_not_found_exception');
        await assertRefused(send(), answer);
      });
    }

    test('test_snapstart_lifecycle[python3.13]: a version is told of as recorded', async () => {
      const name = 'test_snapstart_lifecycle[python3.13]';
      const latest = await client.send(new sdk.GetFunctionCommand(get));
      assertAnswered(latest, recorded(name, 'get_function_response_latest'));
      await client.send(new sdk.PublishVersionCommand({ ...get, Description: 'version1' }));
      await sdk.waitUntilPublishedVersionActive({ client, ...PATIENCE }, { ...get, Qualifier: '1' });
      const version = await client.send(new sdk.GetFunctionCommand({ ...get, Qualifier: '1' }));
      assertAnswered(version, recorded(name, 'get_function_response_version_1'));
    });

    test('test_snapstart_update_function_configuration[python3.13]: told as recorded', async () => {
      const SnapStart = { ApplyOn: 'PublishedVersions' } as const;
      const answer = await client.send(new sdk.UpdateFunctionConfigurationCommand({ ...get, SnapStart }));
      const name = 'test_snapstart_update_function_configuration[python3.13]';
      assertAnswered(answer, recorded(name, 'update_function_response'));
      await settled('made');
    });
  });
});
