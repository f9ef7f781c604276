/** Functions that get the messages of a stream, as users have them: a real NATS server, the SDK of AWS, processes that are killed. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import * as sdk from '@aws-sdk/client-lambda';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { EventsClient } from '../../src/client/events-client.ts';
import { seeded } from '../../src/workload/random.ts';
import { makeZip } from '../packages/zip.ts';
import { lambdaClient } from '../support/lambda-client.ts';
import { NatsServer, NO_NATS } from '../support/nats-server.ts';
import {
  createWorkspace,
  run,
  SNAPCTR,
  startController,
  type RunningController,
  type Workspace,
} from '../support/snapctr.ts';

const ROUNDS = Number(process.env['SNAPFAAS_CRASH_ROUNDS'] ?? 3);
const SEED = Number(process.env['SNAPFAAS_CRASH_SEED'] ?? Math.floor(Math.random() * 1e9));
const PATIENCE_MS = 90_000;
const ARN = 'arn:aws:nats:us-east-1:000000000000:stream/ORDERS';
const skip = NO_NATS;

/** Writes down what each batch has, and fails what says so. */
const NOTING = `
const { appendFileSync } = require('node:fs');
exports.handle = async ({ Records }) => {
  const texts = Records.map((one) => Buffer.from(one.data, 'base64').toString());
  if (texts.includes('throw')) throw new Error('asked to');
  await new Promise((resolve) => setTimeout(resolve, texts.includes('slow') ? 300 : 5));
  appendFileSync(process.env.NOTES, JSON.stringify(Records) + '\\n');
  const failed = Records.filter((one, at) => texts[at] === 'bad');
  return { batchItemFailures: failed.map((one) => ({ itemIdentifier: one.messageId })) };
};
`;

interface Noted {
  readonly messageId: string;
  readonly subject: string;
  readonly data: string;
  readonly sequence: number;
  readonly deliveryCount: number;
  readonly [member: string]: unknown;
}

function batches(space: Workspace): readonly (readonly Noted[])[] {
  const file = join(space.directory, 'notes');
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line) as Noted[]);
}

const textOf = ({ data }: Noted): string => Buffer.from(data, 'base64').toString();

function workspace(server: (directory: string) => Promise<NatsServer>, keys: Record<string, string> = {}) {
  const space = createWorkspace(
    [{ name: 'noting', runtime: 'nodejs', files: { 'index.js': NOTING }, keys: { handler: 'index.handle', ...keys } }],
    ['nats: @nats'],
  );
  const list = join(space.directory, 'functions.yaml');
  const environment = `  environment: {NOTES: ${join(space.directory, 'notes')}}\n  handler:`;
  writeFileSync(list, readFileSync(list, 'utf8').replace('  handler:', environment));
  return server(space.directory).then((nats) => {
    const config = readFileSync(space.config, 'utf8').replace('nats: @nats', `nats: {servers: '${nats.url}'}`);
    writeFileSync(space.config, config);
    return { space, nats };
  });
}

async function until<T>(
  what: string,
  find: () => Promise<T | false> | T | false,
  snapctr?: RunningController,
): Promise<T> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await find();
    if (found !== false) return found;
    assert.ok(Date.now() < deadline, `${what} has not come:\n${snapctr?.log.join('\n') ?? ''}`);
    await sleep(50);
  }
}

async function publish(nats: NatsServer, subject: string, texts: readonly string[]): Promise<void> {
  const connection = await nats.connect();
  const client = jetstream(connection, { timeout: 30_000 });
  await Promise.all(texts.map((text) => client.publish(subject, text)));
  await connection.close();
}

async function ackFloorOf(
  nats: NatsServer,
): Promise<{ readonly pending: number; readonly unacknowledged: number } | null> {
  const connection = await nats.connect();
  try {
    const manager = await jetstreamManager(connection, { timeout: 10_000 });
    const [first] = await manager.consumers.list('ORDERS').next();
    return first === undefined ? null : { pending: first.num_pending, unacknowledged: first.num_ack_pending };
  } finally {
    await connection.close();
  }
}

