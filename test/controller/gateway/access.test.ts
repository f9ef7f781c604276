import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  AddPermissionCommand,
  CreateFunctionCommand,
  GetFunctionCommand,
  GetFunctionConfigurationCommand,
  InvokeAsyncCommand,
  InvokeCommand,
  InvokeWithResponseStreamCommand,
  LambdaClient,
  ListFunctionsCommand,
  PutFunctionEventInvokeConfigCommand,
  RemovePermissionCommand,
  UpdateFunctionCodeCommand,
  UpdateFunctionConfigurationCommand,
  type LambdaServiceException,
} from '@aws-sdk/client-lambda';
import {
  CloudWatchLogsClient,
  DescribeLogGroupsCommand,
  DescribeLogStreamsCommand,
  FilterLogEventsCommand,
  GetLogEventsCommand,
  StartLiveTailCommand,
} from '@aws-sdk/client-cloudwatch-logs';
import type { AuditLine } from '../../../src/auth/audit-log.ts';
import type { Key } from '../../../src/auth/key-file.ts';
import { OPERATIONS, ROLES, type Operation, type Role } from '../../../src/auth/operations.ts';
import type { StoredEvent } from '../../../src/controller/events/event-store.ts';
import { EventsApi } from '../../../src/controller/gateway/events/api.ts';
import { InvocationsApi } from '../../../src/controller/gateway/invocations/api.ts';
import type { ControlOperation } from '../../../src/controller/gateway/lambda/control/table.ts';
import type { HttpGatewayOptions } from '../../../src/controller/gateway/http.ts';
import { LogsApi } from '../../../src/controller/gateway/logs/api.ts';
import { SchedulesApi } from '../../../src/controller/gateway/schedules/api.ts';
import { createLogger } from '../../../src/controller/log.ts';
import { FunctionLogs } from '../../../src/logs/function-logs.ts';
import { DEFAULT_ACCOUNT } from '../../../src/protocol/arn.ts';
import type { Build } from '../../../src/registry/deployments.ts';
import { functionConfig, functionUrl, registryOf } from '../../support/scripted-guests.ts';
import { authenticator, signed, type TestRequest } from '../../auth/requests.ts';
import { eventSource } from '../../registry/records.ts';
import { COMMANDS, CREATED, sourceIdOf } from './lambda/control-commands.ts';
import { withControl } from './lambda/control-plane.ts';
import { echo, errorOf, MIB, RawClient, withGateway } from './http-client.ts';

const FUNCTIONS = ['shop-cart', 'shop-pay', 'mail'].map((name) =>
  functionConfig(name, { runtime: 'nodejs', timeoutMs: 1000, handler: 'app.handler' }),
);

/** A dead one for each function, and for one that is not there; their numbers are their places. */
const EVENTS = ['shop-cart', 'mail', 'nothing'].map((name, sequence): StoredEvent => {
  const state = { status: 'dead', tries: 1, at: 2, reason: 'no' } as const;
  return { sequence, target: `function:${name}`, acceptedAt: 1, origin: null, bytes: 1, state };
});
const DEAD_EVENTS = {
  events: () => EVENTS,
  find: (sequence: number) => EVENTS[sequence] ?? null,
  read: () => Promise.resolve({ id: 'id', payload: Buffer.from('1'), header: null, hops: 0 }),
  dead: { all: () => EVENTS, has: () => true },
  redrive: () => Promise.resolve(),
  purge: () => Promise.resolve(),
} as unknown as ConstructorParameters<typeof EventsApi>[0];

const AUDITED: AuditLine[] = [];
const AUDIT = { add: (line: AuditLine) => Promise.resolve(void AUDITED.push(line)) };

/** One invocation of each function; the name is its request id as well. */
const INVOCATIONS = {
  find: ({ requestId }: { readonly requestId?: string }) =>
    EVENTS.map(({ target }) => ({ function: target.slice('function:'.length) })).filter(
      ({ function: name }) => requestId === undefined || name === requestId,
    ),
} as unknown as ConstructorParameters<typeof InvocationsApi>[0];

function keyOf(role: Role, functions: readonly string[]): Key {
  const letter = role.charAt(0).toUpperCase();
  const id = `SFAK${letter.repeat(16)}`;
  return { id, name: role, role, functions, secret: `${role}-secret-`.padEnd(40, 'x'), created: '2026-01-01' };
}

