/** Runs in snapctr. The directory that has all that was made over the API, for one snapctr at a time. */
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { PackageStore } from '../packages/store.ts';
import { openRecordFiles, RecordStoreError } from '../registry/record-files.ts';
import type { RecordStore } from '../registry/record-store.ts';
import { withFreeLock } from '../storage/lock.ts';
import { makeWritableDirectory } from '../storage/make-directory.ts';

/** AWS's limit on a package that is sent to it. */
const MAX_PACKAGE_BYTES = 50 * 1024 * 1024;
/** AWS's limit on all packages of an account. */
const QUOTA_BYTES = 75 * 1024 * 1024 * 1024;
const HELP = 'name another one with --data-dir';

export interface DataDirectory {
  /** All of it. */
  readonly directory: string;
  readonly records: RecordStore;
  readonly packages: PackageStore;
  /** Where the logs of functions are. */
  readonly logs: string;
  /** Where events are that were accepted, and what destinations have written. */
  readonly events: string;
  readonly destinations: string;
  /** Another snapctr may have it then. */
  close(): Promise<void>;
}

/** `$XDG_DATA_HOME/snapfaas`, by default `~/.local/share/snapfaas`. */
export function defaultDataDirectory(): string {
  const base = process.env['XDG_DATA_HOME'];
  return join(base !== undefined && base.startsWith('/') ? base : join(homedir(), '.local', 'share'), 'snapfaas');
}

/** @throws RecordStoreError if another snapctr has it, or it is of a newer one; DirectoryError; NodeJS.ErrnoException */
export async function openDataDirectory(path: string): Promise<DataDirectory> {
  const directory = resolve(path);
  await makeWritableDirectory(directory, HELP);
  const release = await hold(join(directory, 'lock'), directory);
  try {
    const records = await openRecordFiles(directory);
    const limits = { maxBytes: MAX_PACKAGE_BYTES, quotaBytes: QUOTA_BYTES };
    const packages = await PackageStore.open(join(directory, 'packages'), limits);
    return {
      records,
      packages,
      directory,
      logs: join(directory, 'logs'),
      events: join(directory, 'events'),
      destinations: join(directory, 'destinations'),
      close: release,
    };
  } catch (error) {
    await release();
    throw error;
  }
}

/** @returns what gives the lock back. */
function hold(lock: string, directory: string): Promise<() => Promise<void>> {
  return new Promise((resolveHeld, rejectHeld) => {
    const held = withFreeLock(
      lock,
      () =>
        new Promise<void>((end) => {
          resolveHeld(async () => {
            end();
            await held;
          });
        }),
    );
    held.then((hasRun) => {
      if (!hasRun) rejectHeld(new RecordStoreError(`${directory} is used by another snapctr; ${HELP}`));
    }, rejectHeld);
  });
}
