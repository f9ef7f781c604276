/**
 * The calls that deployment tools make, in their order: create, look whether anything differs, change, look again, remove. What a tool
 * reads back must be what it wrote, or it would change it for ever.
 *
 * Sources: hashicorp/terraform-provider-aws internal/service/lambda, fujiwara/lambroll deploy.go, cargo-lambda/cargo-lambda
 * crates/cargo-lambda-deploy.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import * as sdk from '@aws-sdk/client-lambda';
import { makeZip } from '../packages/zip.ts';
import { lambdaClient } from '../support/lambda-client.ts';
import { createWorkspace, startController, type RunningController } from '../support/snapctr.ts';

const Role = 'arn:aws:iam::000000000000:role/any';
const PATIENCE_MS = 60_000;

const workspace = createWorkspace([]);
let controller: RunningController;
let client: sdk.LambdaClient;

before(async () => {
  controller = await startController(workspace, { vmm: 'process' });
  client = lambdaClient(controller.url);
});

after(async () => {
  client.destroy();
  await controller.stop();
  workspace.remove();
});

const packageOf = (answer: string): Buffer =>
  makeZip([{ name: 'main.py', data: `def handle(event, context):\n    return ${JSON.stringify(answer)}\n` }]);

const digest = (zip: Buffer): string => createHash('sha256').update(zip).digest('base64');

async function nameOfError(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => assert.fail('it was done'),
    (error: unknown) => (error as Error).name,
  );
}

/** Polls as the tools do: a status that is missing counts as one in progress. */
async function settled(FunctionName: string, Qualifier?: string): Promise<sdk.FunctionConfiguration> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const configuration = await client.send(
      new sdk.GetFunctionConfigurationCommand({ FunctionName, ...(Qualifier === undefined ? {} : { Qualifier }) }),
    );
    const { State, LastUpdateStatus } = configuration;
    if (State === 'Active' && LastUpdateStatus === 'Successful') return configuration;
    assert.ok(
      State !== 'Failed' && LastUpdateStatus !== 'Failed' && Date.now() < deadline,
      JSON.stringify(configuration),
    );
  }
}

async function answerOf(FunctionName: string, Qualifier?: string): Promise<unknown> {
  const { Payload = new Uint8Array() } = await client.send(
    new sdk.InvokeCommand({ FunctionName, Payload: '{}', ...(Qualifier === undefined ? {} : { Qualifier }) }),
  );
  return JSON.parse(Buffer.from(Payload).toString());
}

