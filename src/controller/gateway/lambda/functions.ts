/** Runs in snapctr. The functions of files, as GetFunction, GetFunctionConfiguration and ListFunctions tell them. */
import { createHash } from 'node:crypto';
import { LATEST, logGroup, functionArn, type LambdaAccount } from '../../../protocol/arn.ts';
import { scratchMib } from '../../../protocol/guest.ts';
import type { FunctionControl } from '../../../control/function-control.ts';
import type { FunctionRegistry, RegisteredFunction, VersionState } from '../../../registry/function-registry.ts';
import type { FunctionVersion } from '../../../registry/function-version.ts';
import { newest, type VersionRecord } from '../../../registry/records.ts';
import { ApiError, validationError } from './errors.ts';
import type { CodeFactsCache } from './code-facts.ts';
import { firstFrom, markerOf, numberKey, pageOf } from './control/call.ts';
import { listedConfiguration } from './control/render.ts';

/** What `MaxItems` may be; a page has no more than the second, whatever it is, as with AWS. */
const MAX_ITEMS = 10_000;
const MOST_ON_A_PAGE = 50;
const OPENING = Buffer.from('{"Functions":[');
const COMMA = Buffer.from(',');
const PAGE = { most: MAX_ITEMS, atOnce: MOST_ON_A_PAGE } as const;

type Json = Readonly<Record<string, unknown>>;

export interface Catalogue {
  readonly functions: Pick<FunctionRegistry, 'list'>;
  /** Functions that were made over the API; null: there are none. */
  readonly kept: Pick<FunctionControl, 'find' | 'describe'> | null;
  readonly account: LambdaAccount;
  readonly facts: CodeFactsCache;
  /** Whether VMs are restored from snapshots of their functions. */
  readonly usesSnapshots: () => boolean;
}

/** @param qualifier as the caller gave it; the ARN has it then. */
export async function getFunction(
  catalogue: Catalogue,
  fn: RegisteredFunction,
  qualifier: string | null,
): Promise<Json> {
  const Configuration = await getFunctionConfiguration(catalogue, fn, qualifier);
  const { latest } = fn;
  if (latest === null) return { Configuration };
  const { concurrencyLimit } = latest;
  return {
    Configuration,
    Code: { RepositoryType: 'S3', Location: `file://${latest.appfs?.path ?? latest.runtimefsPath}` },
    ...(concurrencyLimit === null ? {} : { Concurrency: { ReservedConcurrentExecutions: concurrencyLimit } }),
  };
}

export async function getFunctionConfiguration(
  catalogue: Catalogue,
  fn: RegisteredFunction,
  qualifier: string | null,
): Promise<Json> {
  const { latest } = fn;
  if (latest === null) return { ...names(catalogue, fn, qualifier), ...stateOf(fn) };
  const { account } = catalogue;
  const { runtime } = await catalogue.facts.of(latest);
  const digest = createHash('sha256').update(runtime).digest('hex');
  return {
    ...(await configuration(catalogue, latest, qualifier)),
    ...stateOf(fn),
    RuntimeVersionConfig: { RuntimeVersionArn: `arn:aws:lambda:${account.region}::runtime:${digest}` },
  };
}

/**
 * @param query the parameters `MaxItems`, `Marker` and `FunctionVersion`.
 * @returns bytes of JSON.
 * @throws ApiError if one of them has no good value.
 */
export async function listFunctions(catalogue: Catalogue, query: URLSearchParams): Promise<Buffer> {
  const version = query.get('FunctionVersion');
  if (version !== null && version !== 'ALL') {
    throw validationError('functionVersion', version, 'Member must satisfy enum value set: [ALL]');
  }
  const entries = entriesFrom(markerOf(query), catalogue, version === 'ALL');
  const { items, nextMarker } = pageOf(entries, entryKey, query, PAGE);
  // Bytes, not text: a page of texts would be joined, and encoded, each time.
  const parts: Buffer[] = [OPENING];
  for (const entry of items) {
    if (parts.length > 1) parts.push(COMMA);
    const one = listed(catalogue, entry);
    // One after the other: requests that run functions have the file system first. What is known at once is not waited for.
    parts.push(one instanceof Promise ? jsonBytes(await one) : one);
  }
  const marker = nextMarker === null ? '' : `,"NextMarker":${JSON.stringify(nextMarker)}`;
  parts.push(Buffer.from(`]${marker}}`));
  return Buffer.concat(parts);
}

function jsonBytes(value: Json): Buffer {
  return Buffer.from(JSON.stringify(value));
}

interface Entry {
  readonly fn: RegisteredFunction;
  /** What its ARN ends with; null: nothing. */
  readonly version: string | null;
}

