/** The Logs API as AWS's own clients use it, and what it says to those who ask wrongly. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  CloudWatchLogsClient,
  DescribeLogGroupsCommand,
  DescribeLogStreamsCommand,
  FilterLogEventsCommand,
  GetLogEventsCommand,
  paginateFilterLogEvents,
  StartLiveTailCommand,
  type StartLiveTailCommandInput,
  type StartLiveTailResponseStream,
  type CloudWatchLogsServiceException,
} from '@aws-sdk/client-cloudwatch-logs';
import { LogsApi } from '../../../src/controller/gateway/logs/api.ts';
import { FunctionLogs } from '../../../src/logs/function-logs.ts';
import { DEFAULT_ACCOUNT } from '../../../src/protocol/arn.ts';
import { withGateway } from './http-client.ts';

const GROUP = '/aws/lambda/hello';
/** Functions of which something was printed, and one of which nothing was. */
const [HELLO, OTHER, SILENT] = ['hello', 'other', 'silent'];

function clientOf(endpoint: string): CloudWatchLogsClient {
  const credentials = { accessKeyId: 'a', secretAccessKey: 'b' };
  const options = { maxAttempts: 1, disableHostPrefix: true };
  return new CloudWatchLogsClient({ region: 'us-east-1', endpoint, credentials, ...options });
}

async function withApi(
  use: (client: CloudWatchLogsClient, logs: FunctionLogs, url: string) => Promise<void>,
  now: () => number = Date.now,
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'logs-api-'));
  const logs = new FunctionLogs({
    directory,
    maxBytes: 1e9,
    maxAgeMs: 1e9,
    onProblem: (message) => assert.fail(message),
    now,
  });
  const isFunction = (name: string): boolean => [HELLO, OTHER, SILENT].includes(name);
  try {
    await withGateway({ jsonApis: [new LogsApi({ account: DEFAULT_ACCOUNT, logs, isFunction })] }, async (_, port) => {
      const endpoint = `http://127.0.0.1:${port}`;
      const client = clientOf(endpoint);
      await use(client, logs, endpoint);
      client.destroy();
    });
  } finally {
    await logs.close();
    rmSync(directory, { recursive: true });
  }
}

test('Logs API: events of a group, by words, streams and pages', () =>
  withApi(async (client, logs) => {
    const first = logs.vmLog(HELLO, '$LATEST');
    const second = logs.vmLog(HELLO, '3');
    for (let index = 0; index < 25; index++) first.printed('a', `ERROR ${index}\n`);
    second.printed('b', 'fine\n');
    const all = [];
    for await (const { events = [] } of paginateFilterLogEvents({ client, pageSize: 10 }, { logGroupName: GROUP })) {
      assert.ok(events.length <= 10);
      all.push(...events);
    }
    assert.equal(all.length, 26);
    assert.equal(new Set(all.map(({ eventId }) => eventId)).size, 26);
    assert.deepEqual(
      all.map(({ eventId = '' }) => eventId).sort(),
      all.map(({ eventId }) => eventId),
    );
    assert.ok(all.every(({ timestamp = 0 }) => Math.abs(timestamp - Date.now()) < 60_000));
    const streams = [...new Set(all.map(({ logStreamName = '' }) => logStreamName))];
    assert.equal(streams.length, 2);
    const [one = '', other = ''] = streams;
    const wordy = await client.send(new FilterLogEventsCommand({ logGroupName: GROUP, filterPattern: 'ERROR -1' }));
    assert.deepEqual(
      wordy.events?.map(({ message }) => message),
      [0, 2, 3, 4, 5, 6, 7, 8, 9, 20, 22, 23, 24].map((index) => `ERROR ${index}`),
    );
    const identified = await client.send(
      new FilterLogEventsCommand({
        logGroupIdentifier: `arn:aws:logs:us-east-1:000000000000:log-group:${GROUP}:*`,
        logStreamNames: [other],
      }),
    );
    assert.deepEqual(
      identified.events?.map(({ message }) => message),
      ['fine'],
    );
    const { logStreams = [] } = await client.send(
      new DescribeLogStreamsCommand({ logGroupName: GROUP, orderBy: 'LastEventTime', descending: true, limit: 1 }),
    );
    assert.equal(logStreams.length, 1);
    assert.ok(streams.includes(logStreams[0]?.logStreamName ?? ''));
    const named = await client.send(new DescribeLogStreamsCommand({ logGroupName: GROUP, logStreamNamePrefix: one }));
    assert.deepEqual(
      named.logStreams?.map(({ logStreamName }) => logStreamName),
      [one],
    );
  }));