/** A gateway whose callers need one of these keys. */
async function withKeys(
  keys: readonly Key[],
  use: (url: string, port: number) => Promise<void>,
  options: Partial<HttpGatewayOptions> = {},
  build?: Build,
): Promise<void> {
  const functions = registryOf(FUNCTIONS);
  for (const { name } of FUNCTIONS) functions.configure(name, { urls: [functionUrl(name, { authType: 'AWS_IAM' })] });
  for (const [of, name] of [
    ['mail', 'mail'],
    ['shop-new', 'shop-cart'],
  ] as const) {
    functions.configure(name, { eventSources: [{ id: sourceIdOf(of), function: name, ...eventSource() }] });
  }
  const lambda = {
    account: DEFAULT_ACCOUNT,
    functions,
    maxConcurrency: 8,
    interpreters: 'host',
    usesSnapshots: () => false,
    eventSources: null,
    events: { accept: () => Promise.resolve() },
    logger: createLogger('silent'),
    audit: AUDIT,
  } as const;
  const logs = {
    account: DEFAULT_ACCOUNT,
    logs: new FunctionLogs({
      directory: '/nonexistent',
      maxBytes: 1,
      maxAgeMs: 1,
      onProblem: (message) => assert.fail(message),
      now: Date.now,
    }),
    isFunction: (name: string) => FUNCTIONS.some((fn) => fn.name === name),
  };
  const daily = { name: 'daily', expression: 'rate(1 day)', timeZone: 'UTC', qualifier: null, input: null } as const;
  for (const { name } of FUNCTIONS) {
    functions.configure(name, {
      schedules: [{ ...daily, missed: 'once', start: null, end: null, isPaused: false, since: null }],
    });
  }
  const schedules = {
    registry: functions,
    scheduler: { nextDue: () => null },
    functions: { setSchedule: () => Promise.resolve(), removeSchedule: () => Promise.resolve() },
    audit: AUDIT,
  };
  const access = authenticator(keys, { now: Date.now() });
  await withControl(
    functions,
    (plane) =>
      withGateway(
        {
          lambda: { ...lambda, plane },
          jsonApis: [
            new LogsApi(logs),
            new EventsApi(DEAD_EVENTS, AUDIT, () => true),
            new InvocationsApi(INVOCATIONS),
            new SchedulesApi(schedules),
          ],
          access,
          ...options,
        },
        (_, port) => use(`http://127.0.0.1:${port}`, port),
      ),
    build,
  );
}

function sdk(endpoint: string, key: Pick<Key, 'id' | 'secret'>): LambdaClient {
  process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true';
  const credentials = { accessKeyId: key.id, secretAccessKey: key.secret };
  return new LambdaClient({ region: 'us-east-1', endpoint, credentials, maxAttempts: 1 });
}

function logs(endpoint: string, key: Pick<Key, 'id' | 'secret'>): CloudWatchLogsClient {
  const credentials = { accessKeyId: key.id, secretAccessKey: key.secret };
  const options = { maxAttempts: 1, disableHostPrefix: true };
  return new CloudWatchLogsClient({ region: 'us-east-1', endpoint, credentials, ...options });
}

async function tail(client: CloudWatchLogsClient, name: string): Promise<void> {
  await client.send(new StartLiveTailCommand({ logGroupIdentifiers: [group(name)] }));
  client.destroy();
}

/** Without the host, which `fetch` sends by itself. */
function signedHeaders(key: Key, method: string, target: string): (host: string) => Record<string, string> {
  return (host) => {
    const { rawHeaders } = signed(method, target, '', { key, at: Date.now(), headers: { host } });
    const names = rawHeaders.filter((_, at) => at % 2 === 0);
    const all = Object.fromEntries(names.map((name, at) => [name, rawHeaders[2 * at + 1] ?? '']));
    return Object.fromEntries(Object.entries(all).filter(([name]) => name !== 'host'));
  };
}

const group = (name: string): string => `/aws/lambda/${name}`;

/** The name of the error that a call ends with; null: it does not. */
async function outcomeOf(call: Promise<unknown>): Promise<string | null> {
  return call.then(
    () => null,
    (error: unknown) => (error as LambdaServiceException).name,
  );
}

const bearerOf = ({ id, secret }: Key): Record<string, string> => ({ authorization: `Bearer ${id}.${secret}` });

type ControlPermission = `lambda:${ControlOperation}`;

/** Every way to ask for an operation: by the SDK, whose requests are signed, and by a bearer token. */
const WAYS: Readonly<
  Record<
    Exclude<Operation, ControlPermission>,
    readonly ((url: string, key: Key, name: string) => Promise<string | null>)[]
  >
