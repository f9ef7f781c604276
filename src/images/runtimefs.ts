/**
 * Runs in snapctr and in `npm start`. What the root file systems of all runtimes share: the frame around the unpacked
 * packages.
 */
import { chmod, mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** Where init mounts something or the function may write; the packages do not bring all of them. */
const DIRECTORIES = [
  'proc',
  'sys',
  'dev',
  'run',
  'srv',
  'srv/lib',
  'srv/package',
  'etc',
  'var',
  'var/task',
  'root',
  'usr/lib/snapfaas',
];
const WRITABLE_DIRECTORIES = ['tmp', 'var/tmp'];

/** /bin, /sbin, /lib and /lib64 point into /usr, as on every Debian since 2021. */
const MERGED = ['bin', 'sbin', 'lib', 'lib64'] as const;

const FILES: Readonly<Record<string, string>> = {
  'etc/passwd':
    'root:x:0:0:root:/root:/usr/sbin/nologin\nfunction:x:1000:1000:function:/tmp:/usr/sbin/nologin\n' +
    'nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n',
  'etc/group': 'root:x:0:\nfunction:x:1000:\nnogroup:x:65534:\n',
  'etc/hosts': '127.0.0.1 localhost\n::1 localhost\n',
  'etc/nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\n',
  'etc/hostname': 'function\n',
  'etc/resolv.conf': '',
};

/** Part of every root file system's recipe; raise the version when the functions here change. */
export const FRAME_RECIPE = { version: 1, directories: DIRECTORIES, writable: WRITABLE_DIRECTORIES, files: FILES };

/** Makes `root` ready for packages to be unpacked into. */
export async function layFrame(root: string): Promise<void> {
  for (const name of MERGED) {
    await mkdir(join(root, 'usr', name), { recursive: true });
    await symlink(join('usr', name), join(root, name));
  }
}

/** Takes the links of `layFrame` away again, where the packages are laid over a root file system that has them. */
export async function removeFrame(root: string): Promise<void> {
  for (const name of MERGED) await rm(join(root, name));
}

/**
 * Adds what the packages do not bring, and takes away what a guest has no use for.
 *
 * @param argv the runtime's command line, as init starts it; `/etc/snapfaas/runtime` holds one argument per line.
 */
export async function finishFrame(root: string, argv: readonly string[]): Promise<void> {
  for (const path of ['var/lib', 'var/log', 'var/cache', 'boot', 'home', 'media', 'mnt', 'opt', 'usr/games', 'etc']) {
    await rm(join(root, path), { recursive: true, force: true });
  }
  for (const path of DIRECTORIES) await mkdir(join(root, path), { recursive: true });
  for (const path of WRITABLE_DIRECTORIES) {
    await mkdir(join(root, path), { recursive: true });
    await chmod(join(root, path), 0o1777);
  }
  for (const [path, text] of Object.entries(FILES)) await writeFile(join(root, path), text);
  await mkdir(join(root, 'etc', 'snapfaas'), { recursive: true });
  await writeFile(join(root, 'etc', 'snapfaas', 'runtime'), argv.map((argument) => `${argument}\n`).join(''));
}

/** Keeps only the programs in `keep` in /usr/bin and /usr/sbin. */
export async function keepPrograms(root: string, keep: ReadonlySet<string>): Promise<void> {
  for (const directory of ['usr/bin', 'usr/sbin']) {
    for (const name of await readdir(join(root, directory))) {
      if (!keep.has(name)) await rm(join(root, directory, name), { recursive: true, force: true });
    }
  }
}

/** Removes files and directories, given from the root without a leading slash; a missing one is fine. */
export async function removePaths(root: string, paths: readonly string[]): Promise<void> {
  for (const path of paths) await rm(join(root, path), { recursive: true, force: true });
}

/** Writes a file of the guest under `path`, with its directory. */
export async function placeFile(root: string, path: string, data: Uint8Array, mode: number): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), data);
  await chmod(join(root, path), mode);
}
