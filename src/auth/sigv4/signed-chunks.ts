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
import type { KeyObject } from 'node:crypto';
import { AccessError } from '../access-error.ts';
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

/**
 * @param body as it came.
 * @returns the pieces put together.
 * @throws AccessError if one of them is not what was signed, or the form is not that above.
 */
export function openChunks(body: Buffer, { key, timestamp, scope, signature, hasTrailer }: ChunkSeed): Buffer {
  const pieces: Buffer[] = [];
  let previous = signature;
  let at = 0;
  let isLast = false;
  for (;;) {
    const end = body.subarray(at, at + MAX_LINE_BYTES).indexOf(LINE_END);
    const line = end === -1 ? '' : body.toString('latin1', at, at + end);
    const [, size, given] = /^([0-9A-Fa-f]{1,8});chunk-signature=([0-9a-f]{64})$/.exec(line) ?? [];
    if (size === undefined || given === undefined) throw broken('a chunk does not begin with its size and signature');
    at += end + LINE_END.length;
    const bytes = Number.parseInt(size, 16);
    if (bytes > 0 && isLast) throw broken(`only the last chunk may have less than ${SMALLEST_CHUNK_BYTES} bytes`);
    isLast = bytes < SMALLEST_CHUNK_BYTES;
    const piece = body.subarray(at, at + bytes);
    if (piece.length < bytes) throw broken('the body ends within a chunk');
    at += bytes;
    const hash = bytes === 0 ? EMPTY_HASH : hashHex(piece);
    const expected = sign(key, `${ALGORITHM}-PAYLOAD`, [timestamp, scope, previous, EMPTY_HASH, hash]);
    if (!isSame(expected, given)) throw broken('the signature of a chunk does not match');
    previous = given;
    if (bytes === 0) break;
    if (body.toString('latin1', at, at + LINE_END.length) !== LINE_END) throw broken('a chunk is longer than it says');
    at += LINE_END.length;
    pieces.push(piece);
  }
  if (body.length - at > MAX_TRAILER_BYTES) throw broken('the body goes on behind its last chunk');
  const rest = body.toString('latin1', at);
  if (hasTrailer) checkTrailer(rest, (hash) => sign(key, `${ALGORITHM}-TRAILER`, [timestamp, scope, previous, hash]));
  else if (rest !== LINE_END) throw broken('the body goes on behind its last chunk');
  const [first] = pieces;
  return pieces.length === 1 && first !== undefined ? first : Buffer.concat(pieces);
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

function broken(what: string): AccessError {
  return new AccessError('InvalidSignatureException', `The body is not as it was signed: ${what}.`);
}
