/** Runs in snapctr. What a record must look like that comes from outside, such as from a disk. */
import { z } from 'zod';
import type { FunctionRecord, JsonValue, LayerRecord, ScheduleMarks } from './records.ts';

/** What is written. One of a newer release has a greater number, and is refused; an older one is migrated, see `migrations`. */
export const RECORD_SCHEMA = 1;

const count = z.int().nonnegative();
const texts = z.record(z.string(), z.string());
const code = z.strictObject({
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  bytes: count,
  image: z.strictObject({ uri: z.string(), resolved: z.string() }).optional(),
});
const words = z.array(z.string()).nullable();
const container = z.strictObject({ entryPoint: words, command: words, workingDirectory: z.string().nullable() });

const settings = z.strictObject({
  runtime: z.string(),
  role: z.string(),
  handler: z.string(),
  description: z.string(),
  timeoutS: z.int().positive(),
  memoryMib: z.int().positive(),
  environment: texts.nullable(),
  layers: z.array(z.strictObject({ name: z.string(), version: z.int().positive(), code })),
  container: container.optional(),
  tenantIsolation: z.literal('PER_TENANT').optional(),
  deadLetter: z.string().optional(),
  remembered: z.record(z.string(), z.json() as z.ZodType<JsonValue>),
});

const version = { settings, code, revisionId: z.string(), modified: z.iso.datetime() };
const reason = z.strictObject({
  message: z.string(),
  code: z.enum([
    'Creating',
    'InvalidZipFileException',
    'InvalidImage',
    'FunctionError',
    'InternalError',
    'InvalidConfiguration',
  ]),
});
const update = z.discriminatedUnion('status', [
  z.strictObject({ status: z.literal('InProgress') }),
  z.strictObject({ status: z.literal('Failed'), reason }),
]);
const routing = z.strictObject({ version: z.int().positive(), weight: z.number().min(0).max(1) });
const alias = z.strictObject({
  name: z.string(),
  version: z.union([z.int().positive(), z.literal('$LATEST')]),
  description: z.string(),
  routing: routing.nullable(),
  revisionId: z.string(),
});
const statement = z.strictObject({
  sid: z.string(),
  action: z.string(),
  principal: z.string(),
  sourceArn: z.string().nullable(),
  sourceAccount: z.string().nullable(),
  principalOrgId: z.string().nullable(),
  eventSourceToken: z.string().nullable(),
  functionUrlAuthType: z.enum(['NONE', 'AWS_IAM']).nullable(),
  invokedViaFunctionUrl: z.boolean().nullable(),
});
const policy = z.strictObject({ statements: z.array(statement), revisionId: z.string() });
const strings = z.array(z.string()).nullable();
const url = z.strictObject({
  id: z.string().regex(/^[a-z0-9]{32}$/),
  authType: z.enum(['NONE', 'AWS_IAM']),
  invokeMode: z.enum(['BUFFERED', 'RESPONSE_STREAM']),
  cors: z
    .strictObject({
      allowCredentials: z.boolean().nullable(),
      allowHeaders: strings,
      allowMethods: strings,
      allowOrigins: strings,
      exposeHeaders: strings,
      maxAgeS: count.nullable(),
    })
    .nullable(),
  created: z.iso.datetime(),
  modified: z.iso.datetime(),
});

const eventInvoke = z.strictObject({
  maximumRetryAttempts: z.int().min(0).max(2).nullable(),
  maximumEventAgeS: z.int().positive().nullable(),
  onSuccess: z.string().nullable(),
  onFailure: z.string().nullable(),
  modified: z.iso.datetime(),
});

const schedule = z.strictObject({
  expression: z.string(),
  timeZone: z.string(),
  qualifier: z.string().nullable(),
  input: z.string().nullable(),
  missed: z.enum(['once', 'skip']),
  start: z.iso.datetime().nullable(),
  end: z.iso.datetime().nullable(),
  isPaused: z.boolean(),
  since: z.iso.datetime(),
});

const eventSource = z.strictObject({
  stream: z.string(),
  subject: z.string().nullable(),
  qualifier: z.string().nullable(),
  batchSize: z.int().positive(),
  batchingWindowS: count,
  parallelizationFactor: z.int().positive(),
  startingPosition: z.enum(['TRIM_HORIZON', 'LATEST', 'AT_TIMESTAMP']),
  startingTimestamp: z.iso.datetime().nullable(),
  reportsFailures: z.boolean(),
  bisectsBatches: z.boolean(),
  maximumRetryAttempts: z.int().min(-1),
  onFailure: z.string().nullable(),
  isEnabled: z.boolean(),
  modified: z.iso.datetime(),
});

export const scheduleMarksSchema: z.ZodType<ScheduleMarks> = z.discriminatedUnion('name', [
  z.strictObject({ name: z.literal('watermark'), at: z.number(), ahead: z.record(z.string(), z.number()) }),
  z.strictObject({
    name: z.literal('known'),
    since: z.record(z.string(), z.strictObject({ when: z.string(), at: z.number() })),
  }),
]);

export const functionSchema: z.ZodType<FunctionRecord> = z
  .strictObject({
    name: z.string(),
    latest: z.strictObject(version).nullable(),
    wanted: z.strictObject({ ...version, update }).nullable(),
    published: z.array(z.strictObject({ ...version, number: z.int().positive() })),
    lastNumber: count,
    publishing: z.int().positive().nullable(),
    aliases: z.array(alias),
    policies: z.record(z.string(), policy),
    tags: texts,
    reservedConcurrency: count.nullable(),
    provisioned: z.record(z.string(), z.strictObject({ requested: z.int().positive(), modified: z.iso.datetime() })),
    eventInvoke: z.record(z.string(), eventInvoke).exactOptional(),
    // Records of older releases have none.
    urls: z.record(z.string(), url).default({}),
    schedules: z.record(z.string(), schedule).exactOptional(),
    eventSources: z.record(z.string(), eventSource).exactOptional(),
  })
  .refine(({ latest, wanted }) => latest !== null || wanted !== null, 'has neither `latest` nor `wanted`');

export const layerSchema: z.ZodType<LayerRecord> = z.strictObject({
  name: z.string(),
  versions: z.array(
    z.strictObject({
      version: z.int().positive(),
      code,
      description: z.string(),
      licenseInfo: z.string().nullable(),
      compatibleRuntimes: z.array(z.string()),
      compatibleArchitectures: z.array(z.string()),
      created: z.iso.datetime(),
      policy: policy.nullable(),
    }),
  ),
  lastVersion: count,
});

/** What is wrong with a value, in a line. */
export function problemOf(error: z.ZodError): string {
  const [first] = error.issues;
  return first === undefined ? 'cannot be used' : `${first.path.join('.') || 'the record'}: ${first.message}`;
}
