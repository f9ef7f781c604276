/** Runs in snapctr. What is kept of functions and layers, as the API tells it. */
import { createHash } from 'node:crypto';
import type { FunctionDescription } from '../../../../control/descriptions.ts';
import { functionArn, LATEST, logGroup, PARTITION, type LambdaAccount } from '../../../../protocol/arn.ts';
import { scratchMib } from '../../../../protocol/guest.ts';
import {
  codeDigest,
  type AliasRecord,
  type FunctionSettings,
  type LayerVersionRecord,
  type PolicyStatement,
} from '../../../../registry/records.ts';
import { layerArnOf } from './layer-names.ts';

export type Json = Readonly<Record<string, unknown>>;

/** In AWS's form. @param iso 8601, UTC. */
export function timestamp(iso: string): string {
  return iso.replace(/Z$/, '+0000');
}

/**
 * A version with its state, as all operations on one function tell it.
 *
 * @param qualifier what the ARN ends with; null: nothing.
 */
export function configuration(account: LambdaAccount, fn: FunctionDescription, qualifier: string | null): Json {
  const { runtime } = fn.record.settings;
  const digest = createHash('sha256').update(runtime).digest('hex');
  return {
    ...listedConfiguration(account, fn, qualifier),
    ...states(fn),
    ...(fn.record.code.image === undefined && {
      RuntimeVersionConfig: { RuntimeVersionArn: `arn:${PARTITION}:lambda:${account.region}::runtime:${digest}` },
    }),
  };
}

/** The same without what lists leave out. */
export function listedConfiguration(account: LambdaAccount, fn: FunctionDescription, qualifier: string | null): Json {
  const { record, version } = fn;
  const { settings, code } = record;
  const { remembered, environment, layers } = settings;
  const arn = functionArn(account, fn.function.name);
  return {
    FunctionName: fn.function.name,
    FunctionArn: qualifier === null ? arn : `${arn}:${qualifier}`,
    ...(code.image === undefined ? { Runtime: settings.runtime, Handler: settings.handler } : {}),
    Role: settings.role,
    CodeSize: code.bytes,
    Description: settings.description,
    Timeout: settings.timeoutS,
    MemorySize: settings.memoryMib,
    LastModified: timestamp(record.modified),
    CodeSha256: codeDigest(code),
    Version: String(version),
    ...(environment === null ? {} : { Environment: { Variables: environment } }),
    ...(settings.deadLetter === undefined ? {} : { DeadLetterConfig: { TargetArn: settings.deadLetter } }),
    TracingConfig: remembered['TracingConfig'] ?? { Mode: 'PassThrough' },
    RevisionId: record.revisionId,
    ...(layers.length === 0 ? {} : { Layers: layers.map((layer) => layerUse(account, layer)) }),
    PackageType: code.image === undefined ? 'Zip' : 'Image',
    ...imageConfig(settings),
    Architectures: ['x86_64'],
    EphemeralStorage: remembered['EphemeralStorage'] ?? { Size: scratchMib(settings.memoryMib) },
    SnapStart: snapStart(settings, version),
    ...(settings.tenantIsolation === undefined
      ? {}
      : { TenancyConfig: { TenantIsolationMode: settings.tenantIsolation } }),
    LoggingConfig: loggingConfig(fn.function.name, remembered['LoggingConfig']),
  };
}

function imageConfig({ container }: FunctionSettings): Json {
  if (container === undefined) return {};
  const { entryPoint, command, workingDirectory } = container;
  return {
    ImageConfigResponse: {
      ImageConfig: {
        ...(entryPoint !== null && { EntryPoint: entryPoint }),
        ...(command !== null && { Command: command }),
        ...(workingDirectory !== null && { WorkingDirectory: workingDirectory }),
      },
    },
  };
}

function states({ state, stateReason, lastUpdateStatus, lastUpdateReason }: FunctionDescription): Json {
  return {
    State: state,
    ...(stateReason === null ? {} : { StateReason: stateReason.message, StateReasonCode: stateReason.code }),
    // A function that is being created has no update yet.
    ...(state === 'Pending' ? {} : { LastUpdateStatus: lastUpdateStatus }),
    ...(state === 'Pending' || lastUpdateReason === null
      ? {}
      : { LastUpdateStatusReason: lastUpdateReason.message, LastUpdateStatusReasonCode: lastUpdateReason.code }),
  };
}

