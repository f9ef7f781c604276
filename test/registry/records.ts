import type { EventSourceRecord, FunctionRecord, VersionRecord } from '../../src/registry/records.ts';

const SHA = 'a'.repeat(64);

export function versionRecord(keys: Partial<VersionRecord> = {}): VersionRecord {
  return {
    settings: {
      runtime: 'python3.11',
      role: 'arn:aws:iam::000000000000:role/any',
      handler: 'main.handle',
      description: '',
      timeoutS: 3,
      memoryMib: 128,
      environment: { KEY: 'value' },
      layers: [{ name: 'layer', version: 1, code: { sha256: SHA, bytes: 3 } }],
      tenantIsolation: 'PER_TENANT',
      remembered: { TracingConfig: { Mode: 'PassThrough' } },
    },
    code: { sha256: SHA, bytes: 3 },
    revisionId: '00000000-0000-4000-8000-000000000000',
    modified: '2026-01-02T03:04:05.678Z',
    ...keys,
  };
}

/** One with everything that a record can have. */
export function functionRecord(name: string, keys: Partial<FunctionRecord> = {}): FunctionRecord {
  return {
    name,
    latest: versionRecord(),
    wanted: {
      ...versionRecord(),
      update: { status: 'Failed', reason: { message: 'no zip', code: 'InvalidZipFileException' } },
    },
    published: [{ ...versionRecord(), number: 2 }],
    lastNumber: 3,
    publishing: null,
    aliases: [
      { name: 'live', version: 2, description: '', routing: { version: 1, weight: 0.25 }, revisionId: 'r' },
      { name: 'newest', version: '$LATEST', description: 'ø', routing: null, revisionId: 'r' },
    ],
    policies: {
      '': {
        statements: [
          {
            sid: 's',
            action: 'lambda:InvokeFunction',
            principal: '*',
            sourceArn: null,
            sourceAccount: null,
            principalOrgId: null,
            eventSourceToken: null,
            functionUrlAuthType: 'NONE',
            invokedViaFunctionUrl: null,
          },
        ],
        revisionId: 'r',
      },
    },
    urls: {
      '': {
        id: 'a'.repeat(32),
        authType: 'NONE',
        invokeMode: 'RESPONSE_STREAM',
        cors: {
          allowCredentials: true,
          allowHeaders: ['x-a'],
          allowMethods: null,
          allowOrigins: ['https://example.com'],
          exposeHeaders: [],
          maxAgeS: 60,
        },
        created: '2026-01-02T03:04:05.678Z',
        modified: '2026-01-02T03:04:05.678Z',
      },
    },
    tags: { team: 'a' },
    reservedConcurrency: 0,
    provisioned: { live: { requested: 1, modified: '2026-01-02T03:04:05.678Z' } },
    ...keys,
  };
}

export function eventSource(keys: Partial<EventSourceRecord> = {}): EventSourceRecord {
  return {
    stream: 'ORDERS',
    subject: null,
    qualifier: null,
    batchSize: 100,
    batchingWindowS: 0,
    parallelizationFactor: 1,
    startingPosition: 'TRIM_HORIZON',
    startingTimestamp: null,
    reportsFailures: false,
    bisectsBatches: false,
    maximumRetryAttempts: -1,
    onFailure: null,
    isEnabled: true,
    modified: '2026-05-01T00:00:00.000Z',
    ...keys,
  };
}
