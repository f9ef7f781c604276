/** `DeadLetterConfig`, set by the SDK of AWS: who gets the events that a function failed for good. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import * as sdk from '@aws-sdk/client-lambda';
import { makeZip } from '../packages/zip.ts';
import { lambdaClient } from '../support/lambda-client.ts';
import { createWorkspace, startController, type RunningController } from '../support/snapctr.ts';

const FunctionName = 'orders';
const ARN = `arn:aws:lambda:us-east-1:000000000000:function:${FunctionName}`;
const Role = 'arn:aws:iam::000000000000:role/any';
const ZipFile = makeZip([
  { name: 'index.js', data: 'exports.handler = async () => { throw new Error("no luck: 100 %"); };\n' },
]);
const files = { 'index.js': 'exports.handler = async (event) => event;\n' };
const workspace = createWorkspace([{ name: 'filed', runtime: 'nodejs', keys: { handler: 'index.handler' }, files }]);
const data = join(workspace.directory, 'data');
const posted: { body: string; headers: IncomingHttpHeaders }[] = [];
const server = createServer((request, response) => {
  let body = '';
  request.on('data', (chunk: Buffer) => (body += chunk.toString()));
  request.on('end', () => {
    posted.push({ body, headers: request.headers });
    response.writeHead(204).end();
  });
});
let controller: RunningController;
let client: sdk.LambdaClient;

async function start(): Promise<void> {
  controller = await startController(workspace, { vmm: 'process', args: ['--data-dir', data] });
  client = lambdaClient(controller.url);
}

async function stop(): Promise<void> {
  client.destroy();
  await controller.stop();
}

before(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  await start();
});
after(async () => {
  await stop();
  server.closeAllConnections();
  server.close();
  workspace.remove();
});

async function until(what: string, condition: () => boolean): Promise<void> {
  for (const deadline = performance.now() + 60_000; !condition(); await sleep(50)) {
    assert.ok(performance.now() < deadline, what);
  }
}

function linesOf(name: string): readonly Record<string, unknown>[] {
  const path = join(data, 'destinations', name);
  const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
  const lines = text.split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

async function update(TargetArn: string): Promise<sdk.FunctionConfiguration> {
  const input = { FunctionName, DeadLetterConfig: { TargetArn } };
  const answer = await client.send(new sdk.UpdateFunctionConfigurationCommand(input));
  await sdk.waitUntilFunctionUpdatedV2({ client, maxWaitTime: 60, minDelay: 1 }, { FunctionName });
  return answer;
}

/** @returns the id of the request. */
async function send(event: string, Qualifier?: string): Promise<string> {
  const more = Qualifier === undefined ? {} : { Qualifier };
  const input = { FunctionName, InvocationType: 'Event', Payload: event, ...more } as const;
  const { StatusCode, $metadata } = await client.send(new sdk.InvokeCommand(input));
  assert.equal(StatusCode, 202);
  return $metadata.requestId ?? '';
}

async function configured(Qualifier?: string): Promise<string | undefined> {
  const more = Qualifier === undefined ? {} : { Qualifier };
  const got = await client.send(new sdk.GetFunctionConfigurationCommand({ FunctionName, ...more }));
  return got.DeadLetterConfig?.TargetArn;
}

test('a function is created with a dead-letter target, which gets its event when it fails for good', async () => {
  const created = await client.send(
    new sdk.CreateFunctionCommand({
      FunctionName,
      Role,
      Runtime: 'nodejs24.x',
      Handler: 'index.handler',
      Code: { ZipFile },
      Publish: true,
      DeadLetterConfig: { TargetArn: 'file:dead.jsonl' },
    }),
  );
  assert.deepEqual(created.DeadLetterConfig, { TargetArn: 'file:dead.jsonl' });
  await sdk.waitUntilPublishedVersionActive({ client, maxWaitTime: 60, minDelay: 1 }, { FunctionName, Qualifier: '1' });
  for (const more of [{}, { Qualifier: '1' }]) {
    const destination = { DestinationConfig: { OnFailure: { Destination: 'file:failed.jsonl' } } };
    const input = { FunctionName, MaximumRetryAttempts: 0, ...destination, ...more };
    await client.send(new sdk.PutFunctionEventInvokeConfigCommand(input));
  }
  const RequestID = await send('{ "n": 1 }');
  await until('the dead letter is there', () => linesOf('dead.jsonl').length === 1);
  assert.deepEqual(linesOf('dead.jsonl'), [
    { RequestID, ErrorCode: 200, ErrorMessage: 'no luck: 100 %', Payload: { n: 1 } },
  ]);
  await until('the destination is told as well', () => linesOf('failed.jsonl').length === 1);
  const { requestContext } = linesOf('failed.jsonl')[0] as { readonly requestContext: Record<string, unknown> };
  assert.deepEqual([requestContext['requestId'], requestContext['condition']], [RequestID, 'RetriesExhausted']);
});