> = {
  'lambda:InvokeFunction': [
    (url, key, FunctionName) => outcomeOf(sdk(url, key).send(new InvokeCommand({ FunctionName, Payload: '{}' }))),
    (url, key, FunctionName) =>
      outcomeOf(sdk(url, key).send(new InvokeCommand({ FunctionName, InvocationType: 'DryRun' }))),
    (url, key, FunctionName) =>
      outcomeOf(sdk(url, key).send(new InvokeCommand({ FunctionName, InvocationType: 'Event', Payload: '{}' }))),
    (url, key, FunctionName) =>
      // eslint-disable-next-line @typescript-eslint/no-deprecated -- it is served, and must not be a way around
      outcomeOf(sdk(url, key).send(new InvokeAsyncCommand({ FunctionName, InvokeArgs: '{}' }))),
    (url, key, FunctionName) =>
      outcomeOf(sdk(url, key).send(new InvokeWithResponseStreamCommand({ FunctionName, Payload: '{}' }))),
    (url, key, name) =>
      native(`${url}/`, key, { method: 'POST', body: JSON.stringify({ function: name, payload: 1 }) }),
  ],
  'lambda:InvokeFunctionUrl': [
    (url, key, name) => native(`${url}/url/${name}/`, key, {}),
    (url, key, name) => native(`${url}/url/${name}/a?b=c`, key, { method: 'POST', body: '{}' }),
    (url, key, name) => native(`${url}/url/${name}/`, key, {}, signedHeaders(key, 'GET', `/url/${name}/`)),
  ],
  'lambda:ListFunctions': [(url, key) => outcomeOf(sdk(url, key).send(new ListFunctionsCommand({})))],
  'lambda:GetFunction': [
    (url, key, FunctionName) => outcomeOf(sdk(url, key).send(new GetFunctionCommand({ FunctionName }))),
  ],
  'lambda:GetFunctionConfiguration': [
    (url, key, FunctionName) => outcomeOf(sdk(url, key).send(new GetFunctionConfigurationCommand({ FunctionName }))),
  ],
  'logs:DescribeLogGroups': [(url, key) => outcomeOf(logs(url, key).send(new DescribeLogGroupsCommand({})))],
  'logs:DescribeLogStreams': [
    (url, key, name) => outcomeOf(logs(url, key).send(new DescribeLogStreamsCommand({ logGroupName: group(name) }))),
  ],
  'logs:FilterLogEvents': [
    (url, key, name) => outcomeOf(logs(url, key).send(new FilterLogEventsCommand({ logGroupName: group(name) }))),
  ],
  'logs:GetLogEvents': [
    (url, key, name) =>
      outcomeOf(logs(url, key).send(new GetLogEventsCommand({ logGroupName: group(name), logStreamName: 'a' }))),
  ],
  'logs:StartLiveTail': [(url, key, name) => outcomeOf(tail(logs(url, key), name))],
  'snapfaas:ListEvents': [(url, key) => events(url, key, 'ListEvents', {})],
  'snapfaas:GetEvent': [(url, key, name) => events(url, key, 'GetEvent', { event: eventOf(name) })],
  'snapfaas:RedriveEvents': [
    (url, key, name) => events(url, key, 'RedriveEvents', { event: eventOf(name) }),
    (url, key, functionName) => events(url, key, 'RedriveEvents', { functionName }),
  ],
  'snapfaas:PurgeEvents': [
    (url, key, name) => events(url, key, 'PurgeEvents', { event: eventOf(name) }),
    (url, key, functionName) => events(url, key, 'PurgeEvents', { functionName }),
  ],
  'snapfaas:ListSchedules': [(url, key) => ours(url, key, 'SnapfaasSchedules.ListSchedules', {})],
  'snapfaas:GetSchedule': [(url, key, functionName) => schedule(url, key, 'GetSchedule', { functionName })],
  'snapfaas:PutSchedule': [
    (url, key, functionName) => schedule(url, key, 'PutSchedule', { functionName, expression: 'rate(1 day)' }),
  ],
  'snapfaas:DeleteSchedule': [(url, key, functionName) => schedule(url, key, 'DeleteSchedule', { functionName })],
  'snapfaas:GetInvocation': [
    (url, key, requestId) => ours(url, key, 'SnapfaasInvocations.GetInvocation', { requestId }),
  ],
  'snapfaas:ListInvocations': [(url, key) => ours(url, key, 'SnapfaasInvocations.ListInvocations', {})],
  'snapfaas:ReadMetrics': [(url, key) => native(`${url}/metrics`, key, {})],
  'snapfaas:ReadStatus': [(url, key) => native(`${url}/status`, key, {})],
};

