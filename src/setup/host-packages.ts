/**
 * Runs in `npm start`, `npm test` and `npm run bench`. The Debian packages that the host needs, and how they get
 * there.
 */
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { spawnSync } from 'node:child_process';
import { delimiter, join } from 'node:path';
import { inStep, type Progress } from '../images/progress.ts';
import { runTool } from '../images/tool.ts';
import type { Mode } from './setup.ts';

/** The host cannot be set up; the message says what to do. */
export class SetupError extends Error {
  override readonly name = 'SetupError';
}

export interface HostPackage {
  readonly name: string;
  readonly why: string;
  /** Programs (looked up in PATH) or files that show that it is there, from wherever it came. */
  readonly evidence: readonly string[];
  /** Needed in these modes only. */
  readonly modes?: readonly Mode[];
}

export const HOST_PACKAGES: readonly HostPackage[] = [
  { name: 'qemu-system-x86', why: 'runs the virtual machines', evidence: ['qemu-system-x86_64'] },
  { name: 'e2fsprogs', why: 'writes the file systems of guests', evidence: ['mke2fs', 'debugfs'] },
  { name: 'gcc', why: 'compiles the first program of a guest', evidence: ['gcc'] },
  { name: 'binutils', why: 'makes that program small', evidence: ['strip'] },
  { name: 'libc6-dev', why: 'is linked into that program', evidence: ['/usr/lib/x86_64-linux-gnu/libc.a'] },
  { name: 'lz4', why: "unpacks the guests' kernel", evidence: ['lz4'] },
  { name: 'cpio', why: 'lists the RAM disk in tests', evidence: ['cpio'], modes: ['test'] },
  { name: 'prometheus', why: 'checks metrics and alert rules in tests', evidence: ['promtool'], modes: ['test'] },
  { name: 'iproute2', why: 'makes network namespaces and taps in tests', evidence: ['ip'], modes: ['test'] },
  { name: 'python3', why: 'runs Python functions in tests without a VM', evidence: ['python3'], modes: ['test'] },
  { name: 'nats-server', why: 'has the streams of event sources in tests', evidence: ['nats-server'], modes: ['test'] },
  { name: 'curl', why: 'is a client of function URLs in tests', evidence: ['curl'], modes: ['test'] },
  // With its libraries 120 MB to fetch, 390 MB on the disk. By its path: that is the one that tests open pages in.
  { name: 'chromium', why: 'opens pages in tests', evidence: ['/usr/bin/chromium'], modes: ['test', 'bench'] },
  { name: 'zip', why: 'packs functions as their users do in tests', evidence: ['zip'], modes: ['test'] },
  { name: 'busybox-static', why: 'is in container images of tests', evidence: ['/usr/bin/busybox'], modes: ['test'] },
  { name: 'musl-tools', why: 'compiles for images without glibc in tests', evidence: ['musl-gcc'], modes: ['test'] },
  {
    name: 'mmdebstrap',
    why: 'unpacks packages for images of examples in tests',
    evidence: ['mmdebstrap'],
    modes: ['test'],
  },
  { name: 'umoci', why: 'writes images of examples in tests', evidence: ['umoci'], modes: ['test'] },
  { name: 'python3-pip', why: "fetches AWS's client for Python in tests", evidence: ['pip3'], modes: ['test'] },
  // AWS's client for Node is built by its own script, from the sources of others.
  { name: 'autoconf', why: "builds AWS's client for Node in tests", evidence: ['autoreconf'], modes: ['test'] },
  { name: 'automake', why: "builds AWS's client for Node in tests", evidence: ['automake'], modes: ['test'] },
  { name: 'libtool', why: "builds AWS's client for Node in tests", evidence: ['libtoolize'], modes: ['test'] },
  { name: 'cmake', why: "builds AWS's client for Node in tests", evidence: ['cmake'], modes: ['test'] },
  { name: 'g++', why: "builds AWS's client for Node in tests", evidence: ['g++'], modes: ['test'] },
  { name: 'make', why: "builds AWS's client for Node in tests", evidence: ['make'], modes: ['test'] },
  // 11 MB to fetch, 106 MB on the disk. By its path: an `aws` from elsewhere may be of a version with other options.
  { name: 'awscli', why: 'is a client of the Lambda API in tests', evidence: ['/usr/bin/aws'], modes: ['test'] },
];

