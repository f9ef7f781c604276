/** How events are tried, and where it is told how that ended: set by the SDK of AWS. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import * as sdk from '@aws-sdk/client-lambda';
import { makeZip } from '../packages/zip.ts';
import { lambdaClient } from '../support/lambda-client.ts';
import { createWorkspace, startController } from '../support/snapctr.ts';

const FunctionName = 'made';
const ARN = `arn:aws:lambda:us-east-1:000000000000:function:${FunctionName}`;
const CODE =
  'def handle(event, context):\n    if event == "bad":\n        raise ValueError("no luck")\n    return {"got": event}\n';
/** Writes what it is told into a file. */
const TOLD = 'import json\ndef handle(event, context):\n    open(FILE, "a").write(json.dumps(event) + "\\n")\n';

async function lines(path: string, count: number): Promise<readonly Record<string, unknown>[]> {
  for (let tries = 0; tries < 600; tries += 1) {
    const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
    const found = text.split('\n').filter((line) => line !== '');
    if (found.length >= count) return found.map((line) => JSON.parse(line) as Record<string, unknown>);
    await sleep(50);
  }
  return assert.fail(`${path} does not come to ${count} lines`);
}

test('the SDK sets how events are tried, and destinations are told', { timeout: 300_000 }, async () => {
  const keys = { handler: 'main.handle' };
  const workspace = createWorkspace([{ name: 'told', runtime: 'python3', files: { 'main.py': '' }, keys }]);
  const heard = join(workspace.directory, 'heard');
  const source = join(workspace.directory, 'apps/told/main.py');
  writeFileSync(source, TOLD.replace('FILE', JSON.stringify(heard)));
  const data = join(workspace.directory, 'data');
  const posted: string[] = [];
  const server = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk: Buffer) => (text += chunk.toString()));
    request.on('end', () => {
      posted.push(text);
      // The first time it fails.
      response.writeHead(posted.length === 1 ? 500 : 204).end();
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`;
  const snapctr = await startController(workspace, { vmm: 'process', args: ['--data-dir', data] });
  const client = lambdaClient(snapctr.url);
  try {
    const ZipFile = makeZip([{ name: 'main.py', data: CODE }]);
    const Role = 'arn:aws:iam::000000000000:role/any';
    await client.send(
      new sdk.CreateFunctionCommand({
        FunctionName,
        Role,
        Runtime: 'python3.11',
        Handler: 'main.handle',
        Code: { ZipFile },
      }),
    );
    await sdk.waitUntilFunctionActiveV2({ client, maxWaitTime: 60, minDelay: 1 }, { FunctionName });
    const none = {
      name: 'ResourceNotFoundException',
      message: `The function ${ARN}:$LATEST doesn't have an EventInvokeConfig`,
    };
    await assert.rejects(client.send(new sdk.GetFunctionEventInvokeConfigCommand({ FunctionName })), none);
    for (const [input, message] of [
      [{}, /You must specify at least one/],
      [{ MaximumRetryAttempts: 3 }, /maximumRetryAttempts.*less than or equal to 2/],
      [{ MaximumEventAgeInSeconds: 59 }, /maximumEventAgeInSeconds.*greater than or equal to 60/],
      [{ DestinationConfig: { OnSuccess: { Destination: 'file:../x' } } }, /destination file:\.\.\/x is invalid/],
      [{ DestinationConfig: { OnFailure: { Destination: `${ARN}-not` } } }, /Function not found/],
    ] as const) {
      const command = new sdk.PutFunctionEventInvokeConfigCommand({ FunctionName, ...input });
      await assert.rejects(client.send(command), { message });
    }
    const told = ARN.replace(FunctionName, 'told');
    const set = await client.send(
      new sdk.PutFunctionEventInvokeConfigCommand({
        FunctionName,
        MaximumRetryAttempts: 0,
        MaximumEventAgeInSeconds: 600,
        DestinationConfig: { OnSuccess: { Destination: 'file:done.jsonl' }, OnFailure: { Destination: told } },
      }),
    );
    assert.equal(set.FunctionArn, `${ARN}:$LATEST`);
    const send = async (event: unknown): Promise<void> => {
      const Payload = JSON.stringify(event, null, 2);
      const answer = await client.send(new sdk.InvokeCommand({ FunctionName, InvocationType: 'Event', Payload }));
      assert.equal(answer.StatusCode, 202);
    };
    await send({ n: 1 });
    await send('bad');
    const [success] = await lines(join(data, 'destinations/done.jsonl'), 1);
    assert.deepEqual([success?.['requestPayload'], success?.['responsePayload']], [{ n: 1 }, { got: { n: 1 } }]);
    const [failure] = await lines(heard, 1);
    const context = failure?.['requestContext'] as Record<string, unknown>;
    assert.deepEqual([context['condition'], context['approximateInvokeCount']], ['RetriesExhausted', 1]);
    assert.equal((failure?.['responsePayload'] as Record<string, unknown>)['errorMessage'], 'no luck');

    const updated = await client.send(
      new sdk.UpdateFunctionEventInvokeConfigCommand({
        FunctionName,
        DestinationConfig: { OnSuccess: { Destination: endpoint } },
      }),
    );
    assert.deepEqual(
      [updated.MaximumRetryAttempts, updated.MaximumEventAgeInSeconds, updated.DestinationConfig],
      [0, 600, { OnSuccess: { Destination: endpoint }, OnFailure: { Destination: told } }],
    );
    const { FunctionEventInvokeConfigs } = await client.send(
      new sdk.ListFunctionEventInvokeConfigsCommand({ FunctionName }),
    );
    assert.equal(FunctionEventInvokeConfigs?.length, 1);
    await send({ n: 2 });
    while (posted.length < 2) await sleep(50);
    assert.deepEqual((JSON.parse(posted[1] ?? '') as Record<string, unknown>)['requestPayload'], { n: 2 });
    assert.equal(posted[0], posted[1]);
    await client.send(new sdk.DeleteFunctionEventInvokeConfigCommand({ FunctionName }));
    await assert.rejects(client.send(new sdk.DeleteFunctionEventInvokeConfigCommand({ FunctionName })), none);
  } finally {
    client.destroy();
    server.close();
    await snapctr.stop();
    workspace.remove();
  }
});

