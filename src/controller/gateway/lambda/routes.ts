/**
 * Runs in snapctr. The operations of AWS Lambda's API (2015-03-31) and where each is asked for; most that are not served are told
 * by their names. Those that are asked for most come first.
 */

const OPERATIONS = {
  Invoke: 'POST /2015-03-31/functions/{FunctionName}/invocations',
  InvokeWithResponseStream: 'POST /2021-11-15/functions/{FunctionName}/response-streaming-invocations',
  GetFunction: 'GET /2015-03-31/functions/{FunctionName}',
  AddLayerVersionPermission: 'POST /2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy',
  AddPermission: 'POST /2015-03-31/functions/{FunctionName}/policy',
  CheckpointDurableExecution: 'POST /2025-12-01/durable-executions/{DurableExecutionArn}/checkpoint',
  CreateAlias: 'POST /2015-03-31/functions/{FunctionName}/aliases',
  CreateCapacityProvider: 'POST /2025-11-30/capacity-providers',
  CreateCodeSigningConfig: 'POST /2020-04-22/code-signing-configs',
  CreateEventSourceMapping: 'POST /2015-03-31/event-source-mappings',
  CreateFunction: 'POST /2015-03-31/functions',
  CreateFunctionUrlConfig: 'POST /2021-10-31/functions/{FunctionName}/url',
  DeleteAlias: 'DELETE /2015-03-31/functions/{FunctionName}/aliases/{Name}',
  DeleteCapacityProvider: 'DELETE /2025-11-30/capacity-providers/{CapacityProviderName}',
  DeleteCodeSigningConfig: 'DELETE /2020-04-22/code-signing-configs/{CodeSigningConfigArn}',
  DeleteDurableExecution: 'DELETE /2025-12-01/durable-executions/{DurableExecutionArn}',
  DeleteEventSourceMapping: 'DELETE /2015-03-31/event-source-mappings/{UUID}',
  DeleteFunction: 'DELETE /2015-03-31/functions/{FunctionName}',
  DeleteFunctionCodeSigningConfig: 'DELETE /2020-06-30/functions/{FunctionName}/code-signing-config',
  DeleteFunctionConcurrency: 'DELETE /2017-10-31/functions/{FunctionName}/concurrency',
  DeleteFunctionEventInvokeConfig: 'DELETE /2019-09-25/functions/{FunctionName}/event-invoke-config',
  DeleteFunctionUrlConfig: 'DELETE /2021-10-31/functions/{FunctionName}/url',
  DeleteLayerVersion: 'DELETE /2018-10-31/layers/{LayerName}/versions/{VersionNumber}',
  DeleteProvisionedConcurrencyConfig: 'DELETE /2019-09-30/functions/{FunctionName}/provisioned-concurrency',
  DeleteResourcePolicy: 'DELETE /2026-07-09/resource-policy/{ResourceArn}',
  GetAccountSettings: 'GET /2016-08-19/account-settings',
  GetAlias: 'GET /2015-03-31/functions/{FunctionName}/aliases/{Name}',
  GetCapacityProvider: 'GET /2025-11-30/capacity-providers/{CapacityProviderName}',
  GetCodeSigningConfig: 'GET /2020-04-22/code-signing-configs/{CodeSigningConfigArn}',
  GetDurableExecution: 'GET /2025-12-01/durable-executions/{DurableExecutionArn}',
  GetDurableExecutionHistory: 'GET /2025-12-01/durable-executions/{DurableExecutionArn}/history',
  GetDurableExecutionState: 'GET /2025-12-01/durable-executions/{DurableExecutionArn}/state',
  GetEventSourceMapping: 'GET /2015-03-31/event-source-mappings/{UUID}',
  GetFunctionCodeSigningConfig: 'GET /2020-06-30/functions/{FunctionName}/code-signing-config',
  GetFunctionConcurrency: 'GET /2019-09-30/functions/{FunctionName}/concurrency',
  GetFunctionConfiguration: 'GET /2015-03-31/functions/{FunctionName}/configuration',
  GetFunctionEventInvokeConfig: 'GET /2019-09-25/functions/{FunctionName}/event-invoke-config',
  GetFunctionRecursionConfig: 'GET /2024-08-31/functions/{FunctionName}/recursion-config',
  GetFunctionScalingConfig: 'GET /2025-11-30/functions/{FunctionName}/function-scaling-config',
  GetFunctionUrlConfig: 'GET /2021-10-31/functions/{FunctionName}/url',
  GetLayerVersion: 'GET /2018-10-31/layers/{LayerName}/versions/{VersionNumber}',
  GetLayerVersionByArn: 'GET /2018-10-31/layers?find=LayerVersion',
  GetLayerVersionPolicy: 'GET /2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy',
  GetPolicy: 'GET /2015-03-31/functions/{FunctionName}/policy',
  GetProvisionedConcurrencyConfig: 'GET /2019-09-30/functions/{FunctionName}/provisioned-concurrency',
  GetResourcePolicy: 'GET /2026-07-09/resource-policy/{ResourceArn}',
  GetRuntimeManagementConfig: 'GET /2021-07-20/functions/{FunctionName}/runtime-management-config',
  InvokeAsync: 'POST /2014-11-13/functions/{FunctionName}/invoke-async',
  ListAliases: 'GET /2015-03-31/functions/{FunctionName}/aliases',
  ListCapacityProviders: 'GET /2025-11-30/capacity-providers',
  ListCodeSigningConfigs: 'GET /2020-04-22/code-signing-configs',
  ListDurableExecutionsByFunction: 'GET /2025-12-01/functions/{FunctionName}/durable-executions',
  ListEventSourceMappings: 'GET /2015-03-31/event-source-mappings',
  ListFunctionEventInvokeConfigs: 'GET /2019-09-25/functions/{FunctionName}/event-invoke-config/list',
  ListFunctionUrlConfigs: 'GET /2021-10-31/functions/{FunctionName}/urls',
  ListFunctionVersionsByCapacityProvider: 'GET /2025-11-30/capacity-providers/{CapacityProviderName}/function-versions',
  ListFunctions: 'GET /2015-03-31/functions',
  ListFunctionsByCodeSigningConfig: 'GET /2020-04-22/code-signing-configs/{CodeSigningConfigArn}/functions',
  ListLayerVersions: 'GET /2018-10-31/layers/{LayerName}/versions',
  ListLayers: 'GET /2018-10-31/layers',
  ListProvisionedConcurrencyConfigs: 'GET /2019-09-30/functions/{FunctionName}/provisioned-concurrency?List=ALL',
  ListTags: 'GET /2017-03-31/tags/{Resource}',
  ListVersionsByFunction: 'GET /2015-03-31/functions/{FunctionName}/versions',
  PauseDurableExecution: 'POST /2025-12-01/durable-executions/{DurableExecutionArn}/pause',
  PublishLayerVersion: 'POST /2018-10-31/layers/{LayerName}/versions',
  PublishVersion: 'POST /2015-03-31/functions/{FunctionName}/versions',
  PutFunctionCodeSigningConfig: 'PUT /2020-06-30/functions/{FunctionName}/code-signing-config',
  PutFunctionConcurrency: 'PUT /2017-10-31/functions/{FunctionName}/concurrency',
  PutFunctionEventInvokeConfig: 'PUT /2019-09-25/functions/{FunctionName}/event-invoke-config',
  PutFunctionRecursionConfig: 'PUT /2024-08-31/functions/{FunctionName}/recursion-config',
  PutFunctionScalingConfig: 'PUT /2025-11-30/functions/{FunctionName}/function-scaling-config',
  PutProvisionedConcurrencyConfig: 'PUT /2019-09-30/functions/{FunctionName}/provisioned-concurrency',
  PutResourcePolicy: 'PUT /2026-07-09/resource-policy/{ResourceArn}',
  PutRuntimeManagementConfig: 'PUT /2021-07-20/functions/{FunctionName}/runtime-management-config',
  RemoveLayerVersionPermission: 'DELETE /2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy/{StatementId}',
  RemovePermission: 'DELETE /2015-03-31/functions/{FunctionName}/policy/{StatementId}',
  ResumeDurableExecution: 'POST /2025-12-01/durable-executions/{DurableExecutionArn}/resume',
  SendDurableExecutionCallbackFailure: 'POST /2025-12-01/durable-execution-callbacks/{CallbackId}/fail',
  SendDurableExecutionCallbackHeartbeat: 'POST /2025-12-01/durable-execution-callbacks/{CallbackId}/heartbeat',
  SendDurableExecutionCallbackSuccess: 'POST /2025-12-01/durable-execution-callbacks/{CallbackId}/succeed',
  StopDurableExecution: 'POST /2025-12-01/durable-executions/{DurableExecutionArn}/stop',
  TagResource: 'POST /2017-03-31/tags/{Resource}',
  UntagResource: 'DELETE /2017-03-31/tags/{Resource}',
  UpdateAlias: 'PUT /2015-03-31/functions/{FunctionName}/aliases/{Name}',
  UpdateCapacityProvider: 'PUT /2025-11-30/capacity-providers/{CapacityProviderName}',
  UpdateCodeSigningConfig: 'PUT /2020-04-22/code-signing-configs/{CodeSigningConfigArn}',
  UpdateEventSourceMapping: 'PUT /2015-03-31/event-source-mappings/{UUID}',
  UpdateFunctionCode: 'PUT /2015-03-31/functions/{FunctionName}/code',
  UpdateFunctionConfiguration: 'PUT /2015-03-31/functions/{FunctionName}/configuration',
  UpdateFunctionEventInvokeConfig: 'POST /2019-09-25/functions/{FunctionName}/event-invoke-config',
  UpdateFunctionUrlConfig: 'PUT /2021-10-31/functions/{FunctionName}/url',
} as const;

