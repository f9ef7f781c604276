/** Function URLs from their configuration, by the SDK and the YAML file, to answers of real functions. */
import assert from 'node:assert/strict';
import { request, type IncomingMessage } from 'node:http';
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
import { urlFunctions } from '../support/url-functions.ts';

const Role = 'arn:aws:iam::000000000000:role/any';
const ARN = 'arn:aws:lambda:us-east-1:000000000000:function:made';
const CODE = makeZip([
  {
    name: 'main.py',
    data: 'def handle(event, context):\n    return [event["rawPath"], context.invoked_function_arn]\n',
  },
]);

interface Sent {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

/** By the host of a URL, which need not be one that this machine resolves. */
function open(url: string, { method = 'GET', headers = {}, body }: Sent = {}): Promise<IncomingMessage> {
  const { host, port, pathname, search } = new URL(url);
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, method, path: pathname + search, headers: { host, ...headers } });
    sent.on('response', resolve).on('error', reject).end(body);
  });
}

async function ask(url: string, sent: Sent = {}): Promise<{ readonly answer: IncomingMessage; readonly text: string }> {
  const answer = await open(url, sent);
  let text = '';
  for await (const part of answer) text += String(part);
  return { answer, text };
}

/** As Python prints it. */
function told(path: string, arn: string): string {
  return `["${path}", "${arn}"]`;
}

async function errorOf(
  call: Promise<unknown>,
): Promise<readonly [name: string, status: number | undefined, message: string]> {
  const error = await call.then(
    () => assert.fail('it was done'),
    (reason: unknown) => reason as sdk.LambdaServiceException,
  );
  return [error.name, error.$metadata.httpStatusCode, error.message];
}

