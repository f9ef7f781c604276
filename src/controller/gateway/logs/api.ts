/**
 * Runs in snapctr. The part of the API of CloudWatch Logs by which `aws logs tail`, `sam logs` and `snapctr logs` read what functions
 * printed. There is one log group for each function, `/aws/lambda/NAME`,
 * and in it a stream for each VM.
 */
import type { Caller } from '../../../auth/caller.ts';
import type { Operation } from '../../../auth/operations.ts';
import { FilterPatternError, filterOf } from '../../../logs/filter-pattern.ts';
import type { FunctionLogs } from '../../../logs/function-logs.ts';
import { isOfVersion, type LogEvent } from '../../../logs/log-event.ts';
import {
  positionId,
  positionOf,
  type FoundEvent,
  type LogPage,
  type LogPosition,
  type LogQuery,
} from '../../../logs/log-reader.ts';
import { logGroup, PARTITION, type LambdaAccount } from '../../../protocol/arn.ts';
import type { PartialOutput } from '../dialect.ts';
import type { Json, JsonApi } from '../json/api.ts';
import { JsonApiError, type Body } from '../json/body.ts';
import { cut, cutFront } from './answer-size.ts';
import { LiveTails, type LiveTailWish } from './live-tail.ts';

/** CloudWatch's own limits. */
const MAX_EVENTS = 10_000;
const MOST_LISTED = 50;
const MOST_TAILED = 10;

export interface LogsApiOptions {
  readonly account: LambdaAccount;
  readonly logs: Pick<FunctionLogs, 'names' | 'sizeOf' | 'read' | 'readLast' | 'end'>;
  /** Whether a function of that name is there; it may not have printed anything yet. */
  readonly isFunction: (name: string) => boolean;
}

export class LogsApi implements JsonApi {
  readonly name = 'Logs_20140328';
  readonly service = 'logs';
  readonly #options: LogsApiOptions;
  readonly #tails: LiveTails;

  constructor(options: LogsApiOptions) {
    this.#options = options;
    this.#tails = new LiveTails(options.logs);
  }

  /** Every tail ends. */
  close(): void {
    this.#tails.close();
  }

  async run(operation: string, body: Body, caller: Caller, output: PartialOutput): Promise<Json | null> {
    switch (operation) {
      case 'StartLiveTail':
        await this.#tails.run(await this.#wishOf(body, caller), output);
        return null;
      case 'FilterLogEvents':
        return this.#filterLogEvents(body, caller);
      case 'GetLogEvents':
        return this.#getLogEvents(body, caller);
      case 'DescribeLogGroups':
        return this.#describeLogGroups(body, caller);
      case 'DescribeLogStreams':
        return this.#describeLogStreams(body, caller);
      default:
        throw new JsonApiError('UnknownOperationException', `${operation} is not offered`);
    }
  }

  async #filterLogEvents(body: Body, caller: Caller): Promise<Json> {
    const name = await this.#functionOf(body, 'logs:FilterLogEvents', caller);
    const streams = body.strings('logStreamNames');
    const prefix = body.string('logStreamNamePrefix');
    const matches = filter(body.string('filterPattern') ?? '');
    // These are none of AWS's members.
    const request = body.string('requestId');
    const version = body.string('version');
    const fromEnd = body.boolean('startFromEnd') === true;
    const query: LogQuery = {
      fromMs: body.integer('startTime', 0) ?? 0,
      toMs: (body.integer('endTime', 0) ?? Infinity) + 1,
      after: token(body.string('nextToken')),
      limit: body.integer('limit', 1, MAX_EVENTS) ?? MAX_EVENTS,
      accepts: (event) =>
        (streams === null || streams.includes(event.stream)) &&
        (prefix === null || event.stream.startsWith(prefix)) &&
        (request === null || event.requestId === request) &&
        (version === null || isOfVersion(event.stream, version)) &&
        matches(event.message),
    };
    const { events, next, end } = await (fromEnd ? this.#lastOf(name, query) : this.#firstOf(name, query));
    return {
      events: events.map((event) => ({
        logStreamName: event.stream,
        ...shown(event),
        eventId: positionId(event.position),
      })),
      searchedLogStreams: [],
      ...(next === null ? {} : { nextToken: positionId(next) }),
      followToken: positionId(next ?? end),
    };
  }

