/**
 * Runs in firerunner. Homes that are jails: Firecracker's jailer runs each VMM in a root directory of its own, as a user of
 * its own, in a cgroup of its own.
 *
 * ```
 *   CHROOT_BASE/snapfaas/         0700: ours
 *     uids/UID-OWNER              users that are taken (uid-pool.ts)
 *     files/                      what jails have links to: memory of snapshots, and images that cannot be linked
 *   CHROOT_BASE/firecracker/ID/   ID: OWNER-NUMBER, OWNER the firerunner
 *     pid                         of the VMM, for whoever has to clean up after us
 *     root/                       the VMM's root directory and home: its own, but for the links in it
 * ```
 */
import { constants } from 'node:fs';
import { chown, copyFile, link, mkdir, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ourselves, ownerTag } from '../../storage/owner.ts';
import type { JailerSettings } from '../../protocol/runner.ts';
import { HostError, type SavedFile } from '../drivers/driver.ts';
import { copyPrivate, removePrivateLeftovers } from '../snapshots/private-file.ts';
import { fileIdentity } from '../snapshots/stamps.ts';
import { hasCode } from '../snapshots/store-error.ts';
import { cgroupPlan, type CgroupPlan } from './cgroups.ts';
import { firecrackerArguments, type VmmHome, type VmmHomes } from './home.ts';
import { jailsDirectory, type FirecrackerInstallation } from './installation.ts';
import { removeAbandonedJails, startJailJanitor } from './jail-janitor.ts';
import { UidPool, type UidLease } from './uid-pool.ts';

/** Longest path of a unix socket on Linux, without the terminating zero, in bytes. */
const MAX_SOCKET_PATH_BYTES = 107;
/** Room for the number of a VM of one firerunner. */
const LONGEST_SOCKET_NAME = '-1234567/root/api.sock';
/** Whoever reads a file through a link in a jail is none of its owner's group. */
const READABLE_BY_OTHERS = 0o004;

export interface JailOptions {
  readonly settings: JailerSettings;
  readonly installation: FirecrackerInstallation & { readonly jailerPath: string };
  /** Called once for each file that must be copied for jails to have links to it, with the reason. */
  readonly onCopy: (note: string) => void;
}

export class Jails implements VmmHomes {
  readonly filesDirectory: string;
  readonly #options: JailOptions;
  readonly #directory: string;
  readonly #owner: string;
  readonly #uids: UidPool;
  readonly #cgroups: CgroupPlan | null;
  readonly #dismissJanitor: () => void;
  /** Copies of files that jails cannot have links to, by path and identity. */
  readonly #copies = new Map<string, Promise<string>>();
  #made = 0;