test('the SDK makes a mapping, and a function gets what is published', { timeout: 300_000, skip }, async (t) => {
  const { space, nats } = await workspace((directory) => NatsServer.on(directory));
  t.after(() => nats.kill());
  await nats.start();
  const snapctr = await startController(space, { vmm: 'process', args: ['--data-dir', join(space.directory, 'data')] });
  t.after(() => snapctr.kill('SIGKILL'));
  const client = lambdaClient(snapctr.url);
  const environment = { Variables: { NOTES: join(space.directory, 'notes') } };
  await client.send(
    new sdk.CreateFunctionCommand({
      FunctionName: 'made',
      Role: 'arn:aws:iam::000000000000:role/any',
      Runtime: 'nodejs22.x',
      Handler: 'index.handle',
      Environment: environment,
      Code: { ZipFile: makeZip([{ name: 'index.js', data: NOTING }]) },
    }),
  );
  const made = await client.send(
    new sdk.CreateEventSourceMappingCommand({
      FunctionName: 'made',
      EventSourceArn: ARN,
      Topics: ['orders.>'],
      BatchSize: 10,
      MaximumRetryAttempts: 1,
      FunctionResponseTypes: ['ReportBatchItemFailures'],
    }),
  );
  const UUID = made.UUID ?? '';
  assert.equal(made.State, 'Creating');
  const stateOf = () => client.send(new sdk.GetEventSourceMappingCommand({ UUID }));
  // There is no such stream yet.
  await until('word of the stream', async () => /no stream ORDERS/.test((await stateOf()).LastProcessingResult ?? ''));
  await nats.addStream('ORDERS', ['orders.>']);
  await publish(nats, 'orders.new', ['one', 'bad', 'three']);
  await until('the second try', () => batches(space).flat().length >= 4, snapctr);
  const noted = batches(space).flat();
  assert.deepEqual(noted.map(textOf).sort(), ['bad', 'bad', 'one', 'three']);
  const [first] = noted;
  assert.deepEqual(first, {
    messageId: '1',
    eventSource: 'nats:jetstream',
    eventSourceARN: ARN,
    awsRegion: 'us-east-1',
    stream: 'ORDERS',
    subject: 'orders.new',
    sequence: 1,
    timestamp: first?.['timestamp'],
    deliveryCount: 1,
    headers: {},
    data: Buffer.from('one').toString('base64'),
  });
  const state = await stateOf();
  assert.equal(state.State, 'Enabled');
  assert.match(state.LastProcessingResult ?? '', /^(OK|PROBLEM: Function call failed: it reports 1 of)/);
  // What failed as often as it may is a dead event, with the event of that message alone.
  const events = new EventsClient({
    endpoint: new URL(snapctr.url),
    token: null,
    signal: new AbortController().signal,
  });
  const dead = await until('the dead event', async () => {
    for await (const event of events.list({ functionName: 'made' })) return event;
    return false;
  });
  assert.equal(dead.target, 'function:made');
  await until('all acknowledged', async () => (await ackFloorOf(nats))?.unacknowledged === 0);

  const listed = await client.send(new sdk.ListEventSourceMappingsCommand({ FunctionName: 'made' }));
  assert.deepEqual(
    listed.EventSourceMappings?.map((one) => one.UUID),
    [UUID],
  );
  const again = new sdk.CreateEventSourceMappingCommand({
    FunctionName: 'made',
    EventSourceArn: ARN,
    Topics: ['orders.>'],
  });
  await assert.rejects(client.send(again), { name: 'ResourceConflictException' });
  await client.send(new sdk.UpdateEventSourceMappingCommand({ UUID, Enabled: false }));
  await until('it is disabled', async () => (await stateOf()).State === 'Disabled');
  await publish(nats, 'orders.new', ['while disabled']);
  await client.send(new sdk.UpdateEventSourceMappingCommand({ UUID, Enabled: true }));
  await until('what came meanwhile', () =>
    batches(space)
      .flat()
      .some((one) => textOf(one) === 'while disabled'),
  );
  await client.send(new sdk.DeleteEventSourceMappingCommand({ UUID }));
  await assert.rejects(stateOf(), { name: 'ResourceNotFoundException' });
  await until('its consumer is gone', async () => (await ackFloorOf(nats)) === null);
  assert.equal(await snapctr.stop(), 0);
  await nats.kill();
  space.remove();
});

test(
  `killed in the middle of batches, ${ROUNDS} times: no message is lost (seed ${SEED})`,
  { timeout: 600_000, skip },
  async (t) => {
    const event_sources = '[{stream: ORDERS, batch_size: 20, parallel: 4, report_failures: true}]';
    const { space, nats } = await workspace((directory) => NatsServer.on(directory), { event_sources });
    t.after(() => nats.kill());
    await nats.start();
    await nats.addStream('ORDERS', ['orders.>']);
    const random = seeded(SEED);
    const all: string[] = [];
    const args = ['--data-dir', join(space.directory, 'data')];
    for (let round = 0; round < ROUNDS; round += 1) {
      const texts = Array.from({ length: 200 }, (_, at) => `${round}-${at}`);
      all.push(...texts);
      const snapctr = await startController(space, { vmm: 'process', args });
      const seen = batches(space).length;
      await publish(nats, 'orders.new', [...texts, 'slow']);
      await until('a batch', () => batches(space).length > seen, snapctr);
      await sleep(random() * 200);
      snapctr.kill('SIGKILL');
      await snapctr.exited;
    }
    // A server that is killed as well has what was published and acknowledged.
    await nats.kill();
    const snapctr = await startController(space, { vmm: 'process', args });
    t.after(() => snapctr.kill('SIGKILL'));
    await nats.start();
    const got = await until(
      'each message',
      () => {
        const texts = batches(space).flat().map(textOf);
        return all.every((text) => texts.includes(text)) && texts;
      },
      snapctr,
    );
    await until('all acknowledged', async () => (await ackFloorOf(nats))?.unacknowledged === 0, snapctr);
    const twice = got.length - new Set(got).size;
    console.log(`# ${all.length} messages in ${ROUNDS} rounds: none lost, ${twice} came again`);
    assert.equal(await snapctr.stop(), 0);
    await nats.kill();
    space.remove();
  },
);