/** As many entries as a page may need, from that of the marker on: a page costs the same, however many functions there are. */
function entriesFrom(marker: string, catalogue: Catalogue, withVersions: boolean): readonly Entry[] {
  const all = catalogue.functions.list();
  const [name = ''] = marker.split(' ');
  const entries: Entry[] = [];
  for (let at = firstFrom(all, (fn) => fn.name, name); entries.length <= PAGE.atOnce; at += 1) {
    const fn = all[at];
    if (fn === undefined) break;
    // Only the function that the marker names may have shown some of its entries on the page before.
    if (!withVersions) entries.push({ fn, version: null });
    else if (fn.name !== name) entries.push(...versionsOf(catalogue, fn));
    else entries.push(...versionsOf(catalogue, fn).filter((entry) => entryKey(entry) >= marker));
  }
  return entries;
}

function versionsOf({ kept }: Catalogue, fn: RegisteredFunction): readonly Entry[] {
  const numbers = kept?.find(fn.name)?.published ?? [];
  return [LATEST, ...numbers.map(({ number }) => String(number))].map((version) => ({ fn, version }));
}

function entryKey({ fn, version }: Entry): string {
  return `${fn.name} ${version === null || version === LATEST ? '' : numberKey(Number(version))}`;
}

/** What lists tell of `$LATEST`, as bytes of JSON. A record never changes, and who lists all functions does so again. */
const listedLatest = new WeakMap<VersionRecord, Buffer>();

function listed(catalogue: Catalogue, { fn, version }: Entry): Buffer | Promise<Json> {
  const { kept, account } = catalogue;
  const record = kept?.find(fn.name);
  if (kept === null || record === undefined) {
    return fn.latest === null ? jsonBytes(names(catalogue, fn, version)) : configuration(catalogue, fn.latest, version);
  }
  const bytes = (): Buffer => jsonBytes(listedConfiguration(account, kept.describe(fn.name, version), version));
  if (version !== null) return bytes();
  const latest = newest(record);
  const known = listedLatest.get(latest) ?? bytes();
  listedLatest.set(latest, known);
  return known;
}

/** The answer to an invocation of a function that cannot run. */
export function failedFunction({ problems }: VersionState): ApiError {
  const state =
    'The operation cannot be performed at this time. The function is currently in the following state: Failed';
  return new ApiError('ResourceConflictException', `${state}. ${problems.join('; ')}`);
}

function stateOf({ state, lastUpdateStatus, problems }: RegisteredFunction): Json {
  const reason = problems.join('; ');
  const creating = { reason: 'The function is being created.', code: 'Creating' };
  const invalid = { reason, code: 'InvalidConfiguration' };
  const why = state === 'Pending' ? creating : state === 'Failed' ? invalid : null;
  const whyUpdate = lastUpdateStatus === 'InProgress' ? creating : lastUpdateStatus === 'Failed' ? invalid : null;
  return {
    State: state,
    ...(why === null ? {} : { StateReason: why.reason, StateReasonCode: why.code }),
    // A function that is being created has no update yet.
    ...(state === 'Pending' ? {} : { LastUpdateStatus: lastUpdateStatus }),
    ...(state === 'Pending' || whyUpdate === null
      ? {}
      : { LastUpdateStatusReason: whyUpdate.reason, LastUpdateStatusReasonCode: whyUpdate.code }),
  };
}

/** All that is certain of a function without a version. */
function names({ account }: Catalogue, { name }: { readonly name: string }, qualifier: string | null): Json {
  const arn = functionArn(account, name) + (qualifier === null ? '' : `:${qualifier}`);
  return { FunctionName: name, FunctionArn: arn, Version: LATEST };
}

/** The members that every operation tells. */
async function configuration(catalogue: Catalogue, fn: FunctionVersion, qualifier: string | null): Promise<Json> {
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
function loggingConfig({ name, environment }: FunctionVersion): Json {
  const LogGroup = logGroup(name);
  if (environment['AWS_LAMBDA_LOG_FORMAT']?.toUpperCase() !== 'JSON') return { LogFormat: 'Text', LogGroup };
  const level = environment['AWS_LAMBDA_LOG_LEVEL']?.toUpperCase() ?? 'INFO';
  return { LogFormat: 'JSON', ApplicationLogLevel: level, SystemLogLevel: 'INFO', LogGroup };
}

/** A UUID by the content of what it names. */
function revisionId(fn: FunctionVersion, sha256: string): string {
  const hex = createHash('sha256').update(JSON.stringify(fn)).update(sha256).digest('hex');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12}).*$/, '$1-$2-$3-$4-$5');
}
