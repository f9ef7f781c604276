/**
 * Runs in snapctr. Operations on event source mappings. A source is a stream of NATS JetStream, by an ARN as AWS makes them; the
 * subject is where Kafka has its topic. What is of AWS's own sources is refused by name.
 */
import { randomUUID } from 'node:crypto';
import type { Operation } from '../../../../auth/operations.ts';
import { noEventSource } from '../../../../control/event-source-changes.ts';
import { functionArn, streamArn } from '../../../../protocol/arn.ts';
import { isSubject } from '../../../../registry/event-source-id.ts';
import { DEFAULT_BATCH_SIZE, STREAM_NAME } from '../../../../registry/event-source-limits.ts';
import type { FunctionEventSource } from '../../../../registry/function-registry.ts';
import type { EventSourceRecord } from '../../../../registry/records.ts';
import { ApiError } from '../errors.ts';
import { findFunction, parseFunctionName } from '../names.ts';
import { functionOfFile, ok, pageOf, withMarker, type Call, type Result } from './call.ts';
import { controlApiError } from './control-errors.ts';
import { checkedDestination } from './destination.ts';
import type { Json } from './render.ts';
import * as requests from './requests.ts';
import { readParameter, readShape } from './shapes.ts';

const PAGE = { most: 10_000, atOnce: 100 } as const;

/** Members of AWS's that have no meaning here: whoever counts on them is told. */
const NOT_OFFERED: Readonly<Record<string, string>> = {
  SelfManagedEventSource:
    'name the stream by EventSourceArn; its servers are those of `nats` in the configuration of snapctr',
  FilterCriteria: 'choose messages by a subject with wildcards in Topics',
  MaximumRecordAgeInSeconds: 'set MaximumRetryAttempts, or the age of the stream itself',
  TumblingWindowInSeconds: 'functions keep no state between batches',
  ScalingConfig: 'set ParallelizationFactor',
  ProvisionedPollerConfig: 'set ParallelizationFactor',
  SourceAccessConfigurations: 'the credentials are those of `nats` in the configuration of snapctr',
  SelfManagedKafkaEventSourceConfig: 'sources are streams of NATS JetStream',
  AmazonManagedKafkaEventSourceConfig: 'sources are streams of NATS JetStream',
  DocumentDBEventSourceConfig: 'sources are streams of NATS JetStream',
  Queues: 'sources are streams of NATS JetStream',
};

export async function createEventSourceMapping(call: Call): Promise<Result> {
  const body = readShape(requests.createEventSourceMapping, call.body);
  const reference = parseFunctionName(body.FunctionName ?? '', null, call.account);
  call.caller.authorize('lambda:CreateEventSourceMapping', reference.name);
  refuseNotOffered(body);
  if (call.eventSources === null) {
    throw invalid('there are no NATS servers: name them by `nats` in the configuration of snapctr');
  }
  findFunction(call.registry, reference, call.account, '');
  const startingPosition = (body.StartingPosition ?? 'TRIM_HORIZON') as EventSourceRecord['startingPosition'];
  const moment = body.StartingPositionTimestamp;
  if ((startingPosition === 'AT_TIMESTAMP') !== (moment !== undefined)) {
    throw invalid('StartingPositionTimestamp is given with the StartingPosition AT_TIMESTAMP, and only with that');
  }
  const id = randomUUID();
  await call.plane.functions.addEventSource(reference.name, id, {
    stream: streamOf(call, body.EventSourceArn),
    subject: subjectOf(body.Topics),
    qualifier: reference.qualifier,
    batchSize: DEFAULT_BATCH_SIZE,
    batchingWindowS: 0,
    parallelizationFactor: 1,
    reportsFailures: false,
    bisectsBatches: false,
    maximumRetryAttempts: -1,
    onFailure: null,
    isEnabled: true,
    ...changeOf(call, body),
    startingPosition,
    startingTimestamp: moment === undefined ? null : new Date(moment * 1000).toISOString(),
    modified: new Date().toISOString(),
  });
  return accepted(rendered(call, sourceOf(call, id)), reference.name, id);
}

