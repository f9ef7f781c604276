/** The AWS SDKs of the images, in real VMs: found by functions that bring none, and by nobody else. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  assertNothingLeft,
  createWorkspace,
  errorOf,
  startController,
  type RunningController,
  type TestFunction,
  type Workspace,
} from '../support/snapctr.ts';

const CREDENTIALS = { AWS_ACCESS_KEY_ID: 'any', AWS_SECRET_ACCESS_KEY: 'any' };

/** Signs an address, for which nobody needs to be there. */
const PYTHON = `
import boto3, os
os.environ.update(${JSON.stringify(CREDENTIALS)})
s3 = boto3.client('s3', region_name='eu-central-1')
def handler(event, context):
    url = s3.generate_presigned_url('get_object', Params={'Bucket': 'bucket', 'Key': event})
    return [url.split('?')[0], boto3.__file__]
`;
const REQUIRED = `
Object.assign(process.env, ${JSON.stringify(CREDENTIALS)});
const { S3Client, GetObjectCommand } = require('@aws-sdk/client-s3');
const { getSignedUrl } = require('@aws-sdk/s3-request-presigner');
const s3 = new S3Client({ region: 'eu-central-1' });
exports.handler = async (event) => {
  const url = await getSignedUrl(s3, new GetObjectCommand({ Bucket: 'bucket', Key: event }));
  const { DynamoDBDocumentClient } = await import('@aws-sdk/lib-dynamodb');
  return [url.split('?')[0], require.resolve('@aws-sdk/client-s3'), typeof DynamoDBDocumentClient];
};
`;
const IMPORTED = `
import { SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { mockClient } from '@aws-sdk/client-nothing-of-that-name';
export const handler = async () => [typeof SendMessageCommand, typeof SQSClient];
`;
const OWN = 'exports.S3Client = "brought";\n';

function of(name: string, runtime: TestFunction['runtime'], files: Readonly<Record<string, string>>): TestFunction {
  return { name, runtime, files, keys: { handler: 'app.handler', timeout: 120 } };
}

describe('the AWS SDKs of the images, qemu', { timeout: 600_000 }, () => {
  let workspace: Workspace;
  let controller: RunningController;

  before(async () => {
    const own = 'node_modules/@aws-sdk/client-s3/index.js';
    const required = `exports.handler = async () => require('@aws-sdk/client-s3').S3Client;\n`;
    const layered = `import { S3Client } from '@aws-sdk/client-s3';\nexport const handler = async () => S3Client;\n`;
    workspace = createWorkspace([
      of('python', 'python3', { 'app.py': PYTHON }),
      of('python-own', 'python3', {
        'app.py': 'import boto3\ndef handler(event, context):\n    return boto3.client\n',
        'boto3.py': 'client = "brought"\n',
      }),
      of('required', 'nodejs', { 'app.js': REQUIRED }),
      of('imported', 'nodejs', { 'app.mjs': IMPORTED.replace(/^import \{ mockClient.*\n/m, '') }),
      of('missing', 'nodejs', { 'app.mjs': IMPORTED }),
      of('required-own', 'nodejs', { 'app.js': required, [own]: OWN }),
      of('required-layer', 'nodejs', { 'app.js': required }),
      of('imported-layer', 'nodejs', { 'app.mjs': layered }),
    ]);
    const inLayer = join(workspace.directory, 'apps', 'sdk', 'nodejs', own);
    mkdirSync(dirname(inLayer), { recursive: true });
    writeFileSync(inLayer, OWN);
    const list = join(workspace.directory, 'functions.yaml');
    const text = readFileSync(list, 'utf8');
    writeFileSync(list, text.replaceAll(/name: (\S+-layer)\n/g, 'name: $1\n  layers: [sdk]\n'));
    controller = await startController(workspace, { vmm: 'qemu', snapshots: true });
  });
  after(async () => {
    await controller.stop();
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  async function answerOf(name: string): Promise<unknown> {
    const { status, body, text } = await controller.invoke(name, 'key');
    assert.equal(status, 200, text);
    return body;
  }

  test('a Python function has boto3', async () => {
    assert.deepEqual(await answerOf('python'), [
      'https://bucket.s3.amazonaws.com/key',
      '/var/runtime/boto3/__init__.py',
    ]);
  });

  test('a Node function has clients of the SDK, by require and by import', async () => {
    assert.deepEqual(await answerOf('required'), [
      'https://bucket.s3.eu-central-1.amazonaws.com/key',
      '/var/runtime/node_modules/@aws-sdk/client-s3/dist-cjs/index.js',
      'function',
    ]);
    assert.deepEqual(await answerOf('imported'), ['function', 'function']);
  });

  test('what a function or a layer brings goes first', async () => {
    for (const name of ['python-own', 'required-own', 'required-layer', 'imported-layer']) {
      assert.equal(await answerOf(name), 'brought', name);
    }
  });

  test('a client that is not there is missed where it was asked for', async () => {
    const error = errorOf(await controller.invoke('missing', 1));
    assert.equal(error?.code, 'function_error');
    assert.match(error.message, /client-nothing-of-that-name.* imported from \/var\/task\/app\.mjs/);
  });
});
