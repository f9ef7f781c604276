/** Runs in snapctr. Provisioned concurrency as it is asked for: of which versions VMs are kept ready, and in how much memory. */
import { SMALLEST_VM_MIB } from '../protocol/vmms.ts';
import type { AliasRecord } from './records.ts';

/** So many VMs of a version. */
export interface VersionShare {
  /** Its number, as text. */
  readonly version: string;
  readonly count: number;
}

/** What has become of a configuration. */
export interface ProvisionedState {
  /** VMs that there are for it, ready or not, and those that are ready; neither is more than was asked for. */
  readonly allocated: number;
  readonly available: number;
  /** Why it does not get all of them, and what to change; null: it gets them, or has them. */
  readonly problem: string | null;
}

/** What a qualifier leads to: an alias that takes requests to two versions has VMs of both, by weight. */
export function sharesOf(
  qualifier: string,
  requested: number,
  aliases: readonly Pick<AliasRecord, 'name' | 'version' | 'routing'>[],
): readonly VersionShare[] {
  const alias = aliases.find(({ name }) => name === qualifier);
  if (alias === undefined) return [{ version: qualifier, count: requested }];
  const { version, routing } = alias;
  const others = routing === null ? 0 : Math.round(requested * routing.weight);
  const shares = [{ version: String(version), count: requested - others }];
  if (routing !== null) shares.push({ version: String(routing.version), count: others });
  return shares.filter(({ count }) => count > 0);
}

/**
 * How much of the memory for VMs may be provisioned, in MiB: a tenth is left to requests that come as they come, as on AWS, and
 * at least the smallest VM.
 */
export function provisionableMib(memoryMib: number): number {
  return Math.max(0, memoryMib - Math.max(Math.ceil(memoryMib / 10), SMALLEST_VM_MIB));
}
