/** Functions and layers are made, changed and removed by the SDK of AWS while snapctr runs. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import * as sdk from '@aws-sdk/client-lambda';
import { makeZip } from '../packages/zip.ts';
import { lambdaClient } from '../support/lambda-client.ts';
import { createWorkspace, startController } from '../support/snapctr.ts';

const CodeSigningConfigArn = 'arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0123456789abcdef0';
const Role = 'arn:aws:iam::000000000000:role/any';
const ARN = 'arn:aws:lambda:us-east-1:000000000000:function:made';
const FILED = { name: 'filed', runtime: 'python3', files: { 'main.py': 'def handle(e, c):\n    return e\n' } } as const;
const PATIENCE = { maxWaitTime: 120, minDelay: 1, maxDelay: 1 } as const;

function packageOf(answer: string): Buffer {
  const text = `import os\ndef handle(event, context):\n    return [${JSON.stringify(answer)}, context.function_version, os.environ.get("NAME")]\n`;
  return makeZip([{ name: 'main.py', data: text }]);
}

interface Bench {
  readonly url: string;
  readonly client: sdk.LambdaClient;
}

async function withSnapctr(use: (bench: Bench) => Promise<void>): Promise<void> {
  const workspace = createWorkspace([{ ...FILED, keys: { handler: 'main.handle' } }]);
  const snapctr = await startController(workspace, { vmm: 'process' });
  const client = lambdaClient(snapctr.url);
  try {
    await use({ url: snapctr.url, client });
  } finally {
    client.destroy();
    await snapctr.stop();
    workspace.remove();
  }
}

async function errorOf(call: Promise<unknown>): Promise<sdk.LambdaServiceException> {
  return call.then(
    () => assert.fail('it was done'),
    (error: unknown) => error as sdk.LambdaServiceException,
  );
}

async function invoke(client: sdk.LambdaClient, FunctionName: string, Qualifier?: string): Promise<unknown> {
  const answer = await client.send(
    new sdk.InvokeCommand({ FunctionName, Payload: '{}', ...(Qualifier === undefined ? {} : { Qualifier }) }),
  );
  assert.equal(answer.FunctionError, undefined);
  const value = JSON.parse(Buffer.from(answer.Payload ?? []).toString()) as readonly unknown[];
  assert.equal(answer.ExecutedVersion, value[1]);
  return value;
}

/** What a list tells of a function is what is told of it alone. */
async function assertListed(client: sdk.LambdaClient, FunctionName: string): Promise<void> {
  const { Functions = [] } = await client.send(new sdk.ListFunctionsCommand({}));
  const alone = await client.send(new sdk.GetFunctionConfigurationCommand({ FunctionName }));
  const listed = Functions.find((one) => one.FunctionName === FunctionName);
  const members = [
    'CodeSha256',
    'CodeSize',
    'Environment',
    'LastModified',
    'RevisionId',
    'Timeout',
    'Version',
  ] as const;
  for (const member of members) assert.deepEqual(listed?.[member], alone[member], member);
}

