/** Runs in `snapctr doctor`. Where snapshots are kept: can it be written, does it hold them, and what do they cost there. */
import { ok, problem, skipped, warning, type Check } from '../check.ts';
import { examineFileSystem, nearestExisting } from './file-system.ts';

/** A layer and the memory that is put together from it, for each function, in MiB; see docs/limitations.md. */
const MIB_PER_FUNCTION = 110;
/** For each base layer, one a runtime. */
const MIB_PER_BASE = 100;
const BASES = 2;

export const snapshotDirectoryCheck: Check = {
  name: 'snapshot-directory',
  run({ subject: { snapshotDirectory, functionCount } }) {
    if (snapshotDirectory === null) return skipped('the configuration does not tell');
    const directory = nearestExisting(snapshotDirectory);
    const { name, isInMemory, isOnNetwork, freeMib, hasReflinks, unwritable } = examineFileSystem(directory);
    const isThere = directory === snapshotDirectory;
    if (unwritable !== null) {
      const remedy = `give this user a snapshot_dir that it can write to: chown ${directory}, or name another one`;
      return isThere
        ? warning(
            `${directory} cannot be written (${unwritable}): layers that are there are used, others not made`,
            remedy,
          )
        : problem(`${snapshotDirectory} does not exist and cannot be made (${unwritable})`, remedy);
    }
    const reflinks =
      hasReflinks === true ? 'copies share blocks (reflinks)' : 'copies take space of their own (no reflinks)';
    const detail = `${snapshotDirectory}${isThere ? '' : ' (will be made)'}: ${name}, ${freeMib} MiB free, ${reflinks}`;
    const neededMib = functionCount * MIB_PER_FUNCTION + BASES * MIB_PER_BASE;
    if (freeMib < neededMib) {
      return warning(
        `${detail}; ${functionCount} functions need about ${neededMib} MiB`,
        'make room (snapctr snapshots prune), or name another snapshot_dir',
      );
    }
    if (isInMemory)
      return warning(`${detail}; snapshots take memory of the host there`, 'name a snapshot_dir on a disk');
    if (isOnNetwork)
      return warning(`${detail}; VMs read their memory over the network`, 'name a snapshot_dir on a local disk');
    return ok(detail);
  },
};
