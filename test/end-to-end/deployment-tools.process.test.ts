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
import { shellBootstrap } from '../support/bootstrap.ts';
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

/** Asks as the tools do, until it is not there any more. */
async function gone(get: () => Promise<unknown>): Promise<void> {
  for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(100)) {
    const isThere = await get().then(
      () => true,
      (error: unknown) => {
        assert.equal((error as Error).name, 'ResourceNotFoundException');
        return false;
      },
    );
    if (!isThere) return;
    assert.ok(Date.now() < deadline, 'it goes');
  }
}

interface Statement {
  readonly Sid: string;
  readonly Effect: string;
  readonly Principal: unknown;
  readonly Action: string;
  readonly Resource: string;
  readonly Condition?: unknown;
}

async function statementsOf(FunctionName: string, Qualifier?: string): Promise<readonly Statement[]> {
  const input = { FunctionName, ...(Qualifier !== undefined && { Qualifier }) };
  const { Policy = '' } = await client.send(new sdk.GetPolicyCommand(input));
  return (JSON.parse(Policy) as { readonly Statement: readonly Statement[] }).Statement;
}

/** The tool asks whether the function has a URL; makes it, and has everybody reach it. @returns where it is. */
async function urlMade(FunctionName: string, Qualifier?: string): Promise<string> {
  const target = { FunctionName, ...(Qualifier !== undefined && { Qualifier }) };
  assert.equal(
    await nameOfError(client.send(new sdk.GetFunctionUrlConfigCommand(target))),
    'ResourceNotFoundException',
  );
  const made = await client.send(new sdk.CreateFunctionUrlConfigCommand({ ...target, AuthType: 'NONE' }));
  for (const [StatementId, more] of [
    ['FunctionURLAllowPublicAccess', { Action: 'lambda:InvokeFunctionUrl', FunctionUrlAuthType: 'NONE' }],
    ['FunctionURLInvokeAllowPublicAccess', { Action: 'lambda:InvokeFunction', InvokedViaFunctionUrl: true }],
  ] as const) {
    await client.send(new sdk.AddPermissionCommand({ ...target, StatementId, Principal: '*', ...more }));
  }
  const statements = await statementsOf(FunctionName, Qualifier);
  const resource = arnOf(FunctionName) + (Qualifier === undefined ? '' : `:${Qualifier}`);
  assert.deepEqual(
    statements.map(({ Sid, Effect, Principal, Action, Resource }) => [Sid, Effect, Principal, Action, Resource]),
    [
      ['FunctionURLAllowPublicAccess', 'Allow', '*', 'lambda:InvokeFunctionUrl', resource],
      ['FunctionURLInvokeAllowPublicAccess', 'Allow', '*', 'lambda:InvokeFunction', resource],
    ],
  );
  assert.deepEqual(statements[0]?.Condition, { StringEquals: { 'lambda:FunctionUrlAuthType': 'NONE' } });
  const read = await client.send(new sdk.GetFunctionUrlConfigCommand(target));
  assert.deepEqual([read.FunctionUrl, read.AuthType, read.InvokeMode], [made.FunctionUrl, 'NONE', 'BUFFERED']);
  return read.FunctionUrl ?? '';
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
      code_size: Configuration.CodeSize,
      ephemeral_storage: Configuration.EphemeralStorage?.Size,
      logging_config: Configuration.LoggingConfig,
      snap_start: Configuration.SnapStart?.ApplyOn,
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
      ...{ EphemeralStorage: { Size: 512 }, SnapStart: { ApplyOn: 'PublishedVersions' } },
      LoggingConfig: { LogFormat: 'JSON', ApplicationLogLevel: 'WARN', SystemLogLevel: 'INFO', LogGroup: '/own/group' },
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
      ...{ code_size: one.length, ephemeral_storage: 512, snap_start: 'PublishedVersions' },
      logging_config: settings.LoggingConfig,
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
        ...{ SnapStart: { ApplyOn: 'None' }, LoggingConfig: { LogFormat: 'Text' } },
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
      ...{ reserved: undefined, tags: { stage: 'b' }, version: '2', code_size: two.length },
      ...{ snap_start: 'None', logging_config: { LogFormat: 'Text', LogGroup: `/aws/lambda/${FunctionName}` } },
    };
    assert.deepEqual(await read(), changed);
    assert.deepEqual(await read(), changed);
    assert.equal(await answerOf(FunctionName), 'two');
    assert.equal(await answerOf(FunctionName, '1'), 'one');

    await client.send(new sdk.DeleteFunctionCommand({ FunctionName }));
    await gone(() => client.send(new sdk.GetFunctionCommand({ FunctionName })));
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
    await gone(() => client.send(new sdk.GetPolicyCommand({ FunctionName })));
    await client.send(
      new sdk.CreateAliasCommand({ FunctionName, Name: 'live', FunctionVersion: '1', Description: 'x' }),
    );
    const alias = await client.send(new sdk.GetAliasCommand({ FunctionName, Name: 'live' }));
    assert.deepEqual([alias.FunctionVersion, alias.Description, alias.RoutingConfig], ['1', 'x', undefined]);
    assert.equal(alias.AliasArn, `${arnOf(FunctionName)}:live`);
    await client.send(new sdk.UpdateFunctionConfigurationCommand({ FunctionName, Timeout: 9 }));
    await settled(FunctionName);
    await client.send(new sdk.PublishVersionCommand({ FunctionName }));
    await settled(FunctionName, '2');
    // As a plan sees it, with weights and without them again.
    for (const [FunctionVersion, weights, Description] of [
      ['1', { '2': 0.4 }, 'y'],
      ['2', { '1': 0.25 }, ''],
      ['1', {}, 'x'],
    ] as const) {
      const RoutingConfig = { AdditionalVersionWeights: weights };
      await client.send(
        new sdk.UpdateAliasCommand({ FunctionName, Name: 'live', FunctionVersion, Description, RoutingConfig }),
      );
      const moved = await client.send(new sdk.GetAliasCommand({ FunctionName, Name: 'live' }));
      assert.deepEqual([moved.FunctionVersion, moved.Description], [FunctionVersion, Description]);
      assert.deepEqual(moved.RoutingConfig?.AdditionalVersionWeights ?? {}, weights);
    }
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
  // Tags as they are to be: what is another, and what is too many.
  const Resource = arnOf(FunctionName);
  await client.send(new sdk.TagResourceCommand({ Resource, Tags: { env: 'a', old: 'x' } }));
  assert.deepEqual((await client.send(new sdk.ListTagsCommand({ Resource }))).Tags, { env: 'a', old: 'x' });
  await client.send(new sdk.TagResourceCommand({ Resource, Tags: { env: 'b' } }));
  await client.send(new sdk.UntagResourceCommand({ Resource, TagKeys: ['old'] }));
  assert.deepEqual((await client.send(new sdk.ListTagsCommand({ Resource }))).Tags, { env: 'b' });
  await urlMade(FunctionName, 'current');
  const url = { FunctionName, Qualifier: 'current' };
  const Cors = { AllowOrigins: ['https://example.com'], AllowMethods: ['GET'], MaxAge: 60 };
  await client.send(
    new sdk.UpdateFunctionUrlConfigCommand({ ...url, AuthType: 'AWS_IAM', InvokeMode: 'RESPONSE_STREAM', Cors }),
  );
  const read = await client.send(new sdk.GetFunctionUrlConfigCommand(url));
  assert.deepEqual([read.AuthType, read.InvokeMode, read.Cors], ['AWS_IAM', 'RESPONSE_STREAM', Cors]);
  for (const { Sid: StatementId } of await statementsOf(FunctionName, 'current')) {
    await client.send(new sdk.RemovePermissionCommand({ ...url, StatementId }));
  }
  await gone(() => client.send(new sdk.GetPolicyCommand(url)));
  await client.send(new sdk.DeleteFunctionUrlConfigCommand(url));
  await gone(() => client.send(new sdk.GetFunctionUrlConfigCommand(url)));
  const { Aliases = [] } = await client.send(new sdk.ListAliasesCommand({ FunctionName }));
  assert.deepEqual(
    Aliases.map(({ Name }) => Name),
    ['current'],
  );
  await client.send(new sdk.DeleteFunctionCommand({ FunctionName }));
});

