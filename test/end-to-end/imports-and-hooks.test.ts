/** An import, or hooks, that do not end, from the client's side: it is the function that is late, not the host. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { InvokeCommand, type LambdaClient, type LambdaServiceException } from '@aws-sdk/client-lambda';
import { source } from '../support/functions.ts';
import { lambdaClient } from '../support/lambda-client.ts';
import {
  assertNothingLeft,
  createWorkspace,
  errorOf,
  startController,
  type RunningController,
  type TestFunction,
  type Workspace,
} from '../support/snapctr.ts';

const HANGS = 'for (;;);\n';
const FAILING_HOOK: TestFunction = {
  name: 'failing-hook',
  runtime: 'python3',
  files: {
    'app.py':
      'from snapshot_restore_py import *\n@register_after_restore\ndef fail():\n    raise ValueError("no licence")\n' +
      'def handler(event, context):\n    pass\n',
  },
  keys: { handler: 'app.handler' },
};
/** Far more than a runtime takes to be up without a VM around it. */
const BOOT_TIMEOUT_S = 4;
const WORDS = new RegExp(`the import did not end within the ${BOOT_TIMEOUT_S * 1000} ms .*\\(--boot-timeout\\)`);

const LATE_HOOK = source(
  'late-hook',
  'python3',
  'import time\nfrom snapshot_restore_py import *\nregister_after_restore(time.sleep, 1000)\ndef handle(event):\n    pass\n',
);

for (const [vmm, start] of [
  ['process', 'cold'],
  ['fake-firecracker', 'restored'],
] as const) {
  describe(`an import that does not end: ${vmm}, ${start}`, () => {
    let workspace: Workspace;
    let controller: RunningController;
    let client: LambdaClient;

    before(async () => {
      workspace = createWorkspace([
        source('bystander', 'nodejs', "exports.handle = () => 'alive';\n"),
        source('hangs', 'nodejs', HANGS),
        LATE_HOOK,
        FAILING_HOOK,
        { name: 'lambda', runtime: 'nodejs', files: { 'index.js': HANGS }, keys: { handler: 'index.handler' } },
        {
          name: 'bad-import',
          runtime: 'python3',
          files: { 'app.py': 'print("looking for it")\nimport nowhere\n' },
          keys: { handler: 'app.handler' },
        },
      ]);
      const args = ['--boot-timeout', String(BOOT_TIMEOUT_S)];
      controller = await startController(workspace, { vmm, snapshots: start === 'restored', args });
      client = lambdaClient(controller.url);
    });

    after(async () => {
      client.destroy();
      assert.equal(await controller.stop(), 0);
      await assertNothingLeft(workspace);
      workspace.remove();
    });

    test('POST / answers function_error, as for an import that throws', async () => {
      const answer = await controller.invoke('hangs', null);
      const error = errorOf(answer);
      assert.deepEqual([answer.status, error?.code, error?.type], [502, 'function_error', 'Sandbox.Timedout']);
      assert.match(error?.message ?? '', WORDS);
      assert.equal(answer.headers.get('retry-after'), null);
    });

    test('the Lambda API answers 200 Unhandled, and the SDK does not try again', async () => {
      const answer = await client.send(new InvokeCommand({ FunctionName: 'lambda' }));
      assert.deepEqual([answer.StatusCode, answer.FunctionError, answer.$metadata.attempts], [200, 'Unhandled', 1]);
      const payload = JSON.parse(answer.Payload?.transformToString() ?? '') as Record<string, string>;
      assert.deepEqual(Object.keys(payload).sort(), ['errorMessage', 'errorType']);
      assert.equal(payload['errorType'], 'Sandbox.Timedout');
      assert.match(payload['errorMessage'] ?? '', /^RequestId: [0-9a-f-]{36} Error: /);
      assert.match(payload['errorMessage'] ?? '', WORDS);
    });

    test('an import that fails brings its log, and how its VM came to be', async () => {
      const answer = await client.send(new InvokeCommand({ FunctionName: 'bad-import', LogType: 'Tail' }));
      assert.equal(answer.FunctionError, 'Unhandled');
      const log = Buffer.from(answer.LogResult ?? '', 'base64').toString();
      assert.match(
        log,
        /^START RequestId: .*\nlooking for it\n\[ERROR\] Runtime\.ImportModuleError: [^]*\nEND RequestId: /,
      );
      const plain = await controller.invoke('bad-import', null);
      assert.equal(plain.headers.get('x-snapfaas-start'), 'cold');
    });

    test('others are served meanwhile', async () => {
      const late = controller.invoke('hangs', null);
      const answer = await controller.invoke('bystander', null);
      assert.deepEqual([answer.body, answer.headers.get('x-snapfaas-start')], ['alive', start]);
      assert.equal((await late).status, 502);
    });

    if (start !== 'restored') return;

    test('neither do hooks after the restore: SnapStartTimeoutException, and function_error', async () => {
      await assert.rejects(client.send(new InvokeCommand({ FunctionName: 'late-hook' })), (thrown) => {
        const { name, message, $metadata } = thrown as LambdaServiceException;
        assert.deepEqual([name, $metadata.httpStatusCode, $metadata.attempts], ['SnapStartTimeoutException', 408, 1]);
        assert.match(message, /^the hooks after the restore did not end within the 4000 ms/);
        return true;
      });
      const error = errorOf(await controller.invoke('late-hook', null));
      assert.deepEqual([error?.code, error?.type], ['function_error', 'Sandbox.RestoreTimedout']);
    });

    test('a hook after the restore that fails is SnapStartException, in its own words', async () => {
      await assert.rejects(client.send(new InvokeCommand({ FunctionName: 'failing-hook' })), (thrown) => {
        const { name, message, $metadata } = thrown as LambdaServiceException;
        assert.deepEqual([name, $metadata.httpStatusCode, $metadata.attempts], ['SnapStartException', 400, 1]);
        assert.match(message, /ValueError: no licence/);
        return true;
      });
    });

    test('it has no snapshot, and the log says why', () => {
      const told = controller.log.filter((line) => line.includes('the function does not load: '));
      for (const name of ['hangs', 'lambda']) {
        assert.match(told.find((line) => line.includes(`"function":"${name}"`)) ?? '', WORDS);
      }
    });
  });
}
