/** Runs in firerunner and in `snapctr doctor`. What kind of machine a program or a kernel was built for. */
import { closeSync, openSync, readSync } from 'node:fs';

/** `e_machine` of the ELF header by Node's names of architectures (`process.arch`). Source: elf(5), the kernel's elf-em.h. */
const MACHINES: Readonly<Record<number, string>> = { 3: 'ia32', 40: 'arm', 62: 'x64', 183: 'arm64', 243: 'riscv64' };
/** Up to the end of `e_machine`, in bytes. */
const HEADER_BYTES = 20;
const MAGIC = '\x7fELF';
/** `EI_DATA` of big-endian files. */
const BIG_ENDIAN = 2;

/**
 * @returns the machine, such as "x64", or "machine N" for one without a name here; null if the file is no ELF file.
 * @throws the error of the file system if it cannot be read.
 */
export function elfMachine(path: string): string | null {
  const header = Buffer.alloc(HEADER_BYTES);
  const fd = openSync(path, 'r');
  try {
    if (readSync(fd, header, 0, HEADER_BYTES, 0) < HEADER_BYTES) return null;
  } finally {
    closeSync(fd);
  }
  if (header.toString('latin1', 0, MAGIC.length) !== MAGIC) return null;
  const machine = header[5] === BIG_ENDIAN ? header.readUInt16BE(18) : header.readUInt16LE(18);
  return MACHINES[machine] ?? `machine ${machine}`;
}
