/**
 * Runs in snapctr. Reads a JSON object of which one member, a blob in base64, may be larger than memory has room for:
 *
 * ```
 *   {"FunctionName":"f","Code":{"ZipFile":"UEsDBBQA…"}}
 *   └────────── kept ───────────────────┘└─ decoded ┘└─ kept
 * ```
 *
 * What is kept is JSON with an empty string in the blob's place; whether it is JSON at all, `JSON.parse` says at the end. On
 * the way only strings, brackets and the keys on the way to the blob are told apart.
 */
import { isUtf8 } from 'node:buffer';
import { messageOf } from '../../../../protocol/errors.ts';
import { Base64Decoder, NotBase64 } from './base64.ts';

const [QUOTE, BACKSLASH, COMMA, COLON] = [0x22, 0x5c, 0x2c, 0x3a];
const [OPEN_ARRAY, CLOSE_ARRAY, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];
/** Keys are shorter, also with each character escaped. */
const MAX_KEY_BYTES = 64;
const NO_PIECES: readonly Buffer[] = [];

/** Why a body cannot be read; the message says what to change. */
export class BlobJsonError extends Error {
  override readonly name = 'BlobJsonError';
  readonly reason: 'not_json' | 'not_base64' | 'too_large';

  constructor(reason: BlobJsonError['reason'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}

export interface BlobJson {
  /** The object; the blob's member is an empty string. */
  readonly value: unknown;
  /** Whether there was one. */
  readonly hasBlob: boolean;
}

/** A place of the blob: the name of a member, or of a member of a member. */
export type BlobPath = readonly [string] | readonly [string, string];

/** Which string the next byte is in, if any. */
type Place = 'outside' | 'key' | 'string' | 'blob';

export class BlobJsonReader {
  readonly #path: BlobPath;
  readonly #maxKeptBytes: number;
  #kept = Buffer.allocUnsafe(1024);
  #keptBytes = 0;
  #place: Place = 'outside';
  /** The next byte of a string is escaped. */
  #isEscaped = false;
  #depth = 0;
  /** Of the brackets on the first two levels, whether they are those of an object. */
  readonly #isObject = [false, false];
  /** The key that was read last on each of them. */
  readonly #keys: (string | null)[] = [null, null];
  #expectsKey = false;
  /** The inside of the key that is being read; null: it is too long to be one on the way. */
  #key: string | null = null;
  #blob: Base64Decoder | null = null;
  #hasBlob = false;

  constructor(path: BlobPath, maxKeptBytes: number) {
    this.#path = path;
    this.#maxKeptBytes = maxKeptBytes;
  }

  /** @returns what it has of the blob. @throws BlobJsonError */
  push(chunk: Buffer): readonly Buffer[] {
    const pieces: Buffer[] = [];
    let keptFrom = 0;
    let at = 0;
    while (at < chunk.length) {
      if (this.#place === 'blob') {
        this.#keep(chunk.subarray(keptFrom, at));
        const quote = chunk.indexOf(QUOTE, at);
        const end = quote === -1 ? chunk.length : quote;
        this.#decode(chunk.subarray(at, end), quote !== -1, pieces);
        keptFrom = at = end;
        if (quote !== -1) this.#place = 'outside';
        // The quote that ends it is kept.
        if (quote !== -1) at += 1;
        continue;
      }
      at = this.#place === 'outside' ? this.#structure(chunk, at) : this.#string(chunk, at);
    }
    this.#keep(chunk.subarray(keptFrom));
    return pieces.length === 0 ? NO_PIECES : pieces;
  }

  /** @throws BlobJsonError */
  end(): BlobJson {
    const text = this.#kept.subarray(0, this.#keptBytes);
    if (!isUtf8(text)) throw new BlobJsonError('not_json', 'it is not UTF-8');
    let value: unknown;
    try {
      value = JSON.parse(text.toString('utf8'));
    } catch (error) {
      throw new BlobJsonError('not_json', messageOf(error), { cause: error });
    }
    // Of members of the same name `JSON.parse` takes the last.
    if (this.#hasBlob && memberAt(value, this.#path) !== '') throw twice();
    return { value, hasBlob: this.#hasBlob };
  }

  #keep(part: Buffer): void {
    if (part.length === 0) return;
    const end = this.#keptBytes + part.length;
    if (end > this.#maxKeptBytes) {
      throw new BlobJsonError('too_large', `without the zip file it must be smaller than ${this.#maxKeptBytes} bytes`);
    }
    if (end > this.#kept.length) this.#kept = Buffer.concat([this.#kept, Buffer.allocUnsafe(end)]);
    part.copy(this.#kept, this.#keptBytes);
    this.#keptBytes = end;
  }

  #decode(text: Buffer, isLast: boolean, pieces: Buffer[]): void {
    try {
      const blob = (this.#blob ??= new Base64Decoder());
      const piece = blob.push(text);
      if (piece.length > 0) pieces.push(piece);
      if (!isLast) return;
      const rest = blob.finish();
      if (rest.length > 0) pieces.push(rest);
    } catch (error) {
      if (!(error instanceof NotBase64)) throw error;
      throw new BlobJsonError('not_base64', `the zip file is not base64: ${error.message}`, { cause: error });
    }
  }

  /** Between strings. @returns where it goes on. */
  #structure(chunk: Buffer, from: number): number {
    for (let at = from; at < chunk.length; at += 1) {
      switch (chunk[at]) {
        case QUOTE:
          this.#beginString();
          return at + 1;
        case OPEN_OBJECT:
        case OPEN_ARRAY: {
          const isObject = chunk[at] === OPEN_OBJECT;
          if (this.#depth === 0 || this.#depth === 1) {
            this.#isObject[this.#depth] = isObject;
            this.#keys[this.#depth] = null;
          }
          this.#depth += 1;
          this.#expectsKey = isObject && this.#depth <= 2;
          break;
        }
        case CLOSE_OBJECT:
        case CLOSE_ARRAY:
          this.#depth -= 1;
          this.#expectsKey = false;
          break;
        case COMMA:
          this.#expectsKey = this.#isObject[this.#depth - 1] === true;
          break;
        case COLON:
          this.#expectsKey = false;
          break;
        default:
      }
    }
    return chunk.length;
  }

  #beginString(): void {
    if (this.#expectsKey) {
      this.#place = 'key';
      this.#key = '';
    } else if (this.#isBlob()) {
      if (this.#hasBlob) throw twice();
      this.#hasBlob = true;
      this.#place = 'blob';
    } else this.#place = 'string';
  }

  #isBlob(): boolean {
    return (
      this.#depth === this.#path.length &&
      this.#path.every((name, level) => this.#isObject[level] === true && this.#keys[level] === name)
    );
  }

  /** @returns where it goes on. */
  #string(chunk: Buffer, from: number): number {
    let at = from;
    let isEnd = false;
    for (; at < chunk.length && !isEnd; at += 1) {
      const byte = chunk[at];
      if (this.#isEscaped) this.#isEscaped = false;
      else if (byte === BACKSLASH) this.#isEscaped = true;
      else isEnd = byte === QUOTE;
    }
    if (this.#place === 'key') this.#takeKey(chunk.subarray(from, isEnd ? at - 1 : at));
    if (!isEnd) return at;
    if (this.#place === 'key') this.#keys[this.#depth - 1] = unescapedKey(this.#key);
    this.#place = 'outside';
    return at;
  }

  #takeKey(part: Buffer): void {
    if (this.#key === null || this.#key.length + part.length > MAX_KEY_BYTES) this.#key = null;
    else this.#key += part.toString('latin1');
  }
}

/** Null: it is none of those on the way. */
function unescapedKey(key: string | null): string | null {
  if (key?.includes('\\') !== true) return key;
  try {
    return JSON.parse(`"${key}"`) as string;
  } catch {
    // Then nor is the whole JSON.
    return null;
  }
}

function memberAt(value: unknown, path: BlobPath): unknown {
  let at = value;
  for (const name of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, name)) return undefined;
    at = (at as Readonly<Record<string, unknown>>)[name];
  }
  return at;
}

function twice(): BlobJsonError {
  return new BlobJsonError('not_json', 'the zip file is in it more than once; send it once');
}
