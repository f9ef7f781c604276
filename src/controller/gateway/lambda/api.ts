/**
 * Runs in snapctr. The room of the Lambda API: which operation a request asks for, and the dialect that serves it. Every
 * path that begins with a date is one of this API: what is not served is answered with a typed error.
 */
import type { IncomingMessage } from 'node:http';
import type { Caller } from '../../../auth/caller.ts';
import type { Operation } from '../../../auth/operations.ts';
import type { LambdaAccount } from '../../../protocol/arn.ts';
import type { SnapfaasError } from '../../../protocol/errors.ts';
import type { FunctionRegistry, RegisteredFunction } from '../../../registry/function-registry.ts';
import type { Logger } from '../../log.ts';
import { newTaskId } from '../../task.ts';
import type { Dialect } from '../dialect.ts';
import { jsonAnswer, type Answer, type HeaderList } from '../http-answer.ts';
import type { ExchangeOwner } from '../http-exchange.ts';
import { CodeFactsCache, type Interpreters } from './code-facts.ts';
import { ApiError, apiErrorAnswer, apiErrorOf, identityHeaders, validationError } from './errors.ts';
import { EventInvocations } from './events.ts';
import { failedFunction, getFunction, getFunctionConfiguration, listFunctions, type Catalogue } from './functions.ts';
import { InvokeDialect, parseInvokeHeaders, type InvokeTarget } from './invoke.ts';
import { findFunction, parseFunctionName, type FunctionReference } from './names.ts';
import { StreamDialect } from './stream.ts';

export interface LambdaApiOptions {
  readonly account: LambdaAccount;
  readonly functions: Pick<FunctionRegistry, 'get' | 'list'>;
  readonly interpreters: Interpreters;
  /** Whether VMs are restored from snapshots of their functions; asked each time. */
  readonly usesSnapshots: () => boolean;
  /** Invocations of type `Event` that may be under way. */
  readonly eventCapacity: number;
  readonly logger: Logger;
}

const API_PATH = /^\/\d{4}-\d\d-\d\d(?:\/|$)/;
/** What is to be done, by its name for permissions, and method and path, with a group for the function's name. */
const ROUTES = [
  ['invoke', 'lambda:InvokeFunction', 'POST', /^\/2015-03-31\/functions\/([^/]+)\/invocations\/?$/],
  ['stream', 'lambda:InvokeFunction', 'POST', /^\/2021-11-15\/functions\/([^/]+)\/response-streaming-invocations\/?$/],
  ['list', 'lambda:ListFunctions', 'GET', /^\/2015-03-31\/functions\/?$/],
  ['get', 'lambda:GetFunction', 'GET', /^\/2015-03-31\/functions\/([^/]+)$/],
  ['configuration', 'lambda:GetFunctionConfiguration', 'GET', /^\/2015-03-31\/functions\/([^/]+)\/configuration$/],
] as const satisfies readonly (readonly [string, Operation, string, RegExp])[];

interface Route {
  readonly kind: (typeof ROUTES)[number][0];
  readonly operation: Operation;
  /** Of the path: the function's name, encoded. */
  readonly segment: string;
}

/** Bodies of requests that have none by the API's model. */
const MAX_IGNORED_BODY_BYTES = 64 * 1024;

export class LambdaApi {
  readonly #options: LambdaApiOptions;
  readonly #owner: ExchangeOwner;
  readonly #events: EventInvocations;
  readonly #catalogue: Catalogue;

  constructor(options: LambdaApiOptions, owner: ExchangeOwner) {
    const { account, functions, interpreters, usesSnapshots } = options;
    this.#options = options;
    this.#owner = owner;
    this.#events = new EventInvocations(owner, options.eventCapacity, options.logger);
    this.#catalogue = { account, functions, facts: new CodeFactsCache(interpreters), usesSnapshots };
  }

  /** Whether a path belongs to this API. */
  static owns(path: string): boolean {
    return API_PATH.test(path);
  }

  /** What makes an error of ours one that clients of this API can name. */
  static errorHeaders(error: SnapfaasError): HeaderList {
    return identityHeaders(apiErrorOf(error), newTaskId());
  }

  /** Drops retries of events, whose callers have had their 202; a run that has begun is waited for. */
  drain(): void {
    this.#events.stop();
  }

