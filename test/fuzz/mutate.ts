/** Changes to the bytes of a case, small ones mostly. */
import type { Random } from './random.ts';

/** Bytes at which parsers decide something. */
const EDGES = Buffer.from(
  '\0\x01\x03\x07\n\r\t "#$%\'()*+,-./09:;<=>?@AZ[\\]_`az{|}~\x7f\x80\xbf\xc0\xef\xff',
  'latin1',
);
/** A piece is repeated up to this size, so that whoever needs more than linear time is found out. */
const LARGE_BYTES = 96 * 1024;
/** One in so many cases is large. */
const LARGE_ONE_IN = 4000;

/**
 * @param other another valid case, to take pieces from.
 * @param tokens what the parser knows, such as keywords.
 */
export function mutate(random: Random, valid: Buffer, other: Buffer, tokens: readonly Buffer[]): Buffer {
  let bytes = valid;
  for (let left = 1 + random.below(4); left > 0; left -= 1) bytes = mutateOnce(random, bytes, other, tokens);
  return random.oneIn(LARGE_ONE_IN) ? enlarge(random, bytes) : bytes;
}

function mutateOnce(random: Random, bytes: Buffer, other: Buffer, tokens: readonly Buffer[]): Buffer {
  const at = random.below(bytes.length + 1);
  const count = 1 + random.below(random.oneIn(4) ? 64 : 6);
  switch (random.below(9)) {
    case 0:
      return splice(bytes, at, 1, Buffer.of(random.u32() & 0xff));
    case 1:
      return splice(bytes, at, random.below(2), Buffer.of(EDGES[random.below(EDGES.length)] ?? 0));
    case 2:
      return splice(bytes, at, 1, Buffer.of((bytes[at] ?? 0) ^ (1 << random.below(8))));
    case 3:
      return splice(bytes, at, 1, Buffer.of(((bytes[at] ?? 0) + (random.oneIn(2) ? 1 : 255)) & 0xff));
    case 4:
      return splice(bytes, at, count, Buffer.alloc(0));
    case 5:
      return splice(bytes, at, 0, bytes.subarray(at, at + count));
    case 6: {
      const from = random.below(other.length + 1);
      return splice(bytes, at, random.below(count), other.subarray(from, from + count));
    }
    case 7:
      return splice(bytes, at, random.below(3), tokens[random.below(tokens.length)] ?? random.bytes(count));
    default:
      return random.oneIn(2) ? bytes.subarray(0, at) : splice(bytes, at, 0, random.bytes(count));
  }
}

/** A piece of it many times over, where it stands. */
function enlarge(random: Random, bytes: Buffer): Buffer {
  const from = random.below(bytes.length);
  const piece = bytes.subarray(from, from + 1 + random.below(random.oneIn(2) ? 2 : 12));
  if (piece.length === 0) return bytes;
  return splice(bytes, from, 0, Buffer.alloc(LARGE_BYTES - (LARGE_BYTES % piece.length), piece));
}

function splice(bytes: Buffer, at: number, removed: number, inserted: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, at), inserted, bytes.subarray(at + removed)]);
}