test('a template makes a mapping, which is kept where nothing has changed', { timeout: 120_000, skip }, async (t) => {
  const { space, nats } = await workspace((directory) => NatsServer.on(directory));
  t.after(() => nats.kill());
  await nats.start();
  await nats.addStream('ORDERS', ['orders.>']);
  const snapctr = await startController(space, { vmm: 'process', args: ['--data-dir', join(space.directory, 'data')] });
  t.after(() => snapctr.kill('SIGKILL'));
  const project = join(space.directory, 'project');
  mkdirSync(join(project, 'worker'), { recursive: true });
  writeFileSync(join(project, 'worker', 'index.js'), NOTING);
  const deploy = async (batchSize: number): Promise<sdk.EventSourceMappingConfiguration> => {
    const worker = `FunctionName: worker, CodeUri: worker/, Handler: index.handle, Runtime: nodejs24.x`;
    writeFileSync(
      join(project, 'template.yaml'),
      `Transform: AWS::Serverless-2016-10-31
Resources:
  Worker:
    Type: AWS::Serverless::Function
    Properties: {${worker}, Environment: {Variables: {NOTES: ${join(space.directory, 'notes')}}}}
  Orders:
    Type: AWS::Lambda::EventSourceMapping
    Properties: {FunctionName: !Ref Worker, EventSourceArn: '${ARN}', Topics: ['orders.>'], BatchSize: ${batchSize}}
`,
    );
    const argv = ['deploy', project, '--json', '--endpoint', snapctr.url];
    const { status, stdout, stderr } = await run(SNAPCTR, argv, { workspace: space });
    assert.equal(status, 0, stderr);
    const { eventSources } = JSON.parse(stdout) as { eventSources: readonly sdk.EventSourceMappingConfiguration[] };
    assert.equal(eventSources.length, 1);
    return eventSources[0] ?? assert.fail();
  };
  const first = await deploy(5);
  assert.equal(first.BatchSize, 5);
  await publish(nats, 'orders.new', ['a', 'b']);
  const texts = () => batches(space).flat().map(textOf);
  await until('what was published', () => texts().length === 2, snapctr);
  const again = await deploy(5);
  assert.deepEqual([again.UUID, again.LastModified], [first.UUID, first.LastModified]);
  const changed = await deploy(7);
  assert.deepEqual([changed.UUID, changed.BatchSize], [first.UUID, 7]);
  await publish(nats, 'orders.new', ['c']);
  await until('what was published afterwards', () => texts().length === 3, snapctr);
  assert.deepEqual(texts().sort(), ['a', 'b', 'c']);
  assert.equal(await snapctr.stop(), 0);
});

test('a server that is away is told of, and stopping does not wait for it', { timeout: 120_000, skip }, async (t) => {
  // A server that is killed may have heard of no end, and sends what failed again: not in one batch with what comes after it.
  const event_sources = '[{stream: ORDERS, batch_size: 1, retries: 0, on_failure: "file:failed"}]';
  const { space, nats } = await workspace((directory) => NatsServer.on(directory), { event_sources });
  t.after(() => nats.kill());
  const data = join(space.directory, 'data');
  const snapctr = await startController(space, { vmm: 'process', args: ['--data-dir', data] });
  t.after(() => snapctr.kill('SIGKILL'));
  const client = lambdaClient(snapctr.url);
  const state = async () =>
    (await client.send(new sdk.ListEventSourceMappingsCommand({}))).EventSourceMappings?.[0] ?? assert.fail();
  await until('word of the server', async () =>
    /^PROBLEM: no connection/.test((await state()).LastProcessingResult ?? ''),
  );
  assert.equal((await state()).State, 'Creating');
  await nats.start();
  await nats.addStream('ORDERS', ['orders.>']);
  await publish(nats, 'orders.new', ['throw']);
  const failed = join(data, 'destinations/failed');
  await until('the destination', () => existsSync(failed) && readFileSync(failed, 'utf8').endsWith('\n'), snapctr);
  const record = JSON.parse(readFileSync(failed, 'utf8')) as Record<string, Record<string, unknown>>;
  assert.equal(record['requestContext']?.['condition'], 'RetriesExhausted');
  assert.equal((record['requestPayload']?.['Records'] as Noted[]).map(textOf).join(), 'throw');
  // A mapping of a file is changed there.
  const { UUID } = await state();
  await assert.rejects(client.send(new sdk.DeleteEventSourceMappingCommand({ UUID })), {
    name: 'ResourceConflictException',
  });
  await nats.kill();
  await nats.start();
  await publish(nats, 'orders.new', ['after']);
  await until(
    'a message after the restart',
    () =>
      batches(space)
        .flat()
        .some((one) => textOf(one) === 'after'),
    snapctr,
  );
  // It hangs, and does not answer any more.
  nats.signal('SIGSTOP');
  const began = performance.now();
  assert.equal(await snapctr.stop(), 0);
  assert.ok(performance.now() - began < 8000, 'stopping waited for the server');
  nats.signal('SIGCONT');
  await nats.kill();
  space.remove();
});