describe('Terraform', { timeout: 300_000 }, () => {
  const FunctionName = 'by-terraform';
  /** The attributes of the resource, as they are read back. */
  const read = async (): Promise<Readonly<Record<string, unknown>>> => {
    const { Configuration = {}, Tags, Concurrency } = await client.send(new sdk.GetFunctionCommand({ FunctionName }));
    const { Versions = [] } = await client.send(
      new sdk.ListVersionsByFunctionCommand({ FunctionName, MaxItems: 10_000 }),
    );
    const signing = await client.send(new sdk.GetFunctionCodeSigningConfigCommand({ FunctionName }));
    assert.equal(signing.CodeSigningConfigArn, undefined);
    return {
      runtime: Configuration.Runtime,
      handler: Configuration.Handler,
      role: Configuration.Role,
      description: Configuration.Description,
      memory_size: Configuration.MemorySize,
      timeout: Configuration.Timeout,
      environment: Configuration.Environment?.Variables,
      layers: Configuration.Layers?.map(({ Arn }) => Arn),
      architectures: Configuration.Architectures,
      package_type: Configuration.PackageType,
      tracing: Configuration.TracingConfig?.Mode,
      source_code_hash: Configuration.CodeSha256,
      reserved: Concurrency?.ReservedConcurrentExecutions,
      tags: Tags,
      version: Versions.at(-1)?.Version,
    };
  };

  test('creates, finds no difference, changes, finds none again, and destroys', async () => {
    const [one, two] = [packageOf('one'), packageOf('two')];
    const settings = {
      ...{ Runtime: 'python3.12', Handler: 'main.handle', Role, MemorySize: 256, Timeout: 20, Description: 'a' },
      ...{ Architectures: ['x86_64'], PackageType: 'Zip', TracingConfig: { Mode: 'PassThrough' } },
    } satisfies Partial<sdk.CreateFunctionCommandInput>;
    await client.send(
      new sdk.CreateFunctionCommand({
        ...settings,
        ...{ FunctionName, Code: { ZipFile: one }, Tags: { team: 'x' }, Publish: true },
        Environment: { Variables: { STAGE: 'test' } },
      }),
    );
    await settled(FunctionName);
    await client.send(new sdk.PutFunctionConcurrencyCommand({ FunctionName, ReservedConcurrentExecutions: 2 }));
    const wanted = {
      ...{ runtime: 'python3.12', handler: 'main.handle', role: Role, description: 'a', memory_size: 256, timeout: 20 },
      ...{ environment: { STAGE: 'test' }, layers: undefined, architectures: ['x86_64'], package_type: 'Zip' },
      ...{ tracing: 'PassThrough', source_code_hash: digest(one), reserved: 2, tags: { team: 'x' }, version: '1' },
    };
    assert.deepEqual(await read(), wanted);
    assert.deepEqual(await read(), wanted);

    await client.send(new sdk.TagResourceCommand({ Resource: arnOf(FunctionName), Tags: { stage: 'b' } }));
    await client.send(new sdk.UntagResourceCommand({ Resource: arnOf(FunctionName), TagKeys: ['team'] }));
    const { Tags } = await client.send(new sdk.ListTagsCommand({ Resource: arnOf(FunctionName) }));
    assert.deepEqual(Tags, { stage: 'b' });
    await client.send(
      new sdk.UpdateFunctionConfigurationCommand({
        ...{ FunctionName, Timeout: 30, Environment: { Variables: { STAGE: 'b' } }, Description: 'b', Layers: [] },
      }),
    );
    await settled(FunctionName);
    await client.send(new sdk.UpdateFunctionCodeCommand({ FunctionName, ZipFile: two, Architectures: ['x86_64'] }));
    await settled(FunctionName);
    await client.send(new sdk.DeleteFunctionConcurrencyCommand({ FunctionName }));
    const { Version = '' } = await client.send(new sdk.PublishVersionCommand({ FunctionName }));
    await settled(FunctionName, Version);
    const changed = {
      ...{ ...wanted, timeout: 30, environment: { STAGE: 'b' }, description: 'b', source_code_hash: digest(two) },
      ...{ reserved: undefined, tags: { stage: 'b' }, version: '2' },
    };
    assert.deepEqual(await read(), changed);
    assert.deepEqual(await read(), changed);
    assert.equal(await answerOf(FunctionName), 'two');
    assert.equal(await answerOf(FunctionName, '1'), 'one');

    await client.send(new sdk.DeleteFunctionCommand({ FunctionName }));
    assert.equal(
      await nameOfError(client.send(new sdk.GetFunctionCommand({ FunctionName }))),
      'ResourceNotFoundException',
    );
  });

  test('keeps permissions, aliases and layers as they were given', async () => {
    const layer = await client.send(
      new sdk.PublishLayerVersionCommand({
        ...{ LayerName: 'shared', Description: 'l', CompatibleRuntimes: ['python3.12'] },
        Content: { ZipFile: makeZip([{ name: 'python/shared.py', data: 'VALUE = 1\n' }]) },
      }),
    );
    const { LayerVersionArn = '', Version: LayerVersion = 0 } = layer;
    const read = await client.send(
      new sdk.GetLayerVersionCommand({ LayerName: 'shared', VersionNumber: LayerVersion }),
    );
    assert.deepEqual([read.LayerVersionArn, read.Description], [LayerVersionArn, 'l']);
    assert.deepEqual(read.CompatibleRuntimes, ['python3.12']);
    await client.send(
      new sdk.CreateFunctionCommand({
        ...{ FunctionName, Role, Runtime: 'python3.12', Handler: 'main.handle', Layers: [LayerVersionArn] },
        ...{ Code: { ZipFile: packageOf('one') }, Publish: true },
      }),
    );
    const { Layers = [] } = await settled(FunctionName);
    assert.deepEqual(
      Layers.map(({ Arn }) => Arn),
      [LayerVersionArn],
    );
    await client.send(
      new sdk.AddPermissionCommand({
        ...{ FunctionName, StatementId: 's', Action: 'lambda:InvokeFunction', Principal: 's3.amazonaws.com' },
        ...{ SourceArn: 'arn:aws:s3:::bucket' },
      }),
    );
    const { Policy = '' } = await client.send(new sdk.GetPolicyCommand({ FunctionName }));
    const [statement] = (JSON.parse(Policy) as { readonly Statement: readonly Readonly<Record<string, unknown>>[] })
      .Statement;
    assert.deepEqual(statement, {
      ...{ Sid: 's', Effect: 'Allow', Principal: { Service: 's3.amazonaws.com' }, Action: 'lambda:InvokeFunction' },
      ...{ Resource: arnOf(FunctionName), Condition: { ArnLike: { 'AWS:SourceArn': 'arn:aws:s3:::bucket' } } },
    });
    await client.send(new sdk.RemovePermissionCommand({ FunctionName, StatementId: 's' }));
    assert.equal(
      await nameOfError(client.send(new sdk.GetPolicyCommand({ FunctionName }))),
      'ResourceNotFoundException',
    );
    await client.send(
      new sdk.CreateAliasCommand({ FunctionName, Name: 'live', FunctionVersion: '1', Description: 'x' }),
    );
    const alias = await client.send(new sdk.GetAliasCommand({ FunctionName, Name: 'live' }));
    assert.deepEqual([alias.FunctionVersion, alias.Description, alias.RoutingConfig], ['1', 'x', undefined]);
    assert.equal(alias.AliasArn, `${arnOf(FunctionName)}:live`);
    const Qualifier = 'live';
    const provisioned = await client.send(
      new sdk.PutProvisionedConcurrencyConfigCommand({ FunctionName, Qualifier, ProvisionedConcurrentExecutions: 2 }),
    );
    assert.equal(provisioned.RequestedProvisionedConcurrentExecutions, 2);
    // What the provider waits for.
    for (let { Status } = provisioned; Status !== 'READY';) {
      assert.equal(Status, 'IN_PROGRESS');
      await sleep(200);
      ({ Status } = await client.send(new sdk.GetProvisionedConcurrencyConfigCommand({ FunctionName, Qualifier })));
    }
    await client.send(new sdk.DeleteProvisionedConcurrencyConfigCommand({ FunctionName, Qualifier }));
    await client.send(new sdk.DeleteAliasCommand({ FunctionName, Name: 'live' }));
    await client.send(new sdk.DeleteFunctionCommand({ FunctionName }));
    await client.send(new sdk.DeleteLayerVersionCommand({ LayerName: 'shared', VersionNumber: LayerVersion }));
  });
});