function eventOf(name: string): number {
  return EVENTS.findIndex(({ target }) => target === `function:${name}`);
}

function events(url: string, key: Key, operation: string, members: object): Promise<string | null> {
  return ours(url, key, `SnapfaasEvents.${operation}`, members);
}

function schedule(url: string, key: Key, operation: string, members: object): Promise<string | null> {
  return ours(url, key, `SnapfaasSchedules.${operation}`, { name: 'daily', ...members });
}

function ours(url: string, key: Key, target: string, members: object): Promise<string | null> {
  const proof = (): Record<string, string> => ({ ...bearerOf(key), 'x-amz-target': target });
  return native(`${url}/`, key, { method: 'POST', body: JSON.stringify(members) }, proof);
}

async function native(
  url: string,
  key: Key,
  init: RequestInit,
  proof: (host: string) => Record<string, string> = () => bearerOf(key),
): Promise<string | null> {
  const headers = { ...proof(new URL(url).host), 'content-type': 'application/json' };
  const response = await fetch(url, { ...init, headers });
  await response.arrayBuffer();
  return response.ok ? null : response.status === 403 ? 'AccessDeniedException' : String(response.status);
}

/** The table as it should be, said a second time. */
const MAY: Readonly<Record<Role, readonly Operation[]>> = {
  invoke: ['lambda:InvokeFunction', 'lambda:InvokeFunctionUrl', 'snapfaas:ReadMetrics'],
  deploy: [
    'lambda:InvokeFunction',
    'lambda:InvokeFunctionUrl',
    'snapfaas:ReadMetrics',
    'lambda:ListFunctions',
    'lambda:GetFunction',
    'lambda:GetFunctionConfiguration',
    'logs:DescribeLogGroups',
    'logs:DescribeLogStreams',
    'logs:FilterLogEvents',
    'logs:GetLogEvents',
    'logs:StartLiveTail',
    'snapfaas:ListEvents',
    'snapfaas:GetEvent',
    'snapfaas:RedriveEvents',
    'snapfaas:PurgeEvents',
    'snapfaas:ListSchedules',
    'snapfaas:GetSchedule',
    'snapfaas:PutSchedule',
    'snapfaas:DeleteSchedule',
    'snapfaas:GetInvocation',
    'snapfaas:ListInvocations',
    ...(Object.keys(OPERATIONS) as Operation[]).filter((operation) => operation.slice('lambda:'.length) in COMMANDS),
  ],
  admin: Object.keys(OPERATIONS) as Operation[],
};

for (const role of ROLES) {
  test(`access: what a key of the role ${role} may do, and on which functions`, async () => {
    const key = keyOf(role, ['shop-*']);
    await withKeys([key], async (url) => {
      for (const [operation, ways] of Object.entries(WAYS) as [keyof typeof WAYS, (typeof WAYS)[keyof typeof WAYS]][]) {
        const may = MAY[role].includes(operation);
        const isOnOne = OPERATIONS[operation].on === 'function';
        for (const [index, way] of ways.entries()) {
          const title = `${operation} ${index}`;
          assert.equal(await way(url, key, 'shop-cart'), may ? null : 'AccessDeniedException', title);
          if (isOnOne) assert.equal(await way(url, key, 'mail'), 'AccessDeniedException', `${title} on another`);
          // Whether it is there is not told.
          if (isOnOne) assert.equal(await way(url, key, 'nothing'), 'AccessDeniedException', `${title} on none`);
        }
      }
    });
  });
}

for (const role of ROLES) {
  test(`access: a key of the role ${role} may change what it is for, and nothing else`, async () => {
    const key = keyOf(role, ['shop-*']);
    await withKeys([key], async (url) => {
      const client = sdk(url, key);
      for (const [operation, send] of Object.entries(COMMANDS) as [ControlOperation, (typeof COMMANDS)['GetAlias']][]) {
        const permission: Operation =
          operation === 'GetLayerVersionByArn' ? 'lambda:GetLayerVersion' : `lambda:${operation}`;
        const isDenied = async (name: string): Promise<boolean> =>
          (await outcomeOf(send(client, name))) === 'AccessDeniedException';
        assert.equal(await isDenied('shop-new'), !MAY[role].includes(permission), operation);
        const { on } = OPERATIONS[permission];
        if (on === 'function' || on === 'layer') assert.ok(await isDenied('mail'), `${operation} on another`);
      }
    });
  });
}

