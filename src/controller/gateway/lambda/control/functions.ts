/** Runs in snapctr. Operations on functions and their versions. */
import { ContainerName } from '../../../../control/container-code.ts';
import type { FunctionDescription, SettingsInput } from '../../../../control/descriptions.ts';
import { functionArn, LATEST } from '../../../../protocol/arn.ts';
import type { ReceivedPackage } from '../../../../packages/store.ts';
import { codeDigest, newest, type CodeRecord, type ContainerCode } from '../../../../registry/records.ts';
import { ApiError } from '../errors.ts';
import { parseNewName } from '../names.ts';
import {
  created,
  functionOf,
  functionOfFile,
  NOTHING,
  numberKey,
  ok,
  pageOf,
  wholeFunctionOf,
  withMarker,
  type Call,
  type Result,
} from './call.ts';
import { checkedDestination } from './destination.ts';
import { configuration, listedConfiguration, type Json } from './render.ts';
import * as requests from './requests.ts';
import {
  checkImageSettings,
  checkOffered,
  checkStorage,
  createdSettings,
  onlyWithImages,
  updatedSettings,
} from './settings.ts';
import { readShape } from './shapes.ts';

const PAGE = { most: 10_000, atOnce: 50 } as const;

/** @throws ApiError */
export async function createFunction(call: Call): Promise<Result> {
  const { account, caller, plane } = call;
  const body = readShape(requests.createFunction, call.body);
  const name = parseNewName(body.FunctionName ?? '', account);
  caller.authorize('lambda:CreateFunction', name);
  if (body.Code !== undefined) checkOffered(body.Code);
  const settings = createdSettings(body, account);
  checkStorage(body, settings.memoryMib);
  authorizeLayers(call, settings.layers);
  checkedDestination(call, settings.deadLetter ?? '');
  const code = await codeOf(call, body.PackageType === 'Image' ? 'Image' : 'Zip', body.Code?.ImageUri);
  const fn = await plane.functions.create({
    name,
    settings,
    code,
    publish: body.Publish ?? false,
    tags: body.Tags ?? {},
  });
  return { ...created(configuration(account, fn, null)), audit: { function: name, ...auditOf(fn) } };
}

/** @throws ApiError */
export async function updateFunctionCode(call: Call): Promise<Result> {
  const body = readShape(requests.updateFunctionCode, call.body);
  const name = wholeFunctionOf(call);
  checkOffered(body);
  const publish = body.Publish ?? false;
  const dryRun = body.DryRun ?? false;
  const fn = await call.plane.functions.updateCode(name, {
    code: await codeOf(call, body.ImageUri === undefined ? 'Zip' : 'Image', body.ImageUri),
    publish,
    dryRun,
    revisionId: body.RevisionId ?? null,
  });
  const shown = configuration(call.account, fn, publish ? String(fn.version) : null);
  return { ...ok(shown), audit: dryRun ? null : auditOf(fn) };
}

/** @throws ApiError */
export async function updateFunctionConfiguration(call: Call): Promise<Result> {
  const body = readShape(requests.updateFunctionConfiguration, call.body ?? {});
  const name = wholeFunctionOf(call);
  const { settings } = updatedSettings(body, call.account);
  authorizeLayers(call, settings.layers ?? []);
  checkedDestination(call, settings.deadLetter ?? '');
  const known = call.plane.functions.find(name);
  const memoryMib = settings.memoryMib ?? (known === undefined ? null : newest(known).settings.memoryMib);
  if (memoryMib !== null) checkStorage(body, memoryMib);
  if (known !== undefined && newest(known).code.image !== undefined) checkImageSettings(body);
  else if (body.ImageConfig !== undefined) throw onlyWithImages('ImageConfig');
  const revisionId = body.RevisionId ?? null;
  const fn = await call.plane.functions.updateConfiguration(name, { settings, revisionId });
  return ok(configuration(call.account, fn, null));
}

/** @throws ApiError */
export async function deleteFunction(call: Call): Promise<Result> {
  const { name, qualifier } = functionOf(call);
  if (qualifier === null) await call.plane.functions.delete(name);
  else await call.plane.functions.deleteVersion(name, qualifier);
  return NOTHING;
}

