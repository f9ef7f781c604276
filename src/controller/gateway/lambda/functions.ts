/** Runs in snapctr. The read-only operations: GetFunction, GetFunctionConfiguration and ListFunctions. */
import { createHash } from 'node:crypto';
import { functionArn, type LambdaAccount } from '../../../protocol/arn.ts';
import type { FunctionConfig } from '../../config/config.ts';
import { ApiError, validationError } from './errors.ts';
import type { CodeFactsCache } from './code-facts.ts';
import { LATEST } from './names.ts';

const DEFAULT_MAX_ITEMS = 50;
const MAX_ITEMS = 10_000;
/** `/tmp` is part of a VM's memory; the API knows no smaller number. */
const EPHEMERAL_STORAGE_MB = 512;

type Json = Readonly<Record<string, unknown>>;

export interface Catalogue {
  readonly functions: ReadonlyMap<string, FunctionConfig>;
  readonly account: LambdaAccount;
  readonly facts: CodeFactsCache;
  /** Whether VMs are restored from snapshots of their functions. */
  readonly usesSnapshots: () => boolean;
}

/** @param qualifier as the caller gave it; the ARN has it then. */
export async function getFunction(catalogue: Catalogue, fn: FunctionConfig, qualifier: string | null): Promise<Json> {
  return {
    Configuration: await getFunctionConfiguration(catalogue, fn, qualifier),
    Code: { RepositoryType: 'S3', Location: `file://${fn.appfs?.path ?? fn.runtimefsPath}` },
    ...(fn.concurrencyLimit === null ? {} : { Concurrency: { ReservedConcurrentExecutions: fn.concurrencyLimit } }),
  };
}

export async function getFunctionConfiguration(
  catalogue: Catalogue,
  fn: FunctionConfig,
  qualifier: string | null,
): Promise<Json> {
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
  const all = [...catalogue.functions.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  const from = readMarker(query.get('Marker'), all.length);
  const to = from + readMaxItems(query.get('MaxItems'));
  const qualifier = version === 'ALL' ? LATEST : null;
  const page: Json[] = [];
  // One after the other: requests that run functions have the file system first.
  for (const fn of all.slice(from, to)) page.push(await configuration(catalogue, fn, qualifier));
  return {
    Functions: page,
    ...(to < all.length ? { NextMarker: String(to) } : {}),
  };
}

/** The members that every operation tells. */
async function configuration(
  { account, facts, usesSnapshots }: Catalogue,
  fn: FunctionConfig,
  qualifier: string | null,
): Promise<Json> {
  const { bytes, sha256, modified, runtime } = await facts.of(fn);
  const arn = functionArn(account, fn.name) + (qualifier === null ? '' : `:${qualifier}`);
  return {
    FunctionName: fn.name,
    FunctionArn: arn,
    Runtime: runtime,
    Role: `arn:aws:iam::${account.accountId}:role/snapfaas`,
    Handler: fn.handler ?? 'workload.handle',
    CodeSize: bytes,
    Description: '',
    Timeout: Math.ceil(fn.timeoutMs / 1000),
    MemorySize: fn.memoryMib,
    LastModified: modified.toISOString().replace('Z', '+0000'),
    CodeSha256: sha256,
    Version: LATEST,
    TracingConfig: { Mode: 'PassThrough' },
    RevisionId: revisionId(fn, sha256),
    PackageType: 'Zip',
    Architectures: ['x86_64'],
    EphemeralStorage: { Size: EPHEMERAL_STORAGE_MB },
    SnapStart: usesSnapshots()
      ? { ApplyOn: 'PublishedVersions', OptimizationStatus: 'On' }
      : { ApplyOn: 'None', OptimizationStatus: 'Off' },
    LoggingConfig: loggingConfig(fn),
    ...(Object.keys(fn.environment).length === 0 ? {} : { Environment: { Variables: fn.environment } }),
  };
}

/** As the runtimes read it from the environment; there are levels only where lines have one by themselves. */
function loggingConfig({ name, environment }: FunctionConfig): Json {
  const LogGroup = `/aws/lambda/${name}`;
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
  if (text === null) return DEFAULT_MAX_ITEMS;
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