test('access: statements of a policy let the holders of other keys run a function', async () => {
  const [deploy, invoke] = [keyOf('deploy', ['*']), keyOf('invoke', ['none'])];
  await withKeys([deploy, invoke], async (url) => {
    const [owner, other] = [sdk(url, deploy), sdk(url, invoke)];
    const FunctionName = 'made';
    await COMMANDS.CreateFunction(owner, FunctionName);
    const run = (): Promise<string | null> =>
      outcomeOf(other.send(new InvokeCommand({ FunctionName, InvocationType: 'DryRun' })));
    assert.equal(await run(), 'AccessDeniedException');
    const Action = 'lambda:InvokeFunction';
    const user = 'arn:aws:iam::000000000000:user/invoke';
    const add = (StatementId: string, rest: { Principal: string; SourceArn?: string }): Promise<unknown> =>
      owner.send(new AddPermissionCommand({ FunctionName, StatementId, Action, ...rest }));
    await add('another', { Principal: 'arn:aws:iam::000000000000:user/deploy' });
    await add('bucket', { Principal: 's3.amazonaws.com' });
    await add('source', { Principal: '*', SourceArn: 'arn:aws:s3:::bucket' });
    assert.equal(await run(), 'AccessDeniedException');
    await add('right', { Principal: user });
    assert.equal(await run(), null);
    await owner.send(new RemovePermissionCommand({ FunctionName, StatementId: 'right' }));
    assert.equal(await run(), 'AccessDeniedException');
  });
});

test('access: who is told of events has to be one whom the key may reach: a function of its own, or with the role admin a URL', async () => {
  const [deploy, admin] = [keyOf('deploy', ['shop-*']), keyOf('admin', ['*'])];
  await withKeys([deploy, admin], async (url) => {
    const FunctionName = 'shop-new';
    await COMMANDS.CreateFunction(sdk(url, deploy), FunctionName);
    const arnOf = (name: string): string => `arn:aws:lambda:us-east-1:000000000000:function:${name}`;
    const told = (key: Key, Destination: string): Promise<unknown> => {
      const DestinationConfig = { OnFailure: { Destination } };
      return sdk(url, key).send(new PutFunctionEventInvokeConfigCommand({ FunctionName, DestinationConfig }));
    };
    const dead = (key: Key, TargetArn: string): Promise<unknown> => {
      const DeadLetterConfig = { TargetArn };
      return sdk(url, key).send(new UpdateFunctionConfigurationCommand({ FunctionName, DeadLetterConfig }));
    };
    for (const set of [told, dead]) {
      for (const [target, words] of [
        ['http://127.0.0.1:9/hook', /the destination http:\/\/127\.0\.0\.1:9\/hook takes a key with the role admin/],
        ['https://example.org/', /takes a key with the role admin/],
        [arnOf('mail'), /function:mail takes a key that may invoke it/],
        // Whether it is there is not told.
        [arnOf('nothing'), /function:nothing takes a key that may invoke it/],
      ] as const) {
        await assert.rejects(set(deploy, target), { name: 'AccessDeniedException', message: words }, target);
      }
    }
    for (const target of [arnOf('shop-pay'), 'file:told.jsonl'])
      assert.equal(await outcomeOf(told(deploy, target)), null);
    assert.equal(await outcomeOf(told(admin, 'http://127.0.0.1:9/hook')), null);
    // A change is under way for ever, as nothing is deployed here: that is said after it is looked who may.
    assert.equal(await outcomeOf(dead(admin, 'http://127.0.0.1:9/hook')), 'ResourceConflictException');
    assert.equal(await outcomeOf(dead(deploy, arnOf('shop-pay'))), 'ResourceConflictException');
  });
});

