/** Runs in firerunner. Flags of the original's firerunner that are accepted and do nothing, each with the reason. */

const MAPPED = 'the memory of a snapshot is always mapped, never copied: Firecracker and QEMU page it in by themselves';
const CACHED = 'files are read through the page cache, which all VMs of a host share; today’s VMMs offer no O_DIRECT';
const WORKING_SET = 'the working set is recorded and read ahead by itself under QEMU; under Firecracker it is not';

export const ORIGINAL_FLAGS = {
  copy_base: MAPPED,
  copy_diff: MAPPED,
  odirect_base: CACHED,
  no_odirect_diff: CACHED,
  no_odirect_root: CACHED,
  no_odirect_app: CACHED,
  dump_ws: WORKING_SET,
  load_ws: WORKING_SET,
  cid: 'each VM has a socket of its own on the host, so all guests have the same CID',
} as const;

export type OriginalFlag = keyof typeof ORIGINAL_FLAGS;

/** Those of them that take a value. */
export const ORIGINAL_FLAGS_WITH_VALUE: readonly OriginalFlag[] = ['cid'];

/** A note for each such flag that was given. */
export function originalFlagNotes(flags: Readonly<Partial<Record<OriginalFlag, unknown>>>): readonly string[] {
  return (Object.keys(ORIGINAL_FLAGS) as OriginalFlag[])
    .filter((flag) => flags[flag] !== undefined)
    .map((flag) => `--${flag} has no effect: ${ORIGINAL_FLAGS[flag]}`);
}
