/** Runs in snapctr. Ids of function URLs, as AWS has them: 32 small letters and digits. */
import { createHash, randomBytes } from 'node:crypto';

const DIGITS = 32;
const BASE = 36;

export function newUrlId(): string {
  return encode(randomBytes(32));
}

/** The same at each start, for a function that nothing is kept of. */
export function urlIdOf(functionArn: string): string {
  return encode(createHash('sha256').update(functionArn).digest());
}

function encode(bytes: Buffer): string {
  return BigInt(`0x${bytes.toString('hex')}`)
    .toString(BASE)
    .padStart(DIGITS, '0')
    .slice(-DIGITS);
}
