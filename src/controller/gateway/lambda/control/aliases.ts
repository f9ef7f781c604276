/** Runs in snapctr. Operations on what belongs to a function: aliases, tags, permissions, concurrency. */
import type { AliasInput } from '../../../../control/descriptions.ts';
import { functionArn, LATEST } from '../../../../protocol/arn.ts';
import type { AliasRecord, ProvisionedRecord } from '../../../../registry/records.ts';
import { ApiError, validationError } from '../errors.ts';
import {
  created,
  functionOf,
  functionOfFile,
  NOTHING,
  ok,
  pageOf,
  wholeFunctionOf,
  withMarker,
  type Call,
  type Result,
} from './call.ts';
import { alias, statement, timestamp, type Json } from './render.ts';
import * as requests from './requests.ts';
import { readParameter, readShape } from './shapes.ts';

const ALIASES_PAGE = { most: 10_000, atOnce: 50 } as const;
const PROVISIONED_PAGE = { most: 50, atOnce: 50 } as const;

export async function createAlias(call: Call): Promise<Result> {
  const body = readShape(requests.createAlias, call.body);
  const name = wholeFunctionOf(call);
  const input: AliasInput = {
    name: body.Name ?? '',
    version: versionOf(body.FunctionVersion ?? LATEST),
    description: body.Description ?? '',
    routing: routingOf(body.RoutingConfig),
  };
  const record = await call.plane.functions.createAlias(name, input);
  return { ...created(alias(call.account, name, record)), audit: aliasAudit(record) };
}

export async function updateAlias(call: Call): Promise<Result> {
  const body = readShape(requests.updateAlias, call.body ?? {});
  const name = wholeFunctionOf(call);
  const { Description, FunctionVersion, RoutingConfig, RevisionId } = body;
  const record = await call.plane.functions.updateAlias(name, aliasNameOf(call), {
    ...(Description === undefined ? {} : { description: Description }),
    ...(FunctionVersion === undefined ? {} : { version: versionOf(FunctionVersion) }),
    ...(RoutingConfig === undefined ? {} : { routing: routingOf(RoutingConfig) }),
    revisionId: RevisionId ?? null,
  });
  return { ...ok(alias(call.account, name, record)), audit: aliasAudit(record) };
}

/** Where it leads now. */
function aliasAudit({ name, version, routing }: AliasRecord): Json {
  const weights = routing === null ? {} : { weights: { [routing.version]: routing.weight } };
  return { alias: name, version: String(version), ...weights };
}

export function getAlias(call: Call): Result {
  const name = wholeFunctionOf(call);
  return ok(alias(call.account, name, call.plane.functions.alias(name, aliasNameOf(call))));
}

export async function deleteAlias(call: Call): Promise<Result> {
  await call.plane.functions.deleteAlias(wholeFunctionOf(call), aliasNameOf(call));
  return NOTHING;
}

export function listAliases(call: Call): Result {
  const name = wholeFunctionOf(call);
  const version = call.query.get('FunctionVersion');
  if (version !== null) readParameter(requests.versionOrLatest, version, 'functionVersion');
  if (functionOfFile(call, name) !== undefined) return ok({ Aliases: [] });
  const { aliases } = call.plane.functions.describe(name, null).function;
  const wanted = version === null ? aliases : aliases.filter((one) => String(one.version) === version);
  const { items, nextMarker } = pageOf(wanted, (one) => one.name, call.query, ALIASES_PAGE);
  return ok(withMarker({ Aliases: items.map((one) => alias(call.account, name, one)) }, nextMarker));
}

function aliasNameOf({ parameters }: Call): string {
  return readParameter(requests.aliasName, parameters['Name'] ?? '', 'name');
}

function versionOf(text: string): AliasInput['version'] {
  if (text === LATEST) return LATEST;
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new ApiError('InvalidParameterValueException', `There is no version ${text.slice(0, 64)}: they begin with 1.`);
}