test('access: who has dead events begin anew or removes them is in the audit log; who may not is not', async () => {
  const key = keyOf('deploy', ['shop-*']);
  await withKeys([key], async (url) => {
    AUDITED.length = 0;
    assert.equal(await events(url, key, 'RedriveEvents', { functionName: 'shop-cart' }), null);
    assert.equal(await events(url, key, 'PurgeEvents', { event: eventOf('shop-cart') }), null);
    assert.equal(await events(url, key, 'PurgeEvents', { functionName: 'mail' }), 'AccessDeniedException');
    assert.equal(await events(url, key, 'PurgeEvents', { functionName: 'shop-pay' }), null);
    const who = { by: 'deploy', key: { id: key.id, name: 'deploy' }, function: 'shop-cart' };
    assert.deepEqual(AUDITED, [
      { action: 'snapfaas:RedriveEvents', ...who, changed: 1 },
      { action: 'snapfaas:PurgeEvents', ...who, event: eventOf('shop-cart'), changed: 1 },
    ]);
  });
});

/** What is not changed by `COMMANDS` alone: provisioned are versions, and there are no NATS servers. */
const NEEDS_MORE = [
  'PutProvisionedConcurrencyConfig',
  'DeleteProvisionedConcurrencyConfig',
  'CreateEventSourceMapping',
  'UpdateEventSourceMapping',
  'DeleteEventSourceMapping',
];
const DEPLOYED: Build = (config) => Promise.resolve(functionConfig(config.name, { version: config.version }));

test('access: each operation that changed something is in the audit log once, with who it was; no other one is', async () => {
  const key = keyOf('deploy', ['shop-*']);
  await withKeys(
    [key],
    async (url) => {
      const client = sdk(url, key);
      const who = { by: 'deploy', key: { id: key.id, name: 'deploy' } };
      const done = new Set<string>();
      for (const [operation, send] of Object.entries(COMMANDS)) {
        AUDITED.length = 0;
        for (const name of ['shop-new', 'mail'])
          if ((await outcomeOf(send(client, name))) === null) done.add(operation);
        const changed = done.has(operation) && !/^(Get|List)/.test(operation);
        const lines = AUDITED.map(({ action, by, key: by_ }) => ({ action, by, key: by_ }));
        assert.deepEqual(lines, changed ? [{ action: `lambda:${operation}`, ...who }] : [], operation);
        if (!changed || operation.includes('Layer')) continue;
        assert.equal(AUDITED[0]?.['function'], operation.includes('EventSource') ? 'shop-cart' : 'shop-new', operation);
      }
      const others = Object.keys(COMMANDS).filter(
        (operation) => !done.has(operation) && !/^(Get|List)/.test(operation),
      );
      assert.deepEqual(others, NEEDS_MORE);
    },
    {},
    DEPLOYED,
  );
});

test('access: the audit log tells what was changed, and no value of an environment', async () => {
  const key = keyOf('deploy', ['shop-*']);
  await withKeys(
    [key],
    async (url) => {
      const client = sdk(url, key);
      AUDITED.length = 0;
      const FunctionName = 'shop-new';
      const Environment = { Variables: { PASSWORD: 'hunter2' } };
      await client.send(new CreateFunctionCommand({ ...CREATED, FunctionName, Environment }));
      const dryRun = { FunctionName, ZipFile: CREATED.Code.ZipFile, DryRun: true };
      assert.equal(await outcomeOf(client.send(new UpdateFunctionCodeCommand(dryRun))), null);
      await COMMANDS.AddPermission(client, FunctionName);
      await COMMANDS.CreateAlias(client, FunctionName);
      await COMMANDS.DeleteAlias(client, FunctionName);
      await COMMANDS.PublishLayerVersion(client, 'shop-layer');
      const daily = { functionName: 'shop-cart', expression: 'rate(1 day)' };
      assert.equal(await schedule(url, key, 'PutSchedule', daily), null);
      assert.equal(await schedule(url, key, 'DeleteSchedule', daily), null);
      assert.equal(await schedule(url, key, 'DeleteSchedule', { functionName: 'mail' }), 'AccessDeniedException');
      const isDetail = ([field]: [string, unknown]): boolean => !['action', 'by', 'key'].includes(field);
      const told = AUDITED.map((line) => [line.action, Object.fromEntries(Object.entries(line).filter(isDetail))]);
      const [mine, codeSha256] = [{ function: FunctionName }, String(AUDITED[0]?.['codeSha256'])];
      assert.match(codeSha256, /^[\w+/]{43}=$/);
      const allows = 'lambda:InvokeFunction';
      assert.deepEqual(told, [
        [
          'lambda:CreateFunction',
          { ...mine, codeSha256, members: ['FunctionName', 'Role', 'Code', 'Runtime', 'Handler', 'Environment'] },
        ],
        [
          'lambda:AddPermission',
          { ...mine, statement: 'a', principal: '*', allows, members: ['StatementId', 'Action', 'Principal'] },
        ],
        ['lambda:CreateAlias', { ...mine, alias: 'live', version: '$LATEST', members: ['Name', 'FunctionVersion'] }],
        ['lambda:DeleteAlias', { ...mine, alias: 'live' }],
        ['lambda:PublishLayerVersion', { layer: 'shop-layer', version: 1, members: ['Content'] }],
        ['snapfaas:PutSchedule', { function: 'shop-cart', schedule: 'daily' }],
        ['snapfaas:DeleteSchedule', { function: 'shop-cart', schedule: 'daily' }],
      ]);
      assert.ok(!JSON.stringify(AUDITED).includes('hunter2'));
    },
    {},
    DEPLOYED,
  );
});

