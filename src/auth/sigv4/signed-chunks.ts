/**
 * Runs in snapctr. Bodies of which each piece is signed: `x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD`, or with
 * `-TRAILER` (docs.aws.amazon.com, "Signature calculations for the Authorization header: transferring payload in chunks").
 *
 * ```
 *   10000;chunk-signature=HEX\r\n  64 KiB  \r\n
 *   400;chunk-signature=HEX\r\n    1 KiB   \r\n
 *   0;chunk-signature=HEX\r\n
 *   x-amz-checksum-crc32c:…\r\nx-amz-trailer-signature:HEX\r\n      with -TRAILER
 *   \r\n
 * ```
 */
import { createHash, type KeyObject } from 'node:crypto';
import { AccessError } from '../access-error.ts';
import type { BodyOpener } from '../body-opener.ts';
import { ALGORITHM, EMPTY_HASH, hashHex, isSame, sign } from './signature.ts';

/** By the value of `x-amz-content-sha256`, whether headers come behind the body. */
export const SIGNED_CHUNKS: ReadonlyMap<string, { readonly hasTrailer: boolean }> = new Map([
  [`STREAMING-${ALGORITHM}-PAYLOAD`, { hasTrailer: false }],
  [`STREAMING-${ALGORITHM}-PAYLOAD-TRAILER`, { hasTrailer: true }],
]);

/** All but the last one that carries something have at least this, as with AWS: each costs a signature. */
const SMALLEST_CHUNK_BYTES = 8 * 1024;
/** The line before a chunk, and all that is behind the last one. */
const MAX_LINE_BYTES = 256;
const MAX_TRAILER_BYTES = 8 * 1024;
const LINE_END = '\r\n';

/** What the signature of a body's first piece goes on from. */
export interface ChunkSeed {
  readonly key: KeyObject;
  readonly timestamp: string;
  readonly scope: string;
  /** Of the request's head. */
  readonly signature: string;
  readonly hasTrailer: boolean;
}

const EMPTY = Buffer.alloc(0);

/** Takes such a body apart, in whatever pieces it comes; keeps no more of it than a line or the trailer. */
export class ChunkOpener implements BodyOpener {
  readonly #seed: ChunkSeed;
  #state: 'line' | 'chunk' | 'line end' | 'trailer' = 'line';
  /** What has come of a line or the trailer. */
  #held: Buffer = EMPTY;
  #previous: string;
  #isLast = false;
  /** Of the chunk that is being read: what its line says, the bytes to come, and the hash of those that have. */
  #given = '';
  #missing = 0;
  #hash = createHash('sha256');

  constructor(seed: ChunkSeed) {
    this.#seed = seed;
    this.#previous = seed.signature;
  }

  push(piece: Buffer): readonly Buffer[] {
    let rest = this.#held.length === 0 ? piece : Buffer.concat([this.#held, piece]);
    const opened: Buffer[] = [];
    for (;;) {
      const used = this.#step(rest, opened);
      if (used === null) break;
      rest = rest.subarray(used);
    }
    // Of chunks nothing is left over, so what is held is small, and a copy of its own.
    this.#held = rest.length === 0 ? EMPTY : Buffer.from(rest);
    return opened;
  }

  end(): void {
    const { key, timestamp, scope, hasTrailer } = this.#seed;
    if (this.#state === 'line') throw noChunk();
    if (this.#state !== 'trailer') throw broken('the body ends within a chunk');
    const rest = this.#held.toString('latin1');
    if (!hasTrailer) {
      if (rest !== LINE_END) throw broken('the body goes on behind its last chunk');
      return;
    }
    checkTrailer(rest, (hash) => sign(key, `${ALGORITHM}-TRAILER`, [timestamp, scope, this.#previous, hash]));
  }

  /** @returns how many bytes it took; null: it needs more of them. */
  #step(rest: Buffer, opened: Buffer[]): number | null {
    switch (this.#state) {
      case 'line':
        return this.#readLine(rest);
      case 'chunk': {
        if (rest.length === 0) return null;
        const part = rest.subarray(0, this.#missing);
        this.#hash.update(part);
        opened.push(part);
        this.#missing -= part.length;
        if (this.#missing === 0) this.#checkChunk(this.#hash.digest('hex'), 'line end');
        return part.length;
      }
      case 'line end':
        if (rest.length < LINE_END.length) return null;
        if (rest.toString('latin1', 0, LINE_END.length) !== LINE_END) throw broken('a chunk is longer than it says');
        this.#state = 'line';
        return LINE_END.length;
      case 'trailer':
        if (rest.length > MAX_TRAILER_BYTES) throw broken('the body goes on behind its last chunk');
        return null;
    }
  }

  #readLine(rest: Buffer): number | null {
    const end = rest.subarray(0, MAX_LINE_BYTES).indexOf(LINE_END);
    if (end === -1 && rest.length < MAX_LINE_BYTES) return null;
    const line = end === -1 ? '' : rest.toString('latin1', 0, end);
    const [, size, given] = /^([0-9A-Fa-f]{1,8});chunk-signature=([0-9a-f]{64})$/.exec(line) ?? [];
    if (size === undefined || given === undefined) throw noChunk();
    const bytes = Number.parseInt(size, 16);
    if (bytes > 0 && this.#isLast) throw broken(`only the last chunk may have less than ${SMALLEST_CHUNK_BYTES} bytes`);
    this.#isLast = bytes < SMALLEST_CHUNK_BYTES;
    this.#given = given;
    this.#missing = bytes;
    this.#hash = createHash('sha256');
    if (bytes === 0) this.#checkChunk(EMPTY_HASH, 'trailer');
    else this.#state = 'chunk';
    return end + LINE_END.length;
  }

  #checkChunk(hash: string, next: 'line end' | 'trailer'): void {
    const { key, timestamp, scope } = this.#seed;
    const expected = sign(key, `${ALGORITHM}-PAYLOAD`, [timestamp, scope, this.#previous, EMPTY_HASH, hash]);
    if (!isSame(expected, this.#given)) throw broken('the signature of a chunk does not match');
    this.#previous = this.#given;
    this.#state = next;
  }
}

/** Checksums in it are not counted again: it is signed, and so is all they are of. */
function checkTrailer(rest: string, expected: (hash: string) => string): void {
  const lines = rest.split(LINE_END);
  const [, given] = /^x-amz-trailer-signature:([0-9a-f]{64})$/.exec(lines.at(-3) ?? '') ?? [];
  if (given === undefined || lines.at(-1) !== '' || lines.at(-2) !== '') throw broken('its trailer has no signature');
  const signed = lines.slice(0, -3);
  if (signed.some((line) => !/^[a-z0-9-]+:[^\r\n]*$/.test(line)))
    throw broken('its trailer has a line that is no header');
  const canonical = signed.map((line) => {
    const colon = line.indexOf(':');
    return `${line.slice(0, colon)}:${line.slice(colon + 1).trim()}\n`;
  });
  if (!isSame(expected(hashHex(canonical.join(''))), given))
    throw broken('the signature of its trailer does not match');
}

function noChunk(): AccessError {
  return broken('a chunk does not begin with its size and signature');
}

function broken(what: string): AccessError {
  return new AccessError('InvalidSignatureException', `The body is not as it was signed: ${what}.`);
}
