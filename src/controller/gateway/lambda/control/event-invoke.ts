/** Runs in snapctr. Operations on how a function's events are tried, and where it is told how that ended. */
import { functionArn, LATEST } from '../../../../protocol/arn.ts';
import type { EventInvokeRecord } from '../../../../registry/records.ts';
import { ApiError } from '../errors.ts';
import { functionOf, NOTHING, ok, pageOf, withMarker, type Call, type Result } from './call.ts';
import { checkedDestination } from './destination.ts';
import type { Json } from './render.ts';
import * as requests from './requests.ts';
import { readShape } from './shapes.ts';

const PAGE = { most: 50, atOnce: 50 } as const;

export async function putFunctionEventInvokeConfig(call: Call): Promise<Result> {
  return change(call, null);
}

export async function updateFunctionEventInvokeConfig(call: Call): Promise<Result> {
  return change(call, configOf(call));
}

/** @param before what stays where nothing is given. */
async function change(call: Call, before: EventInvokeRecord | null): Promise<Result> {
  const body = readShape(requests.functionEventInvokeConfig, call.body ?? {});
  const { MaximumRetryAttempts, MaximumEventAgeInSeconds, DestinationConfig } = body;
  if (MaximumRetryAttempts === undefined && MaximumEventAgeInSeconds === undefined && DestinationConfig === undefined) {
    const message = 'You must specify at least one of error handling or destination setting.';
    throw new ApiError('InvalidParameterValueException', message);
  }
  const { name, qualifier } = functionOf(call);
  const destination = (side: 'OnSuccess' | 'OnFailure', known: string | null): string | null =>
    DestinationConfig?.[side] === undefined
      ? known
      : checkedDestination(call, DestinationConfig[side].Destination ?? '');
  await call.plane.functions.setEventInvoke(name, qualifier ?? LATEST, {
    maximumRetryAttempts: MaximumRetryAttempts ?? before?.maximumRetryAttempts ?? null,
    maximumEventAgeS: MaximumEventAgeInSeconds ?? before?.maximumEventAgeS ?? null,
    onSuccess: destination('OnSuccess', before?.onSuccess ?? null),
    onFailure: destination('OnFailure', before?.onFailure ?? null),
    modified: new Date().toISOString(),
  });
  return ok(rendered(call, name, qualifier ?? LATEST, configOf(call)));
}

export function getFunctionEventInvokeConfig(call: Call): Result {
  const { name, qualifier } = functionOf(call);
  return ok(rendered(call, name, qualifier ?? LATEST, configOf(call)));
}

export async function deleteFunctionEventInvokeConfig(call: Call): Promise<Result> {
  configOf(call);
  const { name, qualifier } = functionOf(call);
  await call.plane.functions.setEventInvoke(name, qualifier ?? LATEST, null);
  return NOTHING;
}

export function listFunctionEventInvokeConfigs(call: Call): Result {
  const { name } = functionOf(call);
  const entries = Object.entries(call.registry.get(name)?.eventInvoke ?? {});
  entries.sort(([a], [b]) => (a < b ? -1 : 1));
  const { items, nextMarker } = pageOf(entries, ([qualifier]) => qualifier, call.query, PAGE);
  const shown = items.map(([qualifier, record]) => rendered(call, name, qualifier, record));
  return ok(withMarker({ FunctionEventInvokeConfigs: shown }, nextMarker));
}

/** Of a function that is not there it is said in the same words. @throws ApiError */
function configOf(call: Call): EventInvokeRecord {
  const { name, qualifier } = functionOf(call);
  const key = qualifier ?? LATEST;
  const all = call.registry.get(name)?.eventInvoke ?? {};
  const record = Object.hasOwn(all, key) ? all[key] : undefined;
  if (record !== undefined) return record;
  const arn = `${functionArn(call.account, name)}:${key}`;
  throw new ApiError('ResourceNotFoundException', `The function ${arn} doesn't have an EventInvokeConfig`);
}

function rendered(call: Call, name: string, qualifier: string, record: EventInvokeRecord): Json {
  const { maximumRetryAttempts, maximumEventAgeS, onSuccess, onFailure, modified } = record;
  return {
    LastModified: Date.parse(modified) / 1000,
    FunctionArn: `${functionArn(call.account, name)}:${qualifier}`,
    ...(maximumRetryAttempts === null ? {} : { MaximumRetryAttempts: maximumRetryAttempts }),
    ...(maximumEventAgeS === null ? {} : { MaximumEventAgeInSeconds: maximumEventAgeS }),
    DestinationConfig: {
      OnSuccess: onSuccess === null ? {} : { Destination: onSuccess },
      OnFailure: onFailure === null ? {} : { Destination: onFailure },
    },
  };
}
