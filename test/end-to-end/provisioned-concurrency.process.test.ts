/** VMs that are kept ready for versions and aliases, asked for by the SDK of AWS while snapctr runs. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import * as sdk from '@aws-sdk/client-lambda';
import { makeZip } from '../packages/zip.ts';
import { lambdaClient } from '../support/lambda-client.ts';
import { createWorkspace, startController } from '../support/snapctr.ts';

const Role = 'arn:aws:iam::000000000000:role/any';
const FunctionName = 'kept';
const PATIENCE = { maxWaitTime: 120, minDelay: 1, maxDelay: 1 } as const;
const FILED = {
  name: 'filed',
  runtime: 'python3',
  files: { 'main.py': 'def handle(e, c):\n    return e\n' },
  keys: { handler: 'main.handle' },
} as const;

interface Status {
  readonly provisioned: { readonly requested: number; readonly available: number };
  readonly vms: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly counters: { readonly launches: number };
}

interface Bench {
  readonly client: sdk.LambdaClient;
  status(): Promise<Status>;
  /** What is told when nothing is under way any more. */
  provisioned(Qualifier: string): Promise<sdk.GetProvisionedConcurrencyConfigResponse>;
  put(Qualifier: string, count: number): Promise<sdk.PutProvisionedConcurrencyConfigResponse>;
}

/** With 1,024 MB for VMs. */
async function withSnapctr(
  workspace: ReturnType<typeof createWorkspace>,
  data: string,
  use: (bench: Bench) => Promise<void>,
) {
  const snapctr = await startController(workspace, { vmm: 'process', memoryMib: 1024, args: ['--data-dir', data] });
  const client = lambdaClient(snapctr.url);
  try {
    await use({
      client,
      status: async () => (await (await fetch(`${snapctr.url}/status`)).json()) as Status,
      provisioned: async (Qualifier) => {
        const deadline = Date.now() + 1000 * PATIENCE.maxWaitTime;
        for (;;) {
          const told = await client.send(new sdk.GetProvisionedConcurrencyConfigCommand({ FunctionName, Qualifier }));
          if (told.Status !== 'IN_PROGRESS') return told;
          assert.ok(Date.now() < deadline, JSON.stringify(told));
          await sleep(100);
        }
      },
      put: (Qualifier, ProvisionedConcurrentExecutions) =>
        client.send(
          new sdk.PutProvisionedConcurrencyConfigCommand({ FunctionName, Qualifier, ProvisionedConcurrentExecutions }),
        ),
    });
  } finally {
    client.destroy();
    await snapctr.stop();
  }
}

const packageOf = (answer: string): Buffer =>
  makeZip([
    {
      name: 'main.py',
      data: `import os\ndef handle(event, context):\n    if event == 'die': os._exit(1)\n    return [${JSON.stringify(answer)}, context.function_version]\n`,
    },
  ]);

async function refused(call: Promise<unknown>): Promise<readonly [name: string, message: string]> {
  const error = await call.then(
    () => assert.fail('it was done'),
    (thrown: unknown) => thrown as sdk.LambdaServiceException,
  );
  return [error.name, error.message];
}