  /** @param url the request target from the path on. */
  dialectFor(incoming: IncomingMessage, url: string, caller: Caller): Dialect {
    try {
      return this.#dialect(incoming, url, caller);
    } catch (error) {
      return new FixedDialect(() => Promise.resolve({}), this.#owner.maxPayloadBytes, apiErrorOf(error));
    }
  }

  #dialect(incoming: IncomingMessage, url: string, caller: Caller): Dialect {
    const method = incoming.method ?? '';
    const [path = '', queryText = ''] = split(url);
    const query = new URLSearchParams(queryText);
    const { account } = this.#options;
    const found = route(method, path);
    if (found === null) {
      const shown = `${method} ${path.slice(0, 200)}`;
      const advice = 'functions are configured in the YAML files of snapctr';
      throw new ApiError('UnknownOperationException', `${shown} is not served: ${advice}`);
    }
    const { kind, operation, segment } = found;
    if (kind === 'list') {
      caller.authorize(operation);
      return new FixedDialect(() => listFunctions(this.#catalogueFor(caller), query));
    }
    const reference = parseFunctionName(decode(segment), query.get('Qualifier'), account);
    // Before it is looked up: whose function it is not, is not told whether it is there.
    caller.authorize(operation, reference.name);
    const isInvocation = kind === 'invoke' || kind === 'stream';
    const fn = findFunction(this.#options.functions, reference, account, isInvocation ? ':$LATEST' : '');
    switch (kind) {
      case 'get':
        return new FixedDialect(() => getFunction(this.#catalogue, fn, reference.qualifier));
      case 'configuration':
        return new FixedDialect(() => getFunctionConfiguration(this.#catalogue, fn, reference.qualifier));
      case 'invoke':
      case 'stream': {
        if (fn.state === 'Failed') throw failedFunction(fn);
        const options = parseInvokeHeaders(incoming.headers, reference, account);
        const target = this.#target(fn, reference);
        if (kind === 'stream') return new StreamDialect(target, options);
        return new InvokeDialect(target, options, this.#events);
      }
    }
  }

  #catalogueFor(caller: Caller): Catalogue {
    if (caller.key === null) return this.#catalogue;
    const { functions } = this.#options;
    const list = (): readonly RegisteredFunction[] => functions.list().filter(({ name }) => caller.mayList(name));
    return { ...this.#catalogue, functions: { list } };
  }

  #target({ name, latest }: RegisteredFunction, reference: FunctionReference): InvokeTarget {
    return { name, latest, reference, account: this.#options.account, maxEventBytes: this.#owner.maxPayloadBytes };
  }
}

/** Answers without a function: with JSON, or with an error that was clear before the body came. */
class FixedDialect implements Dialect {
  readonly maxBodyBytes: number;
  readonly outlivesClient = false;
  readonly #answer: () => Promise<Readonly<Record<string, unknown>>>;
  readonly #problem: ApiError | null;

  constructor(
    answer: () => Promise<Readonly<Record<string, unknown>>>,
    maxBodyBytes = MAX_IGNORED_BODY_BYTES,
    problem: ApiError | null = null,
  ) {
    this.maxBodyBytes = maxBodyBytes;
    this.#answer = answer;
    this.#problem = problem;
  }

  headerProblem(): ApiError | null {
    return this.#problem;
  }

  tooLarge(): ApiError {
    return new ApiError('RequestEntityTooLargeException', `Request must be smaller than ${this.maxBodyBytes} bytes`);
  }

  async begin(_body: Buffer, id: string): Promise<Answer> {
    return jsonAnswer(200, await this.#answer(), ['x-amzn-requestid', id]);
  }

  answer(): never {
    throw new Error('nothing was run');
  }

  refusal(error: unknown, id: string): Answer {
    return apiErrorAnswer(apiErrorOf(error), id);
  }
}

function route(method: string, path: string): Route | null {
  for (const [kind, operation, wanted, pattern] of ROUTES) {
    const match = method === wanted ? pattern.exec(path) : null;
    if (match !== null) return { kind, operation, segment: match[1] ?? '' };
  }
  return null;
}

function split(url: string): readonly string[] {
  const query = url.indexOf('?');
  return query === -1 ? [url] : [url.slice(0, query), url.slice(query + 1)];
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw validationError('functionName', segment, 'Member must be percent-encoded UTF-8');
  }
}
