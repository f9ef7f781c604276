/** Runs in snapctr. What a request says of a function, as it is kept; what is not offered here is refused. */
import type { SettingsInput } from '../../../../control/descriptions.ts';
import { MAX_LAYERS } from '../../../../protocol/builder.ts';
import { scratchMib } from '../../../../protocol/guest.ts';
import { PROVIDED_PROGRAM, runtimeOfAwsName } from '../../../../protocol/runtimes.ts';
import type { FunctionSettings, JsonValue } from '../../../../registry/records.ts';
import { ApiError } from '../errors.ts';
import { parseLayerVersionArn } from './layer-names.ts';
import { RUNTIME_NAMES, type Body, type createFunction, type updateFunctionConfiguration } from './requests.ts';
import type { LambdaAccount } from '../../../../protocol/arn.ts';

type CreateBody = Body<typeof createFunction>;
type UpdateBody = Body<typeof updateFunctionConfiguration>;

const DEFAULT_TIMEOUT_S = 3;
const DEFAULT_MEMORY_MIB = 128;
/** What all functions of AWS have; asking for it is no wish. */
const DEFAULT_STORAGE_MIB = 512;
/** Of all variables, as JSON. */
const MAX_ENVIRONMENT_BYTES = 4096;
/** Set by the runtime. */
const RESERVED_VARIABLES: ReadonlySet<string> = new Set([
  '_HANDLER',
  '_X_AMZN_TRACE_ID',
  'AWS_DEFAULT_REGION',
  'AWS_REGION',
  'AWS_EXECUTION_ENV',
  'AWS_LAMBDA_FUNCTION_NAME',
  'AWS_LAMBDA_FUNCTION_MEMORY_SIZE',
  'AWS_LAMBDA_FUNCTION_VERSION',
  'AWS_LAMBDA_INITIALIZATION_TYPE',
  'AWS_LAMBDA_LOG_GROUP_NAME',
  'AWS_LAMBDA_LOG_STREAM_NAME',
  'AWS_LAMBDA_RUNTIME_API',
  'LAMBDA_TASK_ROOT',
  'LAMBDA_RUNTIME_DIR',
]);

/** Members that are kept and told, and change nothing. */
const REMEMBERED = ['TracingConfig', 'EphemeralStorage', 'SnapStart', 'LoggingConfig'] as const;
/** Members whose emptiness means nothing, and whose contents are not offered. */
const NOT_OFFERED = [
  'VpcConfig',
  'KMSKeyArn',
  'FileSystemConfigs',
  'CapacityProviderConfig',
  'DurableConfig',
  'RuntimeConfig',
  'AcceleratorConfig',
  'CodeSigningConfigArn',
  'PublishTo',
  'S3Bucket',
  'S3Key',
  'S3ObjectVersion',
  'SourceKMSKeyArn',
] as const;

/** @throws ApiError */
export function createdSettings(body: CreateBody, account: LambdaAccount): SettingsInput {
  checkOffered(body);
  const isImage = body.PackageType === 'Image';
  if (isImage) checkImageSettings(body);
  else if (body.ImageConfig !== undefined) throw onlyWithImages('ImageConfig');
  const { Runtime = isImage ? 'provided.al2023' : undefined, Handler = isImage ? PROVIDED_PROGRAM : undefined } = body;
  if (Runtime === undefined) throw required('Runtime');
  if (Handler === undefined) throw required('Handler');
  const { TenancyConfig, ...others } = body;
  const { settings } = updatedSettings(others, account);
  return {
    runtime: Runtime,
    role: body.Role ?? '',
    handler: Handler,
    description: '',
    timeoutS: DEFAULT_TIMEOUT_S,
    memoryMib: DEFAULT_MEMORY_MIB,
    environment: null,
    layers: [],
    remembered: {},
    ...(TenancyConfig === undefined ? {} : { tenantIsolation: 'PER_TENANT' }),
    ...settings,
  };
}

/** @throws ApiError */
export function updatedSettings(
  body: UpdateBody,
  account: LambdaAccount,
): { readonly settings: Partial<SettingsInput> } {
  checkOffered(body);
  if (body.TenancyConfig !== undefined) {
    const message = 'TenancyConfig cannot be changed after the function was created; create another function.';
    throw new ApiError('InvalidParameterValueException', message);
  }
  const {
    Runtime,
    Role,
    Handler,
    Description,
    Timeout,
    MemorySize,
    Environment,
    Layers,
    ImageConfig,
    DeadLetterConfig,
  } = body;
  if (Runtime !== undefined) checkRuntime(Runtime);
  const remembered: Record<string, JsonValue> = {};
  for (const name of REMEMBERED) if (body[name] !== undefined) remembered[name] = body[name];
  return {
    settings: {
      ...(Runtime === undefined ? {} : { runtime: Runtime }),
      ...(Role === undefined ? {} : { role: Role }),
      ...(Handler === undefined ? {} : { handler: Handler }),
      ...(Description === undefined ? {} : { description: Description }),
      ...(Timeout === undefined ? {} : { timeoutS: Timeout }),
      ...(MemorySize === undefined ? {} : { memoryMib: MemorySize }),
      ...(Environment === undefined ? {} : { environment: checkEnvironment(Environment.Variables ?? {}) }),
      ...(Layers === undefined ? {} : { layers: layersOf(Layers, account) }),
      ...(ImageConfig === undefined ? {} : { container: containerSettings(ImageConfig) }),
      // An empty one takes away what was set before.
      ...(DeadLetterConfig === undefined ? {} : { deadLetter: DeadLetterConfig.TargetArn || undefined }),
      ...(Object.keys(remembered).length === 0 ? {} : { remembered }),
    },
  };
}

