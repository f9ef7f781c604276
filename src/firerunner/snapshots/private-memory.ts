/** Runs in firerunner. Private files that hold what VMs map: where they are made, and what an administrator is told. */
import { chmod, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { hasCode } from '../../storage/error-code.ts';
import { closePrivate, createPrivate, type PrivateFile, type PrivatePlace } from '../../storage/private-file.ts';
import { SnapshotStoreError, storing } from './store-error.ts';

const ACTION = 'write the memory of VMs to';

/**
 * Makes a file and has `fill` write it.
 *
 * @param place nameless files go to the directory for temporary files if this one cannot be written to.
 * @throws SnapshotStoreError if it cannot be written, or whatever `fill` throws; nothing is left then.
 */
export async function openPrivate(
  place: PrivatePlace,
  fill: (file: FileHandle) => Promise<void>,
): Promise<PrivateFile> {
  let { directory } = place;
  let setting = place.isNamed ? 'chroot_base' : 'snapshot_dir';
  const file = await createPrivate(place).catch((error: unknown) => {
    const isElsewhere = !place.isNamed && hasCode(error, 'EACCES', 'EPERM', 'EROFS', 'ENOENT', 'ENOTDIR');
    if (!isElsewhere) throw SnapshotStoreError.from(error, ACTION, directory, setting);
    directory = tmpdir();
    setting = 'TMPDIR';
    return storing(ACTION, directory, () => createPrivate({ directory, isNamed: false }), setting);
  });
  try {
    await storing(ACTION, directory, () => fill(file.handle), setting);
    // A VM runs as another user than we do, and must not be able to write.
    if (file.path !== null) await chmod(file.path, 0o444);
    return file;
  } catch (error) {
    await closePrivate(file);
    throw error;
  }
}