test('cargo lambda: a program of its own, its layer, URL and alias', { timeout: 300_000 }, async () => {
  const FunctionName = 'by-cargo';
  const programOf = (word: string): Buffer =>
    makeZip([{ name: 'bootstrap', data: shellBootstrap(word), mode: 0o100755 }]);
  const { LayerVersionArn = '' } = await client.send(
    new sdk.PublishLayerVersionCommand({
      ...{ LayerName: 'by-cargo', CompatibleRuntimes: ['provided.al2', 'provided.al2023'] },
      ...{ CompatibleArchitectures: ['x86_64'], Content: { ZipFile: makeZip([{ name: 'data/words', data: 'w' }]) } },
    }),
  );
  assert.equal(
    await nameOfError(client.send(new sdk.GetFunctionCommand({ FunctionName }))),
    'ResourceNotFoundException',
  );
  const created = await client.send(
    new sdk.CreateFunctionCommand({
      ...{ FunctionName, Role, Runtime: 'provided.al2023', Handler: 'bootstrap', Publish: true },
      ...{ Architectures: ['x86_64'], Layers: [LayerVersionArn], Code: { ZipFile: programOf('one') } },
      TracingConfig: { Mode: 'Active' },
    }),
  );
  assert.deepEqual([created.Runtime, created.Handler, created.Version], ['provided.al2023', 'bootstrap', '1']);
  await settled(FunctionName);
  assert.deepEqual(await answerOf(FunctionName), { one: {} });
  const { Configuration } = await client.send(new sdk.GetFunctionCommand({ FunctionName }));
  assert.ok(Configuration?.State !== undefined && Configuration.RevisionId !== undefined);
  await client.send(new sdk.UpdateFunctionConfigurationCommand({ FunctionName, MemorySize: 256 }));
  await settled(FunctionName);
  const ZipFile = programOf('two');
  const dry = await client.send(
    new sdk.UpdateFunctionCodeCommand({ FunctionName, ZipFile, Publish: true, DryRun: true }),
  );
  assert.equal(dry.CodeSha256, digest(ZipFile));
  assert.deepEqual(await answerOf(FunctionName), { one: {} });
  await client.send(new sdk.UpdateFunctionCodeCommand({ FunctionName, ZipFile, Publish: true }));
  await settled(FunctionName);
  const alias = { FunctionName, Name: 'live' };
  assert.equal(await nameOfError(client.send(new sdk.GetAliasCommand(alias))), 'ResourceNotFoundException');
  await client.send(new sdk.CreateAliasCommand({ ...alias, FunctionVersion: '1' }));
  assert.deepEqual(await answerOf(`${FunctionName}:live`), { one: {} });
  await client.send(new sdk.UpdateAliasCommand({ ...alias, FunctionVersion: '2' }));
  assert.equal((await client.send(new sdk.GetAliasCommand(alias))).FunctionVersion, '2');
  assert.deepEqual(await answerOf(`${FunctionName}:live`), { two: {} });

  const address = await urlMade(FunctionName, 'live');
  // The name of the host leads to the function; the machine is this one.
  const { host, pathname } = new URL(address);
  const answer = await fetch(`${controller.url}/url/${FunctionName}:live/`);
  assert.equal(answer.status, 200, `${host}${pathname}`);
  assert.ok(Object.hasOwn((await answer.json()) as object, 'two'));
  await client.send(new sdk.DeleteFunctionUrlConfigCommand({ FunctionName, Qualifier: 'live' }));
  await client.send(new sdk.TagResourceCommand({ Resource: arnOf(FunctionName), Tags: { by: 'cargo' } }));
  await client.send(new sdk.DeleteFunctionCommand({ FunctionName }));
});

function arnOf(name: string): string {
  return `arn:aws:lambda:us-east-1:000000000000:function:${name}`;
}
