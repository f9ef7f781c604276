/**
 * Runs in snapctr. Whether what was sent is a zip file at all, told at once: its end says so (APPNOTE.TXT, 4.3.16). What is in it is
 * the builder's matter, and told by the function's state.
 */
import { ApiError } from '../errors.ts';

const END_SIGNATURE = Buffer.from('PK\x05\x06', 'latin1');
const END_BYTES = 22;
/** How much of a file a comment can put between its end and the record that ends it. */
const MAX_TAIL_BYTES = END_BYTES + 0xffff;
/** In the record: entries in all. */
const ENTRIES_AT = 10;

export class ZipTail {
  /** The pieces that came last. */
  readonly #pieces: Buffer[] = [];
  #bytes = 0;

  push(piece: Buffer): void {
    this.#pieces.push(piece);
    this.#bytes += piece.length;
    for (let first = this.#pieces[0]; first !== undefined && this.#bytes - first.length >= MAX_TAIL_BYTES;) {
      this.#pieces.shift();
      this.#bytes -= first.length;
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
  }
}