  private constructor(options: JailOptions, owner: string, uids: UidPool, cgroups: CgroupPlan | null) {
    const { settings, installation } = options;
    this.filesDirectory = join(ownDirectory(settings), 'files');
    this.#options = options;
    this.#directory = jailsDirectory(settings, installation.path);
    this.#owner = owner;
    this.#uids = uids;
    this.#cgroups = cgroups;
    this.#dismissJanitor = startJailJanitor({
      jails: this.#directory,
      uids: uids.directory,
      files: this.filesDirectory,
      cgroups: cgroups?.parents ?? [],
      owner,
    });
  }

  /**
   * Prepares the chroot base, and removes what firerunners that are gone have left in it.
   *
   * @throws HostError that says what is needed: root, a short path, cgroups.
   */
  static async open(options: JailOptions): Promise<Jails> {
    const { settings, installation } = options;
    if (process.getuid?.() !== 0) {
      throw new HostError(
        `the jailer needs root: it makes ${settings.chrootBase}, device nodes, cgroups and changes the user; run snapctr as ` +
          'root, or leave `jailer` out of the configuration',
      );
    }
    const owner = ownerTag(await ourselves());
    const jails = jailsDirectory(settings, installation.path);
    const longest = Buffer.byteLength(join(jails, owner) + LONGEST_SOCKET_NAME);
    if (longest > MAX_SOCKET_PATH_BYTES) {
      throw new HostError(
        `\`chroot_base\` ${settings.chrootBase} is too long: sockets in its jails would have paths of ${longest} bytes, ` +
          `${MAX_SOCKET_PATH_BYTES} are possible; use a shorter directory`,
      );
    }
    const own = ownDirectory(settings);
    for (const directory of [own, join(own, 'uids'), join(own, 'files')]) await makeDirectory(directory, 0o700);
    await makeDirectory(jails, 0o755);
    const cgroups = await cgroupPlan(settings.cgroup);
    const uids = new UidPool(join(own, 'uids'), settings.firstUid, settings.uidCount);
    await removeAbandonedJails(jails, cgroups);
    await uids.removeLeftovers();
    await removePrivateLeftovers(join(own, 'files'));
    return new Jails(options, owner, uids, cgroups);
  }

  async make(): Promise<VmmHome> {
    const lease = await this.#uids.take();
    const id = `${this.#owner}-${++this.#made}`;
    const jail = join(this.#directory, id);
    const path = join(jail, 'root');
    try {
      await mkdir(jail, { mode: 0o755 });
      await mkdir(path, { mode: 0o700 });
      const owner = { uid: lease.uid, gid: this.#options.settings.gid ?? lease.uid };
      return {
        id,
        path,
        command: this.#command(id, owner),
        onStarted: (pid) => void writeFile(join(jail, 'pid'), String(pid)).catch(() => undefined),
        lend: (name, source) => this.#lend(source, join(path, name)),
        lendToWrite: (name, target) => lendToWrite(target, join(path, name), owner),
        takeBack: (name, target) => takeBack(join(path, name), target),
        remove: () => this.#remove(jail, id, lease),
      };
    } catch (error) {
      await this.#remove(jail, id, lease);
      throw new HostError(`a jail cannot be made: ${error instanceof Error ? error.message : String(error)}`, {
        cause: error,
      });
    }
  }

  async close(): Promise<void> {
    const copies = await Promise.allSettled(this.#copies.values());
    for (const copy of copies) if (copy.status === 'fulfilled') await rm(copy.value, { force: true });
    await this.#uids.close();
    await this.#cgroups?.close();
    this.#dismissJanitor();
  }

  #command(id: string, { uid, gid }: JailOwner): VmmHome['command'] {
    const { settings, installation } = this.#options;
    return [
      installation.jailerPath,
      ...jailerArguments({ id, uid, gid, settings, firecracker: installation.path, cgroups: this.#cgroups }),
    ];
  }

  /** The VMM may read what it has a link to, and no more: the file stays ours. */
  async #lend(source: string | SavedFile, target: string): Promise<void> {
    const named = typeof source === 'string' ? source : source.path;
    if (named === null) throw new HostError('a file without a name cannot be lent to a jail');
    const path = await realpath(named);
    const { mode } = await stat(path);
    const isReadable = (mode & READABLE_BY_OTHERS) !== 0;
    if (isReadable && (await tryLink(path, target))) return;
    const why = isReadable
      ? 'it is not on the file system of `chroot_base`, so it cannot be linked'
      : 'other users may not read it';
    await link(await this.#copyOf(path, why), target);
  }

  async #copyOf(path: string, why: string): Promise<string> {
    const key = `${path} ${fileIdentity(path)}`;
    let copy = this.#copies.get(key);
    if (copy === undefined) {
      this.#options.onCopy(`${path} is copied to ${this.filesDirectory}, for jails to have links to it: ${why}`);
      copy = copyPrivate(this.filesDirectory, path);
      copy.catch(() => this.#copies.delete(key));
      this.#copies.set(key, copy);
    }
    return copy;
  }

  async #remove(jail: string, id: string, lease: UidLease): Promise<void> {
    await rm(jail, { recursive: true, force: true }).catch(() => undefined);
    await this.#cgroups?.remove(id);
    await lease.release();
  }
}

interface JailOwner {
  readonly uid: number;
  readonly gid: number;
}

/** The jailer's command line. Source: Firecracker, docs/jailer.md. */
export function jailerArguments(options: {
  readonly id: string;
  readonly uid: number;
  readonly gid: number;
  readonly settings: JailerSettings;
  readonly firecracker: string;
  readonly cgroups: CgroupPlan | null;
}): readonly string[] {
  const { id, uid, gid, settings, firecracker, cgroups } = options;
  return [
    ...['--id', id, '--exec-file', firecracker, '--uid', String(uid), '--gid', String(gid)],
    ...['--chroot-base-dir', settings.chrootBase],
    ...(cgroups?.jailerArguments ?? []),
    '--',
    ...firecrackerArguments(),
  ];
}

function ownDirectory({ chrootBase }: JailerSettings): string {
  return join(chrootBase, 'snapfaas');
}

async function makeDirectory(path: string, mode: number): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new HostError(`the chroot base cannot be used: ${why}; name another one with \`chroot_base\``, { cause });
  }
}

/** @returns false where a link is not possible, but a copy is. */
async function tryLink(source: string, target: string): Promise<boolean> {
  try {
    await link(source, target);
    return true;
  } catch (error) {
    if (hasCode(error, 'EXDEV', 'EPERM', 'EMLINK', 'EOPNOTSUPP')) return false;
    throw error;
  }
}

/** A file of ours that the VMM may change meanwhile; one that is not there yet is made by the VMM. */
async function lendToWrite(source: string, target: string, { uid, gid }: JailOwner): Promise<void> {
  const exists = await stat(source).then(
    () => true,
    () => false,
  );
  if (!exists) return;
  if (!(await tryLink(source, target))) await copyFile(source, target, constants.COPYFILE_FICLONE);
  await chown(target, uid, gid);
}

async function takeBack(source: string, target: string): Promise<void> {
  await chown(source, process.getuid?.() ?? 0, process.getgid?.() ?? 0);
  try {
    // Without effect if the two are links to one file.
    await rename(source, target);
  } catch (error) {
    if (!hasCode(error, 'EXDEV')) throw error;
    await copyFile(source, target);
  }
}