/** Those that a mode needs and that are not there. */
export function missingPackages(mode: Mode): readonly HostPackage[] {
  const wanted = HOST_PACKAGES.filter(({ modes }) => modes?.includes(mode) ?? true);
  return wanted.filter((one) => !one.evidence.every(isThere));
}

/**
 * Installs those packages that are missing, and says which and why.
 *
 * @throws SetupError off Debian, or without the right to install; ToolError if apt fails.
 */
export async function ensurePackages(mode: Mode, progress: Progress): Promise<void> {
  const missing = missingPackages(mode);
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new SetupError(
      `Virtual machines need Linux on x86-64; this is ${process.platform} on ${process.arch}. ` +
        'Use a Debian machine or VM.',
    );
  }
  if (!isThere('apt-get')) {
    throw new SetupError('The images are built from Debian packages, and this system has no apt-get. Use Debian 12.');
  }
  if (missing.length === 0) return;
  const names = missing.map((one) => one.name);
  for (const one of missing) process.stderr.write(`${one.name} is missing: it ${one.why}\n`);
  const asRoot = becomeRoot(`apt-get update && apt-get install --no-install-recommends ${names.join(' ')}`);
  if (!(await hasPackageLists())) await refreshPackageLists(progress);
  const install = (): Promise<void> =>
    inStep(progress, `installing ${names.join(', ')}`, async (step) => {
      const flags = ['-y', '--no-install-recommends', '-o', 'DPkg::Lock::Timeout=300'];
      const command = [...asRoot, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', 'install', ...flags, ...names];
      await runCommand(command, (line) => step.update(line));
    });
  try {
    await install();
  } catch {
    // The lists may name versions that the mirror has replaced; a real fault shows again.
    await refreshPackageLists(progress);
    await install();
  }
}

/** `apt-get update`. */
export async function refreshPackageLists(progress: Progress): Promise<void> {
  const asRoot = becomeRoot('apt-get update');
  await inStep(progress, 'refreshing the lists of packages', async (step) => {
    const command = [...asRoot, 'apt-get', '-o', 'DPkg::Lock::Timeout=300', 'update'];
    await runCommand(command, (line) => step.update(line));
  });
}

async function runCommand(command: readonly string[], onLine: (line: string) => void): Promise<void> {
  const [program = '', ...argv] = command;
  await runTool(program, argv, { onLine });
}

/**
 * What to put before a command so that it runs as root: nothing for root, else sudo, which may ask for the password.
 * @throws SetupError with `command`, for the user to have run by someone who may.
 */
function becomeRoot(command: string): readonly string[] {
  if (process.getuid?.() === 0) return [];
  const advice = `Have this run as root, then try again:\n\n  ${command}`;
  if (!isThere('sudo')) throw new SetupError(`Installing packages needs root, and there is no sudo. ${advice}`);
  if (spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status === 0) return ['sudo', '-n'];
  // Asked here, before any progress is shown; sudo then remembers it.
  if (process.stdin.isTTY && spawnSync('sudo', ['-v'], { stdio: 'inherit' }).status === 0) return ['sudo', '-n'];
  throw new SetupError(`Installing packages needs root, and sudo would not let us. ${advice}`);
}

async function hasPackageLists(): Promise<boolean> {
  const names = await readdir('/var/lib/apt/lists').catch(() => []);
  return names.some((name) => name.includes('_Packages'));
}

/** A program in PATH (or where only root has it), or a file by its absolute path. */
function isThere(evidence: string): boolean {
  if (evidence.startsWith('/')) return existsSync(evidence);
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return folders.some((folder) => folder !== '' && existsSync(join(folder, evidence)));
}