test('access: a list shows the functions that the key is for', async () => {
  await withKeys([keyOf('deploy', ['*-cart', 'mail'])], async (url) => {
    const { Functions = [] } = await sdk(url, keyOf('deploy', [])).send(new ListFunctionsCommand({}));
    assert.deepEqual(
      Functions.map(({ FunctionName }) => FunctionName),
      ['mail', 'shop-cart'],
    );
  });
});

test('access: whoever proves no key is told so in the words of the interface', async () => {
  await withKeys([keyOf('admin', ['*'])], async (url) => {
    const own = await fetch(url, { method: 'POST', body: '{"function":"mail","payload":1}' });
    assert.equal(own.status, 401);
    assert.match(own.headers.get('www-authenticate') ?? '', /^Bearer realm=/);
    assert.equal(((await own.json()) as { error: { code: string } }).error.code, 'unauthorized');
    for (const path of ['/status', '/metrics']) assert.equal((await fetch(url + path)).status, 401);
    for (const path of ['/healthz', '/readyz']) assert.equal((await fetch(url + path)).status, 200);
    for (const path of [
      '/2015-03-31/functions',
      '/2015-03-31/functions/nothing',
      '/2015-03-31/functions/%ff',
      '/2020-01-01/x',
    ]) {
      const answer = await fetch(url + path);
      assert.equal(answer.status, 403, path);
      assert.equal(answer.headers.get('x-amzn-errortype'), 'MissingAuthenticationTokenException');
      assert.deepEqual(await answer.json(), { message: 'Missing Authentication Token' });
    }
    const wrong = { ...keyOf('admin', []), secret: 'wrong' };
    const unknown = { ...wrong, id: 'SFAKNOBODY' };
    assert.equal(await outcomeOf(sdk(url, wrong).send(new ListFunctionsCommand({}))), 'InvalidSignatureException');
    assert.equal(await outcomeOf(sdk(url, unknown).send(new ListFunctionsCommand({}))), 'UnrecognizedClientException');
  });
});

test('access: the SDK sets its clock by the refusal, and goes on', async () => {
  const key = keyOf('admin', ['*']);
  await withKeys([key], async (endpoint) => {
    const credentials = { accessKeyId: key.id, secretAccessKey: key.secret };
    const late = new LambdaClient({ region: 'us-east-1', endpoint, credentials, systemClockOffset: -3_600_000 });
    assert.equal(await outcomeOf(late.send(new ListFunctionsCommand({}))), null);
  });
});

function head({ method, target, rawHeaders }: TestRequest, more = ''): string {
  let text = `${method} ${target} HTTP/1.1\r\n`;
  for (let at = 0; at < rawHeaders.length; at += 2) text += `${rawHeaders[at] ?? ''}: ${rawHeaders[at + 1] ?? ''}\r\n`;
  return `${text}${more}\r\n`;
}

const INVOKE = '/2015-03-31/functions/mail/invocations';

test('access: of a body that nobody signed for nothing is held', async () => {
  const key = keyOf('invoke', ['*']);
  await withKeys([key], async (_, port) => {
    const length = 6 * MIB - 1;
    const wrong = signed('POST', INVOKE, '', {
      key: { id: key.id, secret: 'wrong' },
      at: Date.now(),
      contentHash: 'a'.repeat(64),
      headers: { 'content-length': String(length) },
    });
    for (const [request, status] of [
      [head(wrong), 403],
      [`POST ${INVOKE} HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${length}\r\n\r\n`, 403],
      [`POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${length}\r\n\r\n`, 401],
    ] as const) {
      // The answer comes before the body does.
      const client = await RawClient.open(port);
      assert.equal((await client.send(request).response()).status, status);
      client.socket.destroy();
      const waiting = await RawClient.open(port);
      const expecting = request.replace('\r\n\r\n', '\r\nexpect: 100-continue\r\n\r\n');
      assert.equal((await waiting.send(expecting).response()).status, status);
      waiting.socket.destroy();
    }
  });
});

