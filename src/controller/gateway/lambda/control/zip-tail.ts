/**
 * Runs in snapctr. Whether what was sent is a zip file at all, and one that is not too large, told at once: its end says so (APPNOTE.TXT,
 * 4.3.12 to 4.3.16). What is in it is the builder's matter, and told by the function's state.
 */
import { MAX_ENTRIES, MAX_UNPACKED_BYTES } from '../../../../packages/entries.ts';
import { ApiError } from '../errors.ts';

const END_SIGNATURE = Buffer.from('PK\x05\x06', 'latin1');
const END_BYTES = 22;
/** With any comment the record that ends a file is in it, and the directories of all but files with thousands of entries are. */
const MAX_TAIL_BYTES = 1024 * 1024;
/** In that record: entries in all, and the bytes of the directory before it. */
const ENTRIES_AT = 10;
const DIRECTORY_BYTES_AT = 12;
/** Of more entries than it can count a record before it tells, and right before it where that is. */
const UNCOUNTED = 0xffff;
const LOCATOR_SIGNATURE = 0x07064b50;
const LOCATOR_BYTES = 20;
const LARGE_END_AT = 8;
const LARGE_END_SIGNATURE = 0x06064b50;
const LARGE_END_BYTES = 56;
const LARGE_ENTRIES_AT = 32;
const ENTRY_SIGNATURE = 0x02014b50;
const ENTRY_BYTES = 46;
/** In an entry: its size unpacked, and the lengths of what follows it. */
const SIZE_AT = 24;
const LENGTHS_AT = [28, 30, 32];

export class ZipTail {
  /** The pieces that came last. */
  readonly #pieces: Buffer[] = [];
  #bytes = 0;
  /** Before those. */
  #passedBytes = 0;

  push(piece: Buffer): void {
    this.#pieces.push(piece);
    this.#bytes += piece.length;
    for (let first = this.#pieces[0]; first !== undefined && this.#bytes - first.length >= MAX_TAIL_BYTES;) {
      this.#pieces.shift();
      this.#bytes -= first.length;
      this.#passedBytes += first.length;
      first = this.#pieces[0];
    }
  }

  /** @throws ApiError as AWS has it. */
  check(): void {
    const tail = Buffer.concat(this.#pieces);
    const at = tail.lastIndexOf(END_SIGNATURE);
    if (tail.length > 0 && (at === -1 || at + END_BYTES > tail.length)) {
      const message = 'Could not unzip uploaded file. Please check your file, then try to upload again.';
      throw new ApiError('InvalidParameterValueException', message);
    }
    if (tail.length === 0 || tail.readUInt16LE(at + ENTRIES_AT) === 0) {
      throw new ApiError('InvalidParameterValueException', 'Uploaded file must be a non-empty zip');
    }
    if (entryCount(tail, at, this.#passedBytes) > MAX_ENTRIES) {
      const message = `Uploaded file must have at most ${MAX_ENTRIES} entries: leave some out.`;
      throw new ApiError('InvalidParameterValueException', message);
    }
    if (unpackedBytes(tail, at) > MAX_UNPACKED_BYTES) {
      const message = `Unzipped size must be smaller than ${MAX_UNPACKED_BYTES} bytes`;
      throw new ApiError('InvalidParameterValueException', message);
    }
  }
}

/** As far as it is told here: the builder counts as well. @param passedBytes of the file before `tail`. */
function entryCount(tail: Buffer, end: number, passedBytes: number): number {
  const count = tail.readUInt16LE(end + ENTRIES_AT);
  const locator = end - LOCATOR_BYTES;
  if (count < UNCOUNTED || locator < 0 || tail.readUInt32LE(locator) !== LOCATOR_SIGNATURE) return count;
  const at = Number(tail.readBigUInt64LE(locator + LARGE_END_AT)) - passedBytes;
  const isThere = at >= 0 && at + LARGE_END_BYTES <= locator && tail.readUInt32LE(at) === LARGE_END_SIGNATURE;
  return isThere ? Number(tail.readBigUInt64LE(at + LARGE_ENTRIES_AT)) : count;
}

/** By the directory, as far as it can be read here: the builder counts as well. @param end where the last record begins. */
function unpackedBytes(tail: Buffer, end: number): number {
  let at = end - tail.readUInt32LE(end + DIRECTORY_BYTES_AT);
  let bytes = 0;
  while (at >= 0 && at + ENTRY_BYTES <= end && tail.readUInt32LE(at) === ENTRY_SIGNATURE) {
    const entry = at;
    bytes += tail.readUInt32LE(entry + SIZE_AT);
    at = LENGTHS_AT.reduce((next, length) => next + tail.readUInt16LE(entry + length), entry + ENTRY_BYTES);
  }
  return bytes;
}
