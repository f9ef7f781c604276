/**
 * Runs in snapctr. The room of the Lambda API: which operation a request asks for, and the dialect that serves it. Every
 * path that begins with a date is one of this API: what is not served is answered with a typed error.
 */
import type { IncomingMessage } from 'node:http';
import type { AuditLog } from '../../../auth/audit-log.ts';
import type { Caller } from '../../../auth/caller.ts';
import type { Operation } from '../../../auth/operations.ts';
import type { LambdaAccount } from '../../../protocol/arn.ts';
import type { SnapfaasError } from '../../../protocol/errors.ts';
import type { FunctionRegistry, RegisteredFunction } from '../../../registry/function-registry.ts';
import type { FunctionVersion } from '../../../registry/function-version.ts';
import { newTaskId } from '../../task.ts';
import type { Logger } from '../../log.ts';
import { checkTenant } from '../../tenants.ts';
import type { ReceivedPackage } from '../../../packages/store.ts';
import { UNQUALIFIED } from '../../../registry/records.ts';
import type { Dialect } from '../dialect.ts';
import type { HeaderList } from '../http-answer.ts';
import type { ExchangeOwner } from '../http-exchange.ts';
import { urlFor } from '../urls/address.ts';
import { auditLine } from './control/audited.ts';
import { CodeFactsCache, type Interpreters } from './code-facts.ts';
import { ok, okBytes, type Call, type ControlPlane, type EventSourceStates, type Result } from './control/call.ts';
import { baseOf, CodeLinks } from './control/code-links.ts';
import { controlApiError } from './control/control-errors.ts';
import { ControlDialect, RefusedDialect } from './control/dialect.ts';
import { DownloadDialect } from './control/download.ts';
import {
  getFunction as getKeptFunction,
  getFunctionConfiguration as getKeptConfiguration,
} from './control/functions.ts';
import { layerOf } from './control/layers.ts';
import { mayInvoke } from './control/policies.ts';
import { CONTROL, isControl, type ControlOperation, type ControlRow } from './control/table.ts';
import { ApiError, apiErrorOf, identityHeaders, validationError } from './errors.ts';
import { failedFunction, getFunction, getFunctionConfiguration, listFunctions, type Catalogue } from './functions.ts';
import { InvokeDialect, parseInvokeHeaders, type EventSink, type InvokeTarget } from './invoke.ts';
import { findFunction, parseFunctionName, parseTagged, type FunctionReference } from './names.ts';
import { findRoute, type Route } from './routes.ts';
import { StreamDialect } from './stream.ts';

export interface LambdaApiOptions {
  readonly account: LambdaAccount;
  readonly functions: Pick<FunctionRegistry, 'get' | 'list' | 'resolve' | 'url' | 'eventSource'>;
  /** What changes functions and layers; null: all functions are those of files. */
  readonly plane: ControlPlane | null;
  /** VMs of the smallest function that the host has memory for. */
  readonly maxConcurrency: number;
  readonly interpreters: Interpreters;
  /** Whether VMs are restored from snapshots of their functions; asked each time. */
  readonly usesSnapshots: () => boolean;
  /** Takes invocations of type `Event`. */
  readonly events: EventSink;
  readonly eventSources: EventSourceStates | null;
  readonly logger: Logger;
  /** Told who changed what. */
  readonly audit: Pick<AuditLog, 'add'>;
}

/** What InvokeAsync answers; Invoke says the same by its status alone. */
const ACCEPTED = { Status: 202 } as const;
const API_PATH = /^\/\d{4}-\d\d-\d\d(?:\/|$)/;

export class LambdaApi {
  readonly #options: LambdaApiOptions;
  readonly #owner: ExchangeOwner;
  readonly #catalogue: Catalogue;
  readonly #links = new CodeLinks();

  constructor(options: LambdaApiOptions, owner: ExchangeOwner) {
    const { account, functions, plane, interpreters, usesSnapshots } = options;
    this.#options = options;
    this.#owner = owner;
    const kept = plane?.functions ?? null;
    this.#catalogue = { account, functions, kept, facts: new CodeFactsCache(interpreters), usesSnapshots };
  }

  /** Whether a path belongs to this API. */
  static owns(path: string): boolean {
    return API_PATH.test(path);
  }

  /** What makes an error of ours one that clients of this API can name. */
  static errorHeaders(error: SnapfaasError): HeaderList {
    return identityHeaders(apiErrorOf(error), newTaskId());
  }

