/**
 * Runs in the builder and in `npm start`. What the root file systems of all runtimes share: the frame around the unpacked
 * packages.
 */
import { chmod, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
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
  // Here before layers bring it: the dynamic linker looks for it once.
  'opt/lib',
  'var',
  'var/task',
  'root',
  'usr/lib/snapfaas',
];
const WRITABLE_DIRECTORIES = ['tmp', 'var/tmp'];

/** /bin, /sbin, /lib and /lib64 point into /usr, as on every Debian since 2021. */
const MERGED = ['bin', 'sbin', 'lib', 'lib64'] as const;

/** As init sets it. */
const HOST_NAME = 'snapfaas';

const FILES: Readonly<Record<string, string>> = {
  'etc/passwd':
    'root:x:0:0:root:/root:/bin/sh\nfunction:x:1000:1000:function:/tmp:/bin/sh\n' +
    'nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n',
  'etc/group': 'root:x:0:\ntty:x:5:\nfunction:x:1000:\nnogroup:x:65534:\n',
  'etc/hosts': `127.0.0.1 localhost\n127.0.0.1 ${HOST_NAME}\n::1 localhost ip6-localhost ip6-loopback\n`,
  'etc/nsswitch.conf': ['passwd', 'group', 'services', 'protocols', 'networks', 'ethers', 'rpc']
    .map((table) => `${table}: files\n`)
    .concat('hosts: files dns\n')
    .join(''),
  'etc/hostname': `${HOST_NAME}\n`,
  'etc/host.conf': 'multi on\n',
  'etc/resolv.conf': '',
  'etc/shells': '/bin/sh\n/bin/bash\n',
  'etc/timezone': 'Etc/UTC\n',
};

/** What stays of the packages' own files below `etc`, if it is there. */
const KEPT_OF_ETC = [
  ...['bash.bashrc', 'debian_version', 'ethertypes', 'mime.types', 'protocols', 'rpc', 'services', 'ssl/openssl.cnf'],
];
/** Lists, logs and places of an administrator's. */
const CLEARED = ['etc', 'var', 'boot', 'home', 'media', 'mnt', 'opt', 'usr/games'];

/** Part of every root file system's recipe; raise the version when the functions here change. */
export const FRAME_RECIPE = {
  version: 2,
  directories: DIRECTORIES,
  writable: WRITABLE_DIRECTORIES,
  files: FILES,
  kept: KEPT_OF_ETC,
  cleared: CLEARED,
};

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
  const kept = new Map<string, Buffer>();
  for (const path of KEPT_OF_ETC) {
    const place = join(root, 'etc', path);
    if (existsSync(place)) kept.set(path, await readFile(place));
  }
  await removePaths(root, CLEARED);
  for (const path of DIRECTORIES) await mkdir(join(root, path), { recursive: true });
  for (const path of WRITABLE_DIRECTORIES) {
    await mkdir(join(root, path), { recursive: true });
    await chmod(join(root, path), 0o1777);
  }
  for (const [path, data] of kept) await placeFile(root, join('etc', path), data, 0o644);
  for (const [path, text] of Object.entries(FILES)) await writeFile(join(root, path), text);
  await mkdir(join(root, 'etc', 'snapfaas'), { recursive: true });
  await writeFile(join(root, 'etc', 'snapfaas', 'runtime'), argv.map((argument) => `${argument}\n`).join(''));
}

/** Removes files and directories, given from the root without a leading slash; a missing one is fine. */
export async function removePaths(root: string, paths: readonly string[]): Promise<void> {
  for (const path of paths) await rm(join(root, path), { recursive: true, force: true });
}

/** Makes a link at `path`, with its directory, in place of what may be there. */
export async function placeLink(root: string, path: string, target: string): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await rm(join(root, path), { force: true });
  await symlink(target, join(root, path));
}

/** Writes a file of the guest under `path`, with its directory. */
export async function placeFile(root: string, path: string, data: Uint8Array, mode: number): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), data);
  await chmod(join(root, path), mode);
}