test('Logs API: a stream forwards from its head and backwards from its end, and what comes later', () =>
  withApi(async (client, logs) => {
    const log = logs.vmLog(HELLO, '$LATEST');
    for (let index = 0; index < 10; index++) log.printed('a', `${index}\n`);
    logs.vmLog(HELLO, '$LATEST').printed('b', 'of another stream\n');
    const { events = [] } = await client.send(new FilterLogEventsCommand({ logGroupName: GROUP, limit: 1 }));
    const where = { logGroupName: GROUP, logStreamName: events[0]?.logStreamName, limit: 4 };
    const get = async (rest: object): Promise<{ found: string; back: string; forward: string }> => {
      const answer = await client.send(new GetLogEventsCommand({ ...where, ...rest }));
      const found = answer.events?.map(({ message }) => message).join('') ?? '';
      return { found, back: answer.nextBackwardToken ?? '', forward: answer.nextForwardToken ?? '' };
    };
    const last = await get({});
    assert.equal(last.found, '6789');
    const before = await get({ nextToken: last.back });
    assert.equal(before.found, '2345');
    const head = await get({ nextToken: before.back });
    assert.equal(head.found, '01');
    assert.equal((await get({ nextToken: head.back })).found, '');
    const fromHead = await get({ startFromHead: true });
    assert.equal(fromHead.found, '0123');
    const next = await get({ nextToken: fromHead.forward });
    assert.equal(next.found, '4567');
    const rest = await get({ nextToken: next.forward });
    assert.equal(rest.found, '89');
    log.printed('a', 'later\n');
    const later = await get({ nextToken: rest.forward });
    assert.equal(later.found, 'later');
    assert.equal((await get({ nextToken: last.forward })).found, 'later');
    // By this clients know that they have all of it.
    assert.equal((await get({ nextToken: later.forward })).forward, later.forward);
  }));

interface LastPage {
  readonly events: readonly { readonly message: string }[];
  readonly nextToken?: string;
  readonly followToken: string;
}

test('Logs API: the last events of a group, and then the last of those that came since', () =>
  withApi(async (_client, logs, url) => {
    const log = logs.vmLog(HELLO, '$LATEST');
    const ask = async (members: object): Promise<LastPage> => {
      const headers = { 'x-amz-target': 'Logs_20140328.FilterLogEvents', 'content-type': 'application/x-amz-json-1.1' };
      const body = JSON.stringify({ logGroupName: GROUP, startFromEnd: true, limit: 3, ...members });
      const response = await fetch(url, { method: 'POST', headers, body });
      assert.equal(response.status, 200);
      return (await response.json()) as LastPage;
    };
    const said = ({ events }: LastPage): string[] => events.map(({ message }) => message);
    const none = await ask({});
    assert.deepEqual(said(none), []);
    log.printed('a', '1\n2\n3\n4\n5\n');
    const first = await ask({ nextToken: none.followToken });
    assert.deepEqual([said(first), first.nextToken], [['3', '4', '5'], undefined]);
    assert.deepEqual(said(await ask({ nextToken: first.followToken })), []);
    log.printed('a', `6\n7\n8\n9\n${'x'.repeat(60_000)}\n`);
    const second = await ask({ nextToken: first.followToken, filterPattern: '-xxx' });
    assert.deepEqual(said(second), ['7', '8', '9']);
    log.printed('a', '10\n');
    assert.deepEqual(said(await ask({ nextToken: second.followToken })), ['10']);
    // Of what is long, an answer has the end.
    for (let index = 0; index < 30; index += 1) {
      log.printed('a', `${index} ${'x'.repeat(60_000)}\n`);
      await logs.names();
    }
    const long = said(await ask({ nextToken: second.followToken, limit: 100 }));
    assert.ok(long.length < 20 && long.at(-1)?.startsWith('29 ') === true, `${long.length} events`);
  }));

