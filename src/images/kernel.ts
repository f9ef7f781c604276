/**
 * Runs in the builder and in `npm start`. The guest's kernel: Debian's cloud kernel, as the uncompressed ELF that both
 * Firecracker and QEMU (PVH) start, and an initial RAM disk with our init and the modules that reach the root file
 * system and the channels.
 */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { encodeCpio, type CpioEntry } from './cpio.ts';
import { downloadPackages, resolveClosure, unpackPackages, type DebianPackage } from './debian.ts';
import { PROJECT_ROOT } from './project.ts';
import { runTool } from './tool.ts';

/** Depends on the newest kernel package; its own files are of no use. */
const KERNEL_META_PACKAGE = 'linux-image-cloud-amd64';
const KERNEL_PACKAGE = /^linux-image-\d.*-cloud-amd64$/;

/** In load order: a module comes after those it needs. What the kernel has built in, or has not at all, is left out. */
const MODULES = [
  'virtio_ring',
  'virtio',
  'virtio_pci_modern_dev',
  'virtio_pci_legacy_dev',
  'virtio_pci',
  'virtio_mmio',
  'virtio_blk',
  'virtio_console',
  'virtio_rng',
  'vsock',
  'vmw_vsock_virtio_transport_common',
  'vmw_vsock_virtio_transport',
  'failover',
  'net_failover',
  'virtio_net',
  // Lays a function's Debian packages over the root file system.
  'overlay',
] as const;
/** A guest without these can neither mount its root nor be talked to: under QEMU, or under Firecracker. */
const NEEDED_MODULES: ReadonlySet<string> = new Set([
  'virtio_blk',
  'virtio_console',
  'virtio_mmio',
  'vmw_vsock_virtio_transport',
]);

const COMPILER_FLAGS = ['-static', '-O2', '-Wall', '-Wextra', '-Werror'] as const;

/** How kernel and RAM disk are built; part of their manifests. Raise the version when the steps below change. */
export const KERNEL_RECIPE = { version: 2, package: KERNEL_META_PACKAGE, modules: MODULES, flags: COMPILER_FLAGS };

/** Folder of init's sources, from the project's root. */
export const INIT_FOLDER = join('guest', 'init');

export interface UnpackedKernel {
  readonly package: DebianPackage;
  /** Root of the unpacked package. */
  readonly directory: string;
}

/** Downloads and unpacks the kernel package into `scratch`. */
export async function fetchKernel(scratch: string): Promise<UnpackedKernel> {
  const closure = await resolveClosure([KERNEL_META_PACKAGE]);
  const kernel = closure.find((one) => KERNEL_PACKAGE.test(one.name));
  if (kernel === undefined) throw new Error(`${KERNEL_META_PACKAGE} depends on no kernel package`);
  const directory = join(scratch, 'kernel');
  await mkdir(directory, { recursive: true });
  await unpackPackages(await downloadPackages([kernel]), directory);
  return { package: kernel, directory };
}

/** Writes the kernel's ELF to `file`. */
export async function writeVmlinux(kernel: UnpackedKernel, file: string): Promise<void> {
  const boot = join(kernel.directory, 'boot');
  const name = (await readdir(boot)).find((one) => one.startsWith('vmlinuz-'));
  if (name === undefined) throw new Error(`${kernel.package.name} has no /boot/vmlinuz-*`);
  await writeFile(file, await extractElf(await readFile(join(boot, name))));
}

/** First bytes of each form a kernel is compressed in, and the program that undoes it. */
const DECOMPRESSORS = [
  { magic: '02214c18', program: 'lz4' },
  { magic: 'fd377a58', program: 'xz' },
  { magic: '28b52ffd', program: 'zstd' },
  { magic: '1f8b', program: 'gzip' },
] as const;
const ELF_MAGIC = '7f454c46';

