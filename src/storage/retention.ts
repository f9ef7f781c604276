/** Runs in the builder and firerunner. Which of the things that can be made again stay, and which make room. */

export interface RetentionLimits {
  /** What is there in all, needed or not, is to be no larger, in bytes. */
  readonly maxBytes: number;
  /** What nobody needs stays so long after its last use, in ms. */
  readonly maxAgeMs: number;
}

export interface Retained {
  readonly name: string;
  readonly bytes: number;
  /** Of its last use, in ms since 1970. */
  readonly usedAt: number;
}

/**
 * What was used so lately stays whatever the limits say, in ms: somebody may be about to need it, and has not said so yet. A version
 * is published within two minutes after its files were made.
 */
export const GRACE_MS = 10 * 60_000;
/** Most that is removed before the next look at what is needed. */
export const REMOVED_AT_ONCE = 32;

/**
 * What is to be removed, that which was used longest ago first: all over the age, and as much as it takes to come below the size.
 *
 * @param needed names that stay.
 * @param now in ms since 1970.
 */
export function removable(
  all: readonly Retained[],
  needed: ReadonlySet<string>,
  { maxBytes, maxAgeMs }: RetentionLimits,
  now: number,
): readonly Retained[] {
  let bytes = all.reduce((sum, one) => sum + one.bytes, 0);
  const idle = all.filter(({ name, usedAt }) => !needed.has(name) && now - usedAt > GRACE_MS);
  return idle
    .sort((one, other) => one.usedAt - other.usedAt)
    .filter((one) => {
      if (now - one.usedAt <= maxAgeMs && bytes <= maxBytes) return false;
      bytes -= one.bytes;
      return true;
    });
}
