/**
 * Runs in the builder. Reads a tar while it comes: ustar, with the long names and large numbers of GNU and PAX. What entries say
 * is told as it is; whether it can be obeyed is for `tree.ts` to say.
 */
import { ImageError } from './image-error.ts';

const BLOCK = 512;
/** Of PAX headers and long names, in bytes. */
const MAX_EXTENSION_BYTES = 1024 * 1024;

export type TarType = 'file' | 'hardlink' | 'symlink' | 'directory' | 'device' | 'fifo';

export interface TarEntry {
  readonly path: string;
  readonly type: TarType;
  /** Permission bits, with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970. */
  readonly mtimeS: number;
  /** Of the content that follows, in bytes. */
  readonly size: number;
  /** Of a link; otherwise empty. */
  readonly target: string;
}

const TYPES: Readonly<Record<string, TarType>> = {
  '0': 'file',
  '\0': 'file',
  '7': 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'device',
  '4': 'device',
  '5': 'directory',
  '6': 'fifo',
};

/** Bytes of a stream, in the pieces that are asked for. */
class Pieces {
  readonly #source: AsyncIterator<Buffer>;
  #held: Buffer = Buffer.alloc(0);
  /** Bytes given out. */
  position = 0;

  constructor(source: AsyncIterable<Buffer>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** @returns what has come, at most `most` bytes; null: the stream has ended. */
  async some(most: number): Promise<Buffer | null> {
    while (this.#held.length === 0) {
      const next = await this.#source.next();
      if (next.done === true) return null;
      this.#held = next.value;
    }
    const piece = this.#held.subarray(0, most);
    this.#held = this.#held.subarray(piece.length);
    this.position += piece.length;
    return piece;
  }

  /** @returns fewer bytes at the end of the stream. */
  async exactly(count: number): Promise<Buffer> {
    if (this.#held.length >= count) {
      const piece = this.#held.subarray(0, count);
      this.#held = this.#held.subarray(count);
      this.position += count;
      return piece;
    }
    const pieces: Buffer[] = [];
    let missing = count;
    for (let piece; missing > 0 && (piece = await this.some(missing)) !== null; missing -= piece.length)
      pieces.push(piece);
    return Buffer.concat(pieces);
  }

  async end(): Promise<void> {
    await this.#source.return?.();
  }
}

export interface TarReader {
  /** The next entry; null: there are no more. What was not read of the one before is passed over. @throws ImageError */
  next(): Promise<TarEntry | null>;
  /** The next piece of the entry's content; null: that was all. @throws ImageError */
  content(): Promise<Buffer | null>;
  /** Reads what follows the last entry, which ought to be zeros: then the source has been read to its end. @throws ImageError */
  rest(): Promise<void>;
  /** Where the next byte to be read is, from the start of the archive. */
  readonly position: number;
  /** Lets go of the source. */
  close(): Promise<void>;
}

/** @param what how the archive is called in errors. @param maxBytes of the archive as it is read; more is refused. */
export function readTar(source: AsyncIterable<Buffer>, what: string, maxBytes: number): TarReader {
  return new Reader(source, what, maxBytes);
}

class Reader implements TarReader {
  readonly #pieces: Pieces;
  readonly #what: string;
  /** Bytes that may still come. */
  #room: number;
  /** Of the content of the entry, and of what follows it to fill its last block. */
  #left = 0;
  #padding = 0;
  /** PAX records that hold for all entries. */
  readonly #global = new Map<string, string>();

  constructor(source: AsyncIterable<Buffer>, what: string, maxBytes: number) {
    this.#pieces = new Pieces(source);
    this.#what = what;
    this.#room = maxBytes;
  }

  close(): Promise<void> {
    return this.#pieces.end();
  }

  get position(): number {
    return this.#pieces.position;
  }

