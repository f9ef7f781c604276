/** Random numbers that a seed decides, fast enough for millions of cases. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = mix(seed | 0);
  }

  /** Of 32 bits. A Weyl sequence through a mixer: any state is a good one. */
  u32(): number {
    this.#state = (this.#state + 0x9e3779b9) | 0;
    return mix(this.#state) >>> 0;
  }

  /** From 0 to `limit` - 1. */
  below(limit: number): number {
    return Math.floor((this.u32() / 2 ** 32) * limit);
  }

  oneIn(limit: number): boolean {
    return this.below(limit) === 0;
  }

  pick<T>(list: readonly [T, ...T[]]): T {
    return list[this.below(list.length)] ?? list[0];
  }

  bytes(count: number): Buffer {
    const bytes = Buffer.allocUnsafe(count);
    for (let at = 0; at < count; at += 1) bytes[at] = this.u32();
    return bytes;
  }
}

function mix(value: number): number {
  let mixed = Math.imul(value ^ (value >>> 16), 0x21f0aaad);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
  return mixed ^ (mixed >>> 15);
}

/** Of some bytes, so that what is decided beside a case is decided by the case. */
export function seedOf(bytes: Buffer): number {
  let hash = bytes.length;
  const end = Math.min(bytes.length, 256);
  for (let at = 0; at < end; at += 1) hash = Math.imul(hash ^ (bytes[at] ?? 0), 0x01000193);
  return hash;
}
