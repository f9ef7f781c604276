/** Runs in snapctr. The bodies of requests that change something, as the API's model has them. */
import { MAX_TIMEOUT_S } from '../../../../protocol/guest.ts';
import {
  MAX_BATCH_SIZE,
  MAX_BATCHING_WINDOW_S,
  MAX_PARALLELIZATION,
  MAX_RETRY_ATTEMPTS,
} from '../../../../registry/event-source-limits.ts';
import { PROVIDED_NAMES } from '../../../../protocol/runtimes.ts';
import { anything, boolean, double, integer, list, map, string, structure, type Shape } from './shapes.ts';

/** The names of AWS for what is run here by one version of each language. */
export const RUNTIME_NAMES: readonly string[] = [
  ...['24', '22', '20', '18'].map((version) => `nodejs${version}.x`),
  ...['14', '13', '12', '11', '10', '9'].map((version) => `python3.${version}`),
  ...['21', '17'].map((version) => `java${version}`),
  ...['provided', ...PROVIDED_NAMES],
];

const REGION = '(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}';
export const LAYER_ARN_PATTERN =
  `((arn:(aws[a-zA-Z-]*)?:lambda:${REGION}:\\d{12}:layer:[a-zA-Z0-9-_]+:[0-9]+)|` +
  '(arn:[a-zA-Z0-9-]+:lambda:::awslayer:[a-zA-Z0-9-_]+))';
const description = string({ max: 256 });
const architectures = string({ oneOf: ['x86_64', 'arm64'] });
const blob = string({ isSecret: true });
const tags = map(
  string({ min: 1, max: 128, pattern: '([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*)' }),
  string({ max: 256, pattern: '([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*)' }),
);
export const layerArn = string({ min: 1, max: 2048, pattern: LAYER_ARN_PATTERN });
export const versionOrLatest = string({ min: 1, max: 1024, pattern: '(\\$LATEST(\\.PUBLISHED)?|[0-9]+)' });
export const aliasName = string({ min: 1, max: 128, pattern: '(?!^[0-9]+$)([a-zA-Z0-9-_]+)' });
export const statementId = string({ min: 1, max: 100, pattern: '([a-zA-Z0-9-_.]+)' });

/** Where a zip file is not the only way to say where code is. */
const elsewhere = { S3Bucket: anything, S3Key: anything, S3ObjectVersion: anything } as const;
const code = {
  ZipFile: blob,
  ...elsewhere,
  ImageUri: string({ min: 1, max: 1024 }),
  SourceKMSKeyArn: anything,
} as const;

