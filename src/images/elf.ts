/** Runs in the builder and in `npm start`. What a shared library or a program needs, told from its file. Source: elf(5). */
import { open, type FileHandle } from 'node:fs/promises';

const HEADER_BYTES = 64;
const SEGMENT_BYTES = 56;
/** More would be no library. */
const MAX_SEGMENTS = 64;
const MAX_DYNAMIC_BYTES = 1 << 20;
const MAX_STRINGS_BYTES = 16 << 20;

const LOAD = 1;
const DYNAMIC = 2;
/** Tags of the dynamic section. */
const NEEDED = 1n;
const STRINGS_ADDRESS = 5n;
const STRINGS_BYTES = 10n;

const X86_64 = 62;
const MACHINES: Readonly<Record<number, string>> = { 3: 'x86', 40: 'arm', 62: 'x86-64', 183: 'arm64', 243: 'riscv64' };

export interface ElfFacts {
  /** Such as "x86-64" or "arm64". */
  readonly machine: string;
  /** Whether it is of the kind that guests run: 64 bits, little-endian, x86-64. */
  readonly isForGuests: boolean;
  /** Names of the libraries that have to be there. Empty if it is not for guests. */
  readonly needed: readonly string[];
}

/** Reads a part of a file. Null: the file ends before. */
export type ReadAt = (position: number, bytes: number) => Promise<Buffer | null>;

/** @returns null if the file is no ELF file, or a damaged one. */
export async function readElf(path: string): Promise<ElfFacts | null> {
  const file = await open(path, 'r');
  try {
    return await elfFacts((position, bytes) => readAt(file, position, bytes));
  } finally {
    await file.close();
  }
}

/** @returns null if it is no ELF file, or a damaged one. */
export async function elfFacts(read: ReadAt): Promise<ElfFacts | null> {
  const header = await read(0, HEADER_BYTES);
  if (header === null || header.toString('latin1', 0, 4) !== '\x7fELF') return null;
  const isLittleEndian = header[5] === 1;
  const code = isLittleEndian ? header.readUInt16LE(18) : header.readUInt16BE(18);
  const isForGuests = header[4] === 2 && isLittleEndian && code === X86_64;
  const needed = isForGuests ? await readNeeded(read, header) : [];
  return needed === null ? null : { machine: MACHINES[code] ?? `machine ${code}`, isForGuests, needed };
}

async function readNeeded(read: ReadAt, header: Buffer): Promise<readonly string[] | null> {
  const count = Math.min(header.readUInt16LE(56), MAX_SEGMENTS);
  const table = await read(Number(header.readBigUInt64LE(32)), count * SEGMENT_BYTES);
  if (table === null) return null;
  const segments = Array.from({ length: count }, (_, index) => {
    const segment = table.subarray(index * SEGMENT_BYTES, (index + 1) * SEGMENT_BYTES);
    const [offset, address, , bytes] = [8, 16, 24, 32].map((at) => Number(segment.readBigUInt64LE(at)));
    return { type: segment.readUInt32LE(0), offset: offset ?? 0, address: address ?? 0, bytes: bytes ?? 0 };
  });
  const dynamic = segments.find(({ type }) => type === DYNAMIC);
  if (dynamic === undefined) return [];
  const section = await read(dynamic.offset, Math.min(dynamic.bytes, MAX_DYNAMIC_BYTES));
  if (section === null) return null;
  const entries: { tag: bigint; value: number }[] = [];
  for (let at = 0; at + 16 <= section.length; at += 16) {
    entries.push({ tag: section.readBigUInt64LE(at), value: Number(section.readBigUInt64LE(at + 8)) });
  }
  const valueOf = (tag: bigint): number => entries.find((entry) => entry.tag === tag)?.value ?? 0;
  const address = valueOf(STRINGS_ADDRESS);
  const place = segments.find(
    (one) => one.type === LOAD && address >= one.address && address < one.address + one.bytes,
  );
  if (place === undefined) return null;
  const bytes = Math.min(valueOf(STRINGS_BYTES), MAX_STRINGS_BYTES);
  const strings = await read(place.offset + address - place.address, bytes);
  if (strings === null) return null;
  return entries.filter(({ tag }) => tag === NEEDED).map(({ value }) => stringAt(strings, value));
}

function stringAt(strings: Buffer, start: number): string {
  const end = strings.indexOf(0, start);
  return strings.toString('latin1', start, end === -1 ? strings.length : end);
}

async function readAt(file: FileHandle, position: number, bytes: number): Promise<Buffer | null> {
  if (!Number.isSafeInteger(position)) return null;
  const buffer = Buffer.alloc(bytes);
  return (await file.read(buffer, 0, bytes, position)).bytesRead === bytes ? buffer : null;
}
