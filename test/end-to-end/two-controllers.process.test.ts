/** Two controllers on one host: never with one data directory, and with one cache without taking files from each other. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import * as sdk from '@aws-sdk/client-lambda';
import { makeZip } from '../packages/zip.ts';
import { lambdaClient } from '../support/lambda-client.ts';
import { assertNothingLeft, createWorkspace, startController } from '../support/snapctr.ts';

const Role = 'arn:aws:iam::000000000000:role/any';
const PATIENCE = { maxWaitTime: 120, minDelay: 1, maxDelay: 1 } as const;

function packageOf(answer: string): Buffer {
  return makeZip([{ name: 'main.py', data: `def handle(event, context):\n    return ${JSON.stringify(answer)}\n` }]);
}

test('a data directory has one snapctr at a time: the next one is told whose it is, and has it when that one is gone', async () => {
  const workspace = createWorkspace([]);
  const options = { vmm: 'process', args: ['--data-dir', join(workspace.directory, 'data')] } as const;
  const first = await startController(workspace, options);
  await assert.rejects(
    startController(workspace, options),
    /ended with 2:[^]*is used by another snapctr; name another one with --data-dir/,
  );
  first.kill('SIGKILL');
  await first.exited;
  const next = await startController(workspace, options);
  await next.stop();
  await assertNothingLeft(workspace);
  workspace.remove();
});

test('two with one cache deploy, change and delete the same code at once: each goes on with what it has', async () => {
  const workspaces = [createWorkspace([]), createWorkspace([])] as const;
  const cache = join(workspaces[0].directory, 'cache');
  const env = { XDG_CACHE_HOME: cache };
  const controllers = await Promise.all(
    workspaces.map((workspace) =>
      startController(workspace, { vmm: 'process', args: ['--data-dir', join(workspace.directory, 'data')], env }),
    ),
  );
  try {
    await Promise.all(
      controllers.map(async (controller) => {
        const client = lambdaClient(controller.url);
        const FunctionName = 'f';
        const answer = async (): Promise<unknown> => (await controller.invoke(FunctionName, {})).body;
        for (let round = 0; round < 3; round += 1) {
          const Code = { ZipFile: packageOf(`created in ${round}`) };
          await client.send(
            new sdk.CreateFunctionCommand({ FunctionName, Role, Runtime: 'python3.11', Handler: 'main.handle', Code }),
          );
          await sdk.waitUntilFunctionActiveV2({ client, ...PATIENCE }, { FunctionName });
          assert.equal(await answer(), `created in ${round}`);
          const ZipFile = packageOf(`updated in ${round}`);
          await client.send(new sdk.UpdateFunctionCodeCommand({ FunctionName, ZipFile }));
          await sdk.waitUntilFunctionUpdatedV2({ client, ...PATIENCE }, { FunctionName });
          assert.equal(await answer(), `updated in ${round}`);
          await client.send(new sdk.DeleteFunctionCommand({ FunctionName }));
        }
        client.destroy();
      }),
    );
  } finally {
    for (const controller of controllers) await controller.stop();
  }
  for (const workspace of workspaces) {
    await assertNothingLeft(workspace);
    workspace.remove();
  }
});
