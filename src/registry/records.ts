/**
 * Runs in snapctr. What is kept of functions and layers that were made over the API: one record for each function and for each
 * name of layers, whole by itself. All are plain JSON, immutable, and replaced as a whole; `record-schema.ts` checks what comes
 * from a disk.
 *
 * ```
 *   create ──▶ wanted ──deployed──▶ latest ──publish──▶ published, under a number
 *                ▲   └──failed: stays, with the reason; what was `latest` still is
 *                └── update
 * ```
 */

import { LATEST } from '../protocol/arn.ts';
import type { ContainerSettings } from '../protocol/runner.ts';

/** The version that has no number. */
export type LatestName = '$LATEST';

export type JsonValue =
  null | boolean | number | string | readonly JsonValue[] | { readonly [member: string]: JsonValue };

/** A package in the store, as it was sent; or a container image, which is not in the store. */
export interface CodeRecord {
  /** In hex: its name in the store, or the digest of the image. AWS tells it otherwise, see `codeDigest`. */
  readonly sha256: string;
  /** Of the zip archive; 0 for an image. */
  readonly bytes: number;
  /** Absent: a package. */
  readonly image?: ImageName | undefined;
}

export interface ImageName {
  /** As it was given. */
  readonly uri: string;
  /** The same image for ever: with its digest. */
  readonly resolved: string;
}

export type ContainerCode = CodeRecord & { readonly image: ImageName };

/** A version of a layer that a function uses: the layer may be deleted, and the function goes on. */
export interface LayerUse {
  readonly name: string;
  readonly version: number;
  readonly code: CodeRecord;
}

/** What a version of a function is, beside its code. */
export interface FunctionSettings {
  /** As AWS names it, such as "python3.12". */
  readonly runtime: string;
  /** ARN; nobody takes it on here. */
  readonly role: string;
  /** `file.function`. */
  readonly handler: string;
  readonly description: string;
  readonly timeoutS: number;
  readonly memoryMib: number;
  /** Null: it was never set. */
  readonly environment: Readonly<Record<string, string>> | null;
  /** Base first; they are put into `/opt` in this order. */
  readonly layers: readonly LayerUse[];
  /** `ImageConfig` of a container image. Absent: what the image says holds. */
  readonly container?: ContainerSettings | undefined;
  /** A VM serves one tenant only; never changes. Absent: requests have no tenants. */
  readonly tenantIsolation?: 'PER_TENANT' | undefined;
  /** Who gets events that failed for good: ARN of a function, `file:NAME`, or a URL. Absent: nobody. */
  readonly deadLetter?: string | undefined;
  /** Members of the API that are taken and told as they were given, and have no effect here, such as `TracingConfig`. */
  readonly remembered: Readonly<Record<string, JsonValue>>;
}

export interface VersionRecord {
  readonly settings: FunctionSettings;
  readonly code: CodeRecord;
  /** A UUID; another one after each change. */
  readonly revisionId: string;
  /** ISO 8601, UTC, with milliseconds. */
  readonly modified: string;
}

/** A version that never changes. */
export interface PublishedRecord extends VersionRecord {
  /** From 1 on; no number is given twice while the function lives. */
  readonly number: number;
}

export interface Reason {
  /** What went wrong and what to change. */
  readonly message: string;
  /** AWS's `StateReasonCode` and `LastUpdateStatusReasonCode`. */
  readonly code: ReasonCode;
}

/** The ones of AWS that are used here; docs of `FunctionConfiguration`. */
export type ReasonCode =
  /** It is being made ready. */
  | 'Creating'
  /** The package cannot be used. */
  | 'InvalidZipFileException'
  /** The container image cannot be had, or cannot be used. */
  | 'InvalidImage'
  /** The code does not load, or the handler is not there. */
  | 'FunctionError'
  /** The host refused; the same may work later. */
  | 'InternalError'
  /** Its record or its files are damaged. */
  | 'InvalidConfiguration';

/** Of `wanted`. */
export type UpdateRecord = { readonly status: 'InProgress' } | { readonly status: 'Failed'; readonly reason: Reason };

export interface AliasRecord {
  readonly name: string;
  /** What it leads to: a number, or `$LATEST`. */
  readonly version: number | LatestName;
  readonly description: string;
  /** A share of the requests, above 0 and up to 1, goes to another published version; null: all go to `version`. */
  readonly routing: { readonly version: number; readonly weight: number } | null;
  readonly revisionId: string;
}

