/** Random generators whose state a snapshot would hand to every VM that is restored from it. */
import fs = require('node:fs');

/** State of `random`: xoshiro128** by Blackman and Vigna, which needs 32-bit integers only. Seeded at its first use. */
let isSeeded = false;
let s0 = 0;
let s1 = 0;
let s2 = 0;
let s3 = 0;

const seed = new Int32Array(4);

/** The next use takes a new state from the kernel's generator, which the host has given new entropy by then. */
export function forgetSeed(): void {
  isSeeded = false;
}

/** Fills `target` from the kernel's generator. */
export function readRandom(target: NodeJS.ArrayBufferView): void {
  const fd = fs.openSync('/dev/urandom', 'r');
  fs.readSync(fd, target, 0, target.byteLength, null);
  fs.closeSync(fd);
}

function takeSeed(): void {
  readRandom(seed);
  // With zeros only it would give zeros only.
  [s0 = 0, s1 = 0, s2 = 0, s3 = 1] = seed;
  s3 |= Number((s0 | s1 | s2 | s3) === 0);
  isSeeded = true;
}

function next32(): number {
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
}

/** In [0, 1), with 53 random bits. */
function random(): number {
  if (!isSeeded) takeSeed();
  return ((next32() >>> 5) * 0x4000000 + (next32() >>> 6)) / 0x20000000000000;
}

/** V8's own generator cannot be given a new seed, and keeps 64 numbers in stock. */
export function replaceMathRandom(): void {
  Math.random = random;
}

let fillRandom: ((target: Uint8Array) => unknown) | undefined;
const scrap = new Uint8Array(16);

/**
 * Uses OpenSSL's generator once, while the clock stands far in the future: it and its parent take new entropy and note the
 * time. After a restore each finds at its next use that time went backwards, and takes new entropy again. The generators
 * of other threads see that their parent has done so.
 */
export function useOpenSsl(): void {
  fillRandom ??= (require('node:crypto') as typeof import('node:crypto')).randomFillSync;
  fillRandom(scrap);
}

/** More than any cache holds. */
const MOST_DRAWS = 100_000;

/**
 * Uses up what Node keeps of random bytes: `randomUUID` (also Web Crypto's) draws from 128 prepared UUIDs, `randomInt`
 * from 1024 numbers, and neither can be told to fill them again. The next draw does.
 *
 * Functions may have taken their own references to both, so that wrapping them would not do.
 */
export function drainCaches(): void {
  const crypto = require('node:crypto') as typeof import('node:crypto');
  const typedArray = Object.getPrototypeOf(Uint8Array.prototype) as object;
  const original = Object.getOwnPropertyDescriptor(typedArray, 'byteLength') ?? {};
  // A cache is filled by `randomFillSync`, which asks for the length of what it fills; nothing else in a draw does.
  let fills = 0;
  const counting = function (this: unknown): unknown {
    fills++;
    return original.get?.call(this);
  };
  const drawsUntilFill = (draw: () => void): number => {
    const before = fills;
    for (let draws = 1; draws <= MOST_DRAWS; draws++) {
      draw();
      if (fills !== before) return draws;
    }
    throw new Error("the caches of Node's random generators cannot be drained");
  };
  Object.defineProperty(typedArray, 'byteLength', { ...original, get: counting });
  try {
    for (const draw of [() => crypto.randomUUID(), () => crypto.randomInt(1)]) {
      drawsUntilFill(draw);
      const period = drawsUntilFill(draw);
      for (let draws = 1; draws < period; draws++) draw();
    }
  } finally {
    Object.defineProperty(typedArray, 'byteLength', original);
  }
}
