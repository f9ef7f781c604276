/**
 * Random generators whose state a snapshot would hand to every VM that is restored from it: those that Node and V8 keep for
 * themselves, replaced by ones that take new state when the process was restored. OpenSSL's are left as they are: `useOpenSsl`.
 */
import crypto = require('node:crypto');
import fs = require('node:fs');
import { generation } from './generation.cjs';
import { replaceMethod } from './replaced.cjs';

// As they are now: a function may put its own in place of them.
const { closeSync, openSync, readSync } = fs;
const { randomFillSync } = crypto;

/** Fills `target` from the kernel's generator. */
export function readRandom(target: Uint8Array): void {
  const fd = openSync('/dev/urandom', 'r');
  readSync(fd, target, 0, target.byteLength, null);
  closeSync(fd);
}

/**
 * Makes another `Math.random`: xoshiro128** by Blackman and Vigna, which needs 32-bit integers only. Its source text is
 * compiled in other contexts as well, so that it refers to nothing outside of it.
 *
 * @param generation another number: new state is needed; below zero: at each use.
 * @param random32 32 bits, from OpenSSL.
 */
export function makeRandom(generation: () => number, random32: () => number): () => number {
  let seededFor = NaN;
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  const next32 = (): number => {
    const product = Math.imul(s1, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9);
    const shifted = s1 << 9;
    s2 ^= s0;
    s3 ^= s1;
    s1 ^= s2;
    s0 ^= s3;
    s2 ^= shifted;
    s3 = (s3 << 11) | (s3 >>> 21);
    return result;
  };
  const functions = {
    /** In [0, 1), with 53 random bits. */
    random: (): number => {
      const now = generation();
      if (now !== seededFor) {
        [s0, s1, s2, s3] = [random32(), random32(), random32(), random32()];
        // With zeros only it would give zeros only.
        if ((s0 | s1 | s2 | s3) === 0) s3 = 1;
        seededFor = now < 0 ? NaN : now;
      }
      return ((next32() >>> 5) * 0x4000000 + (next32() >>> 6)) / 0x20000000000000;
    },
  };
  return functions.random;
}

/** Random bytes in stock, as Node keeps them for its own `randomUUID` and `randomInt`, where none can ask for fresh ones. */
const stock = Buffer.allocUnsafeSlow(6 * 512);
let stockUsed = stock.length;
let stockedFor = NaN;

/** @returns the offset in `stock` of as many bytes, which nobody else gets. */
function takeStock(bytes: number): number {
  const now = generation();
  if (now !== stockedFor || stockUsed + bytes > stock.length) {
    randomFillSync(stock);
    stockUsed = 0;
    stockedFor = now < 0 ? NaN : now;
  }
  const offset = stockUsed;
  stockUsed += bytes;
  return offset;
}

/** As `makeRandom` wants it. */
export function random32(): number {
  return stock.readInt32LE(takeStock(4));
}

/** Version 4 of RFC 9562. */
function makeUuid(): string {
  const offset = takeStock(16);
  stock[offset + 6] = ((stock[offset + 6] ?? 0) & 0x0f) | 0x40;
  stock[offset + 8] = ((stock[offset + 8] ?? 0) & 0x3f) | 0x80;
  const hex = stock.toString('hex', offset, offset + 16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

type RandomUuid = (options?: unknown) => string;

/** Node's function, but for its stock. Whatever options are wrong are refused by Node's own. */
function replaceRandomUuid(original: RandomUuid): RandomUuid {
  return function randomUUID(options?: unknown): string {
    if (options === undefined) return makeUuid();
    if (typeof options !== 'object' || options === null || Array.isArray(options)) return original(options);
    const { disableEntropyCache = false } = options as { disableEntropyCache?: unknown };
    return disableEntropyCache === false ? makeUuid() : original({ disableEntropyCache });
  };
}

/** As above; with the time in front, Node's own without a stock is good enough. */
function replaceRandomUuidV7(original: RandomUuid): RandomUuid {
  return function randomUUIDv7(options?: unknown): string {
    if (options === undefined) return original({ disableEntropyCache: true });
    if (typeof options !== 'object' || options === null || Array.isArray(options)) return original(options);
    const { disableEntropyCache = false } = options as { disableEntropyCache?: unknown };
    return original({ disableEntropyCache: disableEntropyCache === false ? true : disableEntropyCache });
  };
}

type RandomInt = (min: unknown, max: unknown, callback: unknown) => number | undefined;

const LARGEST_RANGE = 2 ** 48 - 1;

function drawInt(min: number, range: number): number {
  // Above the largest multiple of the range a draw would favour small numbers.
  const limit = LARGEST_RANGE - (LARGEST_RANGE % range);
  for (;;) {
    const drawn = stock.readUIntBE(takeStock(6), 6);
    if (drawn < limit) return (drawn % range) + min;
  }
}

/** Node's function, but for its stock. Whatever arguments are wrong are refused by Node's own. */
function replaceRandomInt(original: RandomInt): RandomInt {
  return function randomInt(min: unknown, max: unknown, callback: unknown): number | undefined {
    const hasMin = max !== undefined && typeof max !== 'function';
    const [from, to, done] = hasMin ? [min, max, callback] : [0, min, max];
    const isAsync = typeof done === 'function';
    if (
      !(isAsync || done === undefined) ||
      !Number.isSafeInteger(from) ||
      !Number.isSafeInteger(to) ||
      !((to as number) > (from as number)) ||
      !((to as number) - (from as number) <= LARGEST_RANGE)
    ) {
      return original(min, max, callback);
    }
    const drawn = drawInt(from as number, (to as number) - (from as number));
    if (!isAsync) return drawn;
    process.nextTick(done, undefined, drawn);
    return undefined;
  };
}

/** Node's global `crypto` has a method that draws from the same stock. */
function replaceOfWebCrypto(randomUUID: RandomUuid): void {
  const { webcrypto } = crypto;
  const prototype = Object.getPrototypeOf(webcrypto) as { randomUUID: RandomUuid };
  if (prototype.randomUUID === crypto.randomUUID) {
    prototype.randomUUID = randomUUID;
    return;
  }
  // Another receiver is refused by Node's own.
  replaceMethod(prototype, 'randomUUID', (original, receiver, args) =>
    receiver === webcrypto ? makeUuid() : original(receiver, args),
  );
}

/** In the realm of this thread. To be called before any code of the function can have taken the originals. */
export function replaceGenerators(): void {
  Math.random = makeRandom(generation, random32);
  const exported = crypto as unknown as { readonly randomUUID: RandomUuid; readonly randomUUIDv7?: RandomUuid };
  const { randomUUIDv7, randomUUID: original } = exported;
  const randomUUID = replaceRandomUuid(original);
  replaceOfWebCrypto(randomUUID);
  Object.assign(exported, {
    randomUUID,
    randomInt: replaceRandomInt(crypto.randomInt as unknown as RandomInt),
    ...(randomUUIDv7 === undefined ? {} : { randomUUIDv7: replaceRandomUuidV7(randomUUIDv7) }),
  });
}

const scrap = new Uint8Array(16);

/**
 * Uses OpenSSL's generator once, while the clock stands far in the future: it and its parent take new entropy and note the
 * time. After a restore each finds at its next use that time went backwards, and takes new entropy again. The generators
 * of other threads see that their parent has done so.
 */
export function useOpenSsl(): void {
  randomFillSync(scrap);
}
