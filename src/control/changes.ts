/** Runs in snapctr. What the operations make of a function's record; they look at nothing else, and change nothing. */
import { randomUUID } from 'node:crypto';
import { LATEST } from '../protocol/arn.ts';
import {
  codeDigest,
  newest,
  type CodeRecord,
  type FunctionRecord,
  type FunctionSettings,
  type LayerUse,
  type PublishedRecord,
  type VersionRecord,
} from '../registry/records.ts';
import { ControlError } from './control-error.ts';
import type { CreateInput, PublishInput, UpdateConfigurationInput } from './descriptions.ts';

/** Makes a new revision of a version known by this id. */
export const newRevisionId = (): string => randomUUID();

/** @throws ControlError `precondition_failed` if the caller knows another one. @param known null: any will do. */
export function checkRevision(known: string | null, revisionId: string): void {
  if (known === null || known === revisionId) return;
  const call = 'Call the GetFunction/GetAlias API to retrieve the latest Revision Id';
  throw new ControlError(
    'precondition_failed',
    `The Revision Id provided does not match the latest Revision Id. ${call}`,
  );
}

/** A function stays a package or a container image. @throws ControlError `invalid` */
export function checkPackageType(record: FunctionRecord, type: 'Zip' | 'Image'): void {
  const own = newest(record).code.image === undefined ? 'Zip' : 'Image';
  if (own === type) return;
  const wrong = own === 'Zip' ? "don't provide ImageUri" : 'provide ImageUri';
  throw new ControlError('invalid', `Please ${wrong} when updating a function with packageType ${own}.`);
}

/** @throws ControlError `conflict` while a change of the function is under way. */
export function checkIdle({ wanted, latest }: FunctionRecord, arn: string): void {
  if (wanted?.update.status !== 'InProgress') return;
  const why =
    latest === null
      ? 'The function is currently in the following state: Pending'
      : `An update is in progress for resource: ${arn}`;
  throw new ControlError('conflict', `The operation cannot be performed at this time. ${why}`);
}

export function created(
  { name, settings, tags, publish }: Omit<CreateInput, 'code'>,
  layers: readonly LayerUse[],
  code: CodeRecord,
): FunctionRecord {
  return {
    name,
    latest: null,
    wanted: wantedOf({ ...settings, layers }, code),
    published: [],
    lastNumber: publish ? 1 : 0,
    publishing: publish ? 1 : null,
    aliases: [],
    policies: {},
    tags,
    reservedConcurrency: null,
    provisioned: {},
    urls: {},
  };
}

export function codeUpdated(record: FunctionRecord, code: CodeRecord, publish: boolean): FunctionRecord {
  const number = record.lastNumber + 1;
  return {
    ...record,
    wanted: wantedOf(newest(record).settings, code),
    ...(publish ? { lastNumber: number, publishing: number } : { publishing: null }),
  };
}

export function configurationUpdated(
  record: FunctionRecord,
  { settings }: UpdateConfigurationInput,
  layers: readonly LayerUse[] | null,
): FunctionRecord {
  const before = newest(record);
  const after: FunctionSettings = {
    ...before.settings,
    ...without(settings, 'layers'),
    layers: layers ?? before.settings.layers,
    remembered: { ...before.settings.remembered, ...settings.remembered },
  };
  return { ...record, wanted: wantedOf(after, before.code), publishing: null };
}

function wantedOf(settings: FunctionSettings, code: CodeRecord): NonNullable<FunctionRecord['wanted']> {
  return { settings, code, ...revised(), update: { status: 'InProgress' } };
}

function revised(): Pick<VersionRecord, 'revisionId' | 'modified'> {
  return { revisionId: newRevisionId(), modified: new Date().toISOString() };
}

/** All members but one. */
export function without<T extends object, K extends keyof T>(object: T, member: K): Omit<T, K> {
  const rest = { ...object };
  // Of a copy that nobody else has yet.
  // eslint-disable-next-line @typescript-eslint/no-dynamic-delete
  delete rest[member];
  return rest;
}

/** What is being deployed answers from now on. */
export function deployed(record: FunctionRecord): FunctionRecord {
  const { wanted, publishing } = record;
  if (wanted === null) return record;
  const version = without(wanted, 'update');
  const latest = { ...version, revisionId: newRevisionId() };
  const done = { ...record, latest, wanted: null, publishing: null };
  return publishing === null ? done : withPublished(done, { ...version, number: publishing });
}