/** @throws ApiError */
function routingOf(config: requests.Body<typeof requests.createAlias>['RoutingConfig']): AliasInput['routing'] {
  const weights = Object.entries(config?.AdditionalVersionWeights ?? {});
  if (weights.length > 1) {
    const count = `Number of items in AdditionalVersionWeights cannot be greater than 1. Number of items: ${weights.length}`;
    throw new ApiError('InvalidParameterValueException', count);
  }
  const [version, weight] = weights[0] ?? [];
  if (version === undefined || weight === undefined || weight === 0) return null;
  const number = versionOf(version);
  return number === LATEST ? null : { version: number, weight };
}

export function listTags(call: Call): Result {
  const { name } = functionOf(call);
  if (functionOfFile(call, name) !== undefined) return ok({ Tags: {} });
  return ok({ Tags: call.plane.functions.describe(name, null).function.tags });
}

export async function tagResource(call: Call): Promise<Result> {
  const { Tags } = readShape(requests.tagResource, call.body);
  await call.plane.functions.tag(functionOf(call).name, Tags ?? {});
  return NOTHING;
}

export async function untagResource(call: Call): Promise<Result> {
  const keys = call.query.getAll('tagKeys');
  if (keys.length === 0) throw validationError('tagKeys', '', 'Member must not be null');
  await call.plane.functions.untag(functionOf(call).name, keys);
  return NOTHING;
}

export async function addPermission(call: Call): Promise<Result> {
  const body = readShape(requests.addPermission, call.body);
  const { name, qualifier } = functionOf(call);
  if (qualifier === LATEST) throw noLatestPolicy();
  const principal = body.Principal ?? '';
  if (principal !== '*' && !/^(\d{12}|arn:aws[a-z-]*:(iam|sts)::.+|[a-z0-9.-]+\.[a-z0-9.-]+)$/i.test(principal)) {
    const message = 'The provided principal was invalid. Please check the principal and try again.';
    throw new ApiError('InvalidParameterValueException', message);
  }
  const given = {
    sid: body.StatementId ?? '',
    action: body.Action ?? '',
    principal,
    sourceArn: body.SourceArn ?? null,
    sourceAccount: body.SourceAccount ?? null,
    principalOrgId: body.PrincipalOrgID ?? null,
    eventSourceToken: body.EventSourceToken ?? null,
    functionUrlAuthType: (body.FunctionUrlAuthType ?? null) as 'NONE' | 'AWS_IAM' | null,
    invokedViaFunctionUrl: body.InvokedViaFunctionUrl ?? null,
  };
  await call.plane.functions.addPermission(name, { qualifier, statement: given, revisionId: body.RevisionId ?? null });
  const { sid, action, sourceArn } = given;
  const told = { statement: sid, principal, allows: action, ...(sourceArn === null ? {} : { sourceArn }) };
  return { ...created({ Statement: JSON.stringify(statement(resourceOf(call), given)) }), audit: told };
}

export function getPolicy(call: Call): Result {
  const { name, qualifier } = functionOf(call);
  const policy = functionOfFile(call, name) === undefined ? call.plane.functions.policy(name, qualifier) : null;
  if (policy === null) throw new ApiError('ResourceNotFoundException', 'The resource you requested does not exist.');
  const resource = resourceOf(call);
  const Statement = policy.statements.map((one) => statement(resource, one));
  const Policy = JSON.stringify({ Version: '2012-10-17', Id: 'default', Statement });
  return ok({ Policy, RevisionId: policy.revisionId });
}

export async function removePermission(call: Call): Promise<Result> {
  const { name, qualifier } = functionOf(call);
  const sid = readParameter(requests.statementId, call.parameters['StatementId'] ?? '', 'statementId');
  await call.plane.functions.removePermission(name, qualifier, sid, call.query.get('RevisionId'));
  return NOTHING;
}

function resourceOf(call: Call): string {
  const { name, qualifier } = functionOf(call);
  return functionArn(call.account, name) + (qualifier === null ? '' : `:${qualifier}`);
}

function noLatestPolicy(): ApiError {
  const message = 'We currently do not support adding policies for $LATEST.';
  return new ApiError('InvalidParameterValueException', message);
}

export async function putFunctionConcurrency(call: Call): Promise<Result> {
  const { ReservedConcurrentExecutions = 0 } = readShape(requests.putFunctionConcurrency, call.body);
  await call.plane.functions.setReservedConcurrency(wholeFunctionOf(call), ReservedConcurrentExecutions);
  return ok({ ReservedConcurrentExecutions });
}

