/** Runs in snapctr. The arithmetic of AWS Signature Version 4: keys of a day, strings to sign, signatures. */
import { createHash, createHmac, createSecretKey, timingSafeEqual, type KeyObject } from 'node:crypto';

export const ALGORITHM = 'AWS4-HMAC-SHA256';
export const TERMINATOR = 'aws4_request';
/** SHA-256 of nothing. */
export const EMPTY_HASH = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

/** For whom a signature is made. */
export interface Scope {
  /** `YYYYMMDD`, in UTC. */
  readonly day: string;
  readonly region: string;
  readonly service: string;
}

export function scopeText({ day, region, service }: Scope): string {
  return `${day}/${region}/${service}/${TERMINATOR}`;
}

/** @param secret the secret access key. */
export function signingKey(secret: string, { day, region, service }: Scope): KeyObject {
  let key = createHmac('sha256', `AWS4${secret}`).update(day).digest();
  for (const part of [region, service, TERMINATOR]) key = createHmac('sha256', key).update(part).digest();
  return createSecretKey(key);
}

/** @param parts lines of what is signed, behind the algorithm's name. @returns the signature, in hex. */
export function sign(key: KeyObject, algorithm: string, parts: readonly string[]): string {
  return createHmac('sha256', key)
    .update(`${algorithm}\n${parts.join('\n')}`, 'latin1')
    .digest('hex');
}

/** SHA-256 in hex of bytes, or of text of which each character is a byte. */
export function hashHex(data: Uint8Array | string): string {
  const hash = createHash('sha256');
  return (typeof data === 'string' ? hash.update(data, 'latin1') : hash.update(data)).digest('hex');
}

/** Takes as long wherever the two differ. */
export function isSame(expected: string, given: string): boolean {
  const [left, right] = [Buffer.from(expected, 'latin1'), Buffer.from(given, 'latin1')];
  return left.length === right.length && timingSafeEqual(left, right);
}
