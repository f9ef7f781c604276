import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { awsLambda, type AwsResult } from '../support/aws-command.ts';
import { lambdaFunctions } from '../support/lambda-functions.ts';
import {
  assertNothingLeft,
  createWorkspace,
  startController,
  type RunningController,
  type Workspace,
} from '../support/snapctr.ts';

const CODE_SIGNING = 'arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0123456789abcdef0';

describe('the aws command', { timeout: 240_000 }, () => {
  let workspace: Workspace;
  let controller: RunningController;

  const aws = (...args: string[]): Promise<AwsResult> => awsLambda(controller.url, args, workspace.directory);
  const invoke = (event: string, ...args: string[]): Promise<AwsResult> => {
    const payload = ['--cli-binary-format', 'raw-in-base64-out', '--payload', event];
    return aws('invoke', '--function-name', 'obedient', ...payload, ...args, 'out.json');
  };
  const out = (): string => readFileSync(join(workspace.directory, 'out.json'), 'utf8');

  before(async () => {
    workspace = createWorkspace(lambdaFunctions('python3', { timeout: 5 }));
    controller = await startController(workspace, { vmm: 'process' });
  });

  after(async () => {
    assert.equal(await controller.stop(), 0);
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  test('invoke writes the result to its file, and tells version and log', async () => {
    const { status, stdout, stderr } = await invoke('{"do":"echo","n":9007199254740993}', '--log-type', 'Tail');
    assert.equal(status, 0, stderr);
    assert.equal(out(), '{"do": "echo", "n": 9007199254740993}');
    const answer = JSON.parse(stdout) as Record<string, unknown>;
    assert.deepEqual([answer['StatusCode'], answer['ExecutedVersion']], [200, '$LATEST']);
    assert.match(Buffer.from(String(answer['LogResult']), 'base64').toString(), /^START RequestId: [\s\S]*REPORT /);
  });

  test('a function error is an answer, not a failure of the command', async () => {
    const { status, stdout } = await invoke('{"do":"throw"}');
    assert.equal(status, 0);
    assert.equal((JSON.parse(stdout) as Record<string, unknown>)['FunctionError'], 'Unhandled');
    assert.equal((JSON.parse(out()) as Record<string, unknown>)['errorType'], 'ValueError');
  });

  test('Event and DryRun answer 202 and 204', async () => {
    for (const [type, code] of [
      ['Event', 202],
      ['DryRun', 204],
    ] as const) {
      const { stdout, stderr } = await invoke('{"do":"nothing"}', '--invocation-type', type);
      assert.equal((JSON.parse(stdout || '{}') as Record<string, unknown>)['StatusCode'], code, stderr);
    }
  });

  test('errors come by name, also from operations that are not served', async () => {
    const missing = await aws('invoke', '--function-name', 'nobody', 'out.json');
    assert.match(
      missing.stderr,
      /\(ResourceNotFoundException\).*Function not found: arn:aws:lambda:us-east-1:0{12}:function:nobody:\$LATEST/,
    );
    const bad = await invoke('{"a"');
    assert.match(bad.stderr, /\(InvalidRequestContentException\).*Could not parse request body into json/);
    const filed = await aws('delete-function', '--function-name', 'obedient');
    assert.match(filed.stderr, /\(ResourceConflictException\).*functions\.yaml/);
    const unserved = await aws('get-code-signing-config', '--code-signing-config-arn', CODE_SIGNING);
    assert.match(unserved.stderr, /\(UnknownOperationException\).*GetCodeSigningConfig is not offered/);
    for (const { status } of [missing, bad, filed, unserved]) assert.notEqual(status, 0);
  });

  test('list-functions and get-function tell what is configured; its waiter is content', async () => {
    const list = await aws('list-functions');
    const { Functions: functions } = JSON.parse(list.stdout) as { Functions: Record<string, unknown>[] };
    assert.deepEqual(
      functions.map((fn) => [fn['FunctionName'], fn['Timeout'], fn['MemorySize']]),
      [['obedient', 5, 128]],
    );
    const arn = String(functions[0]?.['FunctionArn']);
    const get = await aws('get-function', '--function-name', arn);
    assert.match(get.stdout, /"State": "Active"/, get.stderr);
    const wait = await aws('wait', 'function-active-v2', '--function-name', 'obedient');
    assert.equal(wait.status, 0, wait.stderr);
  });
});
