/** Runs in snapctr. Operations on function URLs. */
import { without } from '../../../../control/changes.ts';
import { noUrl, type UrlSettings } from '../../../../control/url-changes.ts';
import { functionArn } from '../../../../protocol/arn.ts';
import { corsProblem } from '../../../../protocol/cors.ts';
import type { FunctionUrl } from '../../../../registry/function-registry.ts';
import { UNQUALIFIED, type CorsRecord } from '../../../../registry/records.ts';
import { ApiError } from '../errors.ts';
import {
  created,
  functionOf,
  functionOfFile,
  NOTHING,
  ok,
  pageOf,
  withMarker,
  type Call,
  type Result,
} from './call.ts';
import { controlApiError } from './control-errors.ts';
import type { Json } from './render.ts';
import * as requests from './requests.ts';
import { readParameter, readShape } from './shapes.ts';

const PAGE = { most: 50, atOnce: 50 } as const;

export async function createFunctionUrlConfig(call: Call): Promise<Result> {
  const { AuthType, InvokeMode, Cors } = readShape(requests.createFunctionUrlConfig, call.body);
  const { name, qualifier } = targetOf(call);
  await call.plane.functions.createUrl(name, qualifier, {
    authType: AuthType as UrlSettings['authType'],
    invokeMode: (InvokeMode ?? 'BUFFERED') as UrlSettings['invokeMode'],
    cors: Cors === undefined ? null : corsOf(Cors),
  });
  return created(without(shown(call, urlOf(call)), 'LastModifiedTime'));
}

export function getFunctionUrlConfig(call: Call): Result {
  return ok(shown(call, urlOf(call)));
}

export async function updateFunctionUrlConfig(call: Call): Promise<Result> {
  const { AuthType, InvokeMode, Cors } = readShape(requests.updateFunctionUrlConfig, call.body ?? {});
  const { name, qualifier } = targetOf(call);
  await call.plane.functions.updateUrl(name, qualifier, {
    ...(AuthType === undefined ? {} : { authType: AuthType as UrlSettings['authType'] }),
    ...(InvokeMode === undefined ? {} : { invokeMode: InvokeMode as UrlSettings['invokeMode'] }),
    ...(Cors === undefined ? {} : { cors: corsOf(Cors) }),
  });
  return ok(shown(call, urlOf(call)));
}

export async function deleteFunctionUrlConfig(call: Call): Promise<Result> {
  const { name, qualifier } = targetOf(call);
  await call.plane.functions.deleteUrl(name, qualifier);
  return NOTHING;
}

export function listFunctionUrlConfigs(call: Call): Result {
  const { name } = functionOf(call);
  if (functionOfFile(call, name) === undefined) call.plane.functions.describe(name, null);
  const urls = call.registry.get(name)?.urls ?? [];
  const { items, nextMarker } = pageOf(urls, ({ qualifier }) => qualifier ?? UNQUALIFIED, call.query, PAGE);
  return ok(withMarker({ FunctionUrlConfigs: items.map((url) => shown(call, url)) }, nextMarker));
}

/** @throws ApiError */
function targetOf(call: Call): { readonly name: string; readonly qualifier: string | null } {
  const { name, qualifier } = functionOf(call);
  if (qualifier !== null) readParameter(requests.urlQualifier, qualifier, 'qualifier');
  return { name, qualifier };
}

/** Of a function that is not there it is said in the same words. @throws ApiError */
function urlOf(call: Call): FunctionUrl {
  const { name, qualifier } = targetOf(call);
  const url = call.registry.get(name)?.urls.find((one) => one.qualifier === qualifier);
  if (url === undefined) throw controlApiError(noUrl());
  return url;
}

function shown(
  call: Call,
  { id, function: name, qualifier, authType, cors, invokeMode, created, modified }: FunctionUrl,
): Json {
  return {
    FunctionUrl: call.urlOf(id),
    FunctionArn: functionArn(call.account, name) + (qualifier === null ? '' : `:${qualifier}`),
    AuthType: authType,
    ...(cors === null ? {} : { Cors: shownCors(cors) }),
    CreationTime: created,
    LastModifiedTime: modified,
    InvokeMode: invokeMode,
  };
}

function shownCors(cors: CorsRecord): Json {
  const members = {
    AllowCredentials: cors.allowCredentials,
    AllowHeaders: cors.allowHeaders,
    AllowMethods: cors.allowMethods,
    AllowOrigins: cors.allowOrigins,
    ExposeHeaders: cors.exposeHeaders,
    MaxAge: cors.maxAgeS,
  };
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== null));
}

/**
 * @returns null if nothing is said: that is how tools take it away.
 * @throws ApiError if a value could not stand in a header, or would never match.
 */
function corsOf(given: NonNullable<requests.Body<typeof requests.createFunctionUrlConfig>['Cors']>): CorsRecord | null {
  if (Object.keys(given).length === 0) return null;
  const { AllowCredentials, AllowHeaders, AllowMethods, AllowOrigins, ExposeHeaders, MaxAge } = given;
  const cors = {
    allowCredentials: AllowCredentials ?? null,
    allowHeaders: AllowHeaders ?? null,
    allowMethods: AllowMethods ?? null,
    allowOrigins: AllowOrigins ?? null,
    exposeHeaders: ExposeHeaders ?? null,
    maxAgeS: MaxAge ?? null,
  };
  const problem = corsProblem(cors);
  if (problem === null) return cors;
  throw new ApiError('InvalidParameterValueException', `${problem.value} is not valid: ${problem.message}`);
}