/** The bzImage header tells where the payload is: https://docs.kernel.org/arch/x86/boot.html, protocol 2.08. */
async function extractElf(image: Buffer): Promise<Buffer> {
  if (image.toString('latin1', 0x202, 0x206) !== 'HdrS') throw new Error('the kernel is not a bzImage');
  const setupSectors = image.readUInt8(0x1f1) || 4;
  const start = (setupSectors + 1) * 512 + image.readUInt32LE(0x248);
  // The build appends the uncompressed size, four bytes that are no part of the compressed stream.
  const payload = image.subarray(start, start + image.readUInt32LE(0x24c) - 4);
  const form = DECOMPRESSORS.find((one) => payload.subarray(0, 4).toString('hex').startsWith(one.magic));
  if (form === undefined) throw new Error('the kernel is compressed in an unknown form');
  const elf = await runTool(form.program, ['-d', '-c'], { stdin: payload });
  if (elf.subarray(0, 4).toString('hex') !== ELF_MAGIC) throw new Error('the kernel image holds no ELF file');
  return elf;
}

/** Compiles init and writes the initial RAM disk to `file`: /init, /modules/*.ko, /modules/order, mount points. */
export async function writeInitrd(kernel: UnpackedKernel, scratch: string, file: string): Promise<void> {
  const modules = await collectModules(kernel);
  const order = modules.map((one) => `${one.name}\n`).join('');
  const entries: CpioEntry[] = [
    ...['dev', 'proc', 'sys', 'root', 'modules'].map((path) => ({ path, type: 'directory', mode: 0o755 }) as const),
    { path: 'dev/console', type: 'character-device', mode: 0o600, major: 5, minor: 1 },
    { path: 'init', type: 'file', mode: 0o755, data: await compileInit(scratch) },
    { path: 'modules/order', type: 'file', mode: 0o644, data: Buffer.from(order) },
    ...modules.map(({ name, data }) => ({ path: `modules/${name}`, type: 'file', mode: 0o644, data }) as const),
  ];
  await writeFile(file, encodeCpio(entries));
}

async function collectModules(kernel: UnpackedKernel): Promise<readonly { name: string; data: Buffer }[]> {
  const paths = new Map<string, string>();
  for (const entry of await readdir(kernel.directory, { recursive: true, withFileTypes: true })) {
    const name = /^(.*)\.ko(\.xz|\.zst)?$/.exec(entry.name)?.[1];
    if (name !== undefined) paths.set(name.replaceAll('-', '_'), join(entry.parentPath, entry.name));
  }
  const builtin = new Set<string>();
  for (const release of await readdir(join(kernel.directory, 'lib', 'modules'))) {
    const list = await readFile(join(kernel.directory, 'lib', 'modules', release, 'modules.builtin'), 'utf8');
    for (const path of list.trim().split('\n')) builtin.add(basename(path, '.ko').replaceAll('-', '_'));
  }
  const modules: { name: string; data: Buffer }[] = [];
  for (const name of MODULES) {
    const path = paths.get(name);
    if (path !== undefined) modules.push({ name: `${name}.ko`, data: await readModule(path) });
    else if (NEEDED_MODULES.has(name) && !builtin.has(name)) {
      throw new Error(`${kernel.package.name} ${kernel.package.version} has no module ${name}`);
    }
  }
  return modules;
}

async function readModule(path: string): Promise<Buffer> {
  const data = await readFile(path);
  if (path.endsWith('.xz')) return runTool('xz', ['-d', '-c'], { stdin: data });
  if (path.endsWith('.zst')) return runTool('zstd', ['-d', '-c'], { stdin: data });
  return data;
}

async function compileInit(scratch: string): Promise<Buffer> {
  const names = (await readdir(join(PROJECT_ROOT, INIT_FOLDER))).filter((name) => name.endsWith('.c')).sort();
  if (names.length === 0) throw new Error(`${INIT_FOLDER} holds no C source`);
  const binary = join(scratch, 'init');
  // Relative names keep the place of the checkout out of the binary.
  await runTool('gcc', [...COMPILER_FLAGS, '-o', binary, ...names], { cwd: join(PROJECT_ROOT, INIT_FOLDER) });
  await runTool('strip', [binary]);
  return readFile(binary);
}