test('lambroll: two deployments behind an alias, and what is old goes', { timeout: 300_000 }, async () => {
  const FunctionName = 'by-lambroll';
  assert.equal(
    await nameOfError(client.send(new sdk.GetFunctionCommand({ FunctionName }))),
    'ResourceNotFoundException',
  );
  await client.send(
    new sdk.CreateFunctionCommand({
      ...{ FunctionName, Role, Runtime: 'python3.12', Handler: 'main.handle', Publish: true },
      Code: { ZipFile: packageOf('one') },
    }),
  );
  await settled(FunctionName);
  await client.send(new sdk.CreateAliasCommand({ FunctionName, Name: 'current', FunctionVersion: '1' }));
  assert.equal(await answerOf(FunctionName, 'current'), 'one');
  await client.send(new sdk.UpdateFunctionConfigurationCommand({ FunctionName, Timeout: 9 }));
  await settled(FunctionName);
  const { Version = '' } = await client.send(
    new sdk.UpdateFunctionCodeCommand({ FunctionName, ZipFile: packageOf('two'), Publish: true }),
  );
  await settled(FunctionName, Version);
  await client.send(new sdk.UpdateAliasCommand({ FunctionName, Name: 'current', FunctionVersion: Version }));
  assert.equal(await answerOf(FunctionName, 'current'), 'two');
  const { Versions = [] } = await client.send(new sdk.ListVersionsByFunctionCommand({ FunctionName }));
  assert.deepEqual(
    Versions.map((one) => one.Version),
    ['$LATEST', '1', Version],
  );
  await client.send(new sdk.DeleteFunctionCommand({ FunctionName, Qualifier: '1' }));
  assert.equal(
    await nameOfError(client.send(new sdk.GetFunctionUrlConfigCommand({ FunctionName }))),
    'ResourceNotFoundException',
  );
  const { Aliases = [] } = await client.send(new sdk.ListAliasesCommand({ FunctionName }));
  assert.deepEqual(
    Aliases.map(({ Name }) => Name),
    ['current'],
  );
  await client.send(new sdk.DeleteFunctionCommand({ FunctionName }));
});

test('cargo lambda: configuration before code, and an alias that may not be there', { timeout: 300_000 }, async () => {
  const FunctionName = 'by-cargo';
  await client.send(
    new sdk.CreateFunctionCommand({
      ...{ FunctionName, Role, Runtime: 'python3.12', Handler: 'main.handle', Publish: true },
      Code: { ZipFile: packageOf('one') },
    }),
  );
  await settled(FunctionName);
  const { Configuration } = await client.send(new sdk.GetFunctionCommand({ FunctionName }));
  assert.ok(Configuration?.State !== undefined && Configuration.RevisionId !== undefined);
  await client.send(new sdk.UpdateFunctionConfigurationCommand({ FunctionName, MemorySize: 256 }));
  await settled(FunctionName);
  const dry = await client.send(
    new sdk.UpdateFunctionCodeCommand({ FunctionName, ZipFile: packageOf('two'), Publish: true, DryRun: true }),
  );
  assert.equal(dry.CodeSha256, digest(packageOf('two')));
  await client.send(new sdk.UpdateFunctionCodeCommand({ FunctionName, ZipFile: packageOf('two'), Publish: true }));
  await settled(FunctionName);
  assert.equal(
    await nameOfError(client.send(new sdk.GetAliasCommand({ FunctionName, Name: 'live' }))),
    'ResourceNotFoundException',
  );
  await client.send(new sdk.CreateAliasCommand({ FunctionName, Name: 'live', FunctionVersion: '2' }));
  assert.equal(await answerOf(`${FunctionName}:live`), 'two');
  await client.send(new sdk.TagResourceCommand({ Resource: arnOf(FunctionName), Tags: { by: 'cargo' } }));
  await client.send(new sdk.DeleteFunctionCommand({ FunctionName }));
});

function arnOf(name: string): string {
  return `arn:aws:lambda:us-east-1:000000000000:function:${name}`;
}
