/** Runs in `snapctr doctor`. The files that VMs are made of: are they there, what they should be, and of this version. */
import { closeSync, openSync, readSync } from 'node:fs';
import { elfMachine } from '../../firerunner/programs/elf.ts';
import { isFileUpToDate, type ImageName } from '../../images/build.ts';
import { readFinished } from '../../images/manifest.ts';
import { MissingFileError } from '../../images/project.ts';
import { defaultRuntimefs, runtimefsAt } from '../../protocol/runtimes.ts';
import { ok, problem, skipped, warning, type Check, type Finding } from '../check.ts';

/** The start of a cpio archive in the "newc" format, and of what the kernel unpacks by itself: gzip, xz, zstd, lz4. */
const INITRD_MAGICS = ['303730373031', '1f8b', 'fd377a585a00', '28b52ffd', '02214c18'];
/** Where ext2, 3 and 4 have their magic number, 0xEF53. Source: ext4 documentation of the kernel, super block. */
const EXT4_MAGIC = { offset: 1024 + 56, hex: '53ef' };
const NO_KERNEL = 'the configuration does not tell';

export const kernelCheck: Check = {
  name: 'kernel',
  run: ({ subject: { guest } }) =>
    guest === null ? skipped(NO_KERNEL) : inspect('kernel', guest.kernelPath, kernelFault, 'kernel'),
};

export const initrdCheck: Check = {
  name: 'initrd',
  run: ({ subject: { guest } }) =>
    guest === null ? skipped(NO_KERNEL) : inspect('initial RAM disk', guest.initrdPath, initrdFault, 'kernel'),
};

export const rootFileSystemsCheck: Check = {
  name: 'root-file-systems',
  async run({ subject: { rootFileSystems } }) {
    if (rootFileSystems.length === 0) return skipped(NO_KERNEL);
    const findings: Finding[] = [];
    for (const { path, runtime } of rootFileSystems)
      findings.push(
        await inspect(
          'root file system',
          path,
          ext4Fault,
          runtimefsAt(path) ?? (runtime === null ? null : defaultRuntimefs(runtime)),
        ),
      );
    for (const status of ['problem', 'warning'] as const) {
      const bad = findings.filter((finding) => finding.status === status);
      const [first] = bad;
      if (first !== undefined)
        return { status, detail: bad.map(({ detail }) => detail).join('; '), remedy: first.remedy };
    }
    return ok(rootFileSystems.map(({ path }) => path).join(', '));
  },
};

/**
 * @param faultOf what is wrong with the contents; null if nothing is; throws if the file cannot be read.
 * @param image what builds it; null: nobody knows.
 */
async function inspect(
  what: string,
  path: string,
  faultOf: (path: string) => string | null,
  image: ImageName | null,
): Promise<Finding> {
  const build = `build it: snapctr images build${image === null ? '' : ` ${image}`}`;
  try {
    const fault = faultOf(path);
    if (fault !== null) return problem(`the ${what} ${path} ${fault}`, build);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    return problem(`the ${what} ${path} ${code === 'ENOENT' ? 'does not exist' : `cannot be read (${code})`}`, build);
  }
  return ageFinding(what, path, image);
}

/** A guest of another version may speak another protocol. */
async function ageFinding(what: string, path: string, image: ImageName | null): Promise<Finding> {
  if ((await readFinished(path)) === undefined) return ok(`${path}, not built by snapctr images`);
  try {
    if (image === null || (await isFileUpToDate(image, path))) return ok(path);
  } catch (error) {
    if (!(error instanceof MissingFileError)) throw error;
    return ok(`${path}; whether it is of this version cannot be told: ${error.message}`);
  }
  return warning(
    `the ${what} ${path} was built from another version of this project`,
    `build it again: snapctr images build ${image}`,
  );
}

function kernelFault(path: string): string | null {
  const machine = elfMachine(path);
  if (machine === null) return 'is no uncompressed kernel (an ELF file was expected)';
  return machine === 'x64' ? null : `is built for ${machine}; VMs here are x86-64`;
}

function initrdFault(path: string): string | null {
  const start = readHex(path, 0, 6);
  return INITRD_MAGICS.some((magic) => start.startsWith(magic)) ? null : 'is no cpio archive';
}

function ext4Fault(path: string): string | null {
  return readHex(path, EXT4_MAGIC.offset, 2) === EXT4_MAGIC.hex ? null : 'is no ext4 file system';
}

function readHex(path: string, offset: number, length: number): string {
  const bytes = Buffer.alloc(length);
  const fd = openSync(path, 'r');
  try {
    return bytes.toString('hex', 0, readSync(fd, bytes, 0, length, offset));
  } finally {
    closeSync(fd);
  }
}