  async #firstOf(name: string, query: LogQuery): Promise<LogPage> {
    const { events, next, end } = await this.#options.logs.read(name, query);
    return { ...cut(events, next), end };
  }

  /** What is before them is left out: whoever asks for the last ones goes on with what comes after them. */
  async #lastOf(name: string, query: LogQuery): Promise<LogPage> {
    const { events, end } = await this.#options.logs.readLast(name, { ...query, before: null });
    return { events: cutFront(events, null).events, next: null, end };
  }

  async #getLogEvents(body: Body, caller: Caller): Promise<Json> {
    const name = await this.#functionOf(body, 'logs:GetLogEvents', caller);
    const stream = body.required('logStreamName');
    const { logs } = this.#options;
    const query = {
      fromMs: body.integer('startTime', 0) ?? 0,
      toMs: body.integer('endTime', 0) ?? Infinity,
      limit: body.integer('limit', 1, MAX_EVENTS) ?? MAX_EVENTS,
      accepts: (event: LogEvent): boolean => event.stream === stream,
    };
    const [direction, position] = directionOf(body.string('nextToken'));
    const isForward = direction === 'f' || (direction === null && body.boolean('startFromHead') === true);
    if (isForward) {
      const page = await logs.read(name, { ...query, after: position });
      const { events, next } = cut(page.events, page.next);
      const [first] = events;
      return pageOf(events, first?.position ?? position ?? page.end, next ?? page.end);
    }
    const { end, ...page } = await logs.readLast(name, { ...query, after: null, before: position });
    const { events, next } = cutFront(page.events, page.next);
    return pageOf(events, next ?? { begunMs: 0, offset: 0 }, position ?? end);
  }

  async #describeLogGroups(body: Body, caller: Caller): Promise<Json> {
    caller.authorize('logs:DescribeLogGroups');
    const prefix = body.string('logGroupNamePrefix') ?? '';
    const pattern = body.string('logGroupNamePattern') ?? '';
    const after = body.string('nextToken') ?? '';
    const limit = body.integer('limit', 1, MOST_LISTED) ?? MOST_LISTED;
    const names = (await this.#options.logs.names()).filter((name) => {
      const group = logGroup(name);
      return caller.mayList(name) && group.startsWith(prefix) && group.includes(pattern) && group > after;
    });
    const logGroups: Json[] = [];
    for (const name of names.slice(0, limit)) {
      const size = await this.#options.logs.sizeOf(name);
      logGroups.push({
        logGroupName: logGroup(name),
        creationTime: size?.begunMs ?? 0,
        metricFilterCount: 0,
        arn: `${this.#arnOf(name)}:*`,
        logGroupArn: this.#arnOf(name),
        storedBytes: size?.bytes ?? 0,
        logGroupClass: 'STANDARD',
      });
    }
    const last = names[limit - 1];
    return { logGroups, ...(names.length > limit && last !== undefined ? { nextToken: logGroup(last) } : {}) };
  }

  /** What is told of streams is what the last events tell. */
  async #describeLogStreams(body: Body, caller: Caller): Promise<Json> {
    const name = await this.#functionOf(body, 'logs:DescribeLogStreams', caller);
    const prefix = body.string('logStreamNamePrefix') ?? '';
    const limit = body.integer('limit', 1, MOST_LISTED) ?? MOST_LISTED;
    const byTime = body.string('orderBy') === 'LastEventTime';
    const after = body.string('nextToken');
    const streams = new Map<string, { firstMs: number; lastMs: number }>();
    const note = ({ stream, timeMs }: LogEvent): false => {
      if (!stream.startsWith(prefix)) return false;
      const known = streams.get(stream);
      if (known === undefined) streams.set(stream, { firstMs: timeMs, lastMs: timeMs });
      else known.lastMs = timeMs;
      return false;
    };
    const query = { fromMs: 0, toMs: Infinity, limit: 1, accepts: note };
    for (let at: LogPosition | null = null; ;) {
      const { next }: { readonly next: LogPosition | null } = await this.#options.logs.read(name, {
        ...query,
        after: at,
      });
      if (next === null) break;
      at = next;
    }
    const sorted = [...streams].sort(([a, { lastMs: aMs }], [b, { lastMs: bMs }]) =>
      byTime && aMs !== bMs ? aMs - bMs : a < b ? -1 : 1,
    );
    if (body.boolean('descending') === true) sorted.reverse();
    const from = after === null ? 0 : sorted.findIndex(([stream]) => stream === after) + 1;
    const page = sorted.slice(from, from + limit);
    const last = page.at(-1);
    return {
      logStreams: page.map(([stream, { firstMs, lastMs }]) => ({
        logStreamName: stream,
        creationTime: firstMs,
        firstEventTimestamp: firstMs,
        lastEventTimestamp: lastMs,
        lastIngestionTime: lastMs,
        arn: `${this.#arnOf(name)}:log-stream:${stream}`,
        storedBytes: 0,
      })),
      ...(from + limit < sorted.length && last !== undefined ? { nextToken: last[0] } : {}),
    };
  }

  async #wishOf(body: Body, caller: Caller): Promise<LiveTailWish> {
    const identifiers = body.strings('logGroupIdentifiers') ?? [];
    const names = body.strings('logStreamNames') ?? [];
    const prefixes = body.strings('logStreamNamePrefixes') ?? [];
    const pattern = body.string('logEventFilterPattern') ?? '';
    if (identifiers.length === 0 || identifiers.length > MOST_TAILED) {
      throw new JsonApiError(
        'InvalidParameterException',
        `'logGroupIdentifiers' must have 1 to ${MOST_TAILED} members`,
      );
    }
    if ((names.length > 0 || prefixes.length > 0) && identifiers.length > 1) {
      throw new JsonApiError('InvalidParameterException', 'streams can be named for a single log group only');
    }
    if (names.length > 0 && prefixes.length > 0) {
      const problem = "give either 'logStreamNames' or 'logStreamNamePrefixes'";
      throw new JsonApiError('InvalidParameterException', problem);
    }
    const functions = new Set<string>();
    for (const identifier of identifiers) {
      functions.add(await this.#functionNamed(groupOf(identifier), 'logs:StartLiveTail', caller));
    }
    const matches = filter(pattern);
    return {
      groups: [...functions].map((name) => ({ name, arn: this.#arnOf(name) })),
      told: { logStreamNames: names, logStreamNamePrefixes: prefixes, logEventFilterPattern: pattern },
      accepts: ({ stream, message }) =>
        (names.length === 0 || names.includes(stream)) &&
        (prefixes.length === 0 || prefixes.some((prefix) => stream.startsWith(prefix))) &&
        matches(message),
    };
  }

  async #functionOf(body: Body, operation: Operation, caller: Caller): Promise<string> {
    const identifier = body.string('logGroupIdentifier');
    const group = identifier === null ? body.required('logGroupName') : groupOf(identifier);
    return this.#functionNamed(group, operation, caller);
  }

  /** @throws JsonApiError ResourceNotFoundException for a group that is none; AccessError. */
  async #functionNamed(group: string, operation: Operation, caller: Caller): Promise<string> {
    const name = group.startsWith(logGroup('')) ? group.slice(logGroup('').length) : '';
    // Before it is looked up: whose function it is not, is not told whether it is there.
    caller.authorize(operation, name);
    const { logs, isFunction } = this.#options;
    if (!isFunction(name) && (await logs.sizeOf(name)) === null) {
      throw new JsonApiError('ResourceNotFoundException', 'The specified log group does not exist.');
    }
    return name;
  }

  #arnOf(name: string): string {
    const { region, accountId } = this.#options.account;
    return `arn:${PARTITION}:logs:${region}:${accountId}:log-group:${logGroup(name)}`;
  }
}