test('Logs API: a stream is read backwards in answers of a bounded size, and nothing is missed', () =>
  withApi(async (client, logs) => {
    const log = logs.vmLog(HELLO, '$LATEST');
    const printed = Array.from({ length: 50 }, (_, index) => `${index} ${'x'.repeat(60_000)}`);
    for (const message of printed) {
      log.printed('a', `${message}\n`);
      await logs.names();
    }
    const { logStreams = [] } = await client.send(new DescribeLogStreamsCommand({ logGroupName: GROUP }));
    const where = { logGroupName: GROUP, logStreamName: logStreams[0]?.logStreamName };
    const found: string[] = [];
    let nextToken: string | undefined;
    for (let page = 0; found.length < printed.length; page += 1) {
      assert.ok(page < 10);
      const answer = await client.send(new GetLogEventsCommand({ ...where, nextToken }));
      const messages = answer.events?.map(({ message = '' }) => message) ?? [];
      assert.ok(messages.length < 20, `${messages.length} events`);
      found.unshift(...messages);
      nextToken = answer.nextBackwardToken;
    }
    assert.deepEqual(found, printed);
  }));

test('Logs API: groups of functions that have printed something', () =>
  withApi(async (client, logs) => {
    for (const name of [HELLO, OTHER, 'gone']) logs.vmLog(name, '1').printed('a', 'x\n');
    const { logGroups = [], nextToken } = await client.send(new DescribeLogGroupsCommand({ limit: 2 }));
    assert.deepEqual(
      logGroups.map(({ logGroupName }) => logGroupName),
      ['/aws/lambda/gone', GROUP],
    );
    assert.ok(logGroups.every(({ storedBytes = 0, creationTime = 0 }) => storedBytes > 50 && creationTime > 0));
    const more = await client.send(new DescribeLogGroupsCommand({ limit: 2, nextToken }));
    assert.deepEqual(
      more.logGroups?.map(({ arn }) => arn),
      ['arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/other:*'],
    );
    assert.equal(more.nextToken, undefined);
    const some = await client.send(new DescribeLogGroupsCommand({ logGroupNamePrefix: '/aws/lambda/h' }));
    assert.equal(some.logGroups?.length, 1);
    const none = await client.send(new FilterLogEventsCommand({ logGroupName: '/aws/lambda/silent' }));
    assert.deepEqual(none.events, []);
  }));

const WRONG: readonly (readonly [what: string, input: object, name: string, message: RegExp])[] = [
  ['a group of nobody', { logGroupName: '/aws/lambda/nobody' }, 'ResourceNotFoundException', /does not exist/],
  ['a group that leads elsewhere', { logGroupName: '/aws/lambda/../../etc' }, 'ResourceNotFoundException', /not exist/],
  ['a group of another service', { logGroupName: '/aws/ecs/a' }, 'ResourceNotFoundException', /does not exist/],
  ['no group', {}, 'InvalidParameterException', /'logGroupName' must be given/],
  ['a token that is none', { logGroupName: GROUP, nextToken: '12' }, 'InvalidParameterException', /nextToken/],
  ['a limit of 0', { logGroupName: GROUP, limit: 0 }, 'InvalidParameterException', /'limit' must be a whole number/],
  ['a pattern for JSON', { logGroupName: GROUP, filterPattern: '{ $.a = 1 }' }, 'InvalidParameterException', /JSON/],
];

for (const [what, input, name, message] of WRONG) {
  test(`Logs API: ${what} is refused`, () =>
    withApi(async (client) => {
      await assert.rejects(
        client.send(new FilterLogEventsCommand(input)),
        (error: CloudWatchLogsServiceException) => error.name === name && message.test(error.message),
      );
    }));
}

const BODIES: readonly (readonly [body: string, type: string])[] = [
  ['{', 'SerializationException'],
  ['[]', 'SerializationException'],
  ['null', 'SerializationException'],
  [`{"logGroupName": 5}`, 'InvalidParameterException'],
  [`{"logGroupName": "${GROUP}", "logStreamNames": "a"}`, 'InvalidParameterException'],
  [`{"logGroupName": "${GROUP}", "x": "${'x'.repeat(70_000)}"}`, 'InvalidParameterException'],
  [`{"logGroupName": "${GROUP}", "startTime": -1}`, 'InvalidParameterException'],
];

