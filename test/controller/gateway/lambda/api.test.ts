import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  GetFunctionCommand,
  GetFunctionConfigurationCommand,
  InvokeAsyncCommand,
  InvokeCommand,
  InvokeWithResponseStreamCommand,
  ListFunctionsCommand,
  type InvokeWithResponseStreamResponseEvent,
  type LambdaClient,
  type LambdaServiceException,
} from '@aws-sdk/client-lambda';
import type { AcceptedEvent } from '../../../../src/controller/events/dispatcher.ts';
import { EventStoreError } from '../../../../src/controller/events/event-store.ts';
import type { HttpGateway, HttpGatewayOptions } from '../../../../src/controller/gateway/http.ts';
import type { LambdaApiOptions } from '../../../../src/controller/gateway/lambda/api.ts';
import { CONTROL } from '../../../../src/controller/gateway/lambda/control/table.ts';
import { API_ERRORS } from '../../../../src/controller/gateway/lambda/errors.ts';
import { OPERATION_NAMES } from '../../../../src/controller/gateway/lambda/routes.ts';
import { createLogger } from '../../../../src/controller/log.ts';
import type { Outcome, Task } from '../../../../src/controller/task.ts';
import { DEFAULT_ACCOUNT } from '../../../../src/protocol/arn.ts';
import { SnapfaasError, type ErrorCode } from '../../../../src/protocol/errors.ts';
import { FunctionError } from '../../../../src/protocol/invoker.ts';
import { invokeRaw, lambdaClient } from '../../../support/lambda-client.ts';
import { functionConfig, registryOf } from '../../../support/scripted-guests.ts';
import { echo, Held, MIB, RawClient, withGateway } from '../http-client.ts';

const FUNCTIONS = ['node', 'python', 'third'].map((name) =>
  functionConfig(name, { runtime: name === 'node' ? 'nodejs' : 'python3', timeoutMs: 1000, handler: 'app.handler' }),
);

interface Bench {
  readonly gateway: HttpGateway;
  readonly url: string;
  readonly client: LambdaClient;
}

/** A gateway with the Lambda API on it. */
async function withLambda(
  options: Partial<HttpGatewayOptions> & Partial<Pick<LambdaApiOptions, 'events' | 'usesSnapshots'>>,
  use: (bench: Bench) => Promise<void>,
): Promise<void> {
  const { events = { accept: () => assert.fail('an event came') }, usesSnapshots = () => false, ...rest } = options;
  const functions = registryOf(FUNCTIONS);
  functions.fail('broken', ['functions.yaml:7:3: `memory` must be a number']);
  const lambda = {
    account: DEFAULT_ACCOUNT,
    functions,
    plane: null,
    maxConcurrency: 8,
    interpreters: 'host',
    usesSnapshots,
    eventSources: null,
    audit: { add: () => Promise.resolve() },
    events,
    logger: createLogger('silent'),
  } as const;
  await withGateway({ lambda, ...rest }, async (gateway, port) => {
    const url = `http://127.0.0.1:${port}`;
    const client = lambdaClient(url);
    await use({ gateway, url, client });
    client.destroy();
  });
}

const replyWith =
  (outcome: Outcome) =>
  (task: Task): void =>
    task.reply(outcome);

test('lambda: the event reaches the task byte for byte, and the result the client', async () => {
  const event = '{ "n": 9007199254740993, "one":1.0,\n"b":"ü"}';
  const tasks: Task[] = [];
  const submit = (task: Task): void => {
    tasks.push(task);
    task.reply({ status: 'ok', result: Buffer.from('{"nan": NaN}'), start: 'restored' });
  };
  await withLambda({ submit }, async ({ url }) => {
    const answer = await invokeRaw(url, 'node', event, { 'content-type': 'application/x-whatever' });
    assert.equal(answer.status, 200);
    assert.equal(answer.text, '{"nan": NaN}');
    assert.equal(answer.headers.get('content-type'), 'application/json');
    assert.equal(answer.headers.get('x-amz-executed-version'), '$LATEST');
    assert.equal(answer.headers.get('x-amzn-requestid'), tasks[0]?.id);
    assert.equal(answer.headers.get('x-amz-function-error'), null);
    assert.equal(answer.headers.get('x-amz-log-result'), null);
  });
  assert.equal(tasks[0]?.request.payload.toString(), event);
});

