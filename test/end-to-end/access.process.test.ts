/** Keys from the command that makes them to the request that they let in, on the real programs. */
import assert from 'node:assert/strict';
import * as sdk from '@aws-sdk/client-lambda';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeZip } from '../packages/zip.ts';
import {
  createWorkspace,
  errorOf,
  run,
  SNAPCTR,
  startController,
  type RunningController,
  type Workspace,
} from '../support/snapctr.ts';

interface MadeKey {
  readonly id: string;
  readonly secret: string;
}

describe('keys', () => {
  let workspace: Workspace;
  let controller: RunningController;
  let keys: string;
  const addKey = async (...args: string[]): Promise<MadeKey> => {
    const { status, stdout, stderr } = await run(SNAPCTR, ['keys', 'add', ...args, '--keys', keys, '--json']);
    assert.equal(status, 0, stderr);
    return JSON.parse(stdout) as MadeKey;
  };
  const clientOf = ({ id, secret }: MadeKey): sdk.LambdaClient => {
    process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true';
    const credentials = { accessKeyId: id, secretAccessKey: secret };
    return new sdk.LambdaClient({ region: 'us-east-1', endpoint: controller.url, credentials, maxAttempts: 1 });
  };
  /** The name of the error that a call ends with; null: it does not. */
  const outcomeOf = (call: Promise<unknown>): Promise<string | null> =>
    call.then(
      () => null,
      (error: unknown) => (error as sdk.LambdaServiceException).name,
    );
  const invokeBySdk = async (name: string, key: MadeKey): Promise<string | null> => {
    const client = clientOf(key);
    try {
      return await outcomeOf(client.send(new sdk.InvokeCommand({ FunctionName: name, Payload: Buffer.from('{}') })));
    } finally {
      client.destroy();
    }
  };
  let admin: MadeKey;

  before(async () => {
    const files = { 'workload.py': 'def handle(request):\n    return "done"\n' };
    workspace = createWorkspace(['mine', 'theirs'].map((name) => ({ name, runtime: 'python3', files })));
    keys = join(workspace.directory, 'keys.json');
    admin = await addKey('boss', '--role', 'admin');
    const token = `${admin.id}.${admin.secret}`;
    controller = await startController(workspace, { vmm: 'process', args: ['--keys', keys], token });
  });
  after(async () => {
    assert.equal(await controller.stop(), 0);
    workspace.remove();
  });

  test('the file is for its owner alone, and the list has no secret', async () => {
    assert.equal(statSync(keys).mode & 0o777, 0o600);
    const { stdout } = await run(SNAPCTR, ['keys', 'list', '--keys', keys]);
    assert.ok(stdout.includes(admin.id) && !stdout.includes(admin.secret));
  });

  test('without a key nothing runs, and nothing is told', async () => {
    for (const path of ['/', '/status', '/metrics', '/2015-03-31/functions/']) {
      const response = await fetch(`${controller.url}${path}`, { method: path === '/' ? 'POST' : 'GET' });
      assert.ok(response.status === 401 || response.status === 403, `${path}: ${response.status}`);
      assert.ok(!(await response.text()).includes('mine'));
    }
    assert.equal((await fetch(`${controller.url}/healthz`)).status, 200);
  });

  test('a key made while the controller runs lets in what it is for, by signature and by token, until it is removed', async () => {
    const key = await addKey('shop', '--role', 'invoke', '--functions', 'mi*');
    for (const deadline = Date.now() + 10_000; (await invokeBySdk('mine', key)) !== null; await sleep(50)) {
      assert.ok(Date.now() < deadline, 'the controller takes the key');
    }
    assert.equal(await invokeBySdk('theirs', key), 'AccessDeniedException');
    assert.equal(await invokeBySdk('mine', { ...key, secret: admin.secret }), 'InvalidSignatureException');
    const post = async (name: string): Promise<number> => {
      const headers = { 'content-type': 'application/json', authorization: `Bearer ${key.id}.${key.secret}` };
      const body = JSON.stringify({ function: name, payload: {} });
      return (await fetch(controller.url, { method: 'POST', headers, body })).status;
    };
    assert.deepEqual([await post('mine'), await post('theirs')], [200, 403]);
    assert.equal((await run(SNAPCTR, ['keys', 'remove', 'shop', '--keys', keys])).status, 0);
    for (const deadline = Date.now() + 10_000; (await post('mine')) === 200; await sleep(50)) {
      assert.ok(Date.now() < deadline, 'the controller drops the key');
    }
    assert.equal(await invokeBySdk('mine', key), 'UnrecognizedClientException');
    assert.equal((await controller.invoke('mine', {})).text, '"done"');
  });

  test('a statement of a policy lets in at its own qualifier alone, however the function is run', async () => {
    const FunctionName = 'shared';
    const [owner, guest] = [
      clientOf(admin),
      clientOf(await addKey('guest', '--role', 'invoke', '--functions', 'none')),
    ];
    try {
      const code = { ZipFile: makeZip([{ name: 'main.py', data: 'def handle(event, context):\n    return event\n' }]) };
      await owner.send(
        new sdk.CreateFunctionCommand({
          ...{ FunctionName, Role: 'arn:aws:iam::000000000000:role/any', Runtime: 'python3.12', Code: code },
          ...{ Handler: 'main.handle', Publish: true },
        }),
      );
      const patience = { client: owner, maxWaitTime: 60, minDelay: 1, maxDelay: 1 };
      await sdk.waitUntilPublishedVersionActive(patience, { FunctionName, Qualifier: '1' });
      await owner.send(new sdk.CreateAliasCommand({ FunctionName, Name: 'live', FunctionVersion: '1' }));
      /** By all ways to run it: whether the guest is let in. */
      const isLetIn = async (qualifier: string | undefined): Promise<boolean> => {
        const input = { FunctionName, Payload: '{}', ...(qualifier !== undefined && { Qualifier: qualifier }) };
        const named = { FunctionName: qualifier === undefined ? FunctionName : `${FunctionName}:${qualifier}` };
        const outcomes = await Promise.all([
          ...(['RequestResponse', 'Event', 'DryRun'] as const).map((InvocationType) =>
            outcomeOf(guest.send(new sdk.InvokeCommand({ ...input, InvocationType }))),
          ),
          outcomeOf(guest.send(new sdk.InvokeCommand(named))),
          outcomeOf(guest.send(new sdk.InvokeWithResponseStreamCommand(input))),
          outcomeOf(guest.send(new sdk.InvokeWithResponseStreamCommand({ ...input, InvocationType: 'DryRun' }))),
        ]);
        assert.deepEqual(new Set(outcomes).size, 1, outcomes.join());
        assert.ok([null, 'AccessDeniedException'].includes(outcomes[0] ?? null), outcomes.join());
        return outcomes[0] === null;
      };
      const qualifiers = [undefined, '1', 'live'] as const;
      // The key is taken when it is denied, rather than not known.
      const Principal = 'arn:aws:iam::000000000000:user/guest';
      for (const deadline = Date.now() + 10_000; ; await sleep(50)) {
        const outcome = await outcomeOf(guest.send(new sdk.InvokeCommand({ FunctionName })));
        if (outcome === 'AccessDeniedException') break;
        assert.ok(Date.now() < deadline, `the controller takes the key: ${String(outcome)}`);
      }
      for (const own of qualifiers) {
        const Qualifier = own === undefined ? {} : { Qualifier: own };
        const statement = { FunctionName, StatementId: 's', ...Qualifier } as const;
        await owner.send(new sdk.AddPermissionCommand({ ...statement, Action: 'lambda:InvokeFunction', Principal }));
        for (const qualifier of qualifiers) {
          assert.equal(await isLetIn(qualifier), qualifier === own, `${String(qualifier)} by one of ${String(own)}`);
        }
        await owner.send(new sdk.RemovePermissionCommand(statement));
        assert.equal(await isLetIn(own), false);
      }
    } finally {
      owner.destroy();
      guest.destroy();
    }
  });

  test('a file that cannot be read any more lets nobody else in, and keeps those out who were out', async () => {
    const text = readFileSync(keys, 'utf8');
    writeFileSync(keys, '{');
    await sleep(1500);
    const anonymous = await fetch(controller.url, { method: 'POST', body: '{"function":"mine","payload":{}}' });
    assert.equal(anonymous.status, 401);
    assert.equal((await controller.invoke('mine', {})).text, '"done"');
    writeFileSync(keys, text);
  });

  test('an address that others reach takes keys, or that somebody says so', async () => {
    const start = (...args: string[]): Promise<{ readonly status: number | string; readonly stderr: string }> =>
      run(SNAPCTR, ['--config', workspace.config, '--mem', '256', '--port', '0', '--vmm', 'process', ...args]);
    const missing = join(workspace.directory, 'no-keys.json');
    for (const [args, words] of [
      [['--keys', missing], /there is no file of keys .*no-keys\.json; make one with/],
      [['--tls-cert', missing], /give both of --tls-cert FILE and --tls-key FILE, or none/],
    ] as const) {
      const { status, stderr } = await start(...args);
      assert.deepEqual([status, words.test(stderr)], [2, true], stderr);
    }
    const other = createWorkspace([]);
    try {
      writeFileSync(join(other.directory, 'functions.yaml'), '[]\n');
      const open = ['--config', other.config, '--mem', '256', '--port', '0', '--host', '0.0.0.0', '--vmm', 'process'];
      const { status, stderr } = await run(SNAPCTR, open);
      assert.deepEqual([status, /--host 0\.0\.0\.0 lets others run functions/.test(stderr)], [2, true], stderr);
    } finally {
      other.remove();
    }
    assert.equal(errorOf(await controller.invoke('nobody', {}))?.code, 'function_not_found');
  });
});