export function getFunctionConcurrency(call: Call): Result {
  const name = wholeFunctionOf(call);
  const fn = functionOfFile(call, name);
  const most =
    fn === undefined
      ? call.plane.functions.describe(name, null).function.reservedConcurrency
      : (fn.latest?.concurrencyLimit ?? null);
  return ok(most === null ? {} : { ReservedConcurrentExecutions: most });
}

export async function deleteFunctionConcurrency(call: Call): Promise<Result> {
  await call.plane.functions.setReservedConcurrency(wholeFunctionOf(call), null);
  return NOTHING;
}

/** There are none here; to ask is not wrong. */
export function getFunctionCodeSigningConfig(call: Call): Result {
  const name = wholeFunctionOf(call);
  if (functionOfFile(call, name) === undefined) call.plane.functions.describe(name, null);
  return ok({});
}

export async function putProvisionedConcurrencyConfig(call: Call): Promise<Result> {
  const { ProvisionedConcurrentExecutions = 1 } = readShape(requests.putProvisionedConcurrencyConfig, call.body);
  const { name } = functionOf(call);
  const qualifier = qualifierOf(call);
  await call.plane.functions.setProvisionedConcurrency(name, qualifier, ProvisionedConcurrentExecutions);
  return { status: 202, json: provisioned(call, name, qualifier, provisionedOf(call)) };
}

export function getProvisionedConcurrencyConfig(call: Call): Result {
  const record = provisionedOf(call);
  return ok(provisioned(call, functionOf(call).name, qualifierOf(call), record));
}

export async function deleteProvisionedConcurrencyConfig(call: Call): Promise<Result> {
  provisionedOf(call);
  await call.plane.functions.deleteProvisionedConcurrency(functionOf(call).name, qualifierOf(call));
  return NOTHING;
}

export function listProvisionedConcurrencyConfigs(call: Call): Result {
  const name = wholeFunctionOf(call);
  if (functionOfFile(call, name) !== undefined) return ok({ ProvisionedConcurrencyConfigs: [] });
  const entries = Object.entries(call.plane.functions.describe(name, null).function.provisioned);
  entries.sort(([a], [b]) => (a < b ? -1 : 1));
  const { items, nextMarker } = pageOf(entries, ([qualifier]) => qualifier, call.query, PROVISIONED_PAGE);
  const shown = items.map(([qualifier, record]) => ({
    FunctionArn: `${functionArn(call.account, name)}:${qualifier}`,
    ...provisioned(call, name, qualifier, record),
  }));
  return ok(withMarker({ ProvisionedConcurrencyConfigs: shown }, nextMarker));
}

/** @throws ApiError */
function qualifierOf(call: Call): string {
  const { qualifier } = functionOf(call);
  if (qualifier === null) throw validationError('qualifier', '', 'Member must not be null');
  return qualifier;
}

/** @throws ApiError */
function provisionedOf(call: Call): ProvisionedRecord {
  const { name } = functionOf(call);
  const qualifier = qualifierOf(call);
  const { provisioned: all } = call.plane.functions.describe(name, qualifier).function;
  const record = Object.hasOwn(all, qualifier) ? all[qualifier] : undefined;
  if (record !== undefined) return record;
  const message = 'No Provisioned Concurrency Config found for this function';
  throw new ApiError('ProvisionedConcurrencyConfigNotFoundException', message);
}

function provisioned(call: Call, name: string, qualifier: string, { requested, modified }: ProvisionedRecord): Json {
  const { allocated, available, problem } = call.plane.functions.provisionedState(name, qualifier);
  return {
    RequestedProvisionedConcurrentExecutions: requested,
    AllocatedProvisionedConcurrentExecutions: allocated,
    AvailableProvisionedConcurrentExecutions: available,
    Status: available === requested ? 'READY' : problem === null ? 'IN_PROGRESS' : 'FAILED',
    ...(problem === null || available === requested ? {} : { StatusReason: problem }),
    LastModified: timestamp(modified),
  };
}