/** @param identifier a name or an ARN. */
function groupOf(identifier: string): string {
  return identifier.replace(/^arn:.*:log-group:/, '').replace(/:\*$/, '');
}

function shown({ timeMs, message }: LogEvent): Json {
  return { timestamp: timeMs, message, ingestionTime: timeMs };
}

function pageOf(events: readonly FoundEvent[], back: LogPosition, forward: LogPosition): Json {
  return {
    events: events.map(shown),
    nextBackwardToken: `b/${positionId(back)}`,
    nextForwardToken: `f/${positionId(forward)}`,
  };
}

function filter(pattern: string): (message: string) => boolean {
  try {
    return filterOf(pattern);
  } catch (error) {
    if (!(error instanceof FilterPatternError)) throw error;
    throw new JsonApiError('InvalidParameterException', `Invalid filter pattern: ${error.message}`);
  }
}

function token(text: string | null): LogPosition | null {
  if (text === null) return null;
  const position = positionOf(text);
  if (position === null) throw new JsonApiError('InvalidParameterException', 'The specified nextToken is invalid.');
  return position;
}

function directionOf(text: string | null): readonly ['f' | 'b' | null, LogPosition | null] {
  if (text === null) return [null, null];
  const [, direction, id = ''] = /^([fb])\/(.*)$/.exec(text) ?? [];
  return [direction === 'b' ? 'b' : 'f', token(direction === undefined ? '' : id)];
}
