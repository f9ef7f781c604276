/** Tenants of a function are kept apart, as the SDK of AWS asks for it. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import * as sdk from '@aws-sdk/client-lambda';
import { makeZip } from '../packages/zip.ts';
import { invokeRaw, lambdaClient } from '../support/lambda-client.ts';
import { createWorkspace, startController } from '../support/snapctr.ts';

const Role = 'arn:aws:iam::000000000000:role/any';
const FunctionName = 'shared';
const FILED = {
  name: 'filed',
  runtime: 'python3',
  files: { 'main.py': 'def handle(e, c):\n    return e\n' },
  keys: { handler: 'main.handle' },
} as const;
const PYTHON = 'seen = []\ndef handle(event, context):\n    seen.append(context.tenant_id)\n    return seen\n';
const NODE = 'const seen = [];\nexports.handle = async (event, context) => (seen.push(context.tenantId), seen);\n';

async function errorOf(call: Promise<unknown>): Promise<readonly [name: string, message: string]> {
  const error = await call.then(
    () => assert.fail('it was done'),
    (thrown: unknown) => thrown as sdk.LambdaServiceException,
  );
  return [error.name, error.message];
}

describe('tenants', { timeout: 300_000 }, () => {
  test('have VMs of their own, and their functions know them', async () => {
    const workspace = createWorkspace([FILED]);
    const snapctr = await startController(workspace, { vmm: 'process', memoryMib: 1024 });
    const client = lambdaClient(snapctr.url);
    const TenancyConfig = { TenantIsolationMode: 'PER_TENANT' } as const;
    const invoke = async (name: string, TenantId: string | undefined): Promise<readonly string[]> => {
      const answer = await client.send(
        new sdk.InvokeCommand({ FunctionName: name, Payload: '{}', ...(TenantId === undefined ? {} : { TenantId }) }),
      );
      assert.equal(answer.FunctionError, undefined);
      return JSON.parse(Buffer.from(answer.Payload ?? []).toString()) as readonly string[];
    };
    try {
      const sources = [
        [FunctionName, 'python3.11', 'main.py', PYTHON],
        ['shared-node', 'nodejs22.x', 'main.js', NODE],
      ] as const;
      for (const [name, Runtime, file, data] of sources) {
        const created = await client.send(
          new sdk.CreateFunctionCommand({
            ...{ FunctionName: name, Role, Runtime, Handler: 'main.handle', TenancyConfig, Publish: true },
            Code: { ZipFile: makeZip([{ name: file, data }]) },
          }),
        );
        assert.deepEqual(created.TenancyConfig, TenancyConfig);
        await sdk.waitUntilPublishedVersionActive(
          { client, maxWaitTime: 120, minDelay: 1, maxDelay: 1 },
          {
            FunctionName: name,
            Qualifier: '1',
          },
        );
        const tenants = ['a', 'b', 'a', 'c', 'b', 'a', 'user@example.com:1/x =+-._'];
        const answers: (readonly string[])[] = [];
        for (const tenant of tenants) answers.push(await invoke(name, tenant));
        for (const [i, tenant] of tenants.entries()) {
          const times = tenants.slice(0, i + 1).filter((one) => one === tenant).length;
          assert.deepEqual(
            answers[i],
            Array.from({ length: times }, () => tenant),
          );
        }
        // More at once than there is room for VMs: whose turn it is takes the place of another one's.
        const many = Array.from({ length: 24 }, (_, i) => `tenant-${i % 12}`);
        const results = await Promise.all(many.map((tenant) => invoke(name, tenant)));
        for (const [i, seen] of results.entries()) assert.deepEqual(new Set(seen), new Set([many[i]]));
      }
      const { Configuration } = await client.send(new sdk.GetFunctionCommand({ FunctionName }));
      assert.deepEqual(Configuration?.TenancyConfig, TenancyConfig);

      const invalid = 'InvalidParameterValueException';
      assert.deepEqual((await errorOf(invoke(FunctionName, undefined)))[0], invalid);
      assert.match((await errorOf(invoke(FunctionName, undefined)))[1], /Add a valid tenant ID/);
      assert.match((await errorOf(invoke('filed', 'a')))[1], /Remove the tenant ID/);
      assert.equal((await errorOf(invoke('filed', 'a')))[0], invalid);
      for (const tenant of ['a!', 'x'.repeat(257), 'a\tb', '{}']) {
        assert.match((await errorOf(invoke(FunctionName, tenant)))[1], /tenantId/);
      }
      for (const InvocationType of ['Event', 'DryRun'] as const) {
        const call = client.send(new sdk.InvokeCommand({ FunctionName, Payload: '{}', InvocationType }));
        assert.equal((await errorOf(call))[0], invalid);
      }
      const native = await fetch(snapctr.url, {
        method: 'POST',
        body: JSON.stringify({ function: FunctionName, payload: {} }),
        headers: { 'content-type': 'application/json' },
      });
      assert.equal(native.status, 400);
      const put = new sdk.PutProvisionedConcurrencyConfigCommand({
        ...{ FunctionName, Qualifier: '1', ProvisionedConcurrentExecutions: 1 },
      });
      assert.match((await errorOf(client.send(put)))[1], /tenant isolation/);
      const url = client.send(new sdk.CreateFunctionUrlConfigCommand({ FunctionName, AuthType: 'NONE' }));
      assert.match((await errorOf(url))[1], /tenant isolation/);
      const event = new sdk.InvokeCommand({ FunctionName, Payload: '{}', InvocationType: 'Event', TenantId: 'later' });
      assert.equal((await client.send(event)).StatusCode, 202);
      assert.deepEqual(new Set(await invoke(FunctionName, 'later')), new Set(['later']));
      const changed = await fetch(`${snapctr.url}/2015-03-31/functions/${FunctionName}/configuration`, {
        method: 'PUT',
        body: JSON.stringify({ TenancyConfig }),
        headers: { 'content-type': 'application/json' },
      });
      assert.deepEqual([changed.status, /cannot be changed/.test(await changed.text())], [400, true]);
      await client.send(new sdk.UpdateFunctionConfigurationCommand({ FunctionName, Timeout: 9 }));
      await sdk.waitUntilFunctionUpdatedV2({ client, maxWaitTime: 120, minDelay: 1, maxDelay: 1 }, { FunctionName });
      assert.deepEqual(await invoke(FunctionName, 'after'), ['after']);
    } finally {
      client.destroy();
      await snapctr.stop();
      workspace.remove();
    }
  });

  test('fill half of the queue at most, all of a function together: another function is still taken', async () => {
    const capacity = 8;
    // The one VM that there is room for is held until the test lets it go.
    const workspace = createWorkspace([FILED], [`queue_capacity: ${capacity}`, 'queue_wait: 300']);
    const snapctr = await startController(workspace, { vmm: 'process', memoryMib: 128 });
    const client = lambdaClient(snapctr.url, { maxAttempts: 1 });
    const released = join(workspace.directory, 'released');
    const data = `import os, time\ndef handle(event, context):\n    while not os.path.exists(${JSON.stringify(released)}):\n        time.sleep(0.02)\n    return context.tenant_id\n`;
    try {
      await client.send(
        new sdk.CreateFunctionCommand({
          ...{ FunctionName, Role, Runtime: 'python3.11', Handler: 'main.handle', Timeout: 120 },
          TenancyConfig: { TenantIsolationMode: 'PER_TENANT' },
          Code: { ZipFile: makeZip([{ name: 'main.py', data }]) },
        }),
      );
      await sdk.waitUntilFunctionActiveV2({ client, maxWaitTime: 120, minDelay: 1, maxDelay: 1 }, { FunctionName });
      const ask = (tenant: string): ReturnType<typeof invokeRaw> =>
        invokeRaw(snapctr.url, FunctionName, '{}', { 'x-amz-tenant-id': tenant });
      const held = ask('holder');
      await snapctr.until(({ vms }) => vms[FunctionName]?.busy === 1, 60_000);

      const waiting = Array.from({ length: capacity / 2 }, (_, i) => ask(`waiting-${i}`));
      await snapctr.until(({ queue }) => queue.length === capacity / 2, 60_000);
      for (const tenant of ['waiting-0', 'holder', 'another']) {
        const refused = await ask(tenant);
        assert.deepEqual([refused.status, refused.headers.get('x-amzn-errortype')], [429, 'TooManyRequestsException']);
        assert.match(refused.text, /ConcurrentInvocationLimitExceeded/);
      }
      const others = Array.from({ length: capacity / 2 }, (_, i) => snapctr.invoke('filed', i));
      await snapctr.until(({ queue }) => queue.length === capacity, 60_000);

      writeFileSync(released, '');
      assert.equal((await held).text, '"holder"');
      assert.deepEqual(
        (await Promise.all(waiting)).map(({ text }) => text),
        waiting.map((_, i) => `"waiting-${i}"`),
      );
      assert.deepEqual(
        (await Promise.all(others)).map(({ body }) => body),
        others.map((_, i) => i),
      );
      // What was theirs of the queue is free again.
      assert.equal((await ask('another')).text, '"another"');
    } finally {
      client.destroy();
      await snapctr.stop();
      workspace.remove();
    }
  });
});