/** @throws ApiError */
function layersOf(arns: readonly string[], account: LambdaAccount): SettingsInput['layers'] {
  if (arns.length > MAX_LAYERS) {
    const message = `A function can have ${MAX_LAYERS} layers at most; ${arns.length} are given.`;
    throw new ApiError('InvalidParameterValueException', message);
  }
  const layers = arns.map((arn) => parseLayerVersionArn(arn, account));
  for (const [index, { name }] of layers.entries()) {
    const first = layers.findIndex((one) => one.name === name);
    if (first === index) continue;
    const what = 'Two different versions of the same layer are not allowed to be referenced in the same function';
    throw new ApiError('InvalidParameterValueException', `${what}: ${arns[first] ?? ''} and ${arns[index] ?? ''}`);
  }
  return layers;
}

/** What an image says itself. @throws ApiError */
export function checkImageSettings({ Runtime, Handler, Layers }: UpdateBody): void {
  if (Runtime === undefined && Handler === undefined && (Layers ?? []).length === 0) return;
  const message = "Please don't provide handler or runtime or layer when the intended function PackageType is Image.";
  throw new ApiError('InvalidParameterValueException', message);
}

export function onlyWithImages(name: string): ApiError {
  return new ApiError('InvalidParameterValueException', `${name} is only for functions with the PackageType Image.`);
}

function containerSettings(given: NonNullable<UpdateBody['ImageConfig']>): FunctionSettings['container'] {
  const { EntryPoint = [], Command = [], WorkingDirectory = '' } = given;
  if (EntryPoint.length + Command.length === 0 && WorkingDirectory === '') return undefined;
  return {
    entryPoint: EntryPoint.length === 0 ? null : EntryPoint,
    command: Command.length === 0 ? null : Command,
    workingDirectory: WorkingDirectory === '' ? null : WorkingDirectory,
  };
}

/** @param memoryMib of the function, which `/tmp` is a part of. @throws ApiError */
export function checkStorage(body: UpdateBody, memoryMib: number): void {
  const size = body.EphemeralStorage?.Size ?? DEFAULT_STORAGE_MIB;
  const most = scratchMib(memoryMib);
  if (size <= Math.max(most, DEFAULT_STORAGE_MIB)) return;
  const why = `/tmp is a part of the memory, and has ${most} MB with MemorySize ${memoryMib}`;
  throw new ApiError('InvalidParameterValueException', `EphemeralStorage of ${size} MB is not there: ${why}.`);
}

/** @throws ApiError for members with contents that are not offered. */
export function checkOffered(body: Readonly<Record<string, unknown>>): void {
  for (const name of NOT_OFFERED) {
    const value = body[name];
    if (value !== undefined && !isEmpty(value)) throw notOffered(name, 'leave it out');
  }
  const architectures = body['Architectures'];
  if (Array.isArray(architectures) && architectures.includes('arm64')) {
    throw notOffered('Architectures', 'functions run on x86_64');
  }
}

function notOffered(name: string, advice: string): ApiError {
  return new ApiError('InvalidParameterValueException', `${name} is not offered here: ${advice}.`);
}

/** As AWS does it for members that a zip file makes necessary. */
function required(name: string): ApiError {
  const message = `${name} is mandatory for functions created with deployment packages.`;
  return new ApiError('InvalidParameterValueException', message);
}

function checkRuntime(runtime: string): void {
  if (RUNTIME_NAMES.includes(runtime) && runtimeOfAwsName(runtime) !== null) return;
  const set = `Member must satisfy enum value set: [${RUNTIME_NAMES.join(', ')}] or be a valid ARN`;
  const message = `Value ${runtime.slice(0, 128)} at 'runtime' failed to satisfy constraint: ${set}`;
  throw new ApiError('InvalidParameterValueException', message);
}

function checkEnvironment(variables: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const reserved = Object.keys(variables).filter((name) => RESERVED_VARIABLES.has(name));
  const unable =
    'Lambda was unable to configure your environment variables because the environment variables you have provided';
  if (reserved.length > 0) {
    const what = 'contains reserved keys that are currently not supported for modification';
    const message = `${unable} ${what}. Reserved keys used in this request: ${reserved.join(', ')}`;
    throw new ApiError('InvalidParameterValueException', message);
  }
  const text = JSON.stringify(variables);
  if (Buffer.byteLength(text) > MAX_ENVIRONMENT_BYTES) {
    throw new ApiError('InvalidParameterValueException', `${unable} exceeded the 4KB limit. String measured: ${text}`);
  }
  return variables;
}

function isEmpty(value: unknown): boolean {
  if (value === null || value === '') return true;
  if (Array.isArray(value)) return value.length === 0;
  return typeof value === 'object' && Object.values(value).every((member) => member === false || isEmpty(member));
}
