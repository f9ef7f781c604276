/**
 * Runs in the builder and in `npm start`. What Debian packages expect of an installation and of the system they run on, told
 * from their files without running anything of theirs.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DebianPackage } from './debian.ts';
import { runTool } from './tool.ts';

export interface Installation {
  readonly name: string;
  /** What dpkg would run after unpacking (`postinst`); empty if there is none. */
  readonly script: string;
  /** Paths from the root, without a leading slash. */
  readonly files: readonly string[];
}

/** Those whose scripts write what a guest's root file system has already, or what is made without them. */
const DONE_OTHERWISE: ReadonlySet<string> = new Set([
  'ca-certificates',
  'fontconfig',
  'fontconfig-config',
  'libc6',
  'media-types',
  'openssl',
  'tzdata',
]);

/** Reads scripts and lists of files out of package files, using a directory of its own below `scratch`. */
export async function readInstallation(
  packages: readonly DebianPackage[],
  files: readonly string[],
  scratch: string,
): Promise<readonly Installation[]> {
  const directory = join(scratch, 'control');
  await mkdir(directory);
  const list = 'dpkg-deb --fsys-tarfile "$deb" | tar -t > "$index.list" || exit 1';
  const script = 'dpkg-deb --info "$deb" postinst > "$index.postinst" 2>/dev/null';
  await runTool(
    'bash',
    ['-c', `set -o pipefail; index=0; for deb; do ${list}; ${script}; index=$((index+1)); done`, 'read', ...files],
    { cwd: directory },
  );
  const read = async (name: string): Promise<string> => readFile(join(directory, name), 'utf8');
  return Promise.all(
    packages.map(async ({ name }, index) => ({
      name,
      script: await read(`${index}.postinst`),
      files: (await read(`${index}.list`)).split('\n').map((path) => path.replace(/^\.\//, '')),
    })),
  );
}

/**
 * Notes on packages that will not do in a guest what they do on an installed system: of those the function names. What they
 * depend on has scripts and services as well, which hardly anybody needs.
 */
export function describeUnmet(installations: readonly Installation[]): readonly string[] {
  const withModules = installations.filter((one) => one.files.some((path) => KERNEL_MODULE.test(path)));
  const withServices = installations.filter((one) => one.files.some((path) => SERVICE.test(path)));
  const withScripts = installations.filter((one) => !DONE_OTHERWISE.has(one.name) && hasOwnScript(one.script));
  const told: readonly (readonly [readonly Installation[], string])[] = [
    [withModules, 'modules of the kernel cannot be loaded in a VM, which runs a kernel of its own'],
    [withServices, 'services are not started in a VM; the function may start their programs itself'],
    [withScripts, 'the script that Debian runs after unpacking was not run; what it would have made is missing'],
  ];
  return told
    .filter(([packages]) => packages.length > 0)
    .map(([packages, text]) => `Debian package ${packages.map((one) => one.name).join(', ')}: ${text}`);
}

const KERNEL_MODULE = /^(usr\/)?lib\/modules\/.*\.ko(\.|$)|^usr\/src\/.*\/dkms\.conf$/;
const SERVICE = /^(usr\/)?lib\/systemd\/system\/[^/]+\.(service|socket)$|^etc\/init\.d\/[^/]+$/;

/** Shell that changes nothing by itself. */
const HARMLESS =
  /^(#.*|set( .*)?|exit( \d+)?|if|then|else|fi|do|done|esac|case .*|for .*|[\w|*"-]+\)|;;|true|:|\{|\}|test .*|\[ .*|if .*|elif .*|echo .*|return.*|(local |export )?\w+=\S*|\w+ ?\(\) ?\{?|shift|db_stop|#DEBHELPER#|ldconfig.*|umask .*|\. \/usr\/share\/debconf\/confmodule)$/;

/** Whether a script does more than what debhelper wrote into it, and update-alternatives. */
export function hasOwnScript(script: string): boolean {
  const own = script
    .replace(/^# Automatically added by .*$[\s\S]*?^# End automatically added section$/gm, '')
    .replace(/\\\n/g, ' ');
  return own.split('\n').some((line) => {
    const command = line.trim().replace(/\s*;;$/, '');
    if (command === '' || /(^|[\s;&|])update-alternatives\s/.test(command)) return false;
    return !HARMLESS.test(command) && !/^if .*; then$/.test(command);
  });
}