/** @throws ApiError */
export async function publishVersion(call: Call): Promise<Result> {
  const body = readShape(requests.publishVersion, call.body ?? {});
  const name = wholeFunctionOf(call);
  checkOffered(body);
  const fn = await call.plane.functions.publish(name, {
    codeSha256: body.CodeSha256 === '' ? null : (body.CodeSha256 ?? null),
    description: body.Description ?? null,
    revisionId: body.RevisionId ?? null,
  });
  return { ...created(configuration(call.account, fn, String(fn.version))), audit: auditOf(fn) };
}

/** Of a function that is kept. @throws ApiError */
export function getFunction(call: Call): Result {
  const { name, qualifier } = functionOf(call);
  const fn = call.plane.functions.describe(name, qualifier);
  const { tags, reservedConcurrency } = fn.function;
  return ok({
    Configuration: configuration(call.account, fn, qualifier),
    Code: codeLocation(call, fn.record.code),
    ...(Object.keys(tags).length === 0 ? {} : { Tags: tags }),
    ...(reservedConcurrency === null ? {} : { Concurrency: { ReservedConcurrentExecutions: reservedConcurrency } }),
  });
}

/** As `getFunction`. */
export function getFunctionConfiguration(call: Call): Result {
  const { name, qualifier } = functionOf(call);
  return ok(configuration(call.account, call.plane.functions.describe(name, qualifier), qualifier));
}

/** Of a function of a file nothing is told that would have to be looked up. @throws ApiError */
export function listVersionsByFunction(call: Call): Result {
  const name = wholeFunctionOf(call);
  if (functionOfFile(call, name) !== undefined) {
    const arn = `${functionArn(call.account, name)}:${LATEST}`;
    return ok({ Versions: [{ FunctionName: name, FunctionArn: arn, Version: LATEST }] });
  }
  const versions = call.plane.functions.versions(name);
  const { items, nextMarker } = pageOf(versions, versionKey, call.query, PAGE);
  const shown = items.map((fn) => listedConfiguration(call.account, fn, String(fn.version)));
  return ok(withMarker({ Versions: shown }, nextMarker));
}

/** Which code it is, and by which number. */
function auditOf({ version, record }: FunctionDescription): Json {
  return { codeSha256: codeDigest(record.code), ...(version === LATEST ? {} : { version }) };
}

function versionKey({ version }: FunctionDescription): string {
  return version === LATEST ? '' : numberKey(version);
}

function codeLocation(call: Call, { sha256, image }: CodeRecord): Json {
  if (image === undefined) return { RepositoryType: 'S3', Location: call.linkTo(sha256) };
  return { RepositoryType: 'ECR', ImageUri: image.uri, ResolvedImageUri: image.resolved };
}

/** @throws ApiError, AccessError, ControlError */
async function codeOf(
  call: Call,
  type: 'Zip' | 'Image',
  uri: string | undefined,
): Promise<ReceivedPackage | ContainerCode> {
  if (type === 'Zip') {
    if (uri !== undefined) throw onlyWithImages('ImageUri');
    return zipOf(call.code);
  }
  if (uri === undefined || call.code !== null) {
    const message =
      'Please provide a source for function code: an ImageUri, and no ZipFile, with the PackageType Image.';
    throw new ApiError('InvalidParameterValueException', message);
  }
  const name = new ContainerName(uri);
  // Whoever may deploy need not be able to read files of the host, or to reach what listens on it for itself.
  if (name.isOfThisHost) call.caller.authorize('snapfaas:ReadStatus');
  return name.resolve();
}

function authorizeLayers({ caller }: Call, layers: SettingsInput['layers']): void {
  for (const { name } of layers) caller.authorize('lambda:GetLayerVersion', name);
}

/** @throws ApiError */
export function zipOf(code: ReceivedPackage | null): ReceivedPackage {
  if (code !== null) return code;
  throw new ApiError('InvalidParameterValueException', 'Please provide a source for function code: a ZipFile.');
}