/** Members that CreateFunction and UpdateFunctionConfiguration have in common. */
const settings = {
  Runtime: string(),
  Role: string({ max: 10_000, pattern: 'arn:(aws[a-zA-Z-]*)?:iam::\\d{12}:role/?[a-zA-Z_0-9+=,.@\\-_/]+' }),
  Handler: string({ max: 128, pattern: '[^\\s]+' }),
  Description: description,
  Timeout: integer(1, MAX_TIMEOUT_S),
  MemorySize: integer(128, 32_768),
  Environment: structure({
    Variables: map(string({ pattern: '[a-zA-Z]([a-zA-Z0-9_])+' }), string({ isSecret: true }), true),
  }),
  TracingConfig: structure({ Mode: string({ oneOf: ['Active', 'PassThrough'] }) }),
  Layers: list(layerArn),
  EphemeralStorage: structure({ Size: integer(512, 32_768) }, ['Size']),
  SnapStart: structure({ ApplyOn: string({ oneOf: ['PublishedVersions', 'None'] }) }),
  LoggingConfig: structure({
    LogFormat: string({ oneOf: ['JSON', 'Text'] }),
    ApplicationLogLevel: string({ oneOf: ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'] }),
    SystemLogLevel: string({ oneOf: ['DEBUG', 'INFO', 'WARN'] }),
    LogGroup: string({ min: 1, max: 512, pattern: '[\\.\\-_/#A-Za-z0-9]+' }),
  }),
  VpcConfig: anything,
  DeadLetterConfig: structure({ TargetArn: string({ max: 350 }) }),
  KMSKeyArn: anything,
  FileSystemConfigs: anything,
  ImageConfig: structure({
    EntryPoint: list(string(), 0, 1500),
    Command: list(string(), 0, 1500),
    WorkingDirectory: string({ max: 1000 }),
  }),
  CapacityProviderConfig: anything,
  DurableConfig: anything,
  RuntimeConfig: anything,
  AcceleratorConfig: anything,
} as const;

export const createFunction = structure(
  {
    ...settings,
    FunctionName: string({ min: 1 }),
    Code: structure(code),
    Publish: boolean,
    PublishTo: anything,
    PackageType: string({ oneOf: ['Zip', 'Image'] }),
    Tags: tags,
    CodeSigningConfigArn: anything,
    Architectures: list(architectures, 1, 1),
    TenancyConfig: structure({ TenantIsolationMode: string({ oneOf: ['PER_TENANT'] }) }, ['TenantIsolationMode']),
  },
  ['FunctionName', 'Role', 'Code'],
);

export const updateFunctionCode = structure({
  ...code,
  Architectures: list(architectures, 1, 1),
  Publish: boolean,
  PublishTo: anything,
  DryRun: boolean,
  RevisionId: string(),
});

export const updateFunctionConfiguration = structure({ ...settings, RevisionId: string(), TenancyConfig: anything });

export const publishVersion = structure({
  CodeSha256: string(),
  Description: description,
  RevisionId: string(),
  PublishTo: anything,
});

const alias = {
  Description: description,
  FunctionVersion: versionOrLatest,
  RoutingConfig: structure({
    AdditionalVersionWeights: map(string({ min: 1, max: 1024, pattern: '[0-9]+' }), double(0, 1)),
  }),
} as const;

export const createAlias = structure({ ...alias, Name: aliasName }, ['Name', 'FunctionVersion']);
export const updateAlias = structure({ ...alias, RevisionId: string() });
export const tagResource = structure({ Tags: tags }, ['Tags']);

export const putFunctionConcurrency = structure({ ReservedConcurrentExecutions: integer(0) }, [
  'ReservedConcurrentExecutions',
]);

export const putProvisionedConcurrencyConfig = structure({ ProvisionedConcurrentExecutions: integer(1) }, [
  'ProvisionedConcurrentExecutions',
]);

/** Lists of what CORS allows; that the values can stand in headers is checked by `urls.ts`. */
const cors = structure({
  AllowCredentials: boolean,
  AllowHeaders: list(string({ max: 1024 }), 0, 100),
  AllowMethods: list(string({ max: 6 }), 0, 6),
  AllowOrigins: list(string({ min: 1, max: 253 }), 0, 100),
  ExposeHeaders: list(string({ max: 1024 }), 0, 100),
  MaxAge: integer(0, 86_400),
});
const functionUrl = {
  AuthType: string({ oneOf: ['NONE', 'AWS_IAM'] }),
  Cors: cors,
  InvokeMode: string({ oneOf: ['BUFFERED', 'RESPONSE_STREAM'] }),
} as const;

export const createFunctionUrlConfig = structure(functionUrl, ['AuthType']);
export const updateFunctionUrlConfig = structure(functionUrl);
export const urlQualifier = string({ min: 1, max: 128, pattern: '((?!^\\d+$)^[0-9a-zA-Z-_]+$)' });

const destination = structure({ Destination: string({ max: 350 }) });
export const functionEventInvokeConfig = structure({
  MaximumRetryAttempts: integer(0, 2),
  MaximumEventAgeInSeconds: integer(60, 21_600),
  DestinationConfig: structure({ OnSuccess: destination, OnFailure: destination }),
});

export const eventSourceId = string({
  min: 36,
  max: 36,
  pattern: '[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}',
});
const eventSourceMapping = {
  FunctionName: string({ min: 1, max: 256 }),
  Enabled: boolean,
  BatchSize: integer(1, MAX_BATCH_SIZE),
  MaximumBatchingWindowInSeconds: integer(0, MAX_BATCHING_WINDOW_S),
  ParallelizationFactor: integer(1, MAX_PARALLELIZATION),
  MaximumRetryAttempts: integer(-1, MAX_RETRY_ATTEMPTS),
  BisectBatchOnFunctionError: boolean,
  DestinationConfig: structure({ OnSuccess: destination, OnFailure: destination }),
  FunctionResponseTypes: list(string({ oneOf: ['ReportBatchItemFailures'] }), 0, 1),
  FilterCriteria: anything,
  MaximumRecordAgeInSeconds: anything,
  TumblingWindowInSeconds: anything,
  ScalingConfig: anything,
  ProvisionedPollerConfig: anything,
  SourceAccessConfigurations: anything,
  SelfManagedKafkaEventSourceConfig: anything,
  AmazonManagedKafkaEventSourceConfig: anything,
  DocumentDBEventSourceConfig: anything,
} as const;

export const createEventSourceMapping = structure(
  {
    ...eventSourceMapping,
    EventSourceArn: string({ max: 1024 }),
    Topics: list(string({ min: 1, max: 249 }), 0, 1),
    StartingPosition: string({ oneOf: ['TRIM_HORIZON', 'LATEST', 'AT_TIMESTAMP'] }),
    StartingPositionTimestamp: double(0, 253_402_300_799),
    SelfManagedEventSource: anything,
    Queues: anything,
  },
  ['FunctionName'],
);
export const updateEventSourceMapping = structure(eventSourceMapping);

export const addPermission = structure(
  {
    StatementId: string({ min: 1, max: 100, pattern: '([a-zA-Z0-9-_]+)' }),
    Action: string({ max: 10_000, pattern: '(lambda:[*]|lambda:[a-zA-Z]+|[*])' }),
    Principal: string({ max: 2048, pattern: '[^\\s]+' }),
    SourceArn: string({
      max: 10_000,
      pattern: `arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\\-])+:(${REGION})?:(\\d{12})?:(.*)`,
    }),
    SourceAccount: string({ max: 12, pattern: '\\d{12}' }),
    EventSourceToken: string({ max: 256, pattern: '[a-zA-Z0-9._\\-]+' }),
    PrincipalOrgID: string({ min: 12, max: 34, pattern: 'o-[a-z0-9]{10,32}' }),
    FunctionUrlAuthType: string({ oneOf: ['NONE', 'AWS_IAM'] }),
    InvokedViaFunctionUrl: boolean,
    RevisionId: string(),
  },
  ['StatementId', 'Action', 'Principal'],
);

export const publishLayerVersion = structure(
  {
    Content: structure({ ZipFile: blob, ...elsewhere }),
    Description: description,
    CompatibleRuntimes: list(string(), 0, 15),
    CompatibleArchitectures: list(architectures, 0, 2),
    LicenseInfo: string({ max: 512 }),
  },
  ['Content'],
);

/** What a request says, by the shape of its body. */
export type Body<S> = S extends Shape<infer T> ? T : never;
