import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { InvokeWithResponseStreamCommand } from '@aws-sdk/client-lambda';
import { parse, stringify } from 'yaml';
import { AWS, awsEnvironment } from '../support/aws-command.ts';
import { lambdaClient } from '../support/lambda-client.ts';
import {
  assertNothingLeft,
  createWorkspace,
  PROJECT_ROOT,
  startController,
  type RunningController,
  type Workspace,
} from '../support/snapctr.ts';

const PNG_SIGNATURE = '89504e470d0a1a0a';
const PATIENCE_MS = 60_000;

describe(
  'examples for AWS Lambda, in restored virtual machines, by the commands of their READMEs',
  { timeout: 240_000 },
  () => {
    let workspace: Workspace;
    let controller: RunningController;

    before(async () => {
      workspace = createWorkspace([]);
      const examples = join(PROJECT_ROOT, 'examples');
      symlinkSync(examples, join(workspace.directory, 'examples'));
      const all = parse(readFileSync(join(PROJECT_ROOT, 'resources/functions.yaml'), 'utf8')) as { name: string }[];
      const functions = all.filter(({ name }) => name.startsWith('lambda-'));
      writeFileSync(join(workspace.directory, 'functions.yaml'), stringify(functions));
      const config = readFileSync(workspace.config, 'utf8');
      writeFileSync(workspace.config, config.replace(/^appfs_dir: .*$/m, `appfs_dir: ${examples}`));
      controller = await startController(workspace, { vmm: 'qemu', snapshots: true });
      assert.equal((await controller.status()).snapshots.ready, 3);
    });

    after(async () => {
      assert.equal(await controller.stop(), 0);
      await assertNothingLeft(workspace);
      workspace.remove();
    });

    /** Runs the `aws` command of an example's README as it stands there, but for the endpoint. */
    const readmeCommand = async (example: string, output: string): Promise<string> => {
      const readme = readFileSync(join(PROJECT_ROOT, 'examples', example, 'README.md'), 'utf8');
      const command = /^\$ aws ((?:.*\\\n)*.*)$/m.exec(readme)?.[1] ?? assert.fail('the README has no aws command');
      const words = command.replaceAll('\\\n', ' ').replace('http://127.0.0.1:8080', controller.url);
      const { directory } = workspace;
      await promisify(execFile)('/bin/sh', ['-c', `exec ${AWS} ${words}`], {
        cwd: directory,
        env: awsEnvironment(directory),
        timeout: PATIENCE_MS,
      });
      return readFileSync(join(directory, output), 'utf8');
    };

    test('lambda-api answers as API Gateway wants it', async () => {
      const answer = JSON.parse(await readmeCommand('lambda-api', 'out.json')) as { statusCode: number; body: string };
      assert.equal(answer.statusCode, 200);
      assert.equal((JSON.parse(answer.body) as { cents: number }).cents, 9680);
    });

    test('lambda-thumbnail makes a PNG of what the S3 notification names', async () => {
      const { thumbnails } = JSON.parse(await readmeCommand('lambda-thumbnail', 'out.json')) as {
        thumbnails: { key: string; width: number; height: number; body: string }[];
      };
      const [thumbnail] = thumbnails;
      assert.equal(thumbnail?.key, 'thumbnails/in the mountains.png');
      const png = Buffer.from(thumbnail.body, 'base64');
      assert.equal(png.subarray(0, 8).toString('hex'), PNG_SIGNATURE);
      assert.deepEqual([png.readUInt32BE(16), png.readUInt32BE(20)], [thumbnail.width, thumbnail.height]);
    });

    test('lambda-stream writes its text part by part, and the same one whole', async () => {
      const whole = await readmeCommand('lambda-stream', 'out.txt');
      assert.equal(whole.trim().split(' ').length, 40);
      const client = lambdaClient(controller.url);
      const Payload = readFileSync(join(PROJECT_ROOT, 'examples/lambda-stream/event.json'));
      const command = new InvokeWithResponseStreamCommand({ FunctionName: 'lambda-stream', Payload });
      const parts: string[] = [];
      for await (const { PayloadChunk: chunk } of (await client.send(command)).EventStream ?? []) {
        if (chunk?.Payload !== undefined) parts.push(Buffer.from(chunk.Payload).toString());
      }
      client.destroy();
      assert.equal(parts.join(''), whole);
      assert.ok(parts.length > 10, `the text came in ${parts.length} parts`);
    });
  },
);