test('access: who signs the body is told nothing before it is in', async () => {
  const key = keyOf('admin', ['*']);
  await withKeys([key], async (_, port) => {
    const ask = async (target: string, secret: string, body: string): Promise<{ status: number; body: string }> => {
      const request = signed('POST', target, body, { key: { id: key.id, secret }, at: Date.now(), contentHash: null });
      const client = await RawClient.open(port);
      const answer = await client.send(head(request)).send(request.body).response();
      client.socket.destroy();
      return answer;
    };
    const nothing = INVOKE.replace('mail', 'nothing');
    assert.equal((await ask(INVOKE, key.secret, '{"a":1}')).body, '{"a":1}');
    assert.equal((await ask(nothing, key.secret, '{"a":1}')).status, 404);
    const large = JSON.stringify('x'.repeat(100_000));
    assert.equal((await ask(nothing, key.secret, large)).status, 404);
    for (const target of [INVOKE, nothing, '/2020-01-01/nothing']) {
      assert.match((await ask(target, 'wrong', '{"a":1}')).body, /does not match the signature/);
      assert.match((await ask(target, 'wrong', large)).body, /does not match the signature/);
    }
  });
});

test('access: signatures serve our own interface as well', async () => {
  const key = keyOf('invoke', ['shop-*']);
  await withKeys([key], async (_, port) => {
    const ask = async (name: string): Promise<Awaited<ReturnType<RawClient['response']>>> => {
      const body = JSON.stringify({ function: name, payload: 'p' });
      const headers = { 'content-type': 'application/json' };
      const request = signed('POST', '/', body, { key, at: Date.now(), contentHash: null, headers });
      const client = await RawClient.open(port);
      const answer = await client.send(head(request)).send(request.body).response();
      client.socket.destroy();
      return answer;
    };
    assert.equal((await ask('shop-pay')).body, '"p"');
    const refused = await ask('mail');
    assert.equal(refused.status, 403);
    assert.match(errorOf(refused).message, /key invoke .* may not do lambda:InvokeFunction on the function mail/);
  });
});

test('access: a GET whose signature is over a body is refused', async () => {
  const key = keyOf('admin', ['*']);
  await withKeys([key], async (_, port) => {
    const request = signed('GET', '/status', 'x', { key, at: Date.now(), contentHash: null });
    const client = await RawClient.open(port);
    const answer = await client.send(head(request)).send('x').response();
    assert.equal(answer.status, 401);
    client.socket.destroy();
  });
});

test('access: browsers ask before they send a key, and pages that are not allowed get nowhere with one', async () => {
  const key = keyOf('admin', ['*']);
  const allowedOrigins = ['http://localhost:3000'];
  await withKeys(
    [key],
    async (url) => {
      const origin = { origin: 'http://localhost:3000' };
      const preflight = { 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization' };
      const asked = await fetch(url, { method: 'OPTIONS', headers: { ...origin, ...preflight } });
      assert.equal(asked.status, 204);
      assert.equal(asked.headers.get('access-control-allow-headers'), 'authorization');
      const refused = await fetch(`${url}/status`, { headers: origin });
      assert.equal(refused.status, 401);
      assert.equal(refused.headers.get('access-control-allow-origin'), origin.origin);
      assert.equal((await fetch(`${url}/status`, { headers: { ...origin, ...bearerOf(key) } })).status, 200);
      const foreign = { origin: 'http://evil.example', ...bearerOf(key) };
      assert.equal((await fetch(`${url}/status`, { headers: foreign })).status, 403);
    },
    { allowedOrigins },
  );
});

test('access: a request that is refused runs nothing', async () => {
  let ran = 0;
  const submit: HttpGatewayOptions['submit'] = (task) => {
    ran += 1;
    echo(task);
  };
  const key = keyOf('invoke', ['shop-*']);
  const wrong = { ...key, secret: 'wrong' };
  await withKeys(
    [key],
    async (url) => {
      for (const way of WAYS['lambda:InvokeFunction']) {
        assert.notEqual(await way(url, key, 'mail'), null);
        assert.notEqual(await way(url, wrong, 'shop-cart'), null);
      }
      assert.equal(ran, 0);
    },
    { submit },
  );
});
