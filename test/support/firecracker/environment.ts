/**
 * Runs in the fake Firecracker and the fake jailer. What they are told by environment variables:
 *
 * - `FAKE_FIRECRACKER_FAULT`: what is to go wrong; JSON, see `faults.ts`.
 * - `FAKE_FIRECRACKER_JOURNAL`: a file to which every process appends what happened, see `journal.ts`.
 * - `FAKE_FIRECRACKER_TAP_LOCKS`: the directory of the locks on TAP devices; all fakes of a host should share one.
 *
 * Set by the installed scripts and by the fake jailer, not by tests:
 *
 * - `FAKE_FIRECRACKER_HOME`: the directory with the bundle, the API description and the guest's runtimes.
 * - `FAKE_FIRECRACKER_VERSION`: the version that is played, such as "1.16.1".
 * - `FAKE_FIRECRACKER_JAIL`: the root of the jail; all paths are taken to be inside it, see `jail-paths.ts`.
 */
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Environment {
  readonly home: string;
  readonly version: string;
  readonly jail: string | null;
  readonly fault: string | null;
  readonly journal: string | null;
  readonly tapLocks: string;
}

/** @throws Error if the fake was not started by an installed script. */
export function readEnvironment(variables: NodeJS.ProcessEnv): Environment {
  const home = variables['FAKE_FIRECRACKER_HOME'];
  const version = variables['FAKE_FIRECRACKER_VERSION'];
  if (home === undefined || version === undefined) {
    throw new Error(
      'FAKE_FIRECRACKER_HOME and _VERSION are missing: start the script that installFakeFirecracker wrote',
    );
  }
  return {
    home,
    version,
    jail: variables['FAKE_FIRECRACKER_JAIL'] ?? null,
    fault: variables['FAKE_FIRECRACKER_FAULT'] ?? null,
    journal: variables['FAKE_FIRECRACKER_JOURNAL'] ?? null,
    tapLocks: variables['FAKE_FIRECRACKER_TAP_LOCKS'] ?? join(tmpdir(), 'fake-firecracker-taps'),
  };
}

/** Major number of the snapshot format by Firecracker's minor version; a binary loads its own only. */
const SNAPSHOT_MAJORS: Readonly<Record<number, number>> = { 12: 6, 13: 8, 14: 8, 15: 9, 16: 10 };

/** Such as "10.0.0". Versions before 1.12 share a number that no later one reads. */
export function snapshotFormat(version: string): string {
  return `${SNAPSHOT_MAJORS[minorOf(version)] ?? 5}.0.0`;
}

/** 16 of "1.16.1". */
export function minorOf(version: string): number {
  return Number(version.split('.')[1]);
}
