/**
 * Runs in the builder and in `npm start`. What programs expect of a Linux system, in the root file system of every runtime:
 * a shell and small programs, time zones, certificates, locales, tables of names, the libraries that wheels count on.
 * Debian's maintainer scripts never run: what they would have done for these packages is done here.
 */
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { CERTIFICATE_LINKS, placeCertificates } from './certificates.ts';
import { knownPackages, resolveClosure, type DebianPackage } from './debian.ts';
import { runGuestProgram } from './guest-program.ts';
import { listProjectFiles, PROJECT_ROOT } from './project.ts';
import { placeFile, placeLink, removePaths } from './runtimefs.ts';

const PACKAGES = [
  // Programs. The shell is bash, as on AWS, by the name of sh as well.
  ...['bash', 'bzip2', 'coreutils', 'debianutils', 'diffutils', 'findutils', 'grep', 'gzip', 'hostname', 'libc-bin'],
  ...['mawk', 'openssl', 'procps', 'sed', 'tar', 'unzip', 'xz-utils', 'zip'],
  // Data.
  ...['base-files', 'ca-certificates', 'media-types', 'ncurses-base', 'netbase', 'tzdata'],
  // Libraries that wheels may take for granted (PEP 513, 571, 599 and 600), and OpenMP's.
  ...['libatomic1', 'libc6', 'libexpat1', 'libgcc-s1', 'libgl1', 'libglib2.0-0', 'libgomp1', 'libice6', 'libsm6'],
  ...['libstdc++6', 'libx11-6', 'libxext6', 'libxrender1', 'zlib1g'],
];
/** The sources of locales: used while the image is made, they do not stay. */
const LOCALES_PACKAGE = 'locales';
/** In packages of their own in some releases of Debian only. */
const PACKAGES_OF_SOME_RELEASES = ['tzdata-legacy'];
/**
 * What those ask for and no guest has a use for: the installing of packages, and drivers of displays (200 MB with their
 * compiler). apt is told that they are there, in a version that satisfies every wish.
 */
const PRETENDED: readonly DebianPackage[] = [
  ...['debconf', 'dpkg', 'init-system-helpers', 'libc-l10n', 'lsb-base', 'perl', 'perl-base', 'readline-common'],
  ...['sysvinit-utils', 'libglx-mesa0', 'libx11-data', 'x11-common'],
].map((name) => ({ name, version: '9999:0', architecture: 'all' }));
/** The same, where exactly one version satisfies. */
const LEFT_OUT: ReadonlySet<string> = new Set(['gcc-12-base', 'gcc-14-base', 'python3-minimal']);
/** The locale that `LANG` of Lambda's runtimes names. C.UTF-8, the `LANG` of all others, comes with libc-bin. */
const LOCALE = { source: 'en_US', charset: 'UTF-8', directory: join('usr', 'lib', 'locale', 'en_US.utf8') };

/** Links that a maintainer script would have made, and some of AWS's names: path from the root, and target as written. */
const LINKS: Readonly<Record<string, string>> = {
  'etc/localtime': '/usr/share/zoneinfo/Etc/UTC',
  'etc/mtab': '/proc/self/mounts',
  'etc/os-release': '../usr/lib/os-release',
  'usr/bin/awk': 'mawk',
  'usr/bin/sh': 'bash',
  'usr/bin/which': 'which.debianutils',
  // In the first line of programs that pip installed in AWS's images.
  'var/lang/bin': '/usr/bin',
};
/** What packages bring, from the root, and nobody needs here. */
const REMOVED = [
  // For administrators and developers. ldconfig has a stand-in.
  ...['usr/bin/bashbug', 'usr/include', 'usr/lib/bash', 'usr/sbin'],
  ...[
    'usr/lib/init',
    'usr/lib/mime',
    'usr/lib/ssl/private',
    'usr/lib/systemd',
    'usr/lib/sysctl.d',
    'usr/lib/tmpfiles.d',
    'usr/lib/valgrind',
  ],
  // All time zones once more, with leap seconds.
  ...['usr/share/zoneinfo/posix', 'usr/share/zoneinfo/right'],
];
/** The rest of usr/share is documentation and of use to developers. */
const KEPT_OF_SHARE: ReadonlySet<string> = new Set(['zoneinfo']);

const GUEST_FOLDER = join('guest', 'userland');

/** Part of every root file system's recipe; raise the version when the functions here change. */
export const USERLAND_RECIPE = {
  version: 1,
  packages: [...PACKAGES, LOCALES_PACKAGE, ...PACKAGES_OF_SOME_RELEASES],
  pretended: PRETENDED.map(({ name }) => name),
  leftOut: [...LEFT_OUT],
  links: LINKS,
  removed: REMOVED,
  locale: LOCALE,
  certificates: CERTIFICATE_LINKS,
};

/** Programs of ours, from the project's root. */
export function listUserland(): Promise<readonly string[]> {
  return listProjectFiles(GUEST_FOLDER, ['']);
}

export interface RootPackages {
  /** What the root file system holds. */
  readonly unpacked: readonly DebianPackage[];
  /** What a package for the function need not bring: the above but for what does not stay, and what is left out. */
  readonly provided: readonly DebianPackage[];
}

/**
 * The packages of a root file system with the userland and those of a runtime, as apt resolves them now.
 *
 * @param optional names of packages that only some releases of Debian have.
 */
export async function resolveRoot(names: readonly string[], optional: readonly string[] = []): Promise<RootPackages> {
  const known = await knownPackages([...PACKAGES_OF_SOME_RELEASES, ...optional]);
  const resolved = await resolveClosure([...PACKAGES, LOCALES_PACKAGE, ...names, ...known], PRETENDED);
  return {
    unpacked: resolved.filter((one) => !LEFT_OUT.has(one.name)),
    provided: resolved.filter((one) => one.name !== LOCALES_PACKAGE),
  };
}

/** Completes the frame around what was unpacked in `root`. */
export async function finishUserland(root: string): Promise<void> {
  await placeCertificates(root);
  await compileLocale(root);
  await removePaths(root, REMOVED);
  for (const name of await readdir(join(root, 'usr', 'share'))) {
    if (!KEPT_OF_SHARE.has(name)) await removePaths(root, [join('usr', 'share', name)]);
  }
  for (const [path, target] of Object.entries(LINKS)) await placeLink(root, path, target);
  for (const path of await listUserland()) {
    await placeFile(root, join('usr', 'sbin', basename(path)), await readFile(join(PROJECT_ROOT, path)), 0o755);
  }
}

async function compileLocale(root: string): Promise<void> {
  const argv = ['--no-archive', '-i', LOCALE.source, '-f', LOCALE.charset, join(root, LOCALE.directory)];
  await runGuestProgram(root, 'usr/bin/localedef', argv, {
    environment: { I18NPATH: join(root, 'usr', 'share', 'i18n') },
  });
}
