/**
 * Runs in firerunner. The directory that a Firecracker process runs in and finds its files in. All its paths are relative to
 * it (`VMM_FILES`), with or without a jail.
 */
import { mkdir, open, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { SavedFile } from '../machine.ts';
import type { ApiAddress } from './api.ts';
import { VMM_FILES } from './bodies.ts';
import type { FirecrackerInstallation } from './installation.ts';

/** A file of ours that a VMM may write. */
export interface WritableLink {
  /** Resolves when the file is at its own path, ours again, and as the VMM has written it. */
  collect(): Promise<void>;
  /** Gives up what `collect` was not called for, once the VMM has ended. Never rejects. */
  drop(): Promise<void>;
}

export interface VmmDirectory {
  /** Unique among all processes of this host; letters, digits and `-`. */
  readonly id: string;
  /** As the host sees it. Whatever lies in it may be the VMM's doing. */
  readonly path: string;
  /** The user that the VMM runs as. */
  readonly ownerUid: number;
  /** What starts Firecracker in it. */
  readonly command: readonly [program: string, ...args: string[]];
  /** What the process is called, by whether its API has answered: until then it may still be what starts Firecracker. */
  programName(isUp: boolean): string;
  /** Called with the process that was started. */
  onStarted(pid: number): void;
  /** Lets the VMM read a file under this name. @throws LaunchError, or the file system's error. */
  link(name: string, source: string | SavedFile): Promise<void>;
  /** Lets the VMM write the file at `path`, which is made if it is not there, under this name. */
  linkWritable(name: string, path: string): Promise<WritableLink>;
  /** After the end of the process; drops what is linked. Never rejects. */
  remove(): Promise<void>;
}

/** Makes directories of one kind. */
export interface VmmDirectories {
  /** See `SnapshotSupport.filesDirectory`. */
  readonly filesDirectory: string | null;
  /** @throws LaunchError */
  make(): Promise<VmmDirectory>;
  close(): Promise<void>;
}

/** What Firecracker is told of itself in either kind of directory. Relative to where it starts. */
export function firecrackerArguments(): readonly string[] {
  return ['--api-sock', VMM_FILES.apiSocket, '--level', 'Warning'];
}

/** Where the API of the VMM in a directory is. */
export function apiOf({ path, ownerUid }: VmmDirectory): ApiAddress {
  return { socketPath: join(path, VMM_FILES.apiSocket), ownerUid };
}

/** Plain directories below firerunner's own: files are symbolic links. */
export class UnjailedDirectories implements VmmDirectories {
  readonly filesDirectory = null;
  readonly #installation: FirecrackerInstallation;
  readonly #directory: string;
  #made = 0;

  /** @param directory firerunner's run directory. */
  constructor(installation: FirecrackerInstallation, directory: string) {
    this.#installation = installation;
    this.#directory = directory;
  }

  async make(): Promise<VmmDirectory> {
    const id = `fc-${++this.#made}`;
    // A name that no VM can have, whatever a person calls it (`firerunner --id`).
    const path = join(this.#directory, `fc.${this.#made}`);
    await mkdir(path, { mode: 0o700 });
    return {
      id,
      path,
      ownerUid: process.getuid?.() ?? 0,
      command: [this.#installation.path, ...firecrackerArguments(), '--id', id],
      programName: () => this.#installation.path,
      onStarted: () => undefined,
      // Our descriptor leads to a file that has no name.
      link: (name, source) =>
        symlink(typeof source === 'string' ? source : `/proc/${process.pid}/fd/${source.fd}`, join(path, name)),
      async linkWritable(name, target) {
        // Firecracker would make it readable for others.
        await (await open(target, 'a', 0o600)).close();
        await symlink(target, join(path, name));
        return { collect: () => Promise.resolve(), drop: () => Promise.resolve() };
      },
      remove: () => rm(path, { recursive: true, force: true }).catch(() => undefined),
    };
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