test('lambda: a result of another content type says so', async () => {
  const outcome = { status: 'ok', result: Buffer.of(0, 255), start: 'warm' } as const;
  await withLambda({ submit: replyWith({ ...outcome, contentType: 'image/png' }) }, async ({ url }) => {
    assert.equal((await invokeRaw(url, 'node', '')).headers.get('content-type'), 'image/png');
  });
  await withLambda({ submit: replyWith({ ...outcome, contentType: 'a\r\nb: c' }) }, async ({ url }) => {
    assert.equal((await invokeRaw(url, 'node', '')).headers.get('content-type'), 'application/json');
  });
});

test('lambda: what the caller says of itself becomes part of the invocation', async () => {
  const held = new Held();
  await withLambda({ submit: held.submit }, async ({ client }) => {
    const context = { custom: { foo: 'bar' } };
    const answer = client.send(
      new InvokeCommand({
        FunctionName: 'node:$LATEST',
        ClientContext: Buffer.from(JSON.stringify(context)).toString('base64'),
        LogType: 'Tail',
      }),
    );
    await held.until(1);
    const { request } = held.task(0);
    assert.equal(request.payload.toString(), '{}');
    assert.equal(request.lambda?.wantsReport, true);
    assert.equal(request.lambda.header.arn, 'arn:aws:lambda:us-east-1:000000000000:function:node:$LATEST');
    assert.deepEqual(JSON.parse(request.lambda.header.client_context ?? ''), context);
    const report = { durationMs: 3.014, memoryMib: 128, launch: null, output: 'first\nlast' };
    held.task(0).reply({ status: 'ok', result: Buffer.from('null'), start: 'warm', report });
    const { LogResult = '' } = await answer;
    const id = held.task(0).id;
    assert.equal(
      Buffer.from(LogResult, 'base64').toString(),
      `START RequestId: ${id} Version: $LATEST\nfirst\nlast\nEND RequestId: ${id}\n` +
        `REPORT RequestId: ${id}\tDuration: 3.01 ms\tBilled Duration: 4 ms\tMemory Size: 128 MB\tMax Memory Used: 128 MB\t\n`,
    );
  });
});

test('lambda: of a long log the last 4 KiB are shown', async () => {
  const report = { durationMs: 1, memoryMib: 128, launch: null, output: 'ü'.repeat(4096) };
  const submit = replyWith({ status: 'ok', result: Buffer.from('1'), start: 'warm', report });
  await withLambda({ submit }, async ({ url }) => {
    const { headers } = await invokeRaw(url, 'node', '', { 'x-amz-log-type': 'Tail' });
    assert.equal(Buffer.from(headers.get('x-amz-log-result') ?? '', 'base64').length, 4096);
  });
});

test('lambda: DryRun runs nothing and answers 204', async () => {
  await withLambda({ submit: () => assert.fail('it ran') }, async ({ client }) => {
    const { StatusCode } = await client.send(new InvokeCommand({ FunctionName: 'node', InvocationType: 'DryRun' }));
    assert.equal(StatusCode, 204);
  });
});

const FAILURE = { type: 'ValueError', message: 'no', stack: ['  File "a.py", line 1, in f\n'] };
const PLATFORM = /^RequestId: [0-9a-f-]{36} Error: /;

