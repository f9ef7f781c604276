/** Runs in snapctr. One file of the journal: it grows at its end, and goes as a whole. */
import { randomBytes } from 'node:crypto';
import { open, unlink, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { sync } from '../../storage/sync.ts';
import {
  bodyLength,
  decodeRecord,
  FILE_HEADER_BYTES,
  fileHeader,
  FRAME_BYTES,
  JOURNAL_SCHEMA,
  MARK_BYTES,
  readFileHeader,
  type JournalRecord,
} from './journal-record.ts';

/** What is read of a file at once. */
const WINDOW_BYTES = 1024 * 1024;
const FILE = /^(\d{16})\.events$/;

/** The number of a file's name; null: it is none of ours. */
export function segmentNumber(name: string): number | null {
  const digits = FILE.exec(name)?.[1];
  return digits === undefined ? null : Number(digits);
}

export class Segment {
  readonly number: number;
  readonly path: string;
  readonly mark: Buffer;
  /** Events in it that are not settled. */
  live = 0;
  readonly #directory: string;
  readonly #file: FileHandle;
  #size: number;
  #isHealthy = true;

  private constructor(directory: string, number: number, file: FileHandle, mark: Buffer, size: number) {
    this.number = number;
    this.path = pathOf(directory, number);
    this.mark = mark;
    this.#directory = directory;
    this.#file = file;
    this.#size = size;
  }

  static async create(directory: string, number: number): Promise<Segment> {
    const file = await open(pathOf(directory, number), 'wx+', 0o600);
    return new Segment(directory, number, file, randomBytes(MARK_BYTES), 0);
  }

  /** @returns the schema of a file of another release; null if its beginning is damaged. */
  static async open(directory: string, number: number): Promise<Segment | { readonly schema: number } | null> {
    const path = pathOf(directory, number);
    const file = await open(path, 'r+');
    try {
      const { size } = await file.stat();
      const header = readFileHeader(await readAt(file, 0, FILE_HEADER_BYTES));
      if (header?.schema === JOURNAL_SCHEMA) return new Segment(directory, number, file, header.mark, size);
      await file.close();
      return header === null ? null : { schema: header.schema };
    } catch (error) {
      await file.close().catch(() => undefined);
      throw error;
    }
  }

  /** Of what is known to be whole, in bytes. */
  get size(): number {
    return this.#size;
  }

  /** Where the next record will be. */
  get end(): number {
    return Math.max(this.#size, FILE_HEADER_BYTES);
  }

  /** False after a failure of which the disk does not tell what is left of the file: nothing more is written to it. */
  get isHealthy(): boolean {
    return this.#isHealthy;
  }

  /**
   * Resolves when the pieces are on disk.
   *
   * @throws NodeJS.ErrnoException; then nothing of them is in the file.
   */
  async append(pieces: readonly Buffer[]): Promise<void> {
    const isNew = this.#size === 0;
    const all = isNew ? [fileHeader(this.mark), ...pieces] : [...pieces];
    let isWritten = false;
    try {
      const bytes = await writeAll(this.#file, all, this.#size);
      isWritten = true;
      await this.#file.datasync();
      if (isNew) await sync(this.#directory);
      this.#size += bytes;
    } catch (error) {
      // After a failed sync the kernel may say that all is well the next time, and it is not.
      if (isWritten) this.#isHealthy = false;
      await this.cut(this.#size).catch(() => (this.#isHealthy = false));
      throw error;
    }
  }

  /** @throws NodeJS.ErrnoException */
  read(offset: number, bytes: number): Promise<Buffer> {
    return readAt(this.#file, offset, bytes);
  }

  /** What is behind goes. */
  async cut(size: number): Promise<void> {
    await this.#file.truncate(size);
    await this.#file.datasync();
    this.#size = size;
  }

  /** Reads it from its beginning; as `scanRecords`. @throws NodeJS.ErrnoException */
  scan(listener: ScanListener): Promise<number> {
    const read = (offset: number, bytes: number): Promise<Buffer> => this.read(offset, bytes);
    return scanRecords({ size: this.#size, mark: this.mark, windowBytes: WINDOW_BYTES, read }, listener);
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async remove(): Promise<void> {
    await unlink(this.path);
    await this.#file.close();
  }
}

interface ScanListener {
  /** Called for each whole record. */
  readonly onRecord: (record: JournalRecord, offset: number, bytes: number) => void;
  /** Called for each stretch of bytes that is none, with records behind it. */
  readonly onDamage: (offset: number, bytes: number) => void;
}

interface ScannedFile {
  readonly size: number;
  readonly mark: Buffer;
  /** What is read at once, unless a record is larger. */
  readonly windowBytes: number;
  /** Resolves to fewer bytes at the end of the file. */
  readonly read: (offset: number, bytes: number) => Promise<Buffer>;
}

/**
 * The records of a file, in order.
 *
 * @returns where the last whole record ends.
 */
export async function scanRecords(
  { size, mark, windowBytes, read }: ScannedFile,
  { onRecord, onDamage }: ScanListener,
): Promise<number> {
  let at = FILE_HEADER_BYTES;
  let end = at;
  let window: Buffer = Buffer.alloc(0);
  let windowAt = at;
  while (at + FRAME_BYTES <= size) {
    const inside = (): Buffer => window.subarray(at - windowAt);
    if (inside().length < FRAME_BYTES) {
      window = await read(at, Math.min(windowBytes, size - at));
      windowAt = at;
    }
    const length = bodyLength(inside(), mark);
    if (length !== null && inside().length < FRAME_BYTES + length && windowAt + window.length < size) {
      window = await read(at, Math.min(Math.max(windowBytes, FRAME_BYTES + length), size - at));
      windowAt = at;
    }
    const record = decodeRecord(inside(), mark);
    if (record !== null && length !== null) {
      if (at > end) onDamage(end, at - end);
      onRecord(record, at, FRAME_BYTES + length);
      at += FRAME_BYTES + length;
      end = at;
      continue;
    }
    // What looks like the next record, beginning in this window; else behind it.
    const next = inside().indexOf(mark, 1);
    at = next === -1 ? Math.max(at + 1, windowAt + window.length - MARK_BYTES + 1) : at + next;
  }
  return end;
}

function pathOf(directory: string, number: number): string {
  return join(directory, `${String(number).padStart(16, '0')}.events`);
}

/** As much of it as is there. */
async function readAt(file: FileHandle, offset: number, bytes: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(bytes);
  let length = 0;
  while (length < bytes) {
    const { bytesRead } = await file.read(buffer, length, bytes - length, offset + length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return buffer.subarray(0, length);
}

/** The kernel takes this many pieces at once (`IOV_MAX`). */
const MAX_PIECES = 1024;

async function writeAll(file: FileHandle, pieces: readonly Buffer[], position: number): Promise<number> {
  let at = position;
  let rest = pieces.slice();
  while (rest.length > 0) {
    const { bytesWritten } = await file.writev(rest.slice(0, MAX_PIECES), at);
    if (bytesWritten === 0) throw new Error('the disk takes nothing more');
    at += bytesWritten;
    rest = behind(rest, bytesWritten);
  }
  return at - position;
}

/** A full disk takes a part of what it is given, before it says so. */
function behind(pieces: readonly Buffer[], bytes: number): Buffer[] {
  let left = bytes;
  for (const [index, piece] of pieces.entries()) {
    if (piece.length > left) return [piece.subarray(left), ...pieces.slice(index + 1)];
    left -= piece.length;
  }
  return [];
}