describe('provisioned concurrency', { timeout: 300_000 }, () => {
  test('is kept ready, replaced, moved with its alias, kept over a restart, and given up', async () => {
    const workspace = createWorkspace([FILED]);
    const data = mkdtempSync(join(tmpdir(), 'snapfaas-provisioned-'));
    try {
      await withSnapctr(workspace, data, async ({ client, status, provisioned, put }) => {
        await client.send(
          new sdk.CreateFunctionCommand({
            ...{ FunctionName, Role, Runtime: 'python3.11', Handler: 'main.handle', Publish: true },
            Code: { ZipFile: packageOf('one') },
          }),
        );
        await sdk.waitUntilPublishedVersionActive({ client, ...PATIENCE }, { FunctionName, Qualifier: '1' });
        await client.send(new sdk.CreateAliasCommand({ FunctionName, Name: 'live', FunctionVersion: '1' }));
        const asked = await put('live', 2);
        assert.equal(asked.RequestedProvisionedConcurrentExecutions, 2);
        const ready = await provisioned('live');
        assert.deepEqual(
          [
            ready.Status,
            ready.AllocatedProvisionedConcurrentExecutions,
            ready.AvailableProvisionedConcurrentExecutions,
          ],
          ['READY', 2, 2],
        );
        assert.equal(ready.StatusReason, undefined);
        const { provisioned: counts, vms, counters } = await status();
        assert.deepEqual([counts, vms[FunctionName]], [{ requested: 2, available: 2 }, { idle: 2 }]);
        const invoke = async (Payload: string): Promise<sdk.InvokeCommandOutput> =>
          client.send(new sdk.InvokeCommand({ FunctionName, Qualifier: 'live', Payload }));
        await Promise.all([invoke('1'), invoke('2')]);
        assert.equal((await status()).counters.launches, counters.launches, 'they were used');
        assert.equal((await invoke('"die"')).FunctionError, 'Unhandled');
        assert.equal((await provisioned('live')).Status, 'READY');
        assert.deepEqual((await status()).vms[FunctionName], { idle: 2 });

        await client.send(
          new sdk.UpdateFunctionCodeCommand({ FunctionName, ZipFile: packageOf('two'), Publish: true }),
        );
        await sdk.waitUntilPublishedVersionActive({ client, ...PATIENCE }, { FunctionName, Qualifier: '2' });
        await client.send(new sdk.UpdateAliasCommand({ FunctionName, Name: 'live', FunctionVersion: '2' }));
        assert.equal((await provisioned('live')).AvailableProvisionedConcurrentExecutions, 2);
        const { launches } = (await status()).counters;
        assert.deepEqual(JSON.parse(Buffer.from((await invoke('1')).Payload ?? []).toString()), ['two', '2']);
        assert.equal((await status()).counters.launches, launches);
      });
      await withSnapctr(workspace, data, async ({ client, status, provisioned }) => {
        assert.equal((await provisioned('live')).Status, 'READY');
        assert.deepEqual((await status()).vms[FunctionName], { idle: 2 });
        const { ProvisionedConcurrencyConfigs = [] } = await client.send(
          new sdk.ListProvisionedConcurrencyConfigsCommand({ FunctionName }),
        );
        assert.deepEqual(
          ProvisionedConcurrencyConfigs.map((one) => [one.Status, one.AvailableProvisionedConcurrentExecutions]),
          [['READY', 2]],
        );
        await client.send(new sdk.DeleteProvisionedConcurrencyConfigCommand({ FunctionName, Qualifier: 'live' }));
        assert.deepEqual((await status()).provisioned, { requested: 0, available: 0 });
        const [name] = await refused(
          client.send(new sdk.GetProvisionedConcurrencyConfigCommand({ FunctionName, Qualifier: 'live' })),
        );
        assert.equal(name, 'ProvisionedConcurrencyConfigNotFoundException');
      });
    } finally {
      workspace.remove();
      rmSync(data, { recursive: true, force: true });
    }
  });

  test('is refused with what to change where it cannot be kept', async () => {
    const workspace = createWorkspace([FILED]);
    const data = mkdtempSync(join(tmpdir(), 'snapfaas-provisioned-'));
    try {
      await withSnapctr(workspace, data, async ({ client, put, provisioned, status }) => {
        await client.send(
          new sdk.CreateFunctionCommand({
            ...{ FunctionName, Role, Runtime: 'python3.11', Handler: 'main.handle', Publish: true, MemorySize: 256 },
            Code: { ZipFile: packageOf('one') },
          }),
        );
        await sdk.waitUntilPublishedVersionActive({ client, ...PATIENCE }, { FunctionName, Qualifier: '1' });
        const weights = { FunctionVersion: '1', RoutingConfig: { AdditionalVersionWeights: { 2: 0.5 } } };
        await client.send(
          new sdk.UpdateFunctionCodeCommand({ FunctionName, ZipFile: packageOf('two'), Publish: true }),
        );
        await sdk.waitUntilPublishedVersionActive({ client, ...PATIENCE }, { FunctionName, Qualifier: '2' });
        await client.send(new sdk.CreateAliasCommand({ FunctionName, Name: 'weighted', ...weights }));
        await client.send(new sdk.CreateAliasCommand({ FunctionName, Name: 'newest', FunctionVersion: '$LATEST' }));
        const invalid = 'InvalidParameterValueException';
        const table: readonly (readonly [call: () => Promise<unknown>, error: string, message: RegExp])[] = [
          [() => put('$LATEST', 1), invalid, /cannot be applied to unpublished/],
          [() => put('newest', 1), invalid, /cannot be applied to unpublished/],
          [() => put('weighted', 1), invalid, /Alias with weights/],
          [() => put('9', 1), 'ResourceNotFoundException', /:9/],
          // Room for a VM of its own size is left.
          [
            () => put('1', 4),
            invalid,
            /takes 1024 MB: 768 MB of 1024 MB may be provisioned, 256 MB are left for a VM of kept/,
          ],
        ];
        for (const [call, error, message] of table) {
          const [name, told] = await refused(call());
          assert.equal(name, error);
          assert.match(told, message);
        }
        await put('1', 2);
        assert.match((await refused(put('2', 2)))[1], /takes 1024 MB/);
        const reserve = (ReservedConcurrentExecutions: number): Promise<unknown> =>
          client.send(new sdk.PutFunctionConcurrencyCommand({ FunctionName, ReservedConcurrentExecutions }));
        assert.deepEqual(await refused(reserve(1)), [
          invalid,
          "ReservedConcurrentExecutions for function should not be lower than function's total provisioned concurrency [2].",
        ]);
        await reserve(2);
        assert.match((await refused(put('1', 3)))[1], /should not be greater than the reservedConcurrentExecution/);
        assert.equal((await provisioned('1')).Status, 'READY');
        // Others find room beside what is kept: as much as was left.
        await client.send(new sdk.InvokeCommand({ FunctionName: 'filed', Payload: '1' }));
        await client.send(new sdk.DeleteFunctionCommand({ FunctionName }));
        assert.deepEqual((await status()).provisioned, { requested: 0, available: 0 });
      });
    } finally {
      workspace.remove();
      rmSync(data, { recursive: true, force: true });
    }
  });
});
