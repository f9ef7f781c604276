/** A file system without room, at each place that a deployment writes to: a typed error, nothing half done, and the old version serves. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import * as sdk from '@aws-sdk/client-lambda';
import { makeZip } from '../packages/zip.ts';
import { lambdaClient } from '../support/lambda-client.ts';
import { assertNothingLeft, createWorkspace, startController } from '../support/snapctr.ts';

const PATIENCE = { maxWaitTime: 120, minDelay: 1, maxDelay: 1 } as const;
const FunctionName = 'made';
/** More than what is left over of a page or so; it cannot be made smaller by packing. */
const BALLAST = randomBytes(200_000);
const LARGE_EVENT = JSON.stringify('x'.repeat(BALLAST.length));
const CHUNK = Buffer.alloc(64 * 1024);

function packageOf(answer: string): Buffer {
  const text = `def handle(event, context):\n    return ${JSON.stringify(answer)}\n`;
  return makeZip([
    { name: 'main.py', data: text },
    { name: 'ballast', data: BALLAST, method: 0 },
  ]);
}

/** Takes all the room there is. @returns what gives it back. */
function fill(directory: string): () => void {
  const path = join(directory, 'filler');
  const file = openSync(path, 'w');
  try {
    for (let size = CHUNK.length; size > 0;) {
      try {
        writeSync(file, CHUNK, 0, size);
      } catch {
        size >>= 1;
      }
    }
  } finally {
    closeSync(file);
  }
  return () => rmSync(path);
}

/** Where a change is refused at once, it is so by this error; elsewhere its deployment fails. */
const PLACES = [
  { place: 'data', refusal: 'ServiceException' },
  { place: 'cache', refusal: null },
] as const;

for (const { place, refusal } of PLACES) {
  test(`a deployment finds no room in the directory for ${place}, and does its work once there is some`, async (t) => {
    const workspace = createWorkspace([]);
    const directory = join(workspace.directory, place);
    mkdirSync(directory);
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', directory]).status !== 0) {
      workspace.remove();
      return t.skip('needs root and the right to mount a tmpfs');
    }
    const [data, cache] = [join(workspace.directory, 'data'), join(workspace.directory, 'cache')];
    const options = { vmm: 'process', args: ['--data-dir', data], env: { XDG_CACHE_HOME: cache } } as const;
    const snapctr = await startController(workspace, options);
    const client = lambdaClient(snapctr.url, { maxAttempts: 1 });
    const invoke = async (): Promise<unknown> => (await snapctr.invoke(FunctionName, {})).body;
    const update = (ZipFile: Buffer): Promise<unknown> =>
      client.send(new sdk.UpdateFunctionCodeCommand({ FunctionName, ZipFile }));
    const sendEvent = (): Promise<{ readonly StatusCode?: number | undefined }> =>
      client.send(new sdk.InvokeCommand({ FunctionName, InvocationType: 'Event', Payload: LARGE_EVENT }));
    const described = (): Promise<sdk.FunctionConfiguration> =>
      client.send(new sdk.GetFunctionConfigurationCommand({ FunctionName }));
    const created = {
      Role: 'arn:aws:iam::000000000000:role/any',
      Runtime: 'python3.11',
      Handler: 'main.handle',
    } as const;
    try {
      const Code = { ZipFile: packageOf('one') };
      await client.send(new sdk.CreateFunctionCommand({ FunctionName, Code, ...created }));
      await sdk.waitUntilFunctionActiveV2({ client, ...PATIENCE }, { FunctionName });
      const before = await described();
      const stored = (): readonly string[] =>
        ['functions', 'packages'].flatMap((name) => readdirSync(join(data, name)));
      const kept = stored();
      const giveBack = fill(directory);
      try {
        if (refusal === null) {
          await update(packageOf('two'));
          await assert.rejects(sdk.waitUntilFunctionUpdatedV2({ client, ...PATIENCE }, { FunctionName }));
          const { State, LastUpdateStatusReason, LastUpdateStatusReasonCode } = await described();
          assert.deepEqual([State, LastUpdateStatusReasonCode], ['Active', 'InternalError']);
          assert.match(LastUpdateStatusReason ?? '', /ENOSPC|[Nn]o space left/);
        } else {
          const another = { FunctionName: 'other', Code: { ZipFile: packageOf('other') }, ...created };
          const calls: readonly (() => Promise<unknown>)[] = [
            () => update(packageOf('two')),
            () => client.send(new sdk.CreateFunctionCommand(another)),
            () => client.send(new sdk.UpdateFunctionConfigurationCommand({ FunctionName, Timeout: 9 })),
            () => client.send(new sdk.PublishVersionCommand({ FunctionName })),
            () => client.send(new sdk.TagResourceCommand({ Resource: before.FunctionArn, Tags: { a: 'b' } })),
            sendEvent,
          ];
          for (const call of calls) {
            const error = await call().then(
              () => assert.fail('it was done'),
              (problem: unknown) => problem as sdk.LambdaServiceException,
            );
            assert.deepEqual([error.name, error.$metadata.httpStatusCode], [refusal, 500], error.message);
            assert.match(error.message, /ENOSPC|no space left/);
          }
          assert.equal((await described()).RevisionId, before.RevisionId);
          assert.deepEqual(stored(), kept, 'nothing half done');
        }
        assert.equal(await invoke(), 'one');
      } finally {
        giveBack();
      }
      assert.equal((await sendEvent()).StatusCode, 202, 'events are taken again');
      const three = packageOf('three');
      await update(three);
      await sdk.waitUntilFunctionUpdatedV2({ client, ...PATIENCE }, { FunctionName });
      assert.equal(await invoke(), 'three');
      const sha256 = createHash('sha256').update(three).digest('hex');
      assert.deepEqual(stored(), ['made.json', `${sha256}.zip`]);
    } finally {
      client.destroy();
      await snapctr.stop();
      await assertNothingLeft(workspace);
      execFileSync('umount', [directory]);
      workspace.remove();
    }
  });
}
