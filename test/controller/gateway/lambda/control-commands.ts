/** A request of the SDK for each operation that changes functions and layers, or tells of them. */
import * as sdk from '@aws-sdk/client-lambda';
import type { ControlOperation } from '../../../../src/controller/gateway/lambda/control/table.ts';
import { eventSourceIdOf } from '../../../../src/registry/event-source-id.ts';
import { makeZip } from '../../../packages/zip.ts';

const ROLE = 'arn:aws:iam::000000000000:role/any';
const ZipFile = makeZip([{ name: 'main.py', data: 'def handle(event, context):\n    return event\n' }]);
const arnOf = (name: string): string => `arn:aws:lambda:us-east-1:000000000000:function:${name}`;
const layerOf = (name: string): string => `arn:aws:lambda:us-east-1:000000000000:layer:${name}:1`;

/** Of an event source of the function. */
export const sourceIdOf = (name: string): string => eventSourceIdOf(name, 'S', null);

/** All that a function must have but its name. */
export const CREATED = { Role: ROLE, Runtime: 'python3.11', Handler: 'main.handle', Code: { ZipFile } } as const;

/** @param client whose key is asked. @param name of a function, or of a layer. */
type Send = (client: sdk.LambdaClient, name: string) => Promise<unknown>;

export const COMMANDS: Readonly<Record<ControlOperation, Send>> = {
  CreateFunction: (client, FunctionName) => client.send(new sdk.CreateFunctionCommand({ FunctionName, ...CREATED })),
  UpdateFunctionCode: (client, FunctionName) =>
    client.send(new sdk.UpdateFunctionCodeCommand({ FunctionName, ZipFile })),
  UpdateFunctionConfiguration: (client, FunctionName) =>
    client.send(new sdk.UpdateFunctionConfigurationCommand({ FunctionName, Timeout: 4 })),
  DeleteFunction: (client, FunctionName) =>
    client.send(new sdk.DeleteFunctionCommand({ FunctionName, Qualifier: '7' })),
  PublishVersion: (client, FunctionName) => client.send(new sdk.PublishVersionCommand({ FunctionName })),
  ListVersionsByFunction: (client, FunctionName) =>
    client.send(new sdk.ListVersionsByFunctionCommand({ FunctionName })),
  CreateAlias: (client, FunctionName) =>
    client.send(new sdk.CreateAliasCommand({ FunctionName, Name: 'live', FunctionVersion: '$LATEST' })),
  GetAlias: (client, FunctionName) => client.send(new sdk.GetAliasCommand({ FunctionName, Name: 'live' })),
  UpdateAlias: (client, FunctionName) =>
    client.send(new sdk.UpdateAliasCommand({ FunctionName, Name: 'live', Description: 'a' })),
  DeleteAlias: (client, FunctionName) => client.send(new sdk.DeleteAliasCommand({ FunctionName, Name: 'live' })),
  ListAliases: (client, FunctionName) => client.send(new sdk.ListAliasesCommand({ FunctionName })),
  ListTags: (client, name) => client.send(new sdk.ListTagsCommand({ Resource: arnOf(name) })),
  TagResource: (client, name) => client.send(new sdk.TagResourceCommand({ Resource: arnOf(name), Tags: { a: 'b' } })),
  UntagResource: (client, name) => client.send(new sdk.UntagResourceCommand({ Resource: arnOf(name), TagKeys: ['a'] })),
  PutFunctionConcurrency: (client, FunctionName) =>
    client.send(new sdk.PutFunctionConcurrencyCommand({ FunctionName, ReservedConcurrentExecutions: 2 })),
  GetFunctionConcurrency: (client, FunctionName) =>
    client.send(new sdk.GetFunctionConcurrencyCommand({ FunctionName })),
  DeleteFunctionConcurrency: (client, FunctionName) =>
    client.send(new sdk.DeleteFunctionConcurrencyCommand({ FunctionName })),
  PutProvisionedConcurrencyConfig: (client, FunctionName) =>
    client.send(
      new sdk.PutProvisionedConcurrencyConfigCommand({
        FunctionName,
        Qualifier: 'live',
        ProvisionedConcurrentExecutions: 1,
      }),
    ),
  GetProvisionedConcurrencyConfig: (client, FunctionName) =>
    client.send(new sdk.GetProvisionedConcurrencyConfigCommand({ FunctionName, Qualifier: 'live' })),
  DeleteProvisionedConcurrencyConfig: (client, FunctionName) =>
    client.send(new sdk.DeleteProvisionedConcurrencyConfigCommand({ FunctionName, Qualifier: 'live' })),
  ListProvisionedConcurrencyConfigs: (client, FunctionName) =>
    client.send(new sdk.ListProvisionedConcurrencyConfigsCommand({ FunctionName })),
  AddPermission: (client, FunctionName) =>
    client.send(
      new sdk.AddPermissionCommand({ FunctionName, StatementId: 'a', Action: 'lambda:InvokeFunction', Principal: '*' }),
    ),
  GetPolicy: (client, FunctionName) => client.send(new sdk.GetPolicyCommand({ FunctionName })),
  RemovePermission: (client, FunctionName) =>
    client.send(new sdk.RemovePermissionCommand({ FunctionName, StatementId: 'a' })),
  PublishLayerVersion: (client, LayerName) =>
    client.send(new sdk.PublishLayerVersionCommand({ LayerName, Content: { ZipFile } })),
  GetLayerVersion: (client, LayerName) => client.send(new sdk.GetLayerVersionCommand({ LayerName, VersionNumber: 1 })),
  GetLayerVersionByArn: (client, name) => client.send(new sdk.GetLayerVersionByArnCommand({ Arn: layerOf(name) })),
  DeleteLayerVersion: (client, LayerName) =>
    client.send(new sdk.DeleteLayerVersionCommand({ LayerName, VersionNumber: 9 })),
  ListLayerVersions: (client, LayerName) => client.send(new sdk.ListLayerVersionsCommand({ LayerName })),
  ListLayers: (client) => client.send(new sdk.ListLayersCommand({})),
  GetAccountSettings: (client) => client.send(new sdk.GetAccountSettingsCommand({})),
  GetFunctionCodeSigningConfig: (client, FunctionName) =>
    client.send(new sdk.GetFunctionCodeSigningConfigCommand({ FunctionName })),
  CreateFunctionUrlConfig: (client, FunctionName) =>
    client.send(new sdk.CreateFunctionUrlConfigCommand({ FunctionName, AuthType: 'AWS_IAM' })),
  UpdateFunctionUrlConfig: (client, FunctionName) =>
    client.send(new sdk.UpdateFunctionUrlConfigCommand({ FunctionName, AuthType: 'AWS_IAM' })),
  DeleteFunctionUrlConfig: (client, FunctionName) =>
    client.send(new sdk.DeleteFunctionUrlConfigCommand({ FunctionName })),
  GetFunctionUrlConfig: (client, FunctionName) => client.send(new sdk.GetFunctionUrlConfigCommand({ FunctionName })),
  ListFunctionUrlConfigs: (client, FunctionName) =>
    client.send(new sdk.ListFunctionUrlConfigsCommand({ FunctionName })),
  PutFunctionEventInvokeConfig: (client, FunctionName) =>
    client.send(new sdk.PutFunctionEventInvokeConfigCommand({ FunctionName, MaximumRetryAttempts: 1 })),
  UpdateFunctionEventInvokeConfig: (client, FunctionName) =>
    client.send(new sdk.UpdateFunctionEventInvokeConfigCommand({ FunctionName, MaximumRetryAttempts: 1 })),
  DeleteFunctionEventInvokeConfig: (client, FunctionName) =>
    client.send(new sdk.DeleteFunctionEventInvokeConfigCommand({ FunctionName })),
  GetFunctionEventInvokeConfig: (client, FunctionName) =>
    client.send(new sdk.GetFunctionEventInvokeConfigCommand({ FunctionName })),
  ListFunctionEventInvokeConfigs: (client, FunctionName) =>
    client.send(new sdk.ListFunctionEventInvokeConfigsCommand({ FunctionName })),
  CreateEventSourceMapping: (client, FunctionName) =>
    client.send(
      new sdk.CreateEventSourceMappingCommand({
        FunctionName,
        EventSourceArn: 'arn:aws:nats:us-east-1:000000000000:stream/S',
      }),
    ),
  GetEventSourceMapping: (client, name) =>
    client.send(new sdk.GetEventSourceMappingCommand({ UUID: sourceIdOf(name) })),
  UpdateEventSourceMapping: (client, name) =>
    client.send(new sdk.UpdateEventSourceMappingCommand({ UUID: sourceIdOf(name), Enabled: false })),
  DeleteEventSourceMapping: (client, name) =>
    client.send(new sdk.DeleteEventSourceMappingCommand({ UUID: sourceIdOf(name) })),
  ListEventSourceMappings: (client) => client.send(new sdk.ListEventSourceMappingsCommand({})),
  GetRuntimeManagementConfig: (client, FunctionName) =>
    client.send(new sdk.GetRuntimeManagementConfigCommand({ FunctionName })),
  GetFunctionRecursionConfig: (client, FunctionName) =>
    client.send(new sdk.GetFunctionRecursionConfigCommand({ FunctionName })),
};
