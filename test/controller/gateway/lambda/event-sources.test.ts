/** Event source mappings by the SDK of AWS: what they are set to, what is told of them, and what is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as sdk from '@aws-sdk/client-lambda';
import { createLogger } from '../../../../src/controller/log.ts';
import { DEFAULT_ACCOUNT } from '../../../../src/protocol/arn.ts';
import { functionConfig, registryOf } from '../../../support/scripted-guests.ts';
import { lambdaClient } from '../../../support/lambda-client.ts';
import { withGateway } from '../http-client.ts';
import { COMMANDS } from './control-commands.ts';
import { withControl } from './control-plane.ts';

const FunctionName = 'made';
const EventSourceArn = 'arn:aws:nats:us-east-1:000000000000:stream/ORDERS';
type Wish = Partial<sdk.CreateEventSourceMappingCommandInput>;

async function withMappings(use: (client: sdk.LambdaClient) => Promise<void>, hasServers = true): Promise<void> {
  const functions = registryOf([functionConfig('filed')]);
  const stateOf = () => ({ state: 'Enabled', lastResult: 'OK' }) as const;
  const lambda = {
    account: DEFAULT_ACCOUNT,
    functions,
    maxConcurrency: 8,
    interpreters: 'host',
    usesSnapshots: () => false,
    events: { accept: () => Promise.resolve() },
    audit: { add: () => Promise.resolve() },
    eventSources: hasServers ? { stateOf } : null,
    logger: createLogger('silent'),
  } as const;
  await withControl(functions, (plane) =>
    withGateway({ lambda: { ...lambda, plane } }, async (_, port) => {
      const client = lambdaClient(`http://127.0.0.1:${port}`, { maxAttempts: 1 });
      await COMMANDS.CreateFunction(client, FunctionName);
      await use(client);
    }),
  );
}

function create(client: sdk.LambdaClient, wish: Wish = {}): Promise<sdk.EventSourceMappingConfiguration> {
  return client.send(new sdk.CreateEventSourceMappingCommand({ FunctionName, EventSourceArn, ...wish }));
}

test('event source mappings: what is set is told, by default and in full', async () => {
  await withMappings(async (client) => {
    const made = await create(client);
    const { UUID, LastModified, $metadata, ...told } = made as typeof made & { $metadata: { httpStatusCode?: number } };
    assert.equal($metadata.httpStatusCode, 202);
    assert.match(UUID ?? '', /^[0-9a-f-]{36}$/);
    assert.ok(LastModified instanceof Date);
    assert.deepEqual(told, {
      EventSourceArn,
      FunctionArn: 'arn:aws:lambda:us-east-1:000000000000:function:made',
      StartingPosition: 'TRIM_HORIZON',
      BatchSize: 100,
      MaximumBatchingWindowInSeconds: 0,
      ParallelizationFactor: 1,
      MaximumRetryAttempts: -1,
      BisectBatchOnFunctionError: false,
      FunctionResponseTypes: [],
      DestinationConfig: { OnFailure: {} },
      LastProcessingResult: 'OK',
      State: 'Enabled',
      StateTransitionReason: 'USER_INITIATED',
    });
    const StartingPositionTimestamp = new Date('2026-05-01T00:00:00Z');
    const wish = {
      Topics: ['orders.*'],
      BatchSize: 7,
      MaximumBatchingWindowInSeconds: 3,
      ParallelizationFactor: 2,
      MaximumRetryAttempts: 5,
      BisectBatchOnFunctionError: true,
      FunctionResponseTypes: ['ReportBatchItemFailures'],
      DestinationConfig: { OnFailure: { Destination: 'file:failed' } },
      StartingPosition: 'AT_TIMESTAMP',
      StartingPositionTimestamp,
    } satisfies Wish;
    const whole = await create(client, wish);
    const update = { UUID: whole.UUID, BatchSize: 8, DestinationConfig: { OnFailure: { Destination: '' } } };
    await client.send(new sdk.UpdateEventSourceMappingCommand(update));
    const got = await client.send(new sdk.GetEventSourceMappingCommand({ UUID: whole.UUID }));
    for (const [key, value] of Object.entries({ ...wish, BatchSize: 8, DestinationConfig: { OnFailure: {} } })) {
      assert.deepEqual(got[key as keyof typeof got], value, key);
    }
    const pages = sdk.paginateListEventSourceMappings({ client, pageSize: 1 }, { EventSourceArn });
    const listed = [];
    for await (const { EventSourceMappings = [] } of pages) listed.push(...EventSourceMappings.map((one) => one.UUID));
    assert.deepEqual(listed, [UUID, whole.UUID].sort());
    const gone = await client.send(new sdk.DeleteEventSourceMappingCommand({ UUID }));
    assert.equal(gone.State, 'Deleting');
    await assert.rejects(client.send(new sdk.GetEventSourceMappingCommand({ UUID })), {
      name: 'ResourceNotFoundException',
    });
  });
});

const refusals: readonly (readonly [title: string, wish: Wish, error: string, message: RegExp])[] = [
  [
    'a queue of SQS',
    { EventSourceArn: 'arn:aws:sqs:us-east-1:000000000000:q' },
    'InvalidP',
    /give EventSourceArn as arn/,
  ],
  [
    'another region',
    { EventSourceArn: EventSourceArn.replace('east', 'west') },
    'InvalidP',
    /Unrecognized event source/,
  ],
  ['a stream of no name', { EventSourceArn: `${EventSourceArn}.x` }, 'InvalidP', /Unrecognized event source/],
  [
    'servers of its own',
    { SelfManagedEventSource: { Endpoints: { KAFKA_BOOTSTRAP_SERVERS: ['b'] } } },
    'InvalidP',
    /SelfManagedEventSource is not/,
  ],
  ['filters', { FilterCriteria: { Filters: [{ Pattern: '{}' }] } }, 'InvalidP', /FilterCriteria is not offered here/],
  ['a subject that is none', { Topics: ['a..b'] }, 'InvalidP', /a\.\.b is no subject/],
  ['a start without its moment', { StartingPosition: 'AT_TIMESTAMP' }, 'InvalidP', /StartingPositionTimestamp/],
  ['a moment without its start', { StartingPositionTimestamp: new Date(0) }, 'InvalidP', /StartingPositionTimestamp/],
  [
    'success that is told',
    { DestinationConfig: { OnSuccess: { Destination: 'file:a' } } },
    'InvalidP',
    /OnFailure alone/,
  ],
  [
    'a place that is none',
    { DestinationConfig: { OnFailure: { Destination: 'file:../a' } } },
    'InvalidP',
    /destination/,
  ],
  ['batches that are too large', { BatchSize: 10_001 }, 'ValidationException', /less than or equal to 10000/],
  ['a function that is not there', { FunctionName: 'nobody' }, 'ResourceNotFound', /Function not found/],
  ['an alias that is not there', { FunctionName: 'made:nobody' }, 'ResourceNotFound', /Function not found/],
  ['a function of a file', { FunctionName: 'filed' }, 'Resource', /filed/],
];

test('event source mappings that are refused, each with what to change', async () => {
  await withMappings(async (client) => {
    for (const [title, wish, name, message] of refusals) {
      await assert.rejects(create(client, wish), (error: Error & { Message?: string }) => {
        assert.ok(error.name.startsWith(name), `${title}: ${error.name}`);
        assert.match(error.Message ?? error.message, message, title);
        return true;
      });
    }
    const { UUID } = await create(client, { FilterCriteria: { Filters: [] }, MaximumRecordAgeInSeconds: -1 });
    await assert.rejects(client.send(new sdk.UpdateEventSourceMappingCommand({ UUID, FunctionName: 'filed' })), {
      name: 'InvalidParameterValueException',
    });
  });
  await withMappings(async (client) => {
    await assert.rejects(create(client), {
      name: 'InvalidParameterValueException',
      message: /there are no NATS servers/,
    });
  }, false);
});
