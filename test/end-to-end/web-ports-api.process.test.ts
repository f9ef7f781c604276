/** Functions that are made over the API by AWS's SDK: an application on a port, and a program for the Runtime API. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import * as sdk from '@aws-sdk/client-lambda';
import { makeZip } from '../packages/zip.ts';
import { compiledBootstrap, noCompiler } from '../support/bootstrap.ts';
import { lambdaClient } from '../support/lambda-client.ts';
import {
  assertNothingLeft,
  createWorkspace,
  startController,
  type RunningController,
  type Workspace,
} from '../support/snapctr.ts';

const Role = 'arn:aws:iam::000000000000:role/any';
const SERVER = `
require('node:http').createServer((request, response) => {
  response.setHeader('content-type', 'text/plain').end('port ' + request.url);
}).listen(process.env.PORT, '127.0.0.1');
`;
/** Answers when three are here. */
const MEETING = `
const here = [];
require('node:http').createServer((request, response) => {
  here.push(response);
  if (here.length === 3) for (const each of here) each.end('all ' + here.length);
}).listen(process.env.PORT, '127.0.0.1');
`;

describe('applications and programs over the API', { skip: noCompiler }, () => {
  let workspace: Workspace;
  let controller: RunningController;
  let client: sdk.LambdaClient;

  before(async () => {
    workspace = createWorkspace([]);
    const args = ['--data-dir', join(workspace.directory, 'data')];
    controller = await startController(workspace, { vmm: 'process', args });
    client = lambdaClient(controller.url);
  });

  after(async () => {
    client.destroy();
    assert.equal(await controller.stop(), 0);
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  async function create(input: Omit<sdk.CreateFunctionCommandInput, 'Role'>): Promise<void> {
    await client.send(new sdk.CreateFunctionCommand({ ...input, Role }));
    const { FunctionName } = input;
    await sdk.waitUntilFunctionActiveV2({ client, maxWaitTime: 60, minDelay: 1, maxDelay: 1 }, { FunctionName });
  }

  test('AWS_LWA_PORT makes an application on a port, as for AWS Lambda Web Adapter', async () => {
    const FunctionName = 'port';
    await create({
      FunctionName,
      Runtime: 'nodejs24.x',
      Handler: 'main.js',
      Environment: { Variables: { AWS_LWA_PORT: '3000' } },
      Code: { ZipFile: makeZip([{ name: 'main.js', data: SERVER }]) },
    });
    await client.send(new sdk.CreateFunctionUrlConfigCommand({ FunctionName, AuthType: 'NONE' }));
    const answer = await fetch(`${controller.url}/url/port/x?y=1`);
    assert.equal(await answer.text(), 'port /x?y=1');
    const event = { rawPath: '/z', headers: {}, requestContext: { http: { method: 'GET' } } };
    const { Payload } = await client.send(new sdk.InvokeCommand({ FunctionName, Payload: JSON.stringify(event) }));
    const { statusCode, body } = JSON.parse(Payload?.transformToString() ?? '') as Record<string, unknown>;
    assert.deepEqual([statusCode, body], [200, 'port /z']);
  });

  test('AWS_LWA_MAX_CONCURRENCY has several requests come to one VM at once', async () => {
    const FunctionName = 'several';
    const Runtime = 'nodejs24.x';
    const code = (data: string) => ({ ZipFile: makeZip([{ name: 'main.js', data }]) });
    const Variables = { AWS_LWA_PORT: '3000', AWS_LWA_MAX_CONCURRENCY: '3' };
    await create({ FunctionName, Runtime, Handler: 'main.js', Environment: { Variables }, Code: code(MEETING) });
    await client.send(new sdk.CreateFunctionUrlConfigCommand({ FunctionName, AuthType: 'NONE' }));
    const answers = await Promise.all(
      Array.from({ length: 3 }, async () => (await fetch(`${controller.url}/url/several/`)).text()),
    );
    assert.deepEqual(answers, ['all 3', 'all 3', 'all 3']);
    for (const [wrong, message] of [
      [{ ...Variables, AWS_LWA_MAX_CONCURRENCY: '101' }, /must be a number of requests from 1 to 100, not "101"/],
      [{ AWS_LWA_MAX_CONCURRENCY: '2' }, /is for an application on a port, which AWS_LWA_PORT tells/],
    ] as const) {
      const input = { FunctionName, Environment: { Variables: wrong } };
      await assert.rejects(client.send(new sdk.UpdateFunctionConfigurationCommand(input)), {
        name: 'InvalidParameterValueException',
        message,
      });
    }
  });

  test('provided.al2023 starts the bootstrap of its package', async () => {
    const FunctionName = 'program';
    await create({
      FunctionName,
      Runtime: 'provided.al2023',
      Handler: 'bootstrap',
      Code: { ZipFile: makeZip([{ name: 'bootstrap', data: compiledBootstrap(), mode: 0o100755 }]) },
    });
    const Payload = JSON.stringify({ do: 'echo', n: 1 });
    const answer = await client.send(new sdk.InvokeCommand({ FunctionName, Payload }));
    assert.equal(answer.Payload?.transformToString(), Payload);
    const failed = await client.send(new sdk.InvokeCommand({ FunctionName, Payload: '{"do":"throw"}' }));
    assert.equal(failed.FunctionError, 'Unhandled');
  });
});