describe('functions over the API', { timeout: 300_000 }, () => {
  test('are created, invoked, updated, published, led to by aliases and deleted, with the waiters of the SDK', async () => {
    await withSnapctr(async ({ client }) => {
      const FunctionName = 'made';
      const [one, two] = [packageOf('one'), packageOf('two')];
      const created = await client.send(
        new sdk.CreateFunctionCommand({
          FunctionName,
          Role,
          Runtime: 'python3.11',
          Handler: 'main.handle',
          Code: { ZipFile: one },
          Environment: { Variables: { NAME: 'a' } },
          Tags: { team: 'x' },
        }),
      );
      assert.equal(created.State, 'Pending');
      assert.equal(created.StateReasonCode, 'Creating');
      assert.equal(created.CodeSha256, createHash('sha256').update(one).digest('base64'));
      assert.equal(created.CodeSize, one.length);
      await sdk.waitUntilFunctionExists({ client, ...PATIENCE }, { FunctionName });
      await sdk.waitUntilFunctionActiveV2({ client, ...PATIENCE }, { FunctionName });
      assert.deepEqual(await invoke(client, FunctionName), ['one', '$LATEST', 'a']);
      await assertListed(client, FunctionName);
      const { Code, Tags, Configuration } = await client.send(new sdk.GetFunctionCommand({ FunctionName }));
      assert.deepEqual(Tags, { team: 'x' });
      assert.equal(Configuration?.LastUpdateStatus, 'Successful');
      assert.equal(Configuration.StateReason, undefined);
      const downloaded = await fetch(Code?.Location ?? '');
      assert.ok(Buffer.from(await downloaded.arrayBuffer()).equals(one));
      assert.equal((await fetch(`${Code?.Location ?? ''}0`)).status, 403);

      assert.equal((await client.send(new sdk.PublishVersionCommand({ FunctionName }))).Version, '1');
      const stale = await errorOf(
        client.send(new sdk.UpdateFunctionCodeCommand({ FunctionName, ZipFile: two, RevisionId: 'another' })),
      );
      assert.deepEqual([stale.name, stale.$metadata.httpStatusCode], ['PreconditionFailedException', 412]);
      const dry = await client.send(new sdk.UpdateFunctionCodeCommand({ FunctionName, ZipFile: two, DryRun: true }));
      assert.equal(dry.CodeSha256, createHash('sha256').update(two).digest('base64'));
      assert.deepEqual(await invoke(client, FunctionName), ['one', '$LATEST', 'a']);
      const updating = await client.send(new sdk.UpdateFunctionCodeCommand({ FunctionName, ZipFile: two }));
      assert.deepEqual([updating.State, updating.LastUpdateStatus], ['Active', 'InProgress']);
      await assertListed(client, FunctionName);
      await sdk.waitUntilFunctionUpdatedV2({ client, ...PATIENCE }, { FunctionName });
      assert.deepEqual(await invoke(client, FunctionName), ['two', '$LATEST', 'a']);
      await assertListed(client, FunctionName);
      await client.send(
        new sdk.UpdateFunctionConfigurationCommand({ FunctionName, Environment: { Variables: { NAME: 'b' } } }),
      );
      await sdk.waitUntilFunctionUpdatedV2({ client, ...PATIENCE }, { FunctionName });
      assert.equal((await client.send(new sdk.PublishVersionCommand({ FunctionName }))).Version, '2');
      await assertListed(client, FunctionName);
      await sdk.waitUntilPublishedVersionActive({ client, ...PATIENCE }, { FunctionName, Qualifier: '2' });
      assert.deepEqual(await invoke(client, FunctionName, '1'), ['one', '1', 'a']);
      assert.deepEqual(await invoke(client, `${ARN}:2`), ['two', '2', 'b']);

      await client.send(new sdk.CreateAliasCommand({ FunctionName, Name: 'live', FunctionVersion: '1' }));
      assert.deepEqual(await invoke(client, FunctionName, 'live'), ['one', '1', 'a']);
      await client.send(new sdk.UpdateAliasCommand({ FunctionName, Name: 'live', FunctionVersion: '2' }));
      assert.deepEqual(await invoke(client, FunctionName, 'live'), ['two', '2', 'b']);
      const used = await errorOf(client.send(new sdk.DeleteFunctionCommand({ FunctionName, Qualifier: '2' })));
      assert.equal(used.name, 'ResourceConflictException');
      await client.send(new sdk.DeleteFunctionCommand({ FunctionName, Qualifier: '1' }));
      const { Versions = [] } = await client.send(new sdk.ListVersionsByFunctionCommand({ FunctionName }));
      assert.deepEqual(
        Versions.map(({ Version }) => Version),
        ['$LATEST', '2'],
      );
      await client.send(new sdk.DeleteFunctionCommand({ FunctionName }));
      const gone = await errorOf(client.send(new sdk.DeleteFunctionCommand({ FunctionName })));
      assert.equal(gone.message, `Function not found: ${ARN}`);
    });
  });

  test('are refused with a clear error for bad input, and the old version goes on', async () => {
    await withSnapctr(async ({ client, url }) => {
      const FunctionName = 'made';
      const base = { FunctionName, Role, Runtime: 'python3.11', Handler: 'main.handle' } as const;
      const ZipFile = packageOf('good');
      await client.send(new sdk.CreateFunctionCommand({ ...base, Code: { ZipFile } }));
      await sdk.waitUntilFunctionActiveV2({ client, ...PATIENCE }, { FunctionName });
      const create = (input: object): Promise<unknown> =>
        client.send(new sdk.CreateFunctionCommand({ ...base, FunctionName: 'other', Code: { ZipFile }, ...input }));
      const update = (input: object): Promise<unknown> =>
        client.send(new sdk.UpdateFunctionConfigurationCommand({ FunctionName, ...input }));
      // Names and messages that have been recorded of AWS, where there are.
      const cases: readonly (readonly [() => Promise<unknown>, string, RegExp])[] = [
        [
          () => create({ Role: 'r1' }),
          'ValidationException',
          /^1 validation error detected: Value 'r1' at 'role' failed to satisfy/,
        ],
        [
          () => create({ Runtime: 'java21' }),
          'InvalidParameterValueException',
          /^Value java21 at 'runtime' failed .* or be a valid ARN$/,
        ],
        [
          () => create({ Architectures: ['x86_64', 'arm64'] }),
          'ValidationException',
          /Value '\[x86_64, arm64\]' at 'architectures' failed to satisfy constraint: Member must have length less than or equal to 1$/,
        ],
        [
          () => create({ Architectures: ['X86_64'] }),
          'ValidationException',
          /: \[Member must satisfy enum value set: \[x86_64, arm64\], Member must not be null\]$/,
        ],
        [
          () => create({ SnapStart: { ApplyOn: 'x' } }),
          'ValidationException',
          /Value 'x' at 'snapStart.applyOn' failed to satisfy constraint: Member must satisfy enum value set: \[PublishedVersions, None\]$/,
        ],
        [
          () => create({ FunctionName: 'invalid:function:name' }),
          'ValidationException',
          /Value 'invalid:function:name' at 'functionName' failed/,
        ],
        [
          () => create({ FunctionName: 'a'.repeat(65) }),
          'InvalidParameterValueException',
          /at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 64$/,
        ],
        [() => create({ FunctionName: '../x' }), 'ValidationException', /functionName/],
        [
          () => create({ FunctionName: ARN.replace('us-east-1', 'ap-southeast-1') }),
          'ResourceNotFoundException',
          /^Functions from 'ap-southeast-1' are not reachable in this region \('us-east-1'\)$/,
        ],
        [() => create({ FunctionName: ARN.replaceAll('0'.repeat(12), '1'.repeat(12)) }), 'AccessDeniedException', /./],
        [
          () => create({ Code: { ZipFile: Buffer.from('no zip') } }),
          'InvalidParameterValueException',
          /^Could not unzip uploaded file\. Please check your file, then try to upload again\.$/,
        ],
        [
          () => create({ Code: { ZipFile: makeZip([]) } }),
          'InvalidParameterValueException',
          /^Uploaded file must be a non-empty zip$/,
        ],
        [
          () => create({ Code: { S3Bucket: 'bucket', S3Key: 'k' } }),
          'InvalidParameterValueException',
          /^S3Bucket is not offered here/,
        ],
        [() => create({ Code: {} }), 'InvalidParameterValueException', /ZipFile/],
        [
          () => create({ TenancyConfig: { TenantIsolationMode: 'x' } }),
          'ValidationException',
          /Value 'x' at 'tenancyConfig.tenantIsolationMode' failed .*: Member must satisfy enum value set: \[PER_TENANT\]$/,
        ],
        [
          () => create({ Environment: { Variables: { LARGE: 'x'.repeat(4100) } } }),
          'InvalidParameterValueException',
          /exceeded the 4KB limit\. String measured: \{"LARGE":/,
        ],
        [
          () => create({ Environment: { Variables: { AWS_REGION: 'x' } } }),
          'InvalidParameterValueException',
          /reserved keys .*: AWS_REGION$/,
        ],
        [() => create({ MemorySize: 1, Timeout: 0 }), 'ValidationException', /^2 validation errors detected: /],
        [() => create({ FunctionName }), 'ResourceConflictException', /^Function already exist: made$/],
        [() => create({ FunctionName: 'filed' }), 'ResourceConflictException', /functions\.yaml/],
        [() => update({ Timeout: 1801 }), 'ValidationException', /less than or equal to 1800$/],
        [
          () => update({ VpcConfig: { SubnetIds: ['subnet-1'] } }),
          'InvalidParameterValueException',
          /^VpcConfig is not offered/,
        ],
        [
          () => update({ Layers: ['arn:aws:lambda:us-east-1:000000000000:layer:none:1'] }),
          'InvalidParameterValueException',
          /layer:none:1/,
        ],
        [
          () => client.send(new sdk.GetCodeSigningConfigCommand({ CodeSigningConfigArn })),
          'UnknownOperationException',
          /GetCodeSigningConfig is not offered/,
        ],
      ];
      for (const [call, name, message] of cases) {
        const error = await errorOf(call());
        assert.match(error.message, message);
        assert.equal(error.name, name, error.message);
      }
      const raw = async (body: string): Promise<readonly [number, string | null]> => {
        const answer = await fetch(`${url}/2015-03-31/functions/made/code`, { method: 'PUT', body });
        await answer.arrayBuffer();
        return [answer.status, answer.headers.get('x-amzn-errortype')];
      };
      assert.deepEqual(await raw('{"ZipFile":"UEs*"}'), [400, 'SerializationException']);
      assert.deepEqual(await raw('{"ZipFile":12}'), [400, 'SerializationException']);
      assert.deepEqual(await raw('{"ZipFile":"UEsD'), [400, 'InvalidRequestContentException']);
      assert.deepEqual(await raw(`{"Description":"${'x'.repeat(300_000)}"}`), [413, 'RequestEntityTooLargeException']);
      assert.deepEqual(await raw(`{"ZipFile":"${'AAAA'.repeat(17_600_000)}"}`), [
        413,
        'RequestEntityTooLargeException',
      ]);
      const damaged = Buffer.concat([ZipFile.subarray(0, 20), Buffer.alloc(20), ZipFile.subarray(40)]);
      await client.send(new sdk.UpdateFunctionCodeCommand({ FunctionName, ZipFile: damaged }));
      await assert.rejects(sdk.waitUntilFunctionUpdatedV2({ client, ...PATIENCE }, { FunctionName }));
      const { LastUpdateStatus, LastUpdateStatusReason, State } = await client.send(
        new sdk.GetFunctionConfigurationCommand({ FunctionName }),
      );
      assert.deepEqual([State, LastUpdateStatus], ['Active', 'Failed']);
      assert.notEqual(LastUpdateStatusReason ?? '', '');
      assert.deepEqual(await invoke(client, FunctionName), ['good', '$LATEST', null]);
    });
  });

  test('changed by many at once end as one of them wanted', async () => {
    await withSnapctr(async ({ client }) => {
      const FunctionName = 'made';
      const input = { FunctionName, Role, Runtime: 'python3.11', Handler: 'main.handle' } as const;
      const names = await Promise.all(
        Array.from({ length: 12 }, async (_, index) => {
          const ZipFile = packageOf(String(index));
          const call =
            index % 4 === 3
              ? client.send(new sdk.DeleteFunctionCommand({ FunctionName }))
              : index % 4 === 2
                ? client.send(new sdk.UpdateFunctionCodeCommand({ FunctionName, ZipFile }))
                : client.send(new sdk.CreateFunctionCommand({ ...input, Code: { ZipFile } }));
          return call.then(
            () => 'done',
            (error: unknown) => (error as Error).name,
          );
        }),
      );
      const known = ['done', 'ResourceConflictException', 'ResourceNotFoundException'];
      assert.deepEqual(
        names.filter((name) => !known.includes(name)),
        [],
      );
      await client.send(new sdk.DeleteFunctionCommand({ FunctionName })).catch(() => undefined);
      await client.send(new sdk.CreateFunctionCommand({ ...input, Code: { ZipFile: packageOf('last') } }));
      await sdk.waitUntilFunctionActiveV2({ client, ...PATIENCE }, { FunctionName });
      assert.deepEqual(await invoke(client, FunctionName), ['last', '$LATEST', null]);
    });
  });
});
