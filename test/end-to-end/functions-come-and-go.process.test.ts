import assert from 'node:assert/strict';
import { appendFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import * as sdk from '@aws-sdk/client-lambda';
import { makeZip } from '../packages/zip.ts';
import { invokeRaw, lambdaClient } from '../support/lambda-client.ts';
import { assertNothingLeft, createWorkspace, startController } from '../support/snapctr.ts';
import { deployUnderLoad, functionsComeAndGo, VERSION, type Answered } from './functions-come-and-go.ts';

functionsComeAndGo('process');

test('with --watch a saved file is read by itself', async () => {
  const code = (text: string): string => `def handle(request):\n    return "${text}"\n`;
  const workspace = createWorkspace([{ name: 'f', runtime: 'python3', files: { 'workload.py': code('old') } }]);
  const controller = await startController(workspace, { vmm: 'process', args: ['--watch'] });
  try {
    const until = async (name: string, text: string): Promise<void> => {
      const deadline = Date.now() + 30_000;
      while ((await controller.invoke(name, {})).text !== JSON.stringify(text)) {
        assert.ok(Date.now() < deadline, `${name} answers ${text}: ${controller.log.slice(-5).join('\n')}`);
        await sleep(20);
      }
    };
    await until('f', 'old');
    writeFileSync(join(workspace.directory, 'apps/f/workload.py'), code('new'));
    await until('f', 'new');
    appendFileSync(join(workspace.directory, 'functions.yaml'), '- {name: g, runtime: python3, appfs: f}\n');
    await until('g', 'new');
    writeFileSync(join(workspace.directory, 'apps/f/workload.py'), code('newer'));
    await Promise.all([until('f', 'newer'), until('g', 'newer')]);
  } finally {
    assert.equal(await controller.stop(), 0);
    workspace.remove();
  }
});

test('20 deployments over the API with 200 requests in flight: none fails, and none is answered by code that is gone', async () => {
  const FunctionName = 'f';
  // Eight VMs have room, so that most of the 200 wait at any time: that is legitimate where the queue may be as long, and a request may
  // wait for as long as a busy machine needs for all before it.
  const workspace = createWorkspace([], ['queue_capacity: 400', 'queue_wait: 120', 'queue_timeout: 120']);
  const controller = await startController(workspace, { vmm: 'process', memoryMib: 1024 });
  const client = lambdaClient(controller.url);
  const packageOf = (version: number): Buffer => makeZip([{ name: 'app.py', data: VERSION(version) }]);
  const patience = { client, maxWaitTime: 120, minDelay: 1, maxDelay: 1 };
  try {
    await client.send(
      new sdk.CreateFunctionCommand({
        ...{ FunctionName, Role: 'arn:aws:iam::000000000000:role/any', Runtime: 'python3.12', Handler: 'app.handler' },
        ...{ Timeout: 60, Code: { ZipFile: packageOf(0) } },
      }),
    );
    await sdk.waitUntilFunctionActiveV2(patience, { FunctionName });
    await deployUnderLoad({
      clients: 200,
      deployed: 0,
      deployments: 20,
      async deploy(version) {
        // But for those whose answer is on its way, and those that their client is about to send.
        await controller.until(({ queue, workers }) => queue.length + workers.busy >= 180, 60_000);
        await client.send(new sdk.UpdateFunctionCodeCommand({ FunctionName, ZipFile: packageOf(version) }));
        await sdk.waitUntilFunctionUpdatedV2(patience, { FunctionName });
      },
      async ask(n) {
        const { status, headers, text } = await invokeRaw(controller.url, FunctionName, JSON.stringify({ n, s: 0.15 }));
        assert.deepEqual([status, headers.get('x-amz-function-error')], [200, null], text);
        return JSON.parse(text) as Answered;
      },
    });
  } finally {
    client.destroy();
    assert.equal(await controller.stop(), 0);
    await assertNothingLeft(workspace);
    workspace.remove();
  }
});