function layerUse(account: LambdaAccount, { name, version, code }: FunctionSettings['layers'][number]): Json {
  return { Arn: `${layerArnOf(account, name)}:${version}`, CodeSize: code.bytes };
}

function snapStart({ remembered }: FunctionSettings, version: FunctionDescription['version']): Json {
  const { ApplyOn = 'None' } = (remembered['SnapStart'] ?? {}) as { readonly ApplyOn?: string };
  return { ApplyOn, OptimizationStatus: ApplyOn === 'PublishedVersions' && version !== LATEST ? 'On' : 'Off' };
}

function loggingConfig(name: string, given: unknown): Json {
  const { LogFormat = 'Text', ...rest } = (given ?? {}) as Readonly<Record<string, string>>;
  const levels = LogFormat === 'JSON' ? { ApplicationLogLevel: 'INFO', SystemLogLevel: 'INFO' } : {};
  return { LogFormat, ...levels, LogGroup: logGroup(name), ...rest };
}

export function alias(account: LambdaAccount, functionName: string, record: AliasRecord): Json {
  const { name, version, description, routing, revisionId } = record;
  return {
    AliasArn: `${functionArn(account, functionName)}:${name}`,
    Name: name,
    FunctionVersion: String(version),
    Description: description,
    ...(routing === null
      ? {}
      : { RoutingConfig: { AdditionalVersionWeights: { [String(routing.version)]: routing.weight } } }),
    RevisionId: revisionId,
  };
}

/** A statement of a policy in the language of IAM. @param resource the function's ARN, with its qualifier. */
export function statement(resource: string, given: PolicyStatement): Json {
  const equals: Record<string, string> = {};
  if (given.sourceAccount !== null) equals['AWS:SourceAccount'] = given.sourceAccount;
  if (given.principalOrgId !== null) equals['aws:PrincipalOrgID'] = given.principalOrgId;
  if (given.eventSourceToken !== null) equals['lambda:EventSourceToken'] = given.eventSourceToken;
  if (given.functionUrlAuthType !== null) equals['lambda:FunctionUrlAuthType'] = given.functionUrlAuthType;
  const { sourceArn, invokedViaFunctionUrl } = given;
  const condition = {
    ...(Object.keys(equals).length === 0 ? {} : { StringEquals: equals }),
    ...(sourceArn === null ? {} : { ArnLike: { 'AWS:SourceArn': sourceArn } }),
    ...(invokedViaFunctionUrl === null
      ? {}
      : { Bool: { 'lambda:InvokedViaFunctionUrl': String(invokedViaFunctionUrl) } }),
  };
  return {
    Sid: given.sid,
    Effect: 'Allow',
    Principal: principal(given.principal),
    Action: given.action,
    Resource: resource,
    ...(Object.keys(condition).length === 0 ? {} : { Condition: condition }),
  };
}

function principal(text: string): unknown {
  if (text === '*') return '*';
  if (/^\d{12}$/.test(text)) return { AWS: `arn:${PARTITION}:iam::${text}:root` };
  return text.startsWith('arn:') ? { AWS: text } : { Service: text };
}

export function layerVersion(account: LambdaAccount, name: string, record: LayerVersionRecord): Json {
  const { version, description, created, compatibleRuntimes, compatibleArchitectures, licenseInfo } = record;
  return {
    LayerVersionArn: `${layerArnOf(account, name)}:${version}`,
    Version: version,
    Description: description,
    CreatedDate: timestamp(created),
    ...(compatibleRuntimes.length === 0 ? {} : { CompatibleRuntimes: compatibleRuntimes }),
    ...(compatibleArchitectures.length === 0 ? {} : { CompatibleArchitectures: compatibleArchitectures }),
    ...(licenseInfo === null ? {} : { LicenseInfo: licenseInfo }),
  };
}
