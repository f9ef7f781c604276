/**
 * Runs in snapctr. The operations that are served beside invocations, by their names: what each is done to, who does it, and
 * whether a zip file comes with it. `docs/lambda.md` shows the same; a test compares the two.
 */
import { accountSettings } from './account.ts';
import * as aliases from './aliases.ts';
import type { BlobPath } from './blob-json.ts';
import { ok, type Operation } from './call.ts';
import * as eventInvoke from './event-invoke.ts';
import * as eventSources from './event-sources.ts';
import * as functions from './functions.ts';
import * as layers from './layers.ts';
import * as nothing from './nothing.ts';
import * as urls from './urls.ts';
import type { OperationName } from '../routes.ts';

export interface ControlRow {
  /** What is named in the path, by which it is decided who may do it. */
  readonly on: 'function' | 'tagged' | 'layer' | 'account' | 'body';
  readonly run: Operation;
  /** Where the body has a zip file. */
  readonly zip?: BlobPath;
}

const onFunction = (run: Operation): ControlRow => ({ on: 'function', run });
const onLayer = (run: Operation): ControlRow => ({ on: 'layer', run });
/** The operation itself finds out what it is done to. */
const inBody = (run: Operation): ControlRow => ({ on: 'body', run });
const onTagged = (run: Operation): ControlRow => ({ on: 'tagged', run });

export const CONTROL = {
  CreateFunction: { on: 'body', run: functions.createFunction, zip: ['Code', 'ZipFile'] },
  UpdateFunctionCode: { on: 'function', run: functions.updateFunctionCode, zip: ['ZipFile'] },
  UpdateFunctionConfiguration: onFunction(functions.updateFunctionConfiguration),
  DeleteFunction: onFunction(functions.deleteFunction),
  PublishVersion: onFunction(functions.publishVersion),
  ListVersionsByFunction: onFunction(functions.listVersionsByFunction),
  CreateAlias: onFunction(aliases.createAlias),
  GetAlias: onFunction(aliases.getAlias),
  UpdateAlias: onFunction(aliases.updateAlias),
  DeleteAlias: onFunction(aliases.deleteAlias),
  ListAliases: onFunction(aliases.listAliases),
  ListTags: onTagged(aliases.listTags),
  TagResource: onTagged(aliases.tagResource),
  UntagResource: onTagged(aliases.untagResource),
  PutFunctionConcurrency: onFunction(aliases.putFunctionConcurrency),
  GetFunctionConcurrency: onFunction(aliases.getFunctionConcurrency),
  DeleteFunctionConcurrency: onFunction(aliases.deleteFunctionConcurrency),
  PutProvisionedConcurrencyConfig: onFunction(aliases.putProvisionedConcurrencyConfig),
  GetProvisionedConcurrencyConfig: onFunction(aliases.getProvisionedConcurrencyConfig),
  DeleteProvisionedConcurrencyConfig: onFunction(aliases.deleteProvisionedConcurrencyConfig),
  ListProvisionedConcurrencyConfigs: onFunction(aliases.listProvisionedConcurrencyConfigs),
  AddPermission: onFunction(aliases.addPermission),
  GetPolicy: onFunction(aliases.getPolicy),
  RemovePermission: onFunction(aliases.removePermission),
  CreateFunctionUrlConfig: onFunction(urls.createFunctionUrlConfig),
  GetFunctionUrlConfig: onFunction(urls.getFunctionUrlConfig),
  UpdateFunctionUrlConfig: onFunction(urls.updateFunctionUrlConfig),
  DeleteFunctionUrlConfig: onFunction(urls.deleteFunctionUrlConfig),
  ListFunctionUrlConfigs: onFunction(urls.listFunctionUrlConfigs),
  PublishLayerVersion: { on: 'layer', run: layers.publishLayerVersion, zip: ['Content', 'ZipFile'] },
  GetLayerVersion: onLayer(layers.getLayerVersion),
  GetLayerVersionByArn: onLayer(layers.getLayerVersion),
  DeleteLayerVersion: onLayer(layers.deleteLayerVersion),
  ListLayerVersions: onLayer(layers.listLayerVersions),
  ListLayers: { on: 'account', run: layers.listLayers },
  GetAccountSettings: { on: 'account', run: (call) => ok(accountSettings(call)) },
  GetFunctionCodeSigningConfig: onFunction(aliases.getFunctionCodeSigningConfig),
  PutFunctionEventInvokeConfig: onFunction(eventInvoke.putFunctionEventInvokeConfig),
  GetFunctionEventInvokeConfig: onFunction(eventInvoke.getFunctionEventInvokeConfig),
  UpdateFunctionEventInvokeConfig: onFunction(eventInvoke.updateFunctionEventInvokeConfig),
  DeleteFunctionEventInvokeConfig: onFunction(eventInvoke.deleteFunctionEventInvokeConfig),
  ListFunctionEventInvokeConfigs: onFunction(eventInvoke.listFunctionEventInvokeConfigs),
  CreateEventSourceMapping: inBody(eventSources.createEventSourceMapping),
  GetEventSourceMapping: inBody(eventSources.getEventSourceMapping),
  UpdateEventSourceMapping: inBody(eventSources.updateEventSourceMapping),
  DeleteEventSourceMapping: inBody(eventSources.deleteEventSourceMapping),
  ListEventSourceMappings: inBody(eventSources.listEventSourceMappings),
  GetRuntimeManagementConfig: onFunction(nothing.getRuntimeManagementConfig),
  GetFunctionRecursionConfig: onFunction(nothing.getFunctionRecursionConfig),
} as const satisfies Partial<Record<OperationName, ControlRow>>;

export type ControlOperation = keyof typeof CONTROL;

export function isControl(operation: OperationName): operation is ControlOperation {
  return Object.hasOwn(CONTROL, operation);
}
