/** Runs in snapctr. What the audit log tells of an operation that has changed something; never a value that may be a secret. */
import { callerOf, type AuditLine } from '../../../../auth/audit-log.ts';
import type { Call, Result } from './call.ts';
import type { ControlOperation } from './table.ts';

/** Parts of the path beside the function or layer, by what the log calls them. */
const NAMED: readonly (readonly [parameter: string, field: string])[] = [
  ['Name', 'alias'],
  ['StatementId', 'statement'],
  ['UUID', 'mapping'],
  ['LayerName', 'layer'],
  ['VersionNumber', 'version'],
];

/** @returns null: it changes nothing, or has not. */
export function auditLine(operation: ControlOperation, call: Call, { audit = {} }: Result): AuditLine | null {
  if (/^(Get|List)/.test(operation) || audit === null) return null;
  const { caller, body, function: reference, parameters } = call;
  const named = NAMED.filter(([parameter]) => parameters[parameter] !== undefined);
  const members = typeof body === 'object' && body !== null ? Object.keys(body) : [];
  return {
    action: `lambda:${operation}`,
    ...callerOf(caller),
    ...(reference === null ? {} : { function: reference.name }),
    ...(reference?.qualifier == null ? {} : { qualifier: reference.qualifier }),
    ...Object.fromEntries(named.map(([parameter, field]) => [field, parameters[parameter]])),
    ...audit,
    // Their names: of an environment no value is for others.
    ...(members.length === 0 ? {} : { members }),
  };
}