/** What was being deployed did not come to be. */
export function failed(record: FunctionRecord, update: FailedUpdate): FunctionRecord {
  const { wanted } = record;
  if (wanted === null) return record;
  return { ...record, wanted: { ...wanted, revisionId: newRevisionId(), update }, publishing: null };
}

type FailedUpdate = Extract<NonNullable<FunctionRecord['wanted']>['update'], { readonly status: 'Failed' }>;

/**
 * `latest` as a version with a number; the one published last if nothing has changed since.
 *
 * @throws ControlError
 */
export function published(
  record: FunctionRecord,
  { codeSha256, description, revisionId }: PublishInput,
  arn: string,
): { readonly record: FunctionRecord; readonly version: PublishedRecord; readonly isNew: boolean } {
  checkIdle(record, arn);
  const { latest, wanted } = record;
  checkRevision(revisionId, newest(record).revisionId);
  if (latest === null || wanted !== null) {
    const what = 'The last update of the function has failed, and what failed cannot be published';
    throw new ControlError('conflict', `${what}: update the function again`);
  }
  const digest = codeDigest(latest.code);
  if (codeSha256 !== null && codeSha256 !== digest) {
    const advice = 'Please try again with the CodeSHA256 in $LATEST';
    throw new ControlError(
      'invalid',
      `CodeSHA256 (${codeSha256}) is different from current CodeSHA256 in $LATEST (${digest}). ${advice}.`,
    );
  }
  const settings = description === null ? latest.settings : { ...latest.settings, description };
  const last = record.published.at(-1);
  if (last !== undefined && isSameContent(last, latest)) return { record, version: last, isNew: false };
  const number = record.lastNumber + 1;
  const version = { settings, code: latest.code, ...revised(), number };
  return { record: withPublished({ ...record, lastNumber: number }, version), version, isNew: true };
}

function withPublished(record: FunctionRecord, version: PublishedRecord): FunctionRecord {
  return { ...record, published: [...record.published, version] };
}

/** Descriptions may differ. */
function isSameContent(one: VersionRecord, other: VersionRecord): boolean {
  const contentOf = ({ settings, code }: VersionRecord): string =>
    JSON.stringify([{ ...settings, description: '' }, code.sha256]);
  return contentOf(one) === contentOf(other);
}

/** @throws ControlError */
export function versionDeleted(record: FunctionRecord, version: string, arn: string): FunctionRecord {
  if (version === LATEST) {
    throw new ControlError('invalid', '$LATEST version cannot be deleted without deleting the function.');
  }
  const number = /^[1-9]\d*$/.test(version) ? Number(version) : null;
  const users = record.aliases.filter((alias) => alias.version === number || alias.routing?.version === number);
  if (number !== null && users.length > 0) {
    const names = users.map(({ name }) => name).join(', ');
    throw new ControlError('conflict', `Function version ${arn}:${version} is referenced by aliases: ${names}`);
  }
  if (number === null) throw new ControlError('invalid', 'Deletion of versions by an alias is not supported.');
  // As on AWS, one that is not there is deleted already.
  return { ...unqualified(record, version), published: record.published.filter((one) => one.number !== number) };
}

/** Without what is kept for a qualifier that is no more. */
export function unqualified(record: FunctionRecord, qualifier: string): FunctionRecord {
  const { schedules, eventSources } = record;
  const othersOf = <T extends { readonly qualifier: string | null }>(
    all: Readonly<Record<string, T>>,
  ): Record<string, T> => Object.fromEntries(Object.entries(all).filter(([, one]) => one.qualifier !== qualifier));
  return {
    ...record,
    ...(schedules === undefined ? {} : { schedules: othersOf(schedules) }),
    ...(eventSources === undefined ? {} : { eventSources: othersOf(eventSources) }),
    policies: without(record.policies, qualifier),
    provisioned: without(record.provisioned, qualifier),
    ...(record.eventInvoke === undefined ? {} : { eventInvoke: without(record.eventInvoke, qualifier) }),
    urls: without(record.urls, qualifier),
  };
}
