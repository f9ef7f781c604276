/**
 * Runs in firerunner. Directories that are jails: Firecracker's jailer runs each VMM in a root directory of its own, as a user of
 * its own, in a cgroup of its own.
 *
 * ```
 *   CHROOT_BASE/snapfaas/         0700: ours
 *     uids/UID-OWNER              users that are taken (uid-pool.ts)
 *     files/                      what jails have links to: memory of snapshots, and images that cannot be linked
 *   CHROOT_BASE/firecracker/ID/   ID: snapfaas-OWNER-NUMBER, OWNER the firerunner; others may have jails beside ours
 *     pid                         of the VMM, for whoever has to clean up after us
 *     root/                       the VMM's root directory: its own, but for the links in it
 * ```
 */
import { writeFileSync } from 'node:fs';
import { lstat, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../protocol/errors.ts';
import { makeDirectory } from '../../storage/make-directory.ts';
import { ourselves, ownerTag } from '../../storage/owner.ts';
import type { JailerSettings } from '../../protocol/vmm-settings.ts';
import { HostError } from '../machine.ts';
import { removePrivateLeftovers } from '../../storage/private-file.ts';
import { MAX_SOCKET_PATH_BYTES } from '../run-directory.ts';
import { cgroupPlan, type CgroupPlan } from './cgroups.ts';
import { firecrackerArguments, type VmmDirectory, type VmmDirectories, type WritableLink } from './vmm-directory.ts';
import { jailsDirectory, type FirecrackerInstallation } from './installation.ts';
import { JailFiles, type JailOwner } from './jail-files.ts';
import { jailIds, removeAbandonedJails, startJailJanitor } from './jail-janitor.ts';
import { removeJail } from './remove-jail.ts';
import { UidPool, type UidLease } from './uid-pool.ts';

/** Room for the number of a VM of one firerunner. */
const LONGEST_SOCKET_NAME = '1234567/root/api.sock';

export interface JailOptions {
  readonly settings: JailerSettings;
  readonly installation: FirecrackerInstallation & { readonly jailerPath: string };
  /** Tells the user what is odd: files that must be copied for jails to have links to them, jails that stay. */
  readonly say: (note: string) => void;
}

export class Jails implements VmmDirectories {
  readonly filesDirectory: string;
  readonly #options: JailOptions;
  readonly #directory: string;
  readonly #owner: string;
  readonly #uids: UidPool;
  readonly #cgroups: CgroupPlan | null;
  readonly #dismissJanitor: () => void;
  readonly #files: JailFiles;
  #made = 0;

  private constructor(options: JailOptions, owner: string, uids: UidPool, cgroups: CgroupPlan | null) {
    const { settings, installation } = options;
    this.filesDirectory = join(ownDirectory(settings), 'files');
    this.#options = options;
    this.#files = new JailFiles(this.filesDirectory, options.say);
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
    const longest = Buffer.byteLength(join(jails, jailIds(owner)) + LONGEST_SOCKET_NAME);
    if (longest > MAX_SOCKET_PATH_BYTES) {
      throw new HostError(
        `\`chroot_base\` ${settings.chrootBase} is too long: sockets in its jails would have paths of ${longest} bytes, ` +
          `${MAX_SOCKET_PATH_BYTES} are possible; use a shorter directory`,
      );
    }
    const own = ownDirectory(settings);
    for (const directory of [own, join(own, 'uids'), join(own, 'files')]) await makeUsable(directory, 0o700);
    await makeUsable(jails, 0o755);
    const cgroups = await cgroupPlan(settings.cgroup);
    const uids = new UidPool(join(own, 'uids'), settings.firstUid, settings.uidCount);
    await removeAbandonedJails(jails, cgroups);
    await uids.removeLeftovers();
    await removePrivateLeftovers(join(own, 'files'));
    return new Jails(options, owner, uids, cgroups);
  }

  async make(): Promise<VmmDirectory> {
    const lease = await this.#uids.take();
    const id = `${jailIds(this.#owner)}${++this.#made}`;
    const jail = join(this.#directory, id);
    const path = join(jail, 'root');
    try {
      await mkdir(jail, { mode: 0o755 });
      await mkdir(path, { mode: 0o700 });
      const owner = { uid: lease.uid, gid: this.#options.settings.gid ?? lease.uid };
      const links: WritableLink[] = [];
      return {
        id,
        path,
        ownerUid: owner.uid,
        command: this.#command(id, owner),
        programName: (isUp) => this.#programName(isUp),
        onStarted: (pid) => noteProcess(join(jail, 'pid'), pid),
        link: (name, source) => this.#files.link(source, join(path, name), owner),
        linkWritable: async (name, target) => {
          const link = await this.#files.linkWritable(target, join(path, name), owner);
          links.push(link);
          return link;
        },
        remove: async () => {
          await Promise.all(links.map((link) => link.drop()));
          await this.#remove(jail, id, lease);
        },
      };
    } catch (error) {
      await this.#remove(jail, id, lease);
      throw new HostError(`a jail cannot be made: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }

  async close(): Promise<void> {
    await this.#files.close();
    await this.#uids.close();
    await this.#cgroups?.close();
    this.#dismissJanitor();
  }

  #command(id: string, { uid, gid }: JailOwner): VmmDirectory['command'] {
    const { settings, installation } = this.#options;
    return [
      installation.jailerPath,
      ...jailerArguments({ id, uid, gid, settings, firecracker: installation.path, cgroups: this.#cgroups }),
    ];
  }

  #programName(isUp: boolean): string {
    const { path, jailerPath } = this.#options.installation;
    return isUp ? path : `${jailerPath}, or ${path} in its jail,`;
  }

  /** A jail that cannot be removed keeps its user: what is left in there must not become another VM's. */
  async #remove(jail: string, id: string, lease: UidLease): Promise<void> {
    await this.#cgroups?.remove(id);
    const problem = await removeJail(jail).then(() => null, messageOf);
    if (problem === null) return lease.release();
    this.#options.say(`the jail ${jail} cannot be removed, and user ${lease.uid} is not used again: ${problem}`);
  }
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

/** @param mode of a new one; others must not be able to do more in one that is there. */
async function makeUsable(path: string, mode: number): Promise<void> {
  try {
    await makeDirectory(path, mode);
    const found = await lstat(path);
    if (!found.isDirectory()) throw new Error(`${path} is a link or a file, where a directory is needed`);
    if (found.uid !== process.getuid?.())
      throw new Error(`${path} belongs to user ${found.uid}, who could exchange jails`);
    if ((found.mode & ~mode & 0o077) !== 0) {
      throw new Error(
        `${path} is open to other users (mode ${(found.mode & 0o7777).toString(8)}, ${mode.toString(8)} is needed)`,
      );
    }
  } catch (cause) {
    const why = messageOf(cause);
    throw new HostError(`the chroot base cannot be used: ${why}; name another one with \`chroot_base\``, {
      cause,
    });
  }
}

/** At once: from its change of user on, nothing but this tells of the process if we are killed. */
function noteProcess(path: string, pid: number): void {
  try {
    writeFileSync(path, String(pid));
  } catch {
    // The file system is full; the launch fails by that soon.
  }
}
