/** Runs in snapctr. What the operations on function URLs make of a function's record. */
import type { FunctionUrl } from '../registry/function-registry.ts';
import { newest, UNQUALIFIED, type FunctionRecord, type UrlRecord } from '../registry/records.ts';
import { newUrlId } from '../registry/url-id.ts';
import { checkQualifier } from './alias-changes.ts';
import { without } from './changes.ts';
import { ControlError } from './control-error.ts';

export type UrlSettings = Pick<UrlRecord, 'authType' | 'invokeMode' | 'cors'>;

/**
 * @param qualifier an alias; null: `$LATEST`.
 * @throws ControlError `not_found` if there is no such alias, `conflict` if it has a URL, `invalid` if
 * it keeps tenants apart.
 */
export function urlCreated(
  record: FunctionRecord,
  qualifier: string | null,
  settings: UrlSettings,
  arn: string,
): FunctionRecord {
  checkQualifier(record, qualifier, arn);
  const key = qualifier ?? UNQUALIFIED;
  if (Object.hasOwn(record.urls, key)) {
    const of = `Failed to create function url config for [functionArn = ${arn}${qualifier === null ? '' : `:${qualifier}`}]`;
    throw new ControlError('conflict', `${of}. Error message:  FunctionUrlConfig exists for this Lambda function`);
  }
  if (newest(record).settings.tenantIsolation !== undefined) {
    throw new ControlError('invalid', 'A function with tenant isolation has no URL: its requests name no tenant.');
  }
  const now = new Date().toISOString();
  const url = { id: newUrlId(), ...settings, created: now, modified: now };
  return { ...record, urls: { ...record.urls, [key]: url } };
}

/** @throws ControlError `not_found` */
export function urlUpdated(
  record: FunctionRecord,
  qualifier: string | null,
  change: Partial<UrlSettings>,
): FunctionRecord {
  const url = { ...urlOf(record, qualifier), ...change, modified: new Date().toISOString() };
  return { ...record, urls: { ...record.urls, [qualifier ?? UNQUALIFIED]: url } };
}

/** @throws ControlError `not_found` */
export function urlDeleted(record: FunctionRecord, qualifier: string | null): FunctionRecord {
  urlOf(record, qualifier);
  return { ...record, urls: without(record.urls, qualifier ?? UNQUALIFIED) };
}

/** @throws ControlError `not_found` */
export function urlOf({ urls }: FunctionRecord, qualifier: string | null): UrlRecord {
  const key = qualifier ?? UNQUALIFIED;
  const url = Object.hasOwn(urls, key) ? urls[key] : undefined;
  if (url === undefined) throw noUrl();
  return url;
}

/** In the order of the aliases. */
export function urlsOf({ name, urls }: FunctionRecord): readonly FunctionUrl[] {
  return Object.entries(urls)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, url]) => ({ ...url, function: name, qualifier: key === UNQUALIFIED ? null : key }));
}

export function noUrl(): ControlError {
  return new ControlError('not_found', 'The resource you requested does not exist.');
}