for (const [what, name, outcome, payload] of [
  [
    'a Python exception',
    'python',
    { error: new FunctionError(FAILURE), start: 'warm' },
    { errorMessage: 'no', errorType: 'ValueError', requestId: /^[0-9a-f-]{36}$/, stackTrace: FAILURE.stack },
  ],
  [
    'a Python import',
    'python',
    { error: new FunctionError(FAILURE), start: null },
    { errorMessage: 'no', errorType: 'ValueError', requestId: /^$/, stackTrace: FAILURE.stack },
  ],
  [
    'a Node error',
    'node',
    { error: new FunctionError(FAILURE), start: 'warm' },
    { errorType: 'ValueError', errorMessage: 'no', trace: FAILURE.stack },
  ],
  [
    'a word of the runtime',
    'node',
    { error: new FunctionError({ ...FAILURE, type: 'Runtime.Nope', raw: true }), start: 'warm' },
    { errorType: 'Runtime.Nope', errorMessage: 'no' },
  ],
  [
    'an exit with 0',
    'node',
    { error: new FunctionError({ ...FAILURE, type: 'Runtime.ExitError', exit: { status: 0 } }), start: 'cold' },
    { errorType: 'Runtime.ExitError', errorMessage: /Error: Runtime exited without providing a reason$/ },
  ],
  [
    'an exit with 127 during the import',
    'node',
    { error: new FunctionError({ ...FAILURE, type: 'Runtime.ExitError', exit: { status: 127 } }), start: null },
    { errorType: 'Runtime.ExitError', errorMessage: /Error: Runtime exited with error: exit status 127$/ },
  ],
  [
    'a lack of memory',
    'node',
    { error: new FunctionError({ ...FAILURE, type: 'Runtime.ExitError', exit: { signal: 9 } }), start: 'cold' },
    { errorType: 'Runtime.ExitError', errorMessage: /Error: Runtime exited with error: signal: killed$/ },
  ],
  [
    'a timeout',
    'node',
    { error: new SnapfaasError('function_timeout', 'too slow'), start: 'warm' },
    { errorType: 'Sandbox.Timedout', errorMessage: /Error: Task timed out after 1\.00 seconds$/ },
  ],
  [
    'an import that does not end',
    'python',
    {
      error: new FunctionError({ ...FAILURE, type: 'Sandbox.Timedout', message: 'the import …', raw: true }),
      start: null,
    },
    { errorType: 'Sandbox.Timedout', errorMessage: /^RequestId: [0-9a-f-]{36} Error: the import …$/ },
  ],
  [
    'a handler’s own error with the name of a hook’s',
    'node',
    { error: new FunctionError({ ...FAILURE, type: 'Runtime.AfterRestoreError' }), start: 'restored' },
    { errorType: 'Runtime.AfterRestoreError', errorMessage: 'no', trace: FAILURE.stack },
  ],
  [
    'a result that is too large',
    'node',
    { error: new SnapfaasError('response_too_large', 'too large'), start: 'warm' },
    {
      errorType: 'Function.ResponseSizeTooLarge',
      errorMessage: /^Response payload size exceeded maximum allowed payload size \(6291556 bytes\)\.$/,
    },
  ],
  [
    'a VM that was lost',
    'node',
    { error: new SnapfaasError('vm_lost', 'gone'), start: 'warm' },
    { errorType: 'Runtime.ExitError', errorMessage: PLATFORM },
  ],
  [
    'an end of snapctr after the start',
    'node',
    { error: new SnapfaasError('shutting_down', 'over'), start: 'warm' },
    { errorType: 'Sandbox.Failure', errorMessage: PLATFORM },
  ],
] as const) {
  test(`lambda: ${what} is 200 with X-Amz-Function-Error, so that nobody runs it again`, async () => {
    let runs = 0;
    const submit = (task: Task): void => {
      runs += 1;
      task.reply({ status: 'error', ...outcome });
    };
    await withLambda({ submit }, async ({ client }) => {
      const { StatusCode, FunctionError: how, Payload } = await client.send(new InvokeCommand({ FunctionName: name }));
      assert.equal(StatusCode, 200);
      assert.equal(how, 'Unhandled');
      const body = JSON.parse(Payload?.transformToString() ?? '') as Record<string, unknown>;
      assert.deepEqual(Object.keys(body).sort(), Object.keys(payload).sort());
      for (const [key, expected] of Object.entries(payload)) {
        if (expected instanceof RegExp) assert.match(String(body[key]), expected);
        else assert.deepEqual(body[key], expected);
      }
    });
    assert.equal(runs, 1);
  });
}

const refusals: readonly [code: ErrorCode, name: string, status: number, retryAfter: string | null][] = [
  ['resource_exhausted', 'TooManyRequestsException', 429, '1'],
  ['queue_full', 'TooManyRequestsException', 429, '1'],
  ['vm_launch_failed', 'ServiceException', 500, '1'],
  ['shutting_down', 'ServiceException', 500, '1'],
  ['internal', 'ServiceException', 500, '1'],
];
for (const [code, name, status, retryAfter] of refusals) {
  test(`lambda: ${code} before the start is ${status} ${name}, which clients try again`, async () => {
    const submit = replyWith({ status: 'error', error: new SnapfaasError(code, 'words'), start: null });
    await withLambda({ submit }, async ({ url }) => {
      const answer = await invokeRaw(url, 'node', '{}');
      assert.equal(answer.status, status);
      assert.equal(answer.headers.get('x-amzn-errortype'), name);
      assert.equal(answer.headers.get('retry-after'), retryAfter);
      assert.equal(answer.headers.get('x-amz-function-error'), null);
    });
  });
}

