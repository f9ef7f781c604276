/** Runs in snapctr. What the operations on aliases, permissions, tags and concurrency make of a function's record. */
import { LATEST } from '../protocol/arn.ts';
import {
  UNQUALIFIED,
  type AliasRecord,
  type EventInvokeRecord,
  type FunctionRecord,
  type PolicyRecord,
} from '../registry/records.ts';
import { checkRevision, newRevisionId, unqualified, without } from './changes.ts';
import { ControlError } from './control-error.ts';
import type { AliasInput, PermissionInput, UpdateAliasInput } from './descriptions.ts';

/** AWS's limits. */
const MAX_POLICY_BYTES = 20 * 1024;
const MAX_TAGS = 50;

/** @throws ControlError `not_found` */
export function aliasOf({ aliases }: FunctionRecord, name: string, arn: string): AliasRecord {
  const alias = aliases.find((one) => one.name === name);
  if (alias === undefined) throw new ControlError('not_found', `Alias not found: ${arn}:${name}`);
  return alias;
}

/** @throws ControlError */
export function aliasCreated(record: FunctionRecord, input: AliasInput, arn: string): FunctionRecord {
  if (record.aliases.some(({ name }) => name === input.name)) {
    throw new ControlError('conflict', `Alias already exists: ${arn}:${input.name}`);
  }
  return withAlias(record, input, arn);
}

/** @throws ControlError */
export function aliasUpdated(
  record: FunctionRecord,
  name: string,
  { revisionId, ...change }: UpdateAliasInput,
  arn: string,
): FunctionRecord {
  const { revisionId: known, ...before } = aliasOf(record, name, arn);
  checkRevision(revisionId, known);
  return withAlias(record, { ...before, ...change }, arn);
}

/** Nothing happens if it is not there, as on AWS. */
export function aliasDeleted(record: FunctionRecord, name: string): FunctionRecord {
  return { ...unqualified(record, name), aliases: record.aliases.filter((one) => one.name !== name) };
}

function withAlias(record: FunctionRecord, input: AliasInput, arn: string): FunctionRecord {
  const { version, routing, name } = input;
  for (const one of [version, routing?.version ?? version]) {
    if (one !== LATEST && !record.published.some(({ number }) => number === one)) {
      throw new ControlError('not_found', `Function not found: ${arn}:${one}`);
    }
  }
  if (routing !== null && version === LATEST) {
    throw new ControlError('invalid', '$LATEST is not supported for an alias pointing to more than 1 version');
  }
  if (version === LATEST && Object.hasOwn(record.provisioned, name)) {
    const what = 'Provisioned Concurrency Configs cannot be applied to unpublished function versions';
    throw new ControlError('invalid', `${what}: delete that of the alias ${name} before it leads to $LATEST.`);
  }
  if (routing?.version === version) {
    const values = `Invalid function version ${version}. Function version ${version} is already included in routing configuration.`;
    throw new ControlError('invalid', values);
  }
  const others = record.aliases.filter((one) => one.name !== name);
  const aliases = [...others, { ...input, revisionId: newRevisionId() }].sort((a, b) => (a.name < b.name ? -1 : 1));
  return { ...record, aliases };
}

/** The policy that a qualifier has; null: none. @throws ControlError `not_found` if there is no such version or alias. */
export function policyOf(record: FunctionRecord, qualifier: string | null, arn: string): PolicyRecord | null {
  checkQualifier(record, qualifier, arn);
  const key = qualifier ?? UNQUALIFIED;
  return Object.hasOwn(record.policies, key) ? (record.policies[key] ?? null) : null;
}

/** @throws ControlError */
export function permissionAdded(
  record: FunctionRecord,
  { qualifier, statement, revisionId }: PermissionInput,
  arn: string,
): FunctionRecord {
  const before = policyOf(record, qualifier, arn);
  if (revisionId !== null) checkRevision(revisionId, before?.revisionId ?? '');
  const { sid } = statement;
  if (before?.statements.some((one) => one.sid === sid) === true) {
    const advice = 'Please try again with a new Statement Id';
    throw new ControlError(
      'conflict',
      `The statement id (${sid}) provided already exists. ${advice}, or remove the existing permission.`,
    );
  }
  const statements = [...(before?.statements ?? []), statement];
  if (JSON.stringify(statements).length > MAX_POLICY_BYTES) {
    throw new ControlError('too_large', `The final policy size is bigger than the limit (${MAX_POLICY_BYTES}).`);
  }
  const policy = { statements, revisionId: newRevisionId() };
  return { ...record, policies: { ...record.policies, [qualifier ?? UNQUALIFIED]: policy } };
}

/** @throws ControlError */
export function permissionRemoved(
  record: FunctionRecord,
  qualifier: string | null,
  sid: string,
  revisionId: string | null,
  arn: string,
): FunctionRecord {
  const policy = policyOf(record, qualifier, arn);
  if (policy === null) throw new ControlError('not_found', 'No policy is associated with the given resource.');
  checkRevision(revisionId, policy.revisionId);
  const statements = policy.statements.filter((one) => one.sid !== sid);
  if (statements.length === policy.statements.length) {
    throw new ControlError('not_found', `Statement ${sid} is not found in resource policy.`);
  }
  const others = without(record.policies, qualifier ?? UNQUALIFIED);
  if (statements.length === 0) return { ...record, policies: others };
  return {
    ...record,
    policies: { ...others, [qualifier ?? UNQUALIFIED]: { statements, revisionId: newRevisionId() } },
  };
}

/** @throws ControlError `not_found` */
export function checkQualifier(record: FunctionRecord, qualifier: string | null, arn: string): void {
  if (qualifier === null || qualifier === LATEST) return;
  if (record.aliases.some(({ name }) => name === qualifier)) return;
  if (record.published.some(({ number }) => String(number) === qualifier)) return;
  throw new ControlError('not_found', `Function not found: ${arn}:${qualifier}`);
}

/** @throws ControlError */
export function tagged(record: FunctionRecord, tags: Readonly<Record<string, string>>): FunctionRecord {
  const all = { ...record.tags, ...tags };
  checkTags(all);
  return { ...record, tags: all };
}

/** @throws ControlError `invalid` */
export function checkTags(tags: FunctionRecord['tags']): void {
  const reserved = Object.keys(tags).find((key) => /^aws:/i.test(key));
  if (reserved !== undefined) {
    throw new ControlError(
      'invalid',
      `Tag keys that begin with "aws:" are AWS's own: rename ${reserved.slice(0, 128)}.`,
    );
  }
  if (Object.keys(tags).length > MAX_TAGS) {
    throw new ControlError('invalid', `A function can have ${MAX_TAGS} tags at most.`);
  }
}

export function untagged(record: FunctionRecord, keys: readonly string[]): FunctionRecord {
  const gone = new Set(keys);
  return { ...record, tags: Object.fromEntries(Object.entries(record.tags).filter(([key]) => !gone.has(key))) };
}

/**
 * @param qualifier `$LATEST`, a number or an alias.
 * @param entry null: it goes.
 * @throws ControlError `not_found`
 */
export function eventInvokeSet(
  record: FunctionRecord,
  qualifier: string,
  entry: EventInvokeRecord | null,
  arn: string,
): FunctionRecord {
  checkQualifier(record, qualifier, arn);
  const others = without(record.eventInvoke ?? {}, qualifier);
  return { ...record, eventInvoke: entry === null ? others : { ...others, [qualifier]: entry } };
}