export type OperationName = keyof typeof OPERATIONS;
export const OPERATION_NAMES = Object.keys(OPERATIONS) as readonly OperationName[];

export interface Route {
  readonly operation: OperationName;
  /** By their names in the model, decoded. */
  readonly parameters: Readonly<Record<string, string>>;
}

interface Pattern {
  readonly operation: OperationName;
  /** A name in braces is that of a parameter. */
  readonly segments: readonly string[];
  /** Has to be in the query; null: nothing has to. */
  readonly query: readonly [string, string] | null;
}

/** By method and the date that paths begin with; those that ask for more come before those that ask for less. */
const PATTERNS = new Map<string, Pattern[]>();
for (const operation of OPERATION_NAMES) {
  const [method = '', target = ''] = OPERATIONS[operation].split(' ');
  const [path = '', query] = target.split('?');
  const [date = '', ...segments] = path.slice(1).split('/');
  const [name, value] = query?.split('=') ?? [];
  const key = `${method} ${date}`;
  const known = PATTERNS.get(key) ?? [];
  PATTERNS.set(key, known);
  if (name === undefined || value === undefined) known.push({ operation, segments, query: null });
  else known.unshift({ operation, segments, query: [name, value] });
}

/**
 * @param path of the request, percent-encoded; one "/" at its end is passed over.
 * @returns null if it is none of the API's.
 * @throws URIError if a segment is not percent-encoded UTF-8.
 */
export function findRoute(method: string, path: string, query: URLSearchParams): Route | null {
  const [date = '', ...segments] = (path.endsWith('/') ? path.slice(1, -1) : path.slice(1)).split('/');
  for (const pattern of PATTERNS.get(`${method} ${date}`) ?? []) {
    if (pattern.query !== null && query.get(pattern.query[0]) !== pattern.query[1]) continue;
    const parameters = match(pattern.segments, segments);
    if (parameters !== null) return { operation: pattern.operation, parameters };
  }
  return null;
}

function match(wanted: readonly string[], segments: readonly string[]): Readonly<Record<string, string>> | null {
  if (wanted.length !== segments.length) return null;
  const parameters: Record<string, string> = {};
  for (const [index, segment] of segments.entries()) {
    const name = wanted[index] ?? '';
    if (!name.startsWith('{')) {
      if (name !== segment) return null;
    } else if (segment === '') return null;
    else parameters[name.slice(1, -1)] = segment;
  }
  for (const [name, segment] of Object.entries(parameters)) parameters[name] = decodeURIComponent(segment);
  return parameters;
}