test('Logs API: bodies that are none, and operations that are not offered', () =>
  withApi(async (_client, _logs, url) => {
    const post = async (operation: string, body: string): Promise<string> => {
      const headers = { 'x-amz-target': `Logs_20140328.${operation}`, 'content-type': 'application/x-amz-json-1.1' };
      const response = await fetch(url, { method: 'POST', headers, body });
      assert.equal(response.status, 400);
      assert.equal(response.headers.get('content-type'), 'application/x-amz-json-1.1');
      return ((await response.json()) as { readonly __type: string }).__type;
    };
    for (const [body, type] of BODIES) assert.equal(await post('FilterLogEvents', body), type, body.slice(0, 60));
    assert.equal(await post('PutLogEvents', '{}'), 'UnknownOperationException');
  }));

const ARN = 'arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/';

async function tailOf(
  client: CloudWatchLogsClient,
  input: StartLiveTailCommandInput,
): Promise<AsyncIterator<StartLiveTailResponseStream>> {
  const { responseStream } = await client.send(new StartLiveTailCommand(input));
  assert.ok(responseStream);
  return responseStream[Symbol.asyncIterator]();
}

/** Messages of as many events as are wanted, and those that came with them. */
async function messagesOf(tail: AsyncIterator<StartLiveTailResponseStream>, count: number): Promise<string[]> {
  const messages: string[] = [];
  for (let turns = 0; messages.length < count && turns < 20; turns += 1) {
    const { value } = (await tail.next()) as { readonly value: StartLiveTailResponseStream | undefined };
    const { sessionResults = [] } = value?.sessionUpdate ?? {};
    assert.ok(sessionResults.length <= 500);
    messages.push(...sessionResults.map(({ message = '' }) => message));
  }
  return messages;
}

test('Logs API: StartLiveTail tells what is printed from then on, in order, all of it', () =>
  withApi(async (client, logs) => {
    const [hello, other] = [logs.vmLog(HELLO, '$LATEST'), logs.vmLog(OTHER, '1')];
    hello.printed('a', 'before\n');
    await new Promise((resolve) => setTimeout(resolve, 20));
    const logGroupIdentifiers = [`${ARN}${HELLO}`, `${ARN}${SILENT}:*`];
    const tail = await tailOf(client, { logGroupIdentifiers, logEventFilterPattern: '-hidden' });
    const { value: first } = (await tail.next()) as { readonly value: StartLiveTailResponseStream };
    assert.deepEqual(first.sessionStart?.logGroupIdentifiers, [`${ARN}${HELLO}`, `${ARN}${SILENT}`]);
    assert.equal(first.sessionStart.logEventFilterPattern, '-hidden');
    const printed = Array.from({ length: 1200 }, (_, index) => `line ${index}`);
    hello.printed('b', `hidden\n${printed.join('\n')}\n`);
    other.printed('c', 'of another group\n');
    assert.deepEqual(await messagesOf(tail, 1200), printed);
    // Of what is long, an update holds less.
    hello.printed('b', `${'x'.repeat(60_000)}\n`.repeat(15));
    assert.equal((await messagesOf(tail, 15)).length, 15);
  }));

test('Logs API: a tail goes on when the clock is set back', async () => {
  let nowMs = Date.now();
  await withApi(
    async (client, logs) => {
      const hello = logs.vmLog(HELLO, '$LATEST');
      const tail = await tailOf(client, { logGroupIdentifiers: [`${ARN}${HELLO}`] });
      await tail.next();
      hello.printed('a', 'one\n');
      assert.deepEqual(await messagesOf(tail, 1), ['one']);
      nowMs -= 3_600_000;
      hello.printed('a', 'two\n');
      assert.deepEqual(await messagesOf(tail, 1), ['two']);
    },
    () => nowMs,
  );
});