export function getEventSourceMapping(call: Call): Result {
  const source = authorizedSource(call, 'lambda:GetEventSourceMapping');
  return ok(rendered(call, source));
}

export async function updateEventSourceMapping(call: Call): Promise<Result> {
  const source = authorizedSource(call, 'lambda:UpdateEventSourceMapping');
  const { id } = source;
  const body = readShape(requests.updateEventSourceMapping, call.body ?? {});
  refuseNotOffered(body);
  if (body.FunctionName !== undefined) {
    const { name, qualifier } = parseFunctionName(body.FunctionName, null, call.account);
    if (name !== source.function || qualifier !== source.qualifier) {
      throw invalid('a mapping stays with its function: create another one for that, and delete this one');
    }
  }
  await call.plane.functions.changeEventSource(source.function, id, changeOf(call, body));
  return accepted(rendered(call, sourceOf(call, id)), source.function, id);
}

export async function deleteEventSourceMapping(call: Call): Promise<Result> {
  const source = authorizedSource(call, 'lambda:DeleteEventSourceMapping');
  const { id } = source;
  const shown = rendered(call, source);
  await call.plane.functions.removeEventSource(source.function, id);
  return accepted({ ...shown, State: 'Deleting' }, source.function, id);
}

export function listEventSourceMappings(call: Call): Result {
  const { account, caller, query, registry } = call;
  caller.authorize('lambda:ListEventSourceMappings');
  const wanted = query.get('FunctionName');
  const reference = wanted === null || wanted === '' ? null : parseFunctionName(wanted, null, account);
  if (reference !== null && functionOfFile(call, reference.name) === undefined) {
    call.plane.functions.describe(reference.name, null);
  }
  const arn = query.get('EventSourceArn');
  const functions = reference === null ? registry.list() : [registry.get(reference.name)];
  const sources = functions
    .flatMap((fn) => (fn !== undefined && caller.mayList(fn.name) ? fn.eventSources : []))
    .filter(({ qualifier }) => reference?.qualifier == null || qualifier === reference.qualifier)
    .filter(({ stream }) => arn === null || arn === '' || streamArn(account, stream) === arn)
    .sort((a, b) => (a.id < b.id ? -1 : 1));
  const { items, nextMarker } = pageOf(sources, ({ id }) => id, query, PAGE);
  return ok(withMarker({ EventSourceMappings: items.map((one) => rendered(call, one)) }, nextMarker));
}

function accepted(json: Json, functionName: string, mapping: string): Result {
  return { status: 202, json, audit: { function: functionName, mapping } };
}

/** What both operations can set. @throws ApiError, AccessError */
function changeOf(
  call: Call,
  body: requests.Body<typeof requests.updateEventSourceMapping>,
): Partial<EventSourceRecord> {
  const { BatchSize, MaximumBatchingWindowInSeconds, ParallelizationFactor, MaximumRetryAttempts } = body;
  const { BisectBatchOnFunctionError, DestinationConfig, Enabled, FunctionResponseTypes } = body;
  if (DestinationConfig?.OnSuccess?.Destination) {
    throw invalid('a mapping has no destination OnSuccess: give OnFailure alone');
  }
  const onFailure = DestinationConfig?.OnFailure;
  return {
    ...(BatchSize === undefined ? {} : { batchSize: BatchSize }),
    ...(MaximumBatchingWindowInSeconds === undefined ? {} : { batchingWindowS: MaximumBatchingWindowInSeconds }),
    ...(ParallelizationFactor === undefined ? {} : { parallelizationFactor: ParallelizationFactor }),
    ...(MaximumRetryAttempts === undefined ? {} : { maximumRetryAttempts: MaximumRetryAttempts }),
    ...(BisectBatchOnFunctionError === undefined ? {} : { bisectsBatches: BisectBatchOnFunctionError }),
    ...(Enabled === undefined ? {} : { isEnabled: Enabled }),
    ...(FunctionResponseTypes === undefined ? {} : { reportsFailures: FunctionResponseTypes.length > 0 }),
    ...(DestinationConfig === undefined ? {} : { onFailure: checkedDestination(call, onFailure?.Destination ?? '') }),
  };
}

