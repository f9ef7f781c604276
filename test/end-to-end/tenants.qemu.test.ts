/** Tenants of a function in real VMs, which are restored from the one snapshot of the function. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import * as sdk from '@aws-sdk/client-lambda';
import { makeZip } from '../packages/zip.ts';
import { invokeRaw, lambdaClient } from '../support/lambda-client.ts';
import {
  assertNothingLeft,
  createWorkspace,
  startController,
  type RunningController,
  type Workspace,
} from '../support/snapctr.ts';

const FunctionName = 'shared';
/** What is in the memory and on the disk of the VM from requests before. */
const CODE = `
import os
seen = []
def handle(event, context):
    seen.append(context.tenant_id)
    with open('/tmp/seen', 'a') as file:
        file.write(context.tenant_id + ' ')
    with open('/tmp/seen') as file:
        return [seen, file.read().split()]
`;
let workspace: Workspace;
let snapctr: RunningController;

before(async () => {
  workspace = createWorkspace([]);
  snapctr = await startController(workspace, { vmm: 'qemu', memoryMib: 1024, snapshots: true });
  const client = lambdaClient(snapctr.url);
  try {
    await client.send(
      new sdk.CreateFunctionCommand({
        ...{ FunctionName, Role: 'arn:aws:iam::000000000000:role/any', Runtime: 'python3.11', Handler: 'main.handle' },
        ...{ Timeout: 60, TenancyConfig: { TenantIsolationMode: 'PER_TENANT' } },
        Code: { ZipFile: makeZip([{ name: 'main.py', data: CODE }]) },
      }),
    );
    await sdk.waitUntilFunctionActiveV2({ client, maxWaitTime: 240, minDelay: 1, maxDelay: 1 }, { FunctionName });
    // It answers before its snapshot is there.
    await snapctr.until(({ snapshots }) => snapshots.preparing === 0 && snapshots.ready > 0, 240_000);
  } finally {
    client.destroy();
  }
});
after(async () => {
  await snapctr.stop();
  await assertNothingLeft(workspace);
  workspace.remove();
});

async function ask(tenant: string): Promise<readonly [start: string | null, seen: unknown]> {
  const { status, text, headers } = await invokeRaw(snapctr.url, FunctionName, '{}', { 'x-amz-tenant-id': tenant });
  assert.equal(status, 200, text);
  return [headers.get('x-snapfaas-start'), JSON.parse(text)];
}

const only = (tenant: string, times: number): unknown => {
  const all = Array.from({ length: times }, () => tenant);
  return [all, all];
};

test('tenants in VMs: each has its own, restored at first and warm then, and finds nothing of another one', async () => {
  assert.deepEqual(await ask('a'), ['restored', only('a', 1)]);
  assert.deepEqual(await ask('b'), ['restored', only('b', 1)]);
  assert.deepEqual(await ask('a'), ['warm', only('a', 2)]);
  assert.deepEqual(await ask('b'), ['warm', only('b', 2)]);
});

test('tenants in VMs: where there is no room for all, one takes the place of another, and never its VM', async () => {
  const tenants = Array.from({ length: 12 }, (_, i) => `t${i}`);
  const answers = await Promise.all(tenants.map(ask));
  for (const [i, tenant] of tenants.entries()) assert.deepEqual(answers[i], ['restored', only(tenant, 1)]);
  // Whether its VM was evicted or not: all that is in it is its own.
  const [, [seen]] = (await ask('a')) as readonly [string, readonly [readonly string[]]];
  assert.deepEqual(new Set(seen), new Set(['a']));
});
