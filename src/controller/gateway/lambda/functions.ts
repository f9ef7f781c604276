/** Runs in snapctr. The read-only operations: GetFunction, GetFunctionConfiguration and ListFunctions. */
import { createHash } from 'node:crypto';
import { LATEST, logGroup, functionArn, type LambdaAccount } from '../../../protocol/arn.ts';
import { scratchMib } from '../../../protocol/guest.ts';
import type { FunctionConfig } from '../../config/config.ts';
import { ApiError, validationError } from './errors.ts';
import type { CodeFactsCache } from './code-facts.ts';

/** What `MaxItems` may be; a page has no more than the second, whatever it is, as with AWS. */
const MAX_ITEMS = 10_000;
const MOST_ON_A_PAGE = 50;

type Json = Readonly<Record<string, unknown>>;

/** A function that cannot run. */
export interface FailedFunction {
  readonly name: string;
  /** Why, one line each. */
  readonly failed: readonly string[];
}

export interface Catalogue {
  /** By name. */
  readonly sorted: readonly (FunctionConfig | FailedFunction)[];
  readonly account: LambdaAccount;
  readonly facts: CodeFactsCache;
  /** Whether VMs are restored from snapshots of their functions. */
  readonly usesSnapshots: () => boolean;
}

/** @param qualifier as the caller gave it; the ARN has it then. */
export async function getFunction(
  catalogue: Catalogue,
  fn: FunctionConfig | FailedFunction,
  qualifier: string | null,
): Promise<Json> {
  if ('failed' in fn) return { Configuration: failedConfiguration(catalogue, fn, qualifier) };
  return {
    Configuration: await getFunctionConfiguration(catalogue, fn, qualifier),
    Code: { RepositoryType: 'S3', Location: `file://${fn.appfs?.path ?? fn.runtimefsPath}` },
    ...(fn.concurrencyLimit === null ? {} : { Concurrency: { ReservedConcurrentExecutions: fn.concurrencyLimit } }),
  };
}

export async function getFunctionConfiguration(
  catalogue: Catalogue,
  fn: FunctionConfig | FailedFunction,
  qualifier: string | null,
): Promise<Json> {
  if ('failed' in fn) return failedConfiguration(catalogue, fn, qualifier);
  const { account } = catalogue;
  const { runtime } = await catalogue.facts.of(fn);
  const digest = createHash('sha256').update(runtime).digest('hex');
  return {
    ...(await configuration(catalogue, fn, qualifier)),
    State: 'Active',
    LastUpdateStatus: 'Successful',
    RuntimeVersionConfig: { RuntimeVersionArn: `arn:aws:lambda:${account.region}::runtime:${digest}` },
  };
}

/**
 * @param query the parameters `MaxItems`, `Marker` and `FunctionVersion`.
 * @throws ApiError if one of them has no good value.
 */
export async function listFunctions(catalogue: Catalogue, query: URLSearchParams): Promise<Json> {
  const version = query.get('FunctionVersion');
  if (version !== null && version !== 'ALL') {
    throw validationError('functionVersion', version, 'Member must satisfy enum value set: [ALL]');
  }
  const all = catalogue.sorted;
  const from = readMarker(query.get('Marker'), all.length);
  const to = from + Math.min(readMaxItems(query.get('MaxItems')), MOST_ON_A_PAGE);
  const qualifier = version === 'ALL' ? LATEST : null;
  const page: Json[] = [];
  // One after the other: requests that run functions have the file system first.
  for (const fn of all.slice(from, to)) {
    page.push('failed' in fn ? names(catalogue, fn, qualifier) : await configuration(catalogue, fn, qualifier));
  }
  return {
    Functions: page,
    ...(to < all.length ? { NextMarker: String(to) } : {}),
  };
}

/** The answer to an invocation of a function that cannot run. */
export function failedFunction({ failed }: FailedFunction): ApiError {
  const state =
    'The operation cannot be performed at this time. The function is currently in the following state: Failed';
  return new ApiError('ResourceConflictException', `${state}. ${failed.join('; ')}`);
}

