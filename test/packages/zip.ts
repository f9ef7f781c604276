/** Zip archives written by hand, so that every field can be wrong. */
import { crc32, deflateRawSync } from 'node:zlib';

export interface ZipEntry {
  readonly name: string | Buffer;
  readonly data?: Buffer | string;
  /** Unix mode with its type, such as 0o100644; 0: none. */
  readonly mode?: number;
  /** System of its maker; 3 is Unix, 0 MS-DOS. */
  readonly host?: number;
  readonly method?: number;
  readonly flags?: number;
  readonly crc?: number;
  /** What is said of its size unpacked. */
  readonly size?: number;
  /** Another name before its contents. */
  readonly localName?: string;
  /** Says that it lies where this entry does. */
  readonly sameAs?: number;
  /** Said offset of its contents. */
  readonly offset?: number;
  readonly extra?: Buffer;
  readonly dosAttributes?: number;
}

export interface ZipShape {
  readonly entryCount?: number;
  readonly comment?: Buffer;
}

export function makeZip(entries: readonly ZipEntry[], shape: ZipShape = {}): Buffer {
  const parts: Buffer[] = [];
  const headers: Buffer[] = [];
  const offsets: number[] = [];
  let at = 0;
  for (const one of entries) {
    const { mode = 0o100644, host = 3, method = 8, flags = 0, dosAttributes = 0, extra = Buffer.alloc(0) } = one;
    const data = Buffer.from(one.data ?? '');
    const packed = method === 8 ? deflateRawSync(data) : data;
    const name = Buffer.from(one.name as string);
    const localName = one.localName === undefined ? name : Buffer.from(one.localName);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(flags, 2);
    common.writeUInt16LE(method, 4);
    common.writeUInt32LE((one.crc ?? crc32(data)) >>> 0, 10);
    common.writeUInt32LE(packed.length, 14);
    common.writeUInt32LE(one.size ?? data.length, 18);
    common.writeUInt16LE(localName.length, 22);
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), common, localName, packed]);
    const offset = one.offset ?? (one.sameAs === undefined ? at : (offsets[one.sameAs] ?? 0));
    offsets.push(offset);
    if (one.sameAs === undefined) {
      parts.push(local);
      at += local.length;
    }
    const central = Buffer.alloc(16);
    common.writeUInt16LE(name.length, 22);
    common.writeUInt16LE(extra.length, 24);
    central.writeUInt32LE(((mode << 16) | dosAttributes) >>> 0, 8 - 2);
    central.writeUInt32LE(offset, 10);
    const made = Buffer.from([20, host]);
    headers.push(Buffer.concat([Buffer.from('PK\x01\x02'), made, common, central.subarray(0, 14), name, extra]));
  }
  const directory = Buffer.concat(headers);
  const comment = shape.comment ?? Buffer.alloc(0);
  const end = Buffer.alloc(18);
  const count = shape.entryCount ?? entries.length;
  end.writeUInt16LE(count & 0xffff, 4);
  end.writeUInt16LE(count & 0xffff, 6);
  end.writeUInt32LE(directory.length, 8);
  end.writeUInt32LE(at, 12);
  end.writeUInt16LE(comment.length, 16);
  const large = count < 0xffff || shape.entryCount !== undefined ? [] : zip64End(count, directory.length, at, end);
  return Buffer.concat([...parts, directory, ...large, Buffer.from('PK\x05\x06'), end, comment]);
}

/** What comes before the end where there are more entries than its 16 bits can count: those say so. */
function zip64End(count: number, directoryBytes: number, directoryAt: number, end: Buffer): readonly Buffer[] {
  end.writeUInt16LE(0xffff, 4);
  end.writeUInt16LE(0xffff, 6);
  const record = Buffer.alloc(56);
  record.write('PK\x06\x06', 'latin1');
  record.writeBigUInt64LE(44n, 4);
  record.writeUInt16LE(45, 12);
  record.writeUInt16LE(45, 14);
  for (const [at, value] of [count, count, directoryBytes, directoryAt].entries()) {
    record.writeBigUInt64LE(BigInt(value), 24 + 8 * at);
  }
  const locator = Buffer.alloc(20);
  locator.write('PK\x06\x07', 'latin1');
  locator.writeBigUInt64LE(BigInt(directoryAt + directoryBytes), 8);
  locator.writeUInt32LE(1, 16);
  return [record, locator];
}
