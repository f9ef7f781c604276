/** Runs in snapctr. A version as the API tells it: its record, and what has become of it. */
import { LATEST } from '../protocol/arn.ts';
import type { RegisteredFunction } from '../registry/function-registry.ts';
import { newest, type FunctionRecord, type Reason } from '../registry/records.ts';
import { aliasOf } from './alias-changes.ts';
import { ControlError } from './control-error.ts';
import type { FunctionDescription } from './descriptions.ts';

const CREATING: Reason = { message: 'The function is being created.', code: 'Creating' };
const ACTIVE = { state: 'Active', stateReason: null, lastUpdateStatus: 'Successful', lastUpdateReason: null } as const;
const PENDING = {
  state: 'Pending',
  stateReason: CREATING,
  lastUpdateStatus: 'InProgress',
  lastUpdateReason: CREATING,
} as const;

type States = Pick<FunctionDescription, 'state' | 'stateReason' | 'lastUpdateStatus' | 'lastUpdateReason'>;

/**
 * @param registered what runs of it.
 * @throws ControlError `not_found`
 */
export function describe(
  record: FunctionRecord,
  registered: RegisteredFunction | undefined,
  qualifier: string | null,
  arn: string,
): FunctionDescription {
  const version = versionOf(record, qualifier, arn);
  if (version === LATEST) return { function: record, version, record: newest(record), ...stateOf(record, registered) };
  const published = record.published.find(({ number }) => number === version);
  if (published !== undefined) {
    const { state = 'Pending', problems = [] } = registered?.published.get(String(version)) ?? {};
    const states = state === 'Active' ? ACTIVE : state === 'Pending' ? PENDING : failed(invalid(problems));
    return { function: record, version, record: published, ...states };
  }
  // It is published when it is deployed.
  if (record.publishing === version) return { function: record, version, record: newest(record), ...PENDING };
  throw new ControlError('not_found', `Function not found: ${arn}:${version}`);
}

function versionOf(record: FunctionRecord, qualifier: string | null, arn: string): FunctionDescription['version'] {
  if (qualifier === null || qualifier === LATEST) return LATEST;
  if (/^\d+$/.test(qualifier)) return Number(qualifier);
  if (record.aliases.some(({ name }) => name === qualifier)) return aliasOf(record, qualifier, arn).version;
  throw new ControlError('not_found', `Function not found: ${arn}:${qualifier}`);
}

function stateOf({ latest, wanted }: FunctionRecord, registered: RegisteredFunction | undefined): States {
  if (latest === null) return wanted?.update.status === 'Failed' ? failed(wanted.update.reason) : PENDING;
  // After a restart what answered may not do so any more.
  const isLost = registered?.state === 'Failed';
  const state = isLost ? failed(invalid(registered.problems)) : ACTIVE;
  if (wanted === null) return state;
  const { update } = wanted;
  return {
    ...state,
    lastUpdateStatus: update.status,
    lastUpdateReason: update.status === 'Failed' ? update.reason : CREATING,
  };
}

function failed(reason: Reason): States {
  return { state: 'Failed', stateReason: reason, lastUpdateStatus: 'Failed', lastUpdateReason: reason };
}

function invalid(problems: readonly string[]): Reason {
  return { message: problems.join('; '), code: 'InvalidConfiguration' };
}