  async rest(): Promise<void> {
    for (let piece; (piece = await this.#pieces.some(this.#room + 1)) !== null;) {
      this.#room -= piece.length;
      if (this.#room < 0) throw this.#tooLarge();
    }
  }

  #tooLarge(): ImageError {
    return new ImageError('too_large', `${this.#what} is too large; leave files out of the image`);
  }

  async content(): Promise<Buffer | null> {
    if (this.#left === 0) return null;
    const piece = await this.#pieces.some(this.#left);
    if (piece === null) throw this.#refuse('ends in the middle of a file');
    this.#left -= piece.length;
    return piece;
  }

  async next(): Promise<TarEntry | null> {
    const own = new Map<string, string>();
    for (;;) {
      while ((await this.content()) !== null);
      await this.#pieces.exactly(this.#padding);
      this.#padding = 0;
      const header = await this.#pieces.exactly(BLOCK);
      // Some writers leave the blocks at the end out.
      if (header.length === 0 || header.every((byte) => byte === 0)) return null;
      if (header.length < BLOCK) throw this.#refuse('ends in the middle of a header');
      const type = this.#begin(header, own);
      if (type === 'x' || type === 'g')
        readPax(await this.#extension(), type === 'x' ? own : this.#global, this.#refuse);
      else if (type === 'L') own.set('path', textOf(await this.#extension(), this.#refuse));
      else if (type === 'K') own.set('linkpath', textOf(await this.#extension(), this.#refuse));
      else return this.#entry(header, type, new Map([...this.#global, ...own]));
    }
  }

  readonly #refuse = (why: string): ImageError =>
    new ImageError('bad_image', `${this.#what} ${why}; build the image again, or push it again`);

  /** Takes the size on. @returns the type. */
  #begin(header: Buffer, pax: ReadonlyMap<string, string>): string {
    let sum = 8 * 32;
    for (let at = 0; at < BLOCK; at += 1) sum += at >= 148 && at < 156 ? 0 : (header[at] ?? 0);
    if (numberAt(header, 148, 8) !== sum) throw this.#refuse('is no tar archive, or is damaged');
    const type = header.toString('latin1', 156, 157);
    const isExtension = ['x', 'g', 'L', 'K'].includes(type);
    const given = isExtension ? undefined : (pax.get('size') ?? this.#global.get('size'));
    const size = given === undefined ? numberAt(header, 124, 12) : decimal(given);
    if (!Number.isSafeInteger(size) || size < 0) throw this.#refuse('has an entry of an impossible size');
    // Some writers give links the size of what they lead to, and no content.
    this.#left = ['1', '2', '3', '4', '5', '6'].includes(type) ? 0 : size;
    this.#padding = (BLOCK - (this.#left % BLOCK)) % BLOCK;
    this.#room -= BLOCK + this.#left + this.#padding;
    if (this.#room < 0) throw this.#tooLarge();
    return type;
  }

  async #extension(): Promise<Buffer> {
    if (this.#left > MAX_EXTENSION_BYTES) throw this.#refuse('has a header of more than 1 MiB');
    const pieces: Buffer[] = [];
    for (let piece; (piece = await this.content()) !== null;) pieces.push(piece);
    return Buffer.concat(pieces);
  }

  #entry(header: Buffer, letter: string, pax: ReadonlyMap<string, string>): TarEntry {
    const isSparse = letter === 'S' || [...pax.keys()].some((key) => key.startsWith('GNU.sparse.'));
    if (isSparse) throw this.#refuse('has a sparse file; make it without --sparse');
    const type = TYPES[letter];
    if (type === undefined) throw this.#refuse(`has an entry of the unknown type ${JSON.stringify(letter)}`);
    const field = (key: string, at: number, bytes: number): number => {
      const text = pax.get(key);
      return text === undefined ? numberAt(header, at, bytes) : decimal(text);
    };
    const isUstar = header.toString('latin1', 257, 263) === 'ustar\0';
    const prefix = isUstar ? textOf(header.subarray(345, 500), this.#refuse) : '';
    const name = textOf(header.subarray(0, 100), this.#refuse);
    return {
      path: pax.get('path') ?? (prefix === '' ? name : `${prefix}/${name}`),
      type,
      mode: numberAt(header, 100, 8) & 0o7777,
      uid: identity(field('uid', 108, 8)),
      gid: identity(field('gid', 116, 8)),
      mtimeS: clamp(Math.floor(field('mtime', 136, 12)), 0xffff_ffff),
      size: this.#left,
      target:
        type === 'symlink' || type === 'hardlink'
          ? (pax.get('linkpath') ?? textOf(header.subarray(157, 257), this.#refuse))
          : '',
    };
  }
}

/** A field: octal digits, or with the first bit set a number of base 256. NaN: neither. */
function numberAt(header: Buffer, at: number, bytes: number): number {
  const first = header[at] ?? 0;
  if ((first & 0x80) !== 0) {
    // Negative ones, of times before 1970, have all of the first bits set.
    if (first === 0xff) return -1;
    let value = first & 0x7f;
    for (let i = 1; i < bytes; i += 1) value = value * 256 + (header[at + i] ?? 0);
    return value;
  }
  const text = header
    .toString('latin1', at, at + bytes)
    .replace(/[\0 ]+$/, '')
    .replace(/^ +/, '');
  const digits = text.split('\0', 1)[0] ?? '';
  return digits === '' ? 0 : /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : Number.NaN;
}

/** Of a PAX record: decimal, for times with a fraction. */
function decimal(text: string): number {
  return /^-?\d{1,18}(\.\d*)?$/.test(text) ? Number(text) : Number.NaN;
}

function clamp(value: number, most: number): number {
  return Number.isNaN(value) ? 0 : Math.min(Math.max(value, 0), most);
}

/** A user or group that cannot be is nobody in particular. */
function identity(value: number): number {
  return Number.isInteger(value) && value >= 0 && value < 0xffff_ffff ? value : 65_534;
}

function textOf(bytes: Buffer, refuse: (why: string) => ImageError): string {
  const end = bytes.indexOf(0);
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(
      end === -1 ? bytes : bytes.subarray(0, end),
    );
  } catch {
    const shown = JSON.stringify(bytes.subarray(0, 100).toString('latin1'));
    throw refuse(`has the name ${shown}, which is not UTF-8`);
  }
}

/** Records are `LENGTH KEY=VALUE\n`, the length in bytes, with itself. */
function readPax(bytes: Buffer, records: Map<string, string>, refuse: (why: string) => ImageError): void {
  let at = 0;
  while (at < bytes.length) {
    const space = bytes.indexOf(0x20, at);
    const digits = space === -1 || space - at > 10 ? '' : bytes.toString('latin1', at, space);
    const length = /^[1-9]\d*$/.test(digits) ? Number(digits) : 0;
    const end = at + length;
    const equals = bytes.indexOf(0x3d, space);
    if (length === 0 || end > bytes.length || bytes[end - 1] !== 0x0a || equals === -1 || equals >= end) {
      throw refuse('has a PAX header that cannot be read');
    }
    const key = bytes.toString('utf8', space + 1, equals);
    // Extended attributes have no effect here, and may be of any bytes.
    if (!key.startsWith('SCHILY.xattr.') && !key.startsWith('LIBARCHIVE.')) {
      records.set(key, textOf(bytes.subarray(equals + 1, end - 1), refuse));
    }
    at = end;
  }
}