/** Who may do something with a function, beside the holders of keys. Members as AddPermission takes them; null: not given. */
export interface PolicyStatement {
  readonly sid: string;
  /** Such as "lambda:InvokeFunction". */
  readonly action: string;
  /** A service, such as "s3.amazonaws.com"; an account or ARN; or "*". */
  readonly principal: string;
  readonly sourceArn: string | null;
  readonly sourceAccount: string | null;
  readonly principalOrgId: string | null;
  readonly eventSourceToken: string | null;
  readonly functionUrlAuthType: 'NONE' | 'AWS_IAM' | null;
  readonly invokedViaFunctionUrl: boolean | null;
}

export interface PolicyRecord {
  readonly statements: readonly PolicyStatement[];
  /** Another one after each change. */
  readonly revisionId: string;
}

/** The qualifier that a policy or URL has which was added without one. */
export const UNQUALIFIED = '';

/** Which web pages may use a function by its URL. Members as the API takes them; null: not given. */
export interface CorsRecord {
  readonly allowCredentials: boolean | null;
  readonly allowHeaders: readonly string[] | null;
  readonly allowMethods: readonly string[] | null;
  readonly allowOrigins: readonly string[] | null;
  readonly exposeHeaders: readonly string[] | null;
  readonly maxAgeS: number | null;
}

/** An address by which a function is invoked over plain HTTP. */
export interface UrlRecord {
  /** 32 small letters and digits. */
  readonly id: string;
  readonly authType: 'NONE' | 'AWS_IAM';
  readonly invokeMode: 'BUFFERED' | 'RESPONSE_STREAM';
  /** Null: the function itself answers what browsers ask. */
  readonly cors: CorsRecord | null;
  /** ISO 8601, UTC. */
  readonly created: string;
  readonly modified: string;
}

export interface FunctionRecord {
  readonly name: string;
  /** What answers, or answered last; null: no version was ever deployed. */
  readonly latest: VersionRecord | null;
  /** What is being deployed, or has failed; the API tells of this one. Null: `latest` is all there is. */
  readonly wanted: (VersionRecord & { readonly update: UpdateRecord }) | null;
  /** By number, ascending. */
  readonly published: readonly PublishedRecord[];
  /** The number given last; 0: none was. */
  readonly lastNumber: number;
  /** Whether `wanted` is published when it is deployed, and under which number; null: it is not. */
  readonly publishing: number | null;
  /** By name, ascending. */
  readonly aliases: readonly AliasRecord[];
  /** By qualifier, `UNQUALIFIED` for that of the function itself. */
  readonly policies: Readonly<Record<string, PolicyRecord>>;
  readonly tags: Readonly<Record<string, string>>;
  /** Most VMs at once, all versions together; 0: it cannot be invoked; null: as many as memory allows. */
  readonly reservedConcurrency: number | null;
  /** VMs that are kept ready, by qualifier: a number, or an alias. */
  readonly provisioned: Readonly<Record<string, ProvisionedRecord>>;
  /** By qualifier, `$LATEST` included; absent: there are none. */
  readonly eventInvoke?: Readonly<Record<string, EventInvokeRecord>>;
  /** By alias, `UNQUALIFIED` for that of `$LATEST`. */
  readonly urls: Readonly<Record<string, UrlRecord>>;
  /** By name; absent: there are none. */
  readonly schedules?: Readonly<Record<string, ScheduleRecord>>;
  /** By UUID; absent: there are none. */
  readonly eventSources?: Readonly<Record<string, EventSourceRecord>>;
}

/** A stream whose messages a function gets in batches. Members as the API takes them. */
export interface EventSourceRecord {
  /** A stream of NATS JetStream. */
  readonly stream: string;
  /** Which of its messages, with wildcards; null: all. */
  readonly subject: string | null;
  /** A version or alias; null: `$LATEST`. */
  readonly qualifier: string | null;
  readonly batchSize: number;
  /** How long a batch that is not full waits for more, in s. */
  readonly batchingWindowS: number;
  /** Batches that may run at once. */
  readonly parallelizationFactor: number;
  readonly startingPosition: 'TRIM_HORIZON' | 'LATEST' | 'AT_TIMESTAMP';
  /** ISO 8601, UTC; of `AT_TIMESTAMP`. */
  readonly startingTimestamp: string | null;
  /** The function says which messages failed. */
  readonly reportsFailures: boolean;
  /** Messages that failed run in smaller and smaller batches. */
  readonly bisectsBatches: boolean;
  /** -1: as often as it takes. */
  readonly maximumRetryAttempts: number;
  /** ARN of a function, `file:NAME`, or a URL; null: what failed for good is a dead event. */
  readonly onFailure: string | null;
  readonly isEnabled: boolean;
  /** ISO 8601, UTC. */
  readonly modified: string;
}

