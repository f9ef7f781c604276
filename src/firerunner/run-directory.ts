/**
 * Runs in firerunner. Where a firerunner keeps the sockets of its VMs:
 *
 * ```
 *   BASE/snapfaas-PID-STARTTIME/       one per firerunner; BASE is $SNAPFAAS_RUN_DIR or /tmp/snapfaas-UID
 *   BASE/snapfaas-PID-STARTTIME/VM/    one per VM: its sockets
 * ```
 *
 * A directory outlives no firerunner: it is removed on exit; if firerunner is killed, its janitor removes it; if the
 * host lost power, the next firerunner does, because the name tells that the process is gone. Nothing else in BASE is touched.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { messageOf } from '../protocol/errors.ts';
import { codeOf } from '../storage/error-code.ts';
import { checkOwnDirectory, DirectoryError } from '../storage/make-directory.ts';
import { OwnedNames } from '../storage/owned-names.ts';
import { startJanitor } from './janitor.ts';

/** Longest path of a unix socket on Linux, without the terminating zero, in bytes. */
export const MAX_SOCKET_PATH_BYTES = 107;
/** Longest name this program puts below its run directory: `/vm-NUMBER/function.sock`. */
const LONGEST_NAME_BYTES = '/vm-1234567890/function.sock'.length;

const HELP = 'set SNAPFAAS_RUN_DIR to a directory of your own';

const RUN_DIRECTORIES = new OwnedNames('snapfaas-');

/** The base directory cannot be used; the message says what to change. */
export class RunDirectoryError extends Error {
  override readonly name = 'RunDirectoryError';
}

export interface RunDirectory {
  readonly path: string;
  /** A directory for one VM. On a disk it may have to wait for the journal, which must not be in anybody else's way. */
  create(vm: string): Promise<string>;
  remove(vm: string): Promise<void>;
  /** Removes everything and stands the janitor down. */
  close(): void;
}

/**
 * Makes the run directory of this process, removes those of firerunners that are gone, and starts the janitor.
 *
 * @throws RunDirectoryError if the base path cannot be made, is too long for unix sockets or not ours alone.
 */
export async function openRunDirectory(env: NodeJS.ProcessEnv = process.env): Promise<RunDirectory> {
  const base = env['SNAPFAAS_RUN_DIR'] ?? join(tmpdir(), `snapfaas-${process.geteuid?.() ?? 0}`);
  const path = join(base, await RUN_DIRECTORIES.make());
  const needed = Buffer.byteLength(path) + LONGEST_NAME_BYTES;
  if (needed > MAX_SOCKET_PATH_BYTES) {
    throw new RunDirectoryError(
      `the run directory ${path} is too long: its sockets would have paths of ${needed} bytes, ` +
        `${MAX_SOCKET_PATH_BYTES} are possible; set SNAPFAAS_RUN_DIR to a shorter directory`,
    );
  }
  await makeBase(base);
  await RUN_DIRECTORIES.removeAbandoned(base);
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    throw new RunDirectoryError(`the run directory ${path} cannot be made: ${messageOf(error)}; ${HELP}`);
  }
  const standDown = startJanitor('snapfaas-janitor', 'rm -rf -- "$1"', [path]);
  return {
    path,
    async create(vm) {
      const directory = join(path, vm);
      await mkdir(directory, { mode: 0o700 });
      return directory;
    },
    remove: (vm) => rm(join(path, vm), { recursive: true, force: true }),
    close() {
      rmSync(path, { recursive: true, force: true });
      standDown();
    },
  };
}

/** Not the directories above it: one that is not there was named by mistake. */
async function makeBase(base: string): Promise<void> {
  try {
    mkdirSync(base, { mode: 0o700 });
  } catch (error) {
    const code = codeOf(error);
    if (code !== 'EEXIST') {
      const why = code === 'ENOENT' ? `there is no ${dirname(base)}` : messageOf(error);
      throw new RunDirectoryError(`the run directory ${base} cannot be made: ${why}; ${HELP}`);
    }
  }
  await checkOwnDirectory(base, HELP).catch((error: unknown) => {
    if (error instanceof DirectoryError) throw new RunDirectoryError(`the run directory ${error.message}`);
    throw error;
  });
}
