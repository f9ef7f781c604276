/**
 * Runs in snapctr. What a clock on a wall shows in a time zone: in ms, as if it were in Greenwich. In spring it leaves out an hour, in
 * autumn it shows one twice.
 */

/** Clocks are set back by an hour, in some places by more, and then not again for days. */
const LONGEST_SHIFT_MS = 3 * 3600 * 1000;
const DAY_MS = 24 * 3600 * 1000;
const NAME = /^[A-Za-z][A-Za-z0-9_+/-]{0,63}$/;

export class WallClock {
  readonly #format: Intl.DateTimeFormat;

  private constructor(format: Intl.DateTimeFormat) {
    this.#format = format;
  }

  /** @param zone of IANA's, such as "Europe/Berlin". @returns null: there is no such zone. */
  static of(zone: string): WallClock | null {
    const known = clocks.get(zone);
    if (known !== undefined) return known;
    if (!NAME.test(zone)) return null;
    try {
      const clock = new WallClock(new Intl.DateTimeFormat('en-US', { ...SHOWN, timeZone: zone }));
      // Names are taken in any spelling of their letters.
      if (clocks.size >= MAX_CLOCKS) clocks.clear();
      clocks.set(zone, clock);
      return clock;
    } catch {
      return null;
    }
  }

  /** What it shows at a moment. @param at ms since 1970. */
  shown(at: number): number {
    return at + this.#offset(at);
  }

  /** The latest that it has ever shown by then. */
  latestShown(at: number): number {
    return at + Math.max(this.#offset(at), this.#offset(at - LONGEST_SHIFT_MS));
  }

  /** The first moment at which it shows that; null: it never does. */
  moment(wall: number): number | null {
    const before = this.#offset(wall - DAY_MS);
    const after = this.#offset(wall + DAY_MS);
    const found = [wall - before, wall - after].filter((at) => this.shown(at) === wall);
    return found.length === 0 ? null : Math.min(...found);
  }

  /** In ms, east of Greenwich. */
  #offset(at: number): number {
    const whole = Math.floor(at / 1000) * 1000;
    const parts: Record<string, number> = {};
    for (const { type, value } of this.#format.formatToParts(whole)) parts[type] = Number(value);
    const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = parts;
    return Date.UTC(year, month - 1, day, hour, minute, second) - whole;
  }
}

const SHOWN = {
  hourCycle: 'h23',
  calendar: 'gregory',
  numberingSystem: 'latn',
  year: 'numeric',
  month: 'numeric',
  day: 'numeric',
  hour: 'numeric',
  minute: 'numeric',
  second: 'numeric',
} as const;

/** There are some hundred zones. */
const MAX_CLOCKS = 1000;
const clocks = new Map<string, WallClock>();
