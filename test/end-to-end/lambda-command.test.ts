import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { makeZip } from '../packages/zip.ts';
import { awsLambda, awsScript, NO_AWS, type AwsResult } from '../support/aws-command.ts';
import { lambdaFunctions } from '../support/lambda-functions.ts';
import {
  assertNothingLeft,
  createWorkspace,
  PROJECT_ROOT,
  SNAPCTR,
  startController,
  type RunningController,
  type Workspace,
} from '../support/snapctr.ts';

const CODE_SIGNING = 'arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0123456789abcdef0';

describe('the aws command', { timeout: 480_000, skip: NO_AWS }, () => {
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

  test('a function is created from a zip file, waited for, invoked, updated, published, named by an alias and deleted', async () => {
    const functionName = ['--function-name', 'made'];
    const done = async (...args: string[]): Promise<Readonly<Record<string, unknown>>> => {
      const { status, stdout, stderr } = await aws(...args);
      assert.equal(status, 0, stderr);
      return JSON.parse(stdout || '{}') as Record<string, unknown>;
    };
    const zipOf = (word: string): string => {
      const zip = makeZip([{ name: 'main.py', data: `def handle(event, context):\n    return "${word}"\n` }]);
      writeFileSync(join(workspace.directory, `${word}.zip`), zip);
      return createHash('sha256').update(zip).digest('base64');
    };
    const digests = { one: zipOf('one'), two: zipOf('two') };
    const answer = async (...args: string[]): Promise<readonly unknown[]> => {
      const { ExecutedVersion: version } = await done('invoke', ...functionName, ...args, 'out.json');
      return [JSON.parse(out()) as unknown, version];
    };
    const created = await done(
      ...['create-function', ...functionName, '--zip-file', 'fileb://one.zip', '--runtime', 'python3.12'],
      ...['--handler', 'main.handle', '--role', 'arn:aws:iam::000000000000:role/any', '--tags', 'team=x'],
    );
    assert.deepEqual([created['State'], created['CodeSha256']], ['Pending', digests.one]);
    await done('wait', 'function-active-v2', ...functionName);
    assert.deepEqual(await answer(), ['one', '$LATEST']);
    assert.equal((await done('publish-version', ...functionName))['Version'], '1');
    const updating = await done('update-function-code', ...functionName, '--zip-file', 'fileb://two.zip');
    assert.deepEqual([updating['LastUpdateStatus'], updating['CodeSha256']], ['InProgress', digests.two]);
    await done('wait', 'function-updated-v2', ...functionName);
    assert.deepEqual(await answer(), ['two', '$LATEST']);
    assert.equal((await done('publish-version', ...functionName))['Version'], '2');
    await done('wait', 'published-version-active', ...functionName, '--qualifier', '2');
    const alias = ['--name', 'live', '--function-version'];
    assert.equal((await done('create-alias', ...functionName, ...alias, '1'))['FunctionVersion'], '1');
    assert.deepEqual(await answer('--qualifier', 'live'), ['one', '1']);
    await done('update-alias', ...functionName, ...alias, '2');
    assert.deepEqual(await answer('--qualifier', 'live'), ['two', '2']);
    await done('delete-function', ...functionName);
    const gone = await aws('get-function', ...functionName);
    assert.match(gone.stderr, /\(ResourceNotFoundException\).*Function not found/);
    assert.notEqual(gone.status, 0);
  });

  test('the lines of the README make a function and run it', async () => {
    const readme = readFileSync(join(PROJECT_ROOT, 'README.md'), 'utf8');
    const blocks = [...readme.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, lines = '']) => lines);
    const init = /^npx snapctr init .*$/m.exec(blocks.join('\n'))?.[0] ?? assert.fail('the README has no snapctr init');
    const create = blocks.find((lines) => lines.includes('lambda create-function')) ?? '';
    assert.match(create, /lambda wait function-active-v2 [^]* lambda invoke /);
    assert.ok(create.includes('http://127.0.0.1:8080'));
    const lines = `${init.replace('npx snapctr', `"${process.execPath}" "${SNAPCTR}"`)}\n${create}`;
    const { status, stdout, stderr } = await awsScript(
      lines.replaceAll('http://127.0.0.1:8080', controller.url),
      workspace.directory,
    );
    assert.equal(status, 0, `${stdout}\n${stderr}`);
    const { name } = JSON.parse(readFileSync(join(workspace.directory, 'hello/event.json'), 'utf8')) as {
      name: string;
    };
    assert.deepEqual(JSON.parse(out()), { greeting: `Hello, ${name}!` });
    assert.equal((await aws('delete-function', '--function-name', 'hello-aws')).status, 0);
  });
});