test('a version keeps its dead-letter target when that of the function changes, also over a restart', async () => {
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/dead`;
  const { DeadLetterConfig } = await update(endpoint);
  assert.deepEqual(DeadLetterConfig, { TargetArn: endpoint });
  await stop();
  await start();
  await sdk.waitUntilFunctionActiveV2({ client, maxWaitTime: 60, minDelay: 1 }, { FunctionName });
  assert.deepEqual([await configured(), await configured('1')], [endpoint, 'file:dead.jsonl']);
  const { Versions = [] } = await client.send(new sdk.ListVersionsByFunctionCommand({ FunctionName }));
  assert.deepEqual(
    Versions.map((one) => one.DeadLetterConfig?.TargetArn),
    [endpoint, 'file:dead.jsonl'],
  );
  const { Functions = [] } = await client.send(new sdk.ListFunctionsCommand({}));
  const listed = Functions.find((one) => one.FunctionName === FunctionName);
  assert.deepEqual(listed?.DeadLetterConfig, { TargetArn: endpoint });

  const id = await send('{ "n": 2 }');
  await until('the endpoint has it', () => posted.length === 1);
  const [{ body, headers } = assert.fail()] = posted;
  assert.equal(body, '{ "n": 2 }');
  assert.deepEqual(
    [headers['requestid'], headers['errorcode'], headers['errormessage']],
    [id, '200', 'no luck: 100 %25'],
  );
  await send('{ "n": 3 }', '1');
  await until('the file has the one of the version', () => linesOf('dead.jsonl').length === 2);
  assert.deepEqual([linesOf('dead.jsonl')[1]?.['Payload'], posted.length], [{ n: 3 }, 1]);
});

test('what is no target here is refused in words that say what to give, and changes nothing', async () => {
  const before = await configured();
  for (const [target, message] of [
    ['arn:aws:sqs:us-east-1:000000000000:dead', /give the ARN of a function, a file as in file:NAME, or a URL of HTTP/],
    ['arn:aws:sns:us-east-1:000000000000:dead', /give the ARN of a function/],
    ['file:../dead', /is invalid/],
    [`${ARN}-not`, /Function not found/],
  ] as const) {
    await assert.rejects(update(target), { message }, target);
    const FunctionNameOfOther = 'other';
    const input = { FunctionName: FunctionNameOfOther, Role, Runtime: 'nodejs24.x', Handler: 'index.handler' } as const;
    const command = { ...input, Code: { ZipFile }, DeadLetterConfig: { TargetArn: target } };
    await assert.rejects(client.send(new sdk.CreateFunctionCommand(command)), { message }, target);
  }
  assert.equal(await configured(), before);
  await assert.rejects(client.send(new sdk.GetFunctionCommand({ FunctionName: 'other' })), {
    name: 'ResourceNotFoundException',
  });
});

test('an empty target takes it away; other changes leave it', async () => {
  const filed = ARN.replace(FunctionName, 'filed');
  await update(filed);
  await client.send(new sdk.UpdateFunctionConfigurationCommand({ FunctionName, Timeout: 5 }));
  await sdk.waitUntilFunctionUpdatedV2({ client, maxWaitTime: 60, minDelay: 1 }, { FunctionName });
  assert.equal(await configured(), filed);
  const { DeadLetterConfig } = await update('');
  assert.equal(DeadLetterConfig, undefined);
  assert.equal(await configured(), undefined);
  assert.equal(await configured('1'), 'file:dead.jsonl');
});
