/** Runs in snapctr. What provisioned and reserved concurrency make of a function's record, and whether there is room for it. */
import { LATEST } from '../protocol/arn.ts';
import type { FunctionVersion } from '../registry/function-version.ts';
import { provisionableMib, sharesOf } from '../registry/provisioning.ts';
import { newest, type FunctionRecord } from '../registry/records.ts';
import { checkQualifier } from './alias-changes.ts';
import { without } from './changes.ts';
import { ControlError } from './control-error.ts';

/**
 * @param qualifier a number or an alias.
 * @throws ControlError
 */
export function provisioned(record: FunctionRecord, qualifier: string, requested: number, arn: string): FunctionRecord {
  checkQualifier(record, qualifier, arn);
  const alias = record.aliases.find(({ name }) => name === qualifier);
  if (qualifier === LATEST || alias?.version === LATEST) {
    throw new ControlError(
      'invalid',
      'Provisioned Concurrency Configs cannot be applied to unpublished function versions.',
    );
  }
  if (newest(record).settings.tenantIsolation !== undefined) {
    throw new ControlError('invalid', 'Provisioned Concurrency is not supported for functions with tenant isolation.');
  }
  // An alias that is there already may be given weights: its VMs go with its requests.
  if (alias !== undefined && alias.routing !== null) {
    throw new ControlError('invalid', 'Alias with weights can not be used with Provisioned Concurrency');
  }
  const entry = { requested, modified: new Date().toISOString() };
  const after = { ...record, provisioned: { ...record.provisioned, [qualifier]: entry } };
  if (record.reservedConcurrency !== null && requestedOf(after) > record.reservedConcurrency) {
    const what =
      'Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function';
    const numbers = `${requestedOf(after)} with all qualifiers, ${record.reservedConcurrency} are reserved`;
    throw new ControlError('invalid', `${what}: ${numbers}`);
  }
  return after;
}

export function unprovisioned(record: FunctionRecord, qualifier: string): FunctionRecord {
  return { ...record, provisioned: without(record.provisioned, qualifier) };
}

/** @param most VMs at once; null: as many as memory allows. @throws ControlError */
export function reserved(record: FunctionRecord, most: number | null): FunctionRecord {
  if (most !== null && most < requestedOf(record)) {
    const what =
      "ReservedConcurrentExecutions for function should not be lower than function's total provisioned concurrency";
    throw new ControlError('invalid', `${what} [${requestedOf(record)}].`);
  }
  return { ...record, reservedConcurrency: most };
}

/** VMs that are kept ready, by qualifier. */
export function requestedByQualifier({ provisioned: entries }: FunctionRecord): ReadonlyMap<string, number> {
  return new Map(Object.entries(entries).map(([qualifier, { requested }]) => [qualifier, requested]));
}

export interface RoomQuestion {
  readonly before: FunctionRecord;
  readonly after: FunctionRecord;
  readonly others: Iterable<FunctionRecord>;
  /** All that answer, of all functions. */
  readonly versions: Iterable<FunctionVersion>;
  /** Of all VMs together. */
  readonly memoryMib: number;
}

/**
 * What is kept of memory must leave a part of it to others, and room for a VM of each other size: no function is shut out by
 * another one's promises.
 *
 * @throws ControlError `invalid`; never for asking for less than before.
 */
export function checkRoom({ before, after, others, versions, memoryMib }: RoomQuestion): void {
  const askedMib = provisionedMib(after);
  if (askedMib <= provisionedMib(before)) return;
  let othersMib = 0;
  for (const other of others) othersMib += provisionedMib(other);
  let largest: FunctionVersion | null = null;
  for (const version of versions) {
    if (version.memoryMib <= memoryMib && version.memoryMib > (largest?.memoryMib ?? 0)) largest = version;
  }
  const mostMib = Math.min(provisionableMib(memoryMib), memoryMib - (largest?.memoryMib ?? 0));
  if (askedMib + othersMib <= mostMib) return;
  const beside = othersMib === 0 ? '' : ` beside the ${othersMib} MB of other functions`;
  const rest = memoryMib - mostMib;
  const why =
    largest !== null && rest === largest.memoryMib
      ? `${rest} MB are left for a VM of ${largest.name}`
      : `${rest} MB, a tenth, are left to what is not provisioned`;
  throw new ControlError(
    'invalid',
    `Provisioned concurrency of ${after.name} takes ${askedMib} MB${beside}: ${mostMib} MB of ${memoryMib} MB may be ` +
      `provisioned, ${why}. Ask for fewer, or give the controller more with --mem.`,
  );
}

function requestedOf({ provisioned }: FunctionRecord): number {
  return Object.values(provisioned).reduce((sum, { requested }) => sum + requested, 0);
}

/** Memory of all VMs that are to be kept of a function. */
function provisionedMib({ provisioned, aliases, published }: FunctionRecord): number {
  let mib = 0;
  for (const [qualifier, { requested }] of Object.entries(provisioned)) {
    for (const { version, count } of sharesOf(qualifier, requested, aliases)) {
      const record = published.find(({ number }) => String(number) === version);
      mib += count * (record?.settings.memoryMib ?? 0);
    }
  }
  return mib;
}