  /** Whether what is asked for proves itself, without a key. */
  static isOpen(method: string | undefined, path: string): boolean {
    return method === 'GET' && CodeLinks.owns(path);
  }

  /** @param url the request target from the path on. */
  dialectFor(incoming: IncomingMessage, url: string, caller: Caller): Dialect {
    try {
      return this.#dialect(incoming, url, caller);
    } catch (error) {
      return new RefusedDialect(controlApiError(error));
    }
  }

  #dialect(incoming: IncomingMessage, url: string, caller: Caller): Dialect {
    const method = incoming.method ?? '';
    const [path = '', queryText = ''] = split(url);
    const query = new URLSearchParams(queryText);
    if (LambdaApi.isOpen(method, path)) return this.#download(path, query);
    const route = routeOf(method, path, query);
    if (route === null) {
      const shown = `${method} ${path.slice(0, 200)}`;
      throw new ApiError('UnknownOperationException', `${shown} is not offered here.`);
    }
    const { operation, parameters } = route;
    const whole = { incoming, caller, parameters, query };
    switch (operation) {
      case 'Invoke':
      case 'InvokeWithResponseStream':
      case 'InvokeAsync':
        return this.#invocation(operation, incoming, this.#referenceOf(whole), caller);
      case 'ListFunctions':
        caller.authorize('lambda:ListFunctions');
        return new ControlDialect(operation, async () =>
          okBytes(await listFunctions(this.#catalogueFor(caller), query)),
        );
      case 'GetFunction':
      case 'GetFunctionConfiguration':
        return this.#look(operation, whole);
      default:
        if (isControl(operation) && this.#options.plane !== null)
          return this.#change(operation, this.#options.plane, whole);
        throw new ApiError('UnknownOperationException', `The operation ${operation} is not offered here.`);
    }
  }

  #download(path: string, query: URLSearchParams): Dialect {
    const sha256 = this.#links.check(path, query);
    const { plane } = this.#options;
    if (sha256 !== null && plane !== null) return new DownloadDialect(plane.packages.pathOf(sha256));
    throw new ApiError('AccessDeniedException', 'The link is not valid any more; ask for a new one.', { cause: null });
  }

  #invocation(
    operation: 'Invoke' | 'InvokeWithResponseStream' | 'InvokeAsync',
    incoming: IncomingMessage,
    reference: FunctionReference,
    caller: Caller,
  ): Dialect {
    const { account, functions } = this.#options;
    this.#authorizeInvocation(reference, caller);
    const { fn, version } = findFunction(functions, reference, account, ':$LATEST');
    if (version?.state === 'Failed') throw failedFunction(version);
    // An alias is followed once: the answer tells which way.
    const chosen = functions.resolve(fn.name, reference.qualifier);
    const options = parseInvokeHeaders(incoming.headers, reference, account);
    if (chosen !== null) checkTenantOf(chosen, options.header.tenant_id ?? null);
    const target: InvokeTarget = {
      name: fn.name,
      qualifier: chosen?.version ?? reference.qualifier,
      askedQualifier: reference.qualifier,
      latest: chosen,
      maxEventBytes: this.#owner.maxPayloadBytes,
    };
    if (operation === 'InvokeWithResponseStream') return new StreamDialect(target, options);
    const { events } = this.#options;
    if (operation === 'InvokeAsync') return new InvokeDialect(target, { ...options, type: 'Event' }, events, ACCEPTED);
    return new InvokeDialect(target, options, events);
  }

