/** Runs in snapctr, and in the commands that read YAML. Guesses which key a misspelt one was meant to be. */

/** Of a word with all others: some hundred names a word, for some hundred words; a second at most. */
const MOST_COMPARISONS = 100_000;
const LONGEST_WORD = 64;

/**
 * Guesses for one configuration. Where ten thousand names are wrong it is not their spelling: the guesses come to an end, so that
 * the messages come at once.
 */
export class Spelling {
  #left: number;

  constructor(mostComparisons = MOST_COMPARISONS) {
    this.#left = mostComparisons;
  }

  /** As `nearest`; null as well once enough was compared. */
  nearest(word: string, candidates: readonly string[]): string | null {
    if (this.#left < candidates.length) return null;
    this.#left -= candidates.length;
    return nearest(word, candidates);
  }
}

/** The candidate closest to `word`, or null if none is close: about one letter in three may be wrong. */
export function nearest(word: string, candidates: readonly string[]): string | null {
  let best: string | null = null;
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1;
  if (word.length > LONGEST_WORD) return null;
  const wanted = word.toLowerCase().replaceAll('-', '_');
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - wanted.length) >= bestDistance) continue;
    const distance = editDistance(wanted, candidate);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Fewest letters to insert, remove, change or swap with a neighbour to get from `a` to `b` (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let before: readonly number[] = [];
  let row: readonly number[] = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 0; i < a.length; i += 1) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j += 1) {
      const change = (row[j] ?? 0) + (a[i] === b[j] ? 0 : 1);
      const isSwap = i > 0 && j > 0 && a[i] === b[j - 1] && a[i - 1] === b[j];
      const swap = isSwap ? (before[j - 1] ?? 0) + 1 : Infinity;
      next.push(Math.min(change, swap, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    [before, row] = [row, next];
  }
  return row[b.length] ?? 0;
}