function failedConfiguration(catalogue: Catalogue, fn: FailedFunction, qualifier: string | null): Json {
  const reason = fn.failed.join('; ');
  return {
    ...names(catalogue, fn, qualifier),
    State: 'Failed',
    StateReason: reason,
    StateReasonCode: 'InvalidConfiguration',
    LastUpdateStatus: 'Failed',
    LastUpdateStatusReason: reason,
    LastUpdateStatusReasonCode: 'InvalidConfiguration',
  };
}

/** All that is certain of a function that cannot run. */
function names({ account }: Catalogue, { name }: { readonly name: string }, qualifier: string | null): Json {
  const arn = functionArn(account, name) + (qualifier === null ? '' : `:${qualifier}`);
  return { FunctionName: name, FunctionArn: arn, Version: LATEST };
}

/** The members that every operation tells. */
async function configuration(catalogue: Catalogue, fn: FunctionConfig, qualifier: string | null): Promise<Json> {
  const { account, facts, usesSnapshots } = catalogue;
  const { bytes, sha256, modified, runtime } = await facts.of(fn);
  return {
    ...names(catalogue, fn, qualifier),
    Runtime: runtime,
    Role: `arn:aws:iam::${account.accountId}:role/snapfaas`,
    Handler: fn.handler ?? 'workload.handle',
    CodeSize: bytes,
    Description: '',
    Timeout: Math.ceil(fn.timeoutMs / 1000),
    MemorySize: fn.memoryMib,
    LastModified: modified.toISOString().replace('Z', '+0000'),
    CodeSha256: sha256,
    TracingConfig: { Mode: 'PassThrough' },
    RevisionId: revisionId(fn, sha256),
    PackageType: 'Zip',
    Architectures: ['x86_64'],
    EphemeralStorage: { Size: scratchMib(fn.memoryMib) },
    SnapStart: usesSnapshots()
      ? { ApplyOn: 'PublishedVersions', OptimizationStatus: 'On' }
      : { ApplyOn: 'None', OptimizationStatus: 'Off' },
    LoggingConfig: loggingConfig(fn),
    ...(Object.keys(fn.environment).length === 0 ? {} : { Environment: { Variables: fn.environment } }),
  };
}

/** As the runtimes read it from the environment; there are levels only where lines have one by themselves. */
function loggingConfig({ name, environment }: FunctionConfig): Json {
  const LogGroup = logGroup(name);
  if (environment['AWS_LAMBDA_LOG_FORMAT']?.toUpperCase() !== 'JSON') return { LogFormat: 'Text', LogGroup };
  const level = environment['AWS_LAMBDA_LOG_LEVEL']?.toUpperCase() ?? 'INFO';
  return { LogFormat: 'JSON', ApplicationLogLevel: level, SystemLogLevel: 'INFO', LogGroup };
}

/** A UUID by the content of what it names. */
function revisionId(fn: FunctionConfig, sha256: string): string {
  const hex = createHash('sha256').update(JSON.stringify(fn)).update(sha256).digest('hex');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12}).*$/, '$1-$2-$3-$4-$5');
}

function readMaxItems(text: string | null): number {
  if (text === null) return MOST_ON_A_PAGE;
  const items = readDecimal(text);
  if (items !== null && items >= 1 && items <= MAX_ITEMS) return items;
  throw validationError('maxItems', text, `Member must have value between 1 and ${MAX_ITEMS}`);
}

function readMarker(text: string | null, count: number): number {
  if (text === null || text === '') return 0;
  const from = readDecimal(text);
  if (from !== null && from <= count) return from;
  throw new ApiError('InvalidParameterValueException', `Invalid Marker: ${text.slice(0, 64)}`);
}

/** Digits alone: `Number` takes much more for a number. */
function readDecimal(text: string): number | null {
  return /^\d{1,9}$/.test(text) ? Number(text) : null;
}