for (const [type, name, status, words] of [
  ['Runtime.AfterRestoreError', 'SnapStartException', 400, /^a hook after the restore failed: KeyError: no$/],
  ['Sandbox.RestoreTimedout', 'SnapStartTimeoutException', 408, /^KeyError: no$/],
] as const) {
  test(`lambda: ${type} is ${status} ${name}, as AWS has it, and no client tries again`, async () => {
    let runs = 0;
    const error = new FunctionError({ ...FAILURE, type, message: 'KeyError: no' });
    const submit = (task: Task): void => {
      runs += 1;
      task.reply({ status: 'error', error, start: null });
    };
    await withLambda({ submit }, async ({ client }) => {
      const isRefused = (thrown: LambdaServiceException): boolean => {
        assert.deepEqual([thrown.name, thrown.$metadata.httpStatusCode], [name, status]);
        assert.match(thrown.message, words);
        return true;
      };
      await assert.rejects(client.send(new InvokeCommand({ FunctionName: 'python' })), isRefused);
      await assert.rejects(client.send(new InvokeWithResponseStreamCommand({ FunctionName: 'python' })), isRefused);
    });
    assert.equal(runs, 2);
  });
}

test('lambda: a function at its own limit is throttled with the reason of AWS, and the SDK tries again', async () => {
  let tries = 0;
  const submit = (task: Task): void => {
    tries += 1;
    if (tries === 2) return echo(task);
    const details = { limit: 'concurrency_limit' };
    task.reply({ status: 'error', error: new SnapfaasError('resource_exhausted', 'full', { details }), start: null });
  };
  await withLambda({ submit }, async ({ client, url }) => {
    const { $metadata, StatusCode } = await client.send(new InvokeCommand({ FunctionName: 'node' }));
    assert.deepEqual([StatusCode, $metadata.attempts], [200, 2]);
    tries = 2;
    const { text } = await invokeRaw(url, 'node', '{}');
    assert.deepEqual(JSON.parse(text), {
      Reason: 'ReservedFunctionConcurrentInvocationLimitExceeded',
      Type: 'User',
      message: 'Rate Exceeded.',
    });
  });
});

for (const [what, body, name, words] of [
  ['JSON that is none', '{"a"', 'InvalidRequestContentException', /^Could not parse request body into json: /],
  ['bytes that are no UTF-8', Buffer.of(0x22, 0x87, 0x22), 'InvalidRequestContentException', /Invalid UTF-8/],
  [
    'a body over 6 MiB',
    Buffer.alloc(6 * MIB + 1, 0x20),
    'RequestEntityTooLargeException',
    /^Request must be smaller than 6291456 bytes for the InvokeFunction operation$/,
  ],
] as const) {
  test(`lambda: ${what} is refused with ${name}`, async () => {
    await withLambda({ submit: () => assert.fail('it ran') }, async ({ client }) => {
      await assert.rejects(client.send(new InvokeCommand({ FunctionName: 'node', Payload: Buffer.from(body) })), {
        name,
        message: words,
      });
    });
  });
}

for (const [what, headers, name] of [
  ['an invocation type', { 'x-amz-invocation-type': 'Later' }, 'ValidationException'],
  ['a log type', { 'x-amz-log-type': 'Head' }, 'ValidationException'],
  ['a client context', { 'x-amz-client-context': 'bm8=' }, 'InvalidRequestContentException'],
  ['a client context of 4 KB', { 'x-amz-client-context': 'a'.repeat(4000) }, 'ValidationException'],
] as const) {
  test(`lambda: ${what} that cannot be is refused with ${name}`, async () => {
    await withLambda({ submit: () => assert.fail('it ran') }, async ({ url }) => {
      const answer = await invokeRaw(url, 'node', '{}', headers);
      assert.equal(answer.status, 400);
      assert.equal(answer.headers.get('x-amzn-errortype'), name);
    });
  });
}