test('Logs API: a tail of one stream, and the end of all when the gateway closes', async () => {
  let tail: AsyncIterator<StartLiveTailResponseStream> | undefined;
  await withApi(async (client, logs) => {
    const version = logs.vmLog(HELLO, '3');
    version.printed('a', 'before\n');
    const { logStreams = [] } = await client.send(new DescribeLogStreamsCommand({ logGroupName: GROUP }));
    const { logStreamName = '' } = logStreams[0] ?? {};
    const input = { logGroupIdentifiers: [`${ARN}${HELLO}`], logStreamNames: [logStreamName] };
    tail = await tailOf(client, input);
    const byPrefix = await tailOf(client, {
      logGroupIdentifiers: [`${ARN}${HELLO}`],
      logStreamNamePrefixes: [logStreamName.slice(0, -1)],
    });
    logs.vmLog(HELLO, '4').printed('b', 'of another VM\n');
    version.printed('a', 'its own\n');
    assert.deepEqual((await messagesOf(tail, 1)).slice(-1), ['its own']);
    assert.deepEqual((await messagesOf(byPrefix, 1)).slice(-1), ['its own']);
  });
  const rest = async (): Promise<void> => {
    while ((await tail?.next())?.done === false);
  };
  // The whole message that came last may be there still; then the end, of one kind or the other.
  await Promise.race([
    rest().catch(() => undefined),
    new Promise((_, reject) => setTimeout(() => reject(new Error('it goes on')), 5000)),
  ]);
});

test('Logs API: a tail whose log cannot be read ends with an error in the stream', async () => {
  let reads = 0;
  const logs = {
    names: () => Promise.resolve([HELLO]),
    sizeOf: () => Promise.resolve(null),
    read: () => {
      reads += 1;
      const end = { begunMs: 0, offset: 0 };
      return reads > 1 ? Promise.reject(new Error('EIO')) : Promise.resolve({ events: [], next: null, end });
    },
    readLast: () => Promise.reject(new Error('not used')),
    end: () => Promise.resolve({ begunMs: 0, offset: 0 }),
  };
  const api = new LogsApi({ account: DEFAULT_ACCOUNT, logs, isFunction: () => true });
  await withGateway({ jsonApis: [api] }, async (_, port) => {
    const client = clientOf(`http://127.0.0.1:${port}`);
    const tail = await tailOf(client, { logGroupIdentifiers: [`${ARN}${HELLO}`] });
    await assert.rejects(messagesOf(tail, 1), { name: 'SessionStreamingException' });
    client.destroy();
  });
});

const WRONG_TAILS: readonly (readonly [what: string, input: object, name: string, message: RegExp])[] = [
  ['no group', {}, 'InvalidParameterException', /must have 1 to 10 members/],
  [
    'a group of nobody',
    { logGroupIdentifiers: [`${ARN}nobody`] },
    'ResourceNotFoundException',
    /The specified log group does not exist/,
  ],
  [
    'streams of two groups',
    { logGroupIdentifiers: [`${ARN}${HELLO}`, `${ARN}${OTHER}`], logStreamNames: ['a'] },
    'InvalidParameterException',
    /a single log group only/,
  ],
  [
    'a pattern for JSON',
    { logGroupIdentifiers: [`${ARN}${HELLO}`], logEventFilterPattern: '{ $.a = 1 }' },
    'InvalidParameterException',
    /JSON/,
  ],
];

for (const [what, input, name, message] of WRONG_TAILS) {
  test(`Logs API: a tail of ${what} is refused`, () =>
    withApi(async (client) => {
      await assert.rejects(
        client.send(new StartLiveTailCommand(input as StartLiveTailCommandInput)),
        (error: CloudWatchLogsServiceException) => error.name === name && message.test(error.message),
      );
    }));
}

test('Logs API: there may be 64 tails, and another when one has gone', () =>
  withApi(async (_client, _logs, url) => {
    const open = async (signal: AbortSignal): Promise<number> => {
      const headers = { 'x-amz-target': 'Logs_20140328.StartLiveTail', 'content-type': 'application/x-amz-json-1.1' };
      const body = JSON.stringify({ logGroupIdentifiers: [`${ARN}${HELLO}`] });
      const response = await fetch(url, { method: 'POST', headers, body, signal });
      if (response.status !== 200) assert.match(await response.text(), /LimitExceededException.*64 sessions/);
      return response.status;
    };
    const [first, others] = [new AbortController(), new AbortController()];
    assert.equal(await open(first.signal), 200);
    const opened = await Promise.all(Array.from({ length: 63 }, () => open(others.signal)));
    assert.ok(opened.every((status) => status === 200));
    assert.equal(await open(others.signal), 400);
    first.abort();
    for (let turns = 0; (await open(others.signal)) !== 200; turns += 1) {
      assert.ok(turns < 100);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    others.abort();
  }));
