/** Runs in firerunner. What an administrator can help: no space, no rights, no directory. */
import { messageOf } from '../../protocol/errors.ts';
import { systemCodeOf } from '../../storage/error-code.ts';
import { DirectoryError } from '../../storage/make-directory.ts';

/** The setting that names the store. */
const SNAPSHOT_DIR = 'snapshot_dir';

/** The store cannot be read or written; the message says what happened where, and what to do. */
export class SnapshotStoreError extends Error {
  override readonly name = 'SnapshotStoreError';
  /** As the operating system calls it, such as `ENOSPC`. */
  readonly code: string;

  private constructor(message: string, code: string, cause: unknown) {
    super(message, { cause });
    this.code = code;
  }

  /**
   * @param action what could not be done to `path`, such as "write".
   * @param setting names the directory, for whoever has to set another one.
   */
  static from(error: unknown, action: string, path: string, setting: string = SNAPSHOT_DIR): SnapshotStoreError {
    const code = systemCodeOf(error) ?? 'unknown';
    const reason = messageOf(error);
    const advice = ADVICE.find(({ codes }) => codes.includes(code));
    const help = (advice?.help ?? 'set another snapshot_dir').replaceAll(SNAPSHOT_DIR, setting);
    const message = `cannot ${action} ${path}: ${advice?.problem ?? reason}; ${help}`;
    return new SnapshotStoreError(message, code, error);
  }
}

const ADVICE: readonly { readonly codes: readonly string[]; readonly problem: string; readonly help: string }[] = [
  {
    codes: ['ENOSPC', 'EDQUOT'],
    problem: 'no space is left',
    help: 'free space there, or set snapshot_dir to a directory on another file system',
  },
  {
    codes: ['EROFS'],
    problem: 'the file system is read-only',
    help: 'set snapshot_dir to a directory that can be written to',
  },
  {
    codes: ['EACCES', 'EPERM'],
    problem: 'permission denied',
    help: 'give this user the rights to it, or set snapshot_dir to a directory of its own',
  },
  {
    codes: ['EEXIST'],
    problem: 'there is a file in its place',
    help: 'remove it, or set snapshot_dir to a directory',
  },
  {
    codes: ['ENOTDIR'],
    problem: 'a part of the path is a file, not a directory',
    help: 'set snapshot_dir to a directory',
  },
  {
    codes: ['EMFILE', 'ENFILE'],
    problem: 'too many files are open',
    help: 'raise the limit of open files (ulimit -n)',
  },
  { codes: ['ENOMEM'], problem: 'no memory is left', help: 'give the host more memory, or start fewer VMs' },
];

/** Does `work`; errors of the operating system and of directories come out as SnapshotStoreError, all others as they are. */
export async function storing<T>(action: string, path: string, work: () => Promise<T>, setting?: string): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof SnapshotStoreError) throw error;
    if (systemCodeOf(error) === undefined && !(error instanceof DirectoryError)) throw error;
    throw SnapshotStoreError.from(error, action, path, setting);
  }
}
