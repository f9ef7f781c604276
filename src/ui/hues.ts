/**
 * Runs in the live page. Hues of functions: those that are on the screen have hues as far apart as can be, and a function keeps its own
 * for as long as it is there. Red is none of them: it tells of evictions and errors.
 */

/** Of OKLCH, in degrees; between them and beyond lies red. */
const FIRST = 70;
const LAST = 340;
/** More are hard to tell from each other. */
const HUES = 16;

interface Held {
  readonly at: number;
  holders: number;
}

export class Hues {
  readonly #held = new Map<string, Held>();
  /** Functions of each hue. */
  readonly #functions = Array.from({ length: HUES }, () => 0);

  /** The hue of a function, in degrees; to be released by whoever shows it no more. */
  take(name: string): number {
    let held = this.#held.get(name);
    if (held === undefined) {
      held = { at: this.#leastUsed(), holders: 0 };
      this.#held.set(name, held);
      this.#functions[held.at] = (this.#functions[held.at] ?? 0) + 1;
    }
    held.holders += 1;
    return FIRST + (held.at * (LAST - FIRST)) / (HUES - 1);
  }

  release(name: string): void {
    const held = this.#held.get(name);
    if (held === undefined) return;
    held.holders -= 1;
    if (held.holders > 0) return;
    this.#held.delete(name);
    this.#functions[held.at] = (this.#functions[held.at] ?? 0) - 1;
  }

  /** Of those that are equally seldom, the one furthest from those that are in use more often. */
  #leastUsed(): number {
    const fewest = Math.min(...this.#functions);
    let best = 0;
    let furthest = -1;
    for (const [at, functions] of this.#functions.entries()) {
      if (functions > fewest) continue;
      const distance = Math.min(
        HUES,
        ...this.#functions.map((others, there) => (others > fewest ? Math.abs(there - at) : HUES)),
      );
      if (distance > furthest) [best, furthest] = [at, distance];
    }
    return best;
  }
}

export const hues = new Hues();