const INVOKE = 'POST /2015-03-31/functions/node/invocations HTTP/1.1\r\n';
for (const [what, bytes, options] of [
  ['headers over 16 KiB', `${INVOKE}host: localhost\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`, {}],
  ['an unknown expectation', `${INVOKE}host: localhost\r\nexpect: foo\r\ncontent-length: 0\r\n\r\n`, {}],
  ['an unknown transfer coding', `${INVOKE}host: localhost\r\ntransfer-encoding: gzip\r\n\r\n{}`, {}],
  ['a broken chunk', `${INVOKE}host: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n`, {}],
  ['two lengths', `${INVOKE}host: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n`, {}],
  ['no host', `${INVOKE}content-length: 0\r\n\r\n`, {}],
  ['bytes that are no HTTP', 'nonsense\r\n\r\n', {}],
  ['headers that do not end in time', INVOKE, { requestTimeoutMs: 50 }],
  [
    'a body that does not come in time',
    `${INVOKE}host: localhost\r\ncontent-length: 9\r\n\r\n`,
    { requestTimeoutMs: 50 },
  ],
] as const) {
  test(`lambda: ${what} is answered with a type and a request id too`, async () => {
    const submit = (): void => assert.fail('it ran');
    await withLambda({ submit, ...options }, async ({ gateway }) => {
      const client = await RawClient.open(gateway.address.port);
      const { status, headers, body } = await client.send(bytes).response();
      assert.equal(status, 400);
      assert.equal(headers.get('x-amzn-errortype'), 'InvalidRequestContentException');
      assert.match(headers.get('x-amzn-requestid') ?? '', /^[0-9a-f-]{36}$/);
      assert.doesNotMatch(body, /POST \//);
      client.socket.destroy();
    });
  });
}

for (const [method, path] of [
  ['POST', '/2015-03-31/functions'],
  ['PUT', '/2015-03-31/functions/node/code'],
  ['DELETE', '/2015-03-31/functions/node'],
  ['GET', '/2015-03-31/event-source-mappings/'],
  ['GET', '/2017-03-31/tags/x'],
  ['PUT', '/2017-10-31/functions/node/concurrency'],
  ['GET', '/2018-10-31/layers'],
  ['PUT', '/2019-09-25/functions/node/event-invoke-config'],
  ['POST', '/2015-03-31/event-source-mappings'],
  ['POST', '/2021-10-31/functions/node/url'],
  ['GET', '/2016-08-19/account-settings/'],
  ['GET', '/9999-01-01/whatever'],
] as const) {
  test(`lambda: ${method} ${path} is not served, and says so in the API's own way`, async () => {
    await withLambda({}, async ({ url }) => {
      const response = await fetch(`${url}${path}`, { method });
      assert.equal(response.status, 404);
      assert.equal(response.headers.get('x-amzn-errortype'), 'UnknownOperationException');
      assert.match(((await response.json()) as { message: string }).message, /is not offered here/);
    });
  });
}

test('lambda: functions are listed in pages, by name', async () => {
  await withLambda({}, async ({ client }) => {
    const names: (string | undefined)[] = [];
    let marker: string | undefined;
    do {
      const page = await client.send(new ListFunctionsCommand({ MaxItems: 2, ...(marker && { Marker: marker }) }));
      names.push(...(page.Functions ?? []).map((fn) => fn.FunctionName));
      marker = page.NextMarker;
    } while (marker !== undefined);
    assert.deepEqual(names, ['broken', 'node', 'python', 'third']);
    const all = await client.send(new ListFunctionsCommand({ FunctionVersion: 'ALL' }));
    assert.match(all.Functions?.[0]?.FunctionArn ?? '', /:\$LATEST$/);
  });
});

for (const [query, name] of [
  ['MaxItems=0x2', 'ValidationException'],
  ['MaxItems=1e1', 'ValidationException'],
  ['MaxItems=+2', 'ValidationException'],
  ['MaxItems=', 'ValidationException'],
  ['MaxItems=0', 'ValidationException'],
  ['MaxItems=10001', 'ValidationException'],
  ['Marker=0x1', 'InvalidParameterValueException'],
  ['Marker=5', 'InvalidParameterValueException'],
] as const) {
  test(`lambda: functions are not listed with ${query}`, async () => {
    await withLambda({}, async ({ url }) => {
      const response = await fetch(`${url}/2015-03-31/functions?${query.replace('+', '%2B')}`);
      assert.deepEqual([response.status, response.headers.get('x-amzn-errortype')], [400, name]);
      await response.arrayBuffer();
    });
  });
}

test('lambda: a function tells its configuration; one that is not there is ResourceNotFoundException', async () => {
  await withLambda({}, async ({ client }) => {
    const { Configuration } = await client.send(new GetFunctionCommand({ FunctionName: 'node' }));
    assert.equal(Configuration?.Runtime, `nodejs${process.versions.node.split('.')[0]}.x`);
    assert.equal(Configuration.Handler, 'app.handler');
    assert.equal(Configuration.State, 'Active');
    await assert.rejects(client.send(new GetFunctionCommand({ FunctionName: 'nobody' })), {
      name: 'ResourceNotFoundException',
      message: 'Function not found: arn:aws:lambda:us-east-1:000000000000:function:nobody',
    });
  });
});

for (const [environment, usesSnapshots, SnapStart, logging] of [
  [{}, false, { ApplyOn: 'None', OptimizationStatus: 'Off' }, { LogFormat: 'Text' }],
  [
    { AWS_LAMBDA_LOG_FORMAT: 'Json', AWS_LAMBDA_LOG_LEVEL: 'debug' },
    true,
    { ApplyOn: 'PublishedVersions', OptimizationStatus: 'On' },
    { LogFormat: 'JSON', ApplicationLogLevel: 'DEBUG', SystemLogLevel: 'INFO' },
  ],
] as const) {
  test(`lambda: a function ${usesSnapshots ? 'that is restored' : 'that is booted'} is described as such`, async () => {
    const fn = functionConfig('described', { runtime: 'nodejs', environment });
    FUNCTIONS.push(fn);
    await withLambda({ usesSnapshots: () => usesSnapshots }, async ({ client }) => {
      const { Configuration } = await client.send(new GetFunctionCommand({ FunctionName: fn.name }));
      assert.deepEqual(Configuration?.SnapStart, SnapStart);
      assert.deepEqual(Configuration.LoggingConfig, { ...logging, LogGroup: '/aws/lambda/described' });
    });
    FUNCTIONS.pop();
  });
}

test('lambda: a function that cannot run is listed, tells why, and is refused as AWS refuses one that failed', () =>
  withLambda({}, async ({ client, url }) => {
    const { Functions = [] } = await client.send(new ListFunctionsCommand({}));
    assert.ok(Functions.some(({ FunctionName }) => FunctionName === 'broken'));
    const reason = 'functions.yaml:7:3: `memory` must be a number';
    const configuration = await client.send(new GetFunctionConfigurationCommand({ FunctionName: 'broken' }));
    assert.equal(configuration.State, 'Failed');
    assert.equal(configuration.StateReason, reason);
    assert.equal(configuration.StateReasonCode, 'InvalidConfiguration');
    assert.equal(
      (await client.send(new GetFunctionCommand({ FunctionName: 'broken' }))).Configuration?.State,
      'Failed',
    );
    const answer = await invokeRaw(url, 'broken', '{}');
    assert.equal(answer.status, 409);
    assert.equal(answer.headers.get('x-amzn-errortype'), 'ResourceConflictException');
    assert.match(answer.text, /currently in the following state: Failed\. functions\.yaml:7:3/);
    await assert.rejects(client.send(new InvokeCommand({ FunctionName: 'broken:nope' })), {
      name: 'ResourceNotFoundException',
    });
  }));

test('lambda: an Event is answered 202 when it is kept, and not before', async () => {
  const accepted: AcceptedEvent[] = [];
  let keep = (): void => undefined;
  const kept = new Promise<void>((resolve) => (keep = resolve));
  const events = {
    accept: (event: AcceptedEvent): Promise<void> => {
      accepted.push(event);
      return kept;
    },
  };
  await withLambda({ events, submit: () => assert.fail('it ran') }, async ({ client }) => {
    const context = Buffer.from('{"a":1}').toString('base64');
    const input = {
      FunctionName: 'node:$LATEST',
      InvocationType: 'Event',
      Payload: '{"n": 1}',
      ClientContext: context,
    };
    let isAnswered = false;
    const answer = client
      .send(new InvokeCommand({ ...input, InvocationType: 'Event' }))
      .finally(() => (isAnswered = true));
    while (accepted.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(isAnswered, false);
    keep();
    const { StatusCode, $metadata } = await answer;
    assert.equal(StatusCode, 202);
    const [event] = accepted;
    assert.deepEqual([event?.function, event?.qualifier, event?.payload.toString()], ['node', '$LATEST', '{"n": 1}']);
    assert.deepEqual(event?.header, {
      arn: 'arn:aws:lambda:us-east-1:000000000000:function:node:$LATEST',
      client_context: '{"a":1}',
    });
    assert.equal(event.id, $metadata.requestId);
  });
});

test('lambda: InvokeAsync takes an event as Invoke with type Event does', async () => {
  const accepted: AcceptedEvent[] = [];
  const events = { accept: (event: AcceptedEvent) => Promise.resolve(void accepted.push(event)) };
  await withLambda({ events, submit: () => assert.fail('it ran') }, async ({ client, url }) => {
    const { Status, $metadata } = await client.send(
      // eslint-disable-next-line @typescript-eslint/no-deprecated -- it is asked for as long as there are clients that use it
      new InvokeAsyncCommand({ FunctionName: 'node', InvokeArgs: '{"n": 1.0}' }),
    );
    assert.equal(Status, 202);
    const [event] = accepted;
    assert.deepEqual([event?.function, event?.qualifier, event?.payload.toString()], ['node', null, '{"n": 1.0}']);
    assert.equal(event?.id, $metadata.requestId);

    const post = (name: string, body: string, headers = {}): Promise<Response> =>
      fetch(`${url}/2014-11-13/functions/${name}/invoke-async/`, { method: 'POST', body, headers });
    const answer = await post('node', '{}', { 'x-amz-invocation-type': 'RequestResponse' });
    assert.deepEqual([answer.status, await answer.text()], [202, '{"Status":202}']);
    for (const [name, body, status, type] of [
      ['node', '{"n": ', 400, 'InvalidRequestContentException'],
      ['node', `"${'x'.repeat(MIB - 1)}"`, 413, 'RequestEntityTooLargeException'],
      ['nobody', '{}', 404, 'ResourceNotFoundException'],
    ] as const) {
      const refused = await post(name, body);
      assert.deepEqual([refused.status, refused.headers.get('x-amzn-errortype')], [status, type]);
      await refused.text();
    }
    assert.equal(accepted.length, 2);
  });
});

for (const [code, status, name] of [
  ['full', 429, 'TooManyRequestsException'],
  ['unwritable', 500, 'ServiceException'],
  ['closed', 500, 'ServiceException'],
] as const) {
  test(`lambda: an Event that cannot be kept (${code}) is refused with ${name}`, async () => {
    const events = { accept: () => Promise.reject(new EventStoreError(code, 'the reason')) };
    await withLambda({ events }, async ({ url }) => {
      const answer = await invokeRaw(url, 'node', '1', { 'x-amz-invocation-type': 'Event' });
      assert.equal(answer.status, status);
      assert.equal(answer.headers.get('x-amzn-errortype'), name);
      assert.match(answer.text, /the reason/);
      assert.equal(answer.headers.get('retry-after'), '1');
    });
  });
}

test('lambda: an Event of 1 MiB is taken, and none that is larger', async () => {
  const events = { accept: () => Promise.resolve() };
  await withLambda({ events }, async ({ url }) => {
    const send = (bytes: number): ReturnType<typeof invokeRaw> =>
      invokeRaw(url, 'node', `"${'x'.repeat(bytes - 2)}"`, { 'x-amz-invocation-type': 'Event' });
    assert.equal((await send(MIB)).status, 202);
    const refused = await send(MIB + 1);
    assert.deepEqual(
      [refused.status, refused.headers.get('x-amzn-errortype')],
      [413, 'RequestEntityTooLargeException'],
    );
    assert.match(refused.text, /1048577 byte payload is too large for the Event invocation type/);
  });
});

test('lambda: an Invoke goes on when its client hangs up, and a drain waits for it; a stream does not', async () => {
  const held = new Held();
  await withLambda({ submit: held.submit }, async ({ gateway }) => {
    const socket = connect(gateway.address.port, '127.0.0.1');
    await once(socket, 'connect');
    const invoke = '/2015-03-31/functions/node/invocations';
    const stream = '/2021-11-15/functions/node/response-streaming-invocations';
    for (const path of [invoke, stream])
      socket.write(`POST ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n`);
    await held.until(2);
    const gone = once(held.task(1).signal, 'abort');
    socket.destroy();
    await gone;
    assert.equal(held.task(0).signal.aborted, false);
    held.task(1).reply({ status: 'error', error: new SnapfaasError('internal', 'the client is gone'), start: 'warm' });
    let isDrained = false;
    const drained = gateway.drain().then(() => (isDrained = true));
    await new Promise(setImmediate);
    assert.equal(isDrained, false);
    held.task(0).reply({ status: 'ok', result: Buffer.from('1'), start: 'warm' });
    await drained;
  });
});

test('lambda: the parts of a stream reach the client while the function runs', async () => {
  const held = new Held();
  await withLambda({ submit: held.submit }, async ({ client }) => {
    const sent = client.send(new InvokeWithResponseStreamCommand({ FunctionName: 'node' }));
    await held.until(1);
    const { sink } = held.task(0).request.lambda ?? assert.fail();
    sink?.write(Buffer.from('one'));
    const events = (await sent).EventStream?.[Symbol.asyncIterator]() ?? assert.fail();
    const next = async (): Promise<string> => {
      const { value } = (await events.next()) as IteratorResult<InvokeWithResponseStreamResponseEvent, undefined>;
      return value?.PayloadChunk?.Payload === undefined
        ? JSON.stringify(value)
        : Buffer.from(value.PayloadChunk.Payload).toString();
    };
    assert.equal(await next(), 'one');
    sink?.write(Buffer.from('two'));
    assert.equal(await next(), 'two');
    held.task(0).reply({ status: 'error', error: new FunctionError(FAILURE), start: 'warm' });
    const details = { errorType: 'ValueError', errorMessage: 'no', trace: FAILURE.stack };
    assert.deepEqual(JSON.parse(await next()), {
      InvokeComplete: { ErrorCode: 'Unhandled', ErrorDetails: JSON.stringify(details) },
    });
    assert.equal((await events.next()).done, true);
  });
});

test('lambda: a stream is refused like an invocation', async () => {
  const submit = replyWith({ status: 'error', error: new SnapfaasError('queue_full', 'full'), start: null });
  await withLambda({ submit }, async ({ url }) => {
    const client = lambdaClient(url, { maxAttempts: 1 });
    const send = (name: string): Promise<unknown> =>
      client.send(new InvokeWithResponseStreamCommand({ FunctionName: name }));
    await assert.rejects(send('node'), { name: 'TooManyRequestsException' });
    await assert.rejects(send('nobody'), { name: 'ResourceNotFoundException' });
    client.destroy();
  });
});

test('lambda: a sink is full while its client does not read, and says when there is room again', async () => {
  const held = new Held();
  await withLambda({ submit: held.submit }, async ({ gateway }) => {
    const socket = connect(gateway.address.port, '127.0.0.1');
    await once(socket, 'connect');
    socket.pause();
    socket.write(
      'POST /2021-11-15/functions/node/response-streaming-invocations HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n',
    );
    await held.until(1);
    const { sink } = held.task(0).request.lambda ?? assert.fail();
    if (sink === null) assert.fail('no sink');
    const part = Buffer.alloc(64 * 1024);
    let parts = 1;
    while (sink.write(part) && parts < 1000) parts += 1;
    assert.ok(parts < 1000, 'it took 64 MB without a reader');
    const drained = new Promise<void>((resolve) => (sink.onDrain = resolve));
    socket.resume();
    await drained;
    const gone = new Promise((resolve) => held.task(0).signal.addEventListener('abort', resolve));
    socket.destroy();
    await gone;
    held.task(0).reply({ status: 'error', error: new SnapfaasError('internal', 'the client is gone'), start: 'warm' });
  });
});

test('lambda: the docs have the table of errors', () => {
  const docs = readFileSync(join(import.meta.dirname, '../../../../docs/lambda.md'), 'utf8');
  const rows = [...docs.matchAll(/^\| `(\w+Exception)` +\| (\d+) /gm)].map(([, name, status]) => [
    name,
    Number(status),
  ]);
  const table = Object.entries(API_ERRORS).map(([name, { status }]) => [name, status]);
  assert.deepEqual(rows.sort(), table.sort());
});

test('lambda: the docs have the operations that are served', () => {
  const docs = readFileSync(join(import.meta.dirname, '../../../../docs/lambda.md'), 'utf8');
  const [tables = ''] = docs.slice(docs.indexOf('## Operations')).split('\nThe last row');
  const words = new Set([...tables.matchAll(/`(\w+)`/g)].map(([, word]) => word));
  const told = OPERATION_NAMES.filter((name) => words.has(name));
  const others = [
    'Invoke',
    'InvokeAsync',
    'InvokeWithResponseStream',
    'GetFunction',
    'GetFunctionConfiguration',
    'ListFunctions',
  ];
  assert.deepEqual(told.sort(), [...Object.keys(CONTROL), ...others].sort());
});
