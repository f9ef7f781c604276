/**
 * What is done with functions by AWS's SDK while snapctr runs: what its tests share, and the life of one function from its creation
 * to its end, on any VMM; each driver has a file of its own.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import * as sdk from '@aws-sdk/client-lambda';
import { makeZip } from '../packages/zip.ts';
import { lambdaClient } from '../support/lambda-client.ts';
import { assertNothingLeft, createWorkspace, startController, type TestVmm } from '../support/snapctr.ts';

export const Role = 'arn:aws:iam::000000000000:role/any';
export const ARN = 'arn:aws:lambda:us-east-1:000000000000:function:made';
const FILED = { name: 'filed', runtime: 'python3', files: { 'main.py': 'def handle(e, c):\n    return e\n' } } as const;
/** Of the SDK's waiters, in s. */
export const PATIENCE = { maxWaitTime: 120, minDelay: 1, maxDelay: 1 } as const;

export function packageOf(answer: string): Buffer {
  const text = `import os\ndef handle(event, context):\n    return [${JSON.stringify(answer)}, context.function_version, os.environ.get("NAME")]\n`;
  return makeZip([{ name: 'main.py', data: text }]);
}

export interface Bench {
  readonly url: string;
  readonly client: sdk.LambdaClient;
}

/** VMs that are restored from snapshots, where there are VMs. */
export async function withSnapctr(use: (bench: Bench) => Promise<void>, vmm: TestVmm = 'process'): Promise<void> {
  const workspace = createWorkspace([{ ...FILED, keys: { handler: 'main.handle' } }]);
  const snapctr = await startController(workspace, { vmm, snapshots: vmm === 'process' ? false : 'being made' });
  const client = lambdaClient(snapctr.url);
  try {
    await use({ url: snapctr.url, client });
  } finally {
    client.destroy();
    await snapctr.stop();
    await assertNothingLeft(workspace);
    workspace.remove();
  }
}

export async function errorOf(call: Promise<unknown>): Promise<sdk.LambdaServiceException> {
  return call.then(
    () => assert.fail('it was done'),
    (error: unknown) => error as sdk.LambdaServiceException,
  );
}

export async function invoke(client: sdk.LambdaClient, FunctionName: string, Qualifier?: string): Promise<unknown> {
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

export function describeLifeCycle(vmm: TestVmm): void {
  describe(`a function over the API with ${vmm}`, { timeout: 600_000 }, () => {
    test('is created, invoked, updated, published, led to by aliases and deleted, with the waiters of the SDK', async () => {
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
      }, vmm);
    });
  });
}
