/** Functions and layers are made, changed and removed by the SDK of AWS while snapctr runs. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as sdk from '@aws-sdk/client-lambda';
import { makeZip } from '../packages/zip.ts';
import { ARN, describeLifeCycle, errorOf, invoke, packageOf, PATIENCE, Role, withSnapctr } from './control.ts';

const CodeSigningConfigArn = 'arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0123456789abcdef0';
const layerArn = (name: string, version = 1): string =>
  `arn:aws:lambda:us-east-1:000000000000:layer:${name}:${version}`;

describeLifeCycle('process');

describe('functions over the API', { timeout: 300_000 }, () => {
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
          () => create({ Runtime: 'ruby3.4' }),
          'InvalidParameterValueException',
          /^Value ruby3\.4 at 'runtime' failed .* or be a valid ARN$/,
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
          () => create({ Runtime: 'java17', Handler: 'example.Hello' }),
          'InvalidParameterValueException',
          /^Java runs in virtual machines only, which --vmm process has none of/,
        ],
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
        [() => create({ Timeout: 1801 }), 'ValidationException', /less than or equal to 1800$/],
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
          () => update({ Layers: ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => layerArn(name)) }),
          'InvalidParameterValueException',
          /^A function can have 5 layers at most; 6 are given\.$/,
        ],
        [
          () => update({ Layers: [layerArn('a', 1), layerArn('b'), layerArn('a', 2)] }),
          'InvalidParameterValueException',
          /^Two different versions of the same layer are not allowed .*:layer:a:1 and .*:layer:a:2$/,
        ],
        [
          () => update({ MemorySize: 1025 }),
          'InvalidParameterValueException',
          /^a MemorySize of 1025 MB can never run: snapctr has 1024 MB .*--mem/,
        ],
        [
          () => create({ FunctionName: 'large', MemorySize: 4096 }),
          'InvalidParameterValueException',
          /^a MemorySize of 4096 MB can never run/,
        ],
        [
          () =>
            create({
              FunctionName: 'tagged',
              Tags: Object.fromEntries(Array.from({ length: 51 }, (_, i) => [`t${i}`, ''])),
            }),
          'InvalidParameterValueException',
          /^A function can have 50 tags at most\.$/,
        ],
        [
          () => create({ FunctionName: 'tagged', Tags: { 'aws:x': 'y' } }),
          'InvalidParameterValueException',
          /AWS's own: rename aws:x\.$/,
        ],
        [
          () => client.send(new sdk.TagResourceCommand({ Resource: ARN, Tags: { 'aws:x': 'y' } })),
          'InvalidParameterValueException',
          /AWS's own: rename aws:x\.$/,
        ],
        [
          () =>
            client.send(
              new sdk.CreateAliasCommand({
                ...{ FunctionName, Name: 'live', FunctionVersion: '1' },
                RoutingConfig: { AdditionalVersionWeights: { '1': 1.5 } },
              }),
            ),
          'ValidationException',
          /Map value must satisfy constraint: \[Member must have value less than or equal to 1, Member must have value greater than or equal to 0, Member must not be null\]$/,
        ],
        // Left empty by a script, it would mean the whole function.
        [
          () => client.send(new sdk.DeleteFunctionCommand({ FunctionName, Qualifier: '' })),
          'ValidationException',
          /at 'qualifier' failed .*greater than or equal to 1$/,
        ],
        [
          () => client.send(new sdk.GetFunctionCommand({ FunctionName, Qualifier: '' })),
          'ValidationException',
          /at 'qualifier' failed .*greater than or equal to 1$/,
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
      assert.match(LastUpdateStatusReason ?? '', /^The code cannot be made ready: \S/);
      assert.ok(!LastUpdateStatusReason?.includes('/packages/'), 'where the host has it is not told');
      assert.deepEqual(await invoke(client, FunctionName), ['good', '$LATEST', null]);
    });
  });

  test('may run for 1800 s: a longest time that a caller is told as it was given', async () => {
    await withSnapctr(async ({ client }) => {
      const FunctionName = 'made';
      const input = { FunctionName, Role, Runtime: 'python3.11', Handler: 'main.handle', Timeout: 1800 } as const;
      const text = 'def handle(event, context):\n    return context.get_remaining_time_in_millis()\n';
      const ZipFile = makeZip([{ name: 'main.py', data: text }]);
      const created = await client.send(new sdk.CreateFunctionCommand({ ...input, Code: { ZipFile } }));
      await sdk.waitUntilFunctionActiveV2({ client, ...PATIENCE }, { FunctionName });
      const remainingMs = async (): Promise<number> => {
        const { Payload = new Uint8Array() } = await client.send(new sdk.InvokeCommand({ FunctionName }));
        return Number(Buffer.from(Payload).toString());
      };
      const longMs = await remainingMs();
      assert.ok(longMs > 1_790_000 && longMs <= 1_800_000, String(longMs));
      await client.send(new sdk.UpdateFunctionConfigurationCommand({ FunctionName, Timeout: 900 }));
      await sdk.waitUntilFunctionUpdatedV2({ client, ...PATIENCE }, { FunctionName });
      await client.send(new sdk.UpdateFunctionConfigurationCommand({ FunctionName, Timeout: 1800 }));
      await sdk.waitUntilFunctionUpdatedV2({ client, ...PATIENCE }, { FunctionName });
      const updated = await client.send(new sdk.GetFunctionConfigurationCommand({ FunctionName }));
      assert.deepEqual([created.Timeout, updated.Timeout], [1800, 1800]);
      assert.ok((await remainingMs()) > 1_790_000);
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