  /** By the key, or by the function's policy. Before it is looked up: whose function it is not, is not told whether it is there. */
  #authorizeInvocation({ name, qualifier }: FunctionReference, caller: Caller): void {
    try {
      caller.authorize('lambda:InvokeFunction', name);
    } catch (error) {
      const { plane, account } = this.#options;
      const record = plane?.functions.find(name);
      const key = qualifier ?? UNQUALIFIED;
      const policy = record !== undefined && Object.hasOwn(record.policies, key) ? record.policies[key] : undefined;
      if (caller.key === null || !mayInvoke(policy ?? null, caller.key.name, account)) throw error;
    }
  }

  /** Operations that tell of the functions of files as well. */
  #look(operation: 'GetFunction' | 'GetFunctionConfiguration', whole: WholeRequest): Dialect {
    const { account, functions, plane } = this.#options;
    checkQualifier(whole);
    const reference = this.#referenceOf(whole);
    whole.caller.authorize(`lambda:${operation}`, reference.name);
    if (plane?.functions.find(reference.name) !== undefined) {
      const run = operation === 'GetFunction' ? getKeptFunction : getKeptConfiguration;
      return new ControlDialect(operation, () => run(this.#call(plane, whole, reference, null, null)));
    }
    const { fn } = findFunction(functions, reference, account, '');
    const look = operation === 'GetFunction' ? getFunction : getFunctionConfiguration;
    return new ControlDialect(operation, async () => ok(await look(this.#catalogue, fn, reference.qualifier)));
  }

  #change(operation: ControlOperation, plane: ControlPlane, whole: WholeRequest): Dialect {
    const row: ControlRow = CONTROL[operation];
    const permission = permissionOf(operation);
    checkQualifier(whole);
    const reference = row.on === 'function' || row.on === 'tagged' ? this.#referenceOf(whole, row.on) : null;
    const { caller, parameters, query } = whole;
    if (reference !== null) caller.authorize(permission, reference.name);
    else if (row.on === 'layer') {
      caller.authorize(permission, layerOf({ parameters, query, account: this.#options.account }));
    } else if (row.on === 'account') caller.authorize(permission);
    const run = async (body: unknown, code: ReceivedPackage | null): Promise<Result> => {
      const call = this.#call(plane, whole, reference, body, code);
      const result = await row.run(call);
      const line = auditLine(operation, call, result);
      if (line !== null) await this.#options.audit.add(line);
      return result;
    };
    return new ControlDialect(
      operation,
      run,
      row.zip === undefined ? null : { path: row.zip, packages: plane.packages },
    );
  }

  #call(
    plane: ControlPlane,
    { incoming, caller, parameters, query }: WholeRequest,
    reference: FunctionReference | null,
    body: unknown,
    code: ReceivedPackage | null,
  ): Call {
    const { account, eventSources, functions, maxConcurrency } = this.#options;
    return {
      plane,
      account,
      maxConcurrency,
      registry: functions,
      eventSources,
      caller,
      parameters,
      query,
      function: reference,
      body,
      code,
      linkTo: (sha256) => this.#links.urlOf(baseOf(incoming), sha256),
      urlOf: (id) => urlFor(incoming, id, account.region),
    };
  }

  #referenceOf({ parameters, query }: WholeRequest, on: 'function' | 'tagged' = 'function'): FunctionReference {
    const { account } = this.#options;
    if (on === 'tagged') return parseTagged(parameters['Resource'] ?? '', account);
    return parseFunctionName(parameters['FunctionName'] ?? '', query.get('Qualifier'), account);
  }

  #catalogueFor(caller: Caller): Catalogue {
    if (caller.key === null) return this.#catalogue;
    const { functions } = this.#options;
    const list = (): readonly RegisteredFunction[] => functions.list().filter(({ name }) => caller.mayList(name));
    return { ...this.#catalogue, functions: { list } };
  }
}

/** What is known of a request before its body has come. */
interface WholeRequest {
  readonly incoming: IncomingMessage;
  readonly caller: Caller;
  readonly parameters: Route['parameters'];
  readonly query: URLSearchParams;
}

/** Invocations alone may have an empty one: with others it would mean the whole function. @throws ApiError */
function checkQualifier({ query }: WholeRequest): void {
  if (query.get('Qualifier') !== '') return;
  throw validationError('qualifier', '', 'Member must have length greater than or equal to 1');
}

/** @throws ApiError */
function checkTenantOf(version: FunctionVersion, tenant: string | null): void {
  try {
    checkTenant(version, tenant);
  } catch (error) {
    throw apiErrorOf(error);
  }
}

function permissionOf(operation: ControlOperation): Operation {
  return operation === 'GetLayerVersionByArn' ? 'lambda:GetLayerVersion' : `lambda:${operation}`;
}

function routeOf(method: string, path: string, query: URLSearchParams): Route | null {
  try {
    return findRoute(method, path, query);
  } catch (error) {
    if (!(error instanceof URIError)) throw error;
    throw validationError('path', path, 'Member must be percent-encoded UTF-8');
  }
}

function split(url: string): readonly string[] {
  const query = url.indexOf('?');
  return query === -1 ? [url] : [url.slice(0, query), url.slice(query + 1)];
}