/** Writes down that it ran. */
const LOOPING = 'def handle(event, context):\n    open(FILE, "a").write("ran\\n")\n';

test(
  'a function whose destination is its own address over HTTP is stopped after 16 hops',
  { timeout: 120_000 },
  async () => {
    const keys = { handler: 'main.handle' };
    const workspace = createWorkspace([{ name: 'told', runtime: 'python3', files: { 'main.py': TOLD }, keys }]);
    const ran = join(workspace.directory, 'ran');
    const count = (): number => (existsSync(ran) ? readFileSync(ran, 'utf8').split('\n').length - 1 : 0);
    const args = ['--data-dir', join(workspace.directory, 'data')];
    const snapctr = await startController(workspace, { vmm: 'process', args });
    const client = lambdaClient(snapctr.url);
    try {
      const ZipFile = makeZip([{ name: 'main.py', data: LOOPING.replace('FILE', JSON.stringify(ran)) }]);
      const Role = 'arn:aws:iam::000000000000:role/any';
      const created = { FunctionName, Role, Runtime: 'python3.11', Handler: 'main.handle', Code: { ZipFile } } as const;
      await client.send(new sdk.CreateFunctionCommand(created));
      await sdk.waitUntilFunctionActiveV2({ client, maxWaitTime: 60, minDelay: 1 }, { FunctionName });
      const Destination = `${snapctr.url}/2014-11-13/functions/${FunctionName}/invoke-async/`;
      const DestinationConfig = { OnSuccess: { Destination } };
      await client.send(new sdk.PutFunctionEventInvokeConfigCommand({ FunctionName, DestinationConfig }));
      await client.send(new sdk.InvokeCommand({ FunctionName, InvocationType: 'Event', Payload: '1' }));
      const deadOf = async (): Promise<unknown> => {
        const { events } = (await snapctr.status()) as unknown as { readonly events: { readonly dead: number } };
        return events.dead;
      };
      while ((await deadOf()) === 0) {
        assert.ok(count() <= 17, `it ran ${count()} times`);
        await sleep(50);
      }
      assert.equal(count(), 17);
    } finally {
      client.destroy();
      await snapctr.stop();
      workspace.remove();
    }
  },
);
