/** Runs in snapctr. When a schedule is due, by its expression: `rate(5 minutes)`, or `cron(0 8 ? * MON-FRI *)` in a time zone. */
import { Cron, ExpressionError } from './cron.ts';
import { WallClock } from './wall-clock.ts';

const MINUTE_MS = 60_000;
const UNITS_MS: Readonly<Record<string, number>> = {
  minute: MINUTE_MS,
  hour: 60 * MINUTE_MS,
  day: 24 * 60 * MINUTE_MS,
};
const MAX_RATE_MS = 3660 * 24 * 60 * MINUTE_MS;
const MAX_EXPRESSION_CHARACTERS = 256;

export interface DueTimesOptions {
  readonly expression: string;
  /** Of IANA's; for `cron` alone. */
  readonly timeZone: string;
  /** From which on it is due, and until when, in ms since 1970; null: from the beginning, and for ever. */
  readonly startAt: number | null;
  readonly endAt: number | null;
  /** What a rate counts from if it does not start at a time of its own. */
  readonly anchor: number;
}

/** All in ms since 1970. */
export interface DueTimes {
  /** The first due time after a moment; null: there is none. */
  next(after: number): number | null;
  /** The last one that is not after a moment; null: there is none. */
  latest(until: number): number | null;
}

/** @throws ExpressionError */
export function dueTimes(options: DueTimesOptions): DueTimes {
  const { expression, timeZone, startAt, endAt } = options;
  const clock = WallClock.of(timeZone);
  if (clock === null) {
    throw new ExpressionError(`there is no time zone "${timeZone.slice(0, 64)}"; give one such as Europe/Berlin`);
  }
  if (startAt !== null && endAt !== null && endAt < startAt) throw new ExpressionError('its end is before its start');
  const [, kind = '', inner = ''] = /^\s*(rate|cron)\((.*)\)\s*$/.exec(expression) ?? [];
  if (kind === '' || expression.length > MAX_EXPRESSION_CHARACTERS) {
    const shown = expression.slice(0, 64);
    throw new ExpressionError(`"${shown}" is no schedule; give one as rate(5 minutes) or cron(0 8 ? * MON-FRI *)`);
  }
  const all = kind === 'rate' ? rate(inner, options) : cron(inner, clock);
  return {
    next: (after) => {
      const at = all.next(startAt === null ? after : Math.max(after, startAt - 1));
      return at === null || (endAt !== null && at > endAt) ? null : at;
    },
    latest: (until) => {
      const at = all.latest(endAt === null ? until : Math.min(until, endAt));
      return at === null || (startAt !== null && at < startAt) ? null : at;
    },
  };
}

/** Its start, or else its anchor, says where its intervals begin: whoever asks knows from when on they count. */
function rate(text: string, { startAt, anchor }: DueTimesOptions): DueTimes {
  const [, count = '', unit = '', plural = ''] = /^\s*([1-9]\d{0,6}) +(minute|hour|day)(s?)\s*$/.exec(text) ?? [];
  const every = Number(count) * (UNITS_MS[unit] ?? NaN);
  if (Number.isNaN(every) || every > MAX_RATE_MS || (count === '1') !== (plural === '')) {
    const units = 'minute, hour and day with 1, minutes, hours and days with more, up to ten years';
    throw new ExpressionError(`rate(${text.slice(0, 40)}): give a number and a unit: ${units}`);
  }
  const base = startAt ?? anchor;
  return {
    next: (after) => base + (Math.floor((after - base) / every) + 1) * every,
    latest: (until) => base + Math.floor((until - base) / every) * every,
  };
}

/** A time that is left out in spring is passed over; one that comes twice in autumn is due at the first. */
function cron(text: string, clock: WallClock): DueTimes {
  const expression = new Cron(text);
  const times: DueTimes = {
    next: (after) => {
      for (let wall = expression.next(clock.shown(after)); wall !== null; wall = expression.next(wall)) {
        const at = clock.moment(wall);
        if (at !== null && at > after) return at;
      }
      return null;
    },
    latest: (until) => {
      for (
        let wall = expression.previous(clock.latestShown(until));
        wall !== null;
        wall = expression.previous(wall - 1)
      ) {
        const at = clock.moment(wall);
        if (at !== null && at <= until) return at;
      }
      return null;
    },
  };
  return times;
}