describe('function URLs', { timeout: 300_000 }, () => {
  let workspace: Workspace;
  let snapctr: RunningController;
  let client: sdk.LambdaClient;
  const start = async (): Promise<void> => {
    const args = ['--data-dir', join(workspace.directory, 'kept')];
    snapctr = await startController(workspace, { vmm: 'process', args });
    client = lambdaClient(snapctr.url);
  };
  const stop = async (): Promise<void> => {
    client.destroy();
    await snapctr.stop();
  };

  before(async () => {
    workspace = createWorkspace(urlFunctions());
    await start();
  });

  after(async () => {
    await stop();
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  const urlOf = async (FunctionName: string): Promise<string> =>
    (await client.send(new sdk.GetFunctionUrlConfigCommand({ FunctionName }))).FunctionUrl ?? '';

  test('are made, told, changed and deleted by the SDK, and are the same after a restart', async () => {
    const FunctionName = 'made';
    await client.send(
      new sdk.CreateFunctionCommand({
        FunctionName,
        Role,
        Runtime: 'python3.12',
        Handler: 'main.handle',
        Code: { ZipFile: CODE },
      }),
    );
    await sdk.waitUntilFunctionActiveV2({ client, maxWaitTime: 60, minDelay: 1, maxDelay: 1 }, { FunctionName });
    await client.send(new sdk.PublishVersionCommand({ FunctionName }));
    await client.send(new sdk.CreateAliasCommand({ FunctionName, Name: 'live', FunctionVersion: '1' }));
    const missing = ['ResourceNotFoundException', 404, 'The resource you requested does not exist.'];
    assert.deepEqual(await errorOf(client.send(new sdk.GetFunctionUrlConfigCommand({ FunctionName }))), missing);
    assert.deepEqual(await errorOf(client.send(new sdk.UpdateFunctionUrlConfigCommand({ FunctionName }))), missing);
    assert.deepEqual(await errorOf(client.send(new sdk.DeleteFunctionUrlConfigCommand({ FunctionName }))), missing);

    const created = await client.send(new sdk.CreateFunctionUrlConfigCommand({ FunctionName, AuthType: 'NONE' }));
    assert.match(created.FunctionUrl ?? '', /^http:\/\/[a-z0-9]{32}\.lambda-url\.us-east-1\.localhost:\d+\/$/);
    assert.deepEqual(
      [created.$metadata.httpStatusCode, created.FunctionArn, created.AuthType, created.InvokeMode, created.Cors],
      [201, ARN, 'NONE', 'BUFFERED', undefined],
    );
    assert.ok(Date.parse(created.CreationTime ?? '') <= Date.now());
    const Cors = { AllowOrigins: ['https://example.com'], AllowMethods: ['GET', '*'], MaxAge: 3600 };
    const ofAlias = await client.send(
      new sdk.CreateFunctionUrlConfigCommand({
        FunctionName,
        Qualifier: 'live',
        AuthType: 'AWS_IAM',
        InvokeMode: 'RESPONSE_STREAM',
        Cors,
      }),
    );
    assert.deepEqual([ofAlias.FunctionArn, ofAlias.Cors, ofAlias.InvokeMode], [`${ARN}:live`, Cors, 'RESPONSE_STREAM']);
    const { FunctionUrlConfigs = [] } = await client.send(new sdk.ListFunctionUrlConfigsCommand({ FunctionName }));
    assert.deepEqual(
      FunctionUrlConfigs.map((one) => one.FunctionArn),
      [ARN, `${ARN}:live`],
    );
    const first = await client.send(new sdk.ListFunctionUrlConfigsCommand({ FunctionName, MaxItems: 1 }));
    const second = await client.send(
      new sdk.ListFunctionUrlConfigsCommand({ FunctionName, MaxItems: 1, Marker: first.NextMarker }),
    );
    assert.deepEqual([second.FunctionUrlConfigs?.[0]?.FunctionArn, second.NextMarker], [`${ARN}:live`, undefined]);

    const [name, status, message] = await errorOf(
      client.send(new sdk.CreateFunctionUrlConfigCommand({ FunctionName, AuthType: 'NONE' })),
    );
    assert.deepEqual([name, status], ['ResourceConflictException', 409]);
    assert.match(message, /FunctionUrlConfig exists for this Lambda function/);

    assert.equal((await ask(`${created.FunctionUrl ?? ''}a/b`)).text, told('/a/b', ARN));
    assert.equal((await ask(ofAlias.FunctionUrl ?? '')).answer.statusCode, 403);
    const signed = await ask(`${ofAlias.FunctionUrl ?? ''}c`, { headers: { authorization: 'AWS4-HMAC-SHA256 any' } });
    assert.equal(signed.text, told('/c', `${ARN}:live`));
    assert.equal((await ask(`${snapctr.url}/url/made/d`)).text, told('/d', ARN));

    const updated = await client.send(
      new sdk.UpdateFunctionUrlConfigCommand({ FunctionName, Qualifier: 'live', AuthType: 'NONE', Cors: {} }),
    );
    assert.deepEqual([updated.AuthType, updated.InvokeMode, updated.Cors], ['NONE', 'RESPONSE_STREAM', undefined]);
    assert.ok(Date.parse(updated.LastModifiedTime ?? '') >= Date.parse(updated.CreationTime ?? ''));
    assert.equal((await ask(ofAlias.FunctionUrl ?? '')).answer.statusCode, 200);

    await stop();
    await start();
    await sdk.waitUntilFunctionActiveV2({ client, maxWaitTime: 60, minDelay: 1, maxDelay: 1 }, { FunctionName });
    const idOf = (url: string): string => new URL(url).hostname.slice(0, 32);
    assert.equal(idOf(await urlOf(FunctionName)), idOf(created.FunctionUrl ?? ''));
    assert.equal((await ask(await urlOf(FunctionName))).text, told('/', ARN));

    await client.send(new sdk.DeleteFunctionUrlConfigCommand({ FunctionName }));
    assert.equal((await ask(`${snapctr.url}/url/made/`)).answer.statusCode, 404);
    await client.send(new sdk.DeleteAliasCommand({ FunctionName, Name: 'live' }));
    const rest = await client.send(new sdk.ListFunctionUrlConfigsCommand({ FunctionName }));
    assert.deepEqual(rest.FunctionUrlConfigs, []);
    await client.send(new sdk.DeleteFunctionCommand({ FunctionName }));
  });

  test('are refused where a value does not fit', async () => {
    const FunctionName = 'node-url';
    const create = (rest: object): Promise<readonly [string, number | undefined, string]> =>
      errorOf(client.send(new sdk.CreateFunctionUrlConfigCommand({ FunctionName, AuthType: 'NONE', ...rest })));
    const cases: readonly (readonly [object, string, RegExp])[] = [
      [{ AuthType: 'OPEN' }, 'ValidationException', /'authType' .* enum value set: \[NONE, AWS_IAM\]/],
      [{ AuthType: undefined }, 'ValidationException', /Value null at 'authType'/],
      [{ InvokeMode: 'FAST' }, 'ValidationException', /'invokeMode' .* \[BUFFERED, RESPONSE_STREAM\]/],
      [{ Qualifier: '7' }, 'ValidationException', /'qualifier'/],
      [{ Qualifier: '$LATEST' }, 'ValidationException', /'qualifier'/],
      [{ Cors: { MaxAge: 86_401 } }, 'ValidationException', /'cors\.maxAge'.* 86400/],
      [{ Cors: { AllowMethods: ['OPTIONS'] } }, 'ValidationException', /'cors\.allowMethods'/],
      [{ Cors: { AllowMethods: ['FETCH'] } }, 'InvalidParameterValueException', /"FETCH" is not valid/],
      [{ Cors: { AllowHeaders: ['a\r\nb'] } }, 'InvalidParameterValueException', /no name of a header/],
      [{ Cors: { AllowOrigins: ['https://example.com/'] } }, 'InvalidParameterValueException', /without a path/],
      [{ FunctionName: 'nobody' }, 'ResourceNotFoundException', /Function not found/],
      // Of a file, where it is to be changed.
      [{}, 'ResourceConflictException', /functions\.yaml/],
    ];
    for (const [rest, name, message] of cases) {
      const [found, , text] = await create(rest);
      assert.equal(found, name, text);
      assert.match(text, message);
    }
  });

  test('of a YAML file are told and served', async () => {
    const config = await client.send(new sdk.GetFunctionUrlConfigCommand({ FunctionName: 'node-stream' }));
    assert.deepEqual(
      [config.AuthType, config.InvokeMode, config.Cors?.AllowOrigins],
      ['NONE', 'RESPONSE_STREAM', ['*']],
    );
    for (const name of ['node-url', 'python-url']) {
      const { answer, text } = await ask(`${await urlOf(name)}shown?a=1`, {
        method: 'POST',
        headers: { cookie: 'a=b', 'content-type': 'application/octet-stream' },
        body: Buffer.from([0, 255]),
      });
      assert.equal(answer.statusCode, 201);
      assert.deepEqual(answer.headers['set-cookie'], ['one=1', 'two=2']);
      assert.equal(answer.headers['x-language'], name.split('-')[0]);
      assert.deepEqual(JSON.parse(text), { path: '/shown', query: { a: '1' }, cookies: ['a=b'], body: 'AP8=' });
    }
  });

  test('give back bytes as they were, up to the limit', async () => {
    const bytes = Buffer.from(Array.from({ length: 3 << 20 }, (_, at) => (at * 7) & 255));
    for (const name of ['node-url', 'python-url']) {
      const answer = await open(`${await urlOf(name)}echo`, { method: 'PUT', body: bytes });
      const parts: Buffer[] = [];
      for await (const part of answer) parts.push(part as Buffer);
      assert.equal(answer.statusCode, 200);
      assert.ok(Buffer.concat(parts).equals(bytes), name);
      const tooMuch = await ask(`${await urlOf(name)}echo`, { method: 'PUT', body: Buffer.alloc(5 << 20) });
      assert.equal(tooMuch.answer.statusCode, 413);
    }
  });

  test('stream what a function writes as it writes it, with its status and headers', async () => {
    const answer = await open(`${await urlOf('node-stream')}events`);
    assert.equal(answer.statusCode, 207);
    assert.equal(answer.headers['content-type'], 'text/event-stream');
    assert.deepEqual(answer.headers['set-cookie'], ['s=1']);
    const times: number[] = [];
    let text = '';
    for await (const part of answer) {
      times.push(performance.now());
      text += String(part);
    }
    assert.equal(text, 'data: 0\n\ndata: 1\n\ndata: 2\n\n');
    // The function waits between events for longer than any of them may take.
    assert.ok((times.at(-1) ?? 0) - (times[0] ?? 0) >= 300);
    const plain = await ask(`${await urlOf('node-stream')}plain`);
    assert.deepEqual(
      [plain.answer.statusCode, plain.answer.headers['content-type'], plain.text],
      [200, 'text/css', 'a{}'],
    );
    const empty = await ask(`${await urlOf('node-stream')}redirect`);
    assert.deepEqual([empty.answer.statusCode, empty.answer.headers.location, empty.text], [302, '/elsewhere', '']);
    const buffered = await ask(await urlOf('python-stream'));
    assert.deepEqual([buffered.answer.statusCode, buffered.text], [202, 'of python']);
  });

  test('let a client know that a stream has broken off', async () => {
    const answer = await open(`${await urlOf('node-stream')}broken`);
    await assert.rejects(async () => {
      for await (const part of answer) assert.ok(part);
    });
    const early = await ask(`${await urlOf('node-stream')}early`);
    assert.deepEqual([early.answer.statusCode, early.text], [502, 'Internal Server Error']);
  });
});