/** When a function gets an event by itself. */
export interface ScheduleRecord {
  /** Such as "rate(5 minutes)". */
  readonly expression: string;
  /** Of IANA's. */
  readonly timeZone: string;
  /** A version or alias; null: `$LATEST`. */
  readonly qualifier: string | null;
  /** The event, as JSON; null: EventBridge's scheduled event. */
  readonly input: string | null;
  /** What becomes of due times while snapctr does not run: one event for all of them, or none. */
  readonly missed: 'once' | 'skip';
  /** ISO 8601, UTC; null: there is no such bound. */
  readonly start: string | null;
  readonly end: string | null;
  readonly isPaused: boolean;
  /** ISO 8601, UTC: due times from then on are its own; it was made, changed or resumed then. */
  readonly since: string;
}

/** What is kept of schedules as such, under its name. */
export type ScheduleMarks =
  | {
      readonly name: 'watermark';
      /** In ms since 1970: all due times up to then were seen to. */
      readonly at: number;
      /** By schedule, those that were seen to beyond that. */
      readonly ahead: Readonly<Record<string, number>>;
    }
  | {
      readonly name: 'known';
      /** Of the YAML files, by schedule: what it says when it is due, and since when it has said so, in ms since 1970. */
      readonly since: Readonly<Record<string, { readonly when: string; readonly at: number }>>;
    };

/** How events of a function, version or alias are tried; null: as AWS does by default, or nobody is told. */
export interface EventInvokeRecord {
  readonly maximumRetryAttempts: number | null;
  readonly maximumEventAgeS: number | null;
  /** ARN of a function, `file:NAME`, or a URL. */
  readonly onSuccess: string | null;
  readonly onFailure: string | null;
  /** ISO 8601, UTC. */
  readonly modified: string;
}

export interface ProvisionedRecord {
  readonly requested: number;
  /** ISO 8601, UTC. */
  readonly modified: string;
}

export interface LayerVersionRecord {
  /** From 1 on. */
  readonly version: number;
  readonly code: CodeRecord;
  readonly description: string;
  readonly licenseInfo: string | null;
  /** As AWS names them; empty: none were given. */
  readonly compatibleRuntimes: readonly string[];
  readonly compatibleArchitectures: readonly string[];
  /** ISO 8601, UTC, with milliseconds. */
  readonly created: string;
  readonly policy: PolicyRecord | null;
}

/** All versions of the layers of one name. */
export interface LayerRecord {
  readonly name: string;
  /** By number, ascending; those that were deleted are missing. */
  readonly versions: readonly LayerVersionRecord[];
  /** The number given last: none is given twice. */
  readonly lastVersion: number;
}

/** A digest as AWS Lambda tells it (`CodeSha256`): of images in hex. */
export function codeDigest({ sha256, image }: CodeRecord): string {
  return image !== undefined ? sha256 : Buffer.from(sha256, 'hex').toString('base64');
}

/** What a change of the function begins with, and the API tells of `$LATEST`. */
export function newest({ wanted, latest }: FunctionRecord): VersionRecord {
  const newest = wanted ?? latest;
  if (newest === null) throw new Error('bug: a function was kept without a version');
  return newest;
}

/** Who gets events that failed for good, by version; of `$LATEST` what answers says it, or what is to answer first. */
export function deadLettersOf({ latest, wanted, published }: FunctionRecord): Readonly<Record<string, string>> {
  const versions: [version: string, deadLetter: string | undefined][] = [
    [LATEST, (latest ?? wanted)?.settings.deadLetter],
    ...published.map(({ number, settings }) => [String(number), settings.deadLetter] as [string, string | undefined]),
  ];
  const set = versions.filter((one): one is [string, string] => one[1] !== undefined);
  return Object.fromEntries(set);
}

/** The packages that a function cannot do without, in hex. */
export function* packagesOf({ latest, wanted, published }: FunctionRecord): Iterable<string> {
  for (const version of [latest, wanted, ...published]) {
    if (version === null) continue;
    if (version.code.image === undefined) yield version.code.sha256;
    for (const { code } of version.settings.layers) yield code.sha256;
  }
}
