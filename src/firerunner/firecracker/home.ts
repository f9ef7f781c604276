/**
 * Runs in firerunner. The directory that a Firecracker process runs in and finds its files in. All its paths are relative to
 * it (`HOME_FILES`), with or without a jail.
 */
import { mkdir, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { SavedFile } from '../drivers/driver.ts';
import { HOME_FILES } from './bodies.ts';
import type { FirecrackerInstallation } from './installation.ts';

export interface VmmHome {
  /** Unique among all processes of this host; letters, digits and `-`. */
  readonly id: string;
  /** As the host sees it. */
  readonly path: string;
  /** What starts Firecracker in it. */
  readonly command: readonly [program: string, ...args: string[]];
  /** Called with the process that was started. */
  onStarted(pid: number): void;
  /** Lets the VMM read a file under this name. @throws LaunchError, or the file system's error. */
  lend(name: string, source: string | SavedFile): Promise<void>;
  /** Lets the VMM write the file at `path`, which need not exist, under this name. */
  lendToWrite(name: string, path: string): Promise<void>;
  /** Takes back what `lendToWrite` lent: it is at `path`, and ours. */
  takeBack(name: string, path: string): Promise<void>;
  /** After the end of the process. Never rejects. */
  remove(): Promise<void>;
}

/** Makes homes of one kind. */
export interface VmmHomes {
  /** See `SnapshotSupport.filesDirectory`. */
  readonly filesDirectory: string | null;
  /** @throws LaunchError */
  make(): Promise<VmmHome>;
  close(): Promise<void>;
}

/** What Firecracker is told of itself in either kind of home. Relative to where it starts. */
export function firecrackerArguments(): readonly string[] {
  return ['--api-sock', HOME_FILES.apiSocket, '--level', 'Warning'];
}

/** Plain directories below firerunner's own: files are lent by symbolic links. */
export class OpenHomes implements VmmHomes {
  readonly filesDirectory = null;
  readonly #installation: FirecrackerInstallation;
  readonly #directory: string;
  #made = 0;

  /** @param directory firerunner's run directory. */
  constructor(installation: FirecrackerInstallation, directory: string) {
    this.#installation = installation;
    this.#directory = directory;
  }

  async make(): Promise<VmmHome> {
    const id = `fc-${++this.#made}`;
    // A name that no VM can have, whatever a person calls it (`firerunner --id`).
    const path = join(this.#directory, `fc.${this.#made}`);
    await mkdir(path, { mode: 0o700 });
    return {
      id,
      path,
      command: [this.#installation.path, ...firecrackerArguments(), '--id', id],
      onStarted: () => undefined,
      // Our descriptor leads to a file that has no name.
      lend: (name, source) =>
        symlink(typeof source === 'string' ? source : `/proc/${process.pid}/fd/${source.fd}`, join(path, name)),
      lendToWrite: (name, target) => symlink(target, join(path, name)),
      takeBack: () => Promise.resolve(),
      remove: () => rm(path, { recursive: true, force: true }).catch(() => undefined),
    };
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
