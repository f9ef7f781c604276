/** Functions for `nodejs20.x`, `nodejs22.x` and `nodejs24.x` in virtual machines: each is run by the version of Node that it names. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import * as sdk from '@aws-sdk/client-lambda';
import { makeZip } from '../packages/zip.ts';
import { lambdaClient } from '../support/lambda-client.ts';
import {
  assertNothingLeft,
  createWorkspace,
  startController,
  type RunningController,
  type Workspace,
} from '../support/snapctr.ts';
import { PATIENCE, Role } from './control.ts';

const RUNTIMES = ['nodejs20.x', 'nodejs22.x', 'nodejs24.x'] as const;
const SOURCE = `
const { S3Client } = require('@aws-sdk/client-s3');
const { randomBytes, randomUUID } = require('node:crypto');
// Some are drawn before the snapshot, from what each VM has to have of its own.
randomUUID(), randomBytes(8), Math.random(), crypto.getRandomValues(new Uint8Array(8));
exports.handler = async (event) => (await new Promise((resolve) => setTimeout(resolve, event.ms ?? 0)), {
  major: 'nodejs' + process.versions.node.split('.')[0] + '.x',
  told: process.env.AWS_EXECUTION_ENV,
  sdk: typeof S3Client,
  draws: [randomUUID(), randomBytes(8).toString('hex'), Math.random(), crypto.getRandomValues(new Uint8Array(8)).join()],
  event,
});
`;

describe('versions of Node', { timeout: 600_000 }, () => {
  let workspace: Workspace;
  let controller: RunningController;
  let client: sdk.LambdaClient;

  before(async () => {
    workspace = createWorkspace([]);
    const files = join(workspace.directory, 'apps', 'filed');
    mkdirSync(files);
    writeFileSync(join(files, 'index.js'), SOURCE);
    writeFileSync(
      join(workspace.directory, 'functions.yaml'),
      '- {name: filed, runtime: nodejs22.x, appfs: filed, handler: index.handler, memory: 256}\n',
    );
    controller = await startController(workspace, { vmm: 'qemu', snapshots: 'being made', memoryMib: 2048 });
    client = lambdaClient(controller.url);
  });

  after(async () => {
    client.destroy();
    assert.equal(await controller.stop(), 0);
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  const invoke = async (FunctionName: string, event: unknown): Promise<Record<string, unknown>> => {
    const { Payload, FunctionError } = await client.send(
      new sdk.InvokeCommand({ FunctionName, Payload: JSON.stringify(event) }),
    );
    const text = Buffer.from(Payload ?? []).toString();
    assert.equal(FunctionError, undefined, text);
    return JSON.parse(text) as Record<string, unknown>;
  };

  test('each runs on its own, whether booted or restored, with what a function of it expects', async () => {
    const ZipFile = makeZip([{ name: 'index.js', data: SOURCE }]);
    await Promise.all(
      RUNTIMES.map(async (Runtime) => {
        const FunctionName = Runtime.replace('.', '-');
        const Handler = 'index.handler';
        await client.send(
          new sdk.CreateFunctionCommand({ FunctionName, Runtime, Role, Handler, Code: { ZipFile }, MemorySize: 256 }),
        );
        await sdk.waitUntilFunctionActiveV2({ client, ...PATIENCE, maxWaitTime: 400 }, { FunctionName });
        const { draws, ...first } = await invoke(FunctionName, 1);
        assert.equal((draws as unknown[]).length, 4);
        assert.deepEqual(first, {
          major: Runtime,
          told: `AWS_Lambda_${Runtime.replace('.x', '')}.x`,
          sdk: 'function',
          event: 1,
        });
      }),
    );
    await controller.until(({ snapshots }) => snapshots.ready === RUNTIMES.length + 1, 300_000);
    for (const Runtime of RUNTIMES) {
      const FunctionName = Runtime.replace('.', '-');
      // The same code with another configuration is another version of it, which begins with a restored VM.
      const Environment = { Variables: { NAME: 'value' } };
      await client.send(new sdk.UpdateFunctionConfigurationCommand({ FunctionName, Environment }));
      await sdk.waitUntilFunctionUpdatedV2({ client, ...PATIENCE }, { FunctionName });
      const answers = await Promise.all([1, 2, 3].map(() => controller.invoke(FunctionName, { ms: 1500 })));
      for (const { headers, text } of answers) assert.equal(headers.get('x-snapfaas-start'), 'restored', text);
      const clones = answers.map(({ body }) => body as Record<string, unknown>);
      for (const { major } of clones) assert.equal(major, Runtime);
      const draws = clones.flatMap((clone) => clone['draws'] as unknown[]);
      assert.equal(new Set(draws).size, 3 * 4, JSON.stringify(draws));
    }
  });

  test('a function of the YAML file names one as well', async () => {
    const { status, body } = await controller.invoke('filed', {});
    assert.equal(status, 200);
    assert.equal((body as { major: string }).major, 'nodejs22.x');
    const { Configuration } = await client.send(new sdk.GetFunctionCommand({ FunctionName: 'filed' }));
    assert.equal(Configuration?.Runtime, 'nodejs22.x');
  });
});