function refuseNotOffered(body: Readonly<Record<string, unknown>>): void {
  for (const [member, advice] of Object.entries(NOT_OFFERED)) {
    const value = body[member];
    // Tools send what has no effect, such as -1, or an empty list.
    const isNothing = value === undefined || value === -1 || value === 0 || isEmpty(value);
    if (!isNothing) throw invalid(`${member} is not offered here: ${advice}`);
  }
}

function isEmpty(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.values(value).every((one) => isEmpty(one));
}

function streamOf({ account }: Call, arn: string | undefined): string {
  const stream = /:stream\/(.+)$/.exec(arn ?? '')?.[1] ?? '';
  if (STREAM_NAME.test(stream) && streamArn(account, stream) === arn) return stream;
  const wanted = `give EventSourceArn as ${streamArn(account, 'STREAM')}, with the name of a stream of NATS JetStream`;
  throw invalid(`Unrecognized event source ${(arn ?? '').slice(0, 200)}: ${wanted}`);
}

function subjectOf(topics: readonly string[] | undefined): string | null {
  const [subject] = topics ?? [];
  if (subject === undefined || isSubject(subject)) return subject ?? null;
  throw invalid(`Topics: ${subject.slice(0, 200)} is no subject; give one such as orders.new or orders.>`);
}

/** The mapping of the path. Of one that is not there a key for some functions is told what it is told of those of others. */
function authorizedSource(call: Call, operation: Operation): FunctionEventSource {
  const id = readParameter(requests.eventSourceId, call.parameters['UUID'] ?? '', 'uUID');
  call.caller.authorize(operation, call.registry.eventSource(id)?.function ?? '');
  return sourceOf(call, id);
}

function sourceOf({ registry }: Call, id: string): FunctionEventSource {
  const source = registry.eventSource(id);
  if (source === undefined) throw controlApiError(noEventSource());
  return source;
}

function rendered(call: Call, source: FunctionEventSource): Json {
  const { account, eventSources } = call;
  const { function: name, qualifier, startingTimestamp, subject } = source;
  const { state, lastResult } = eventSources?.stateOf(source) ?? {
    state: source.isEnabled ? 'Creating' : 'Disabled',
    lastResult: 'PROBLEM: there are no NATS servers: name them by `nats` in the configuration of snapctr',
  };
  return {
    UUID: source.id,
    EventSourceArn: streamArn(account, source.stream),
    ...(subject === null ? {} : { Topics: [subject] }),
    FunctionArn: functionArn(account, name) + (qualifier === null ? '' : `:${qualifier}`),
    StartingPosition: source.startingPosition,
    ...(startingTimestamp === null ? {} : { StartingPositionTimestamp: Date.parse(startingTimestamp) / 1000 }),
    BatchSize: source.batchSize,
    MaximumBatchingWindowInSeconds: source.batchingWindowS,
    ParallelizationFactor: source.parallelizationFactor,
    MaximumRetryAttempts: source.maximumRetryAttempts,
    BisectBatchOnFunctionError: source.bisectsBatches,
    FunctionResponseTypes: source.reportsFailures ? ['ReportBatchItemFailures'] : [],
    DestinationConfig: { OnFailure: source.onFailure === null ? {} : { Destination: source.onFailure } },
    LastModified: Date.parse(source.modified) / 1000,
    LastProcessingResult: lastResult,
    State: state,
    StateTransitionReason: 'USER_INITIATED',
  };
}

function invalid(message: string): ApiError {
  return new ApiError('InvalidParameterValueException', message);
}
